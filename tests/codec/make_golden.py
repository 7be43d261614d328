"""Write the golden file anew: `python tests/codec/make_golden.py`. Only for a new format version."""

import hashlib
from pathlib import Path

from synthetic_tflite import golden_model

from squeezekit import codec

GOLDEN = Path(__file__).with_name("golden") / "v1.sqz"
INFO = {"labels": ["naïve", "shape"], "provenance": {"recipe": "prune(0.8)"}}


def main() -> None:
    sqz = codec.pack(golden_model(), info=INFO)
    GOLDEN.write_bytes(sqz)
    model_sum, sqz_sum = (hashlib.sha256(data).hexdigest() for data in (golden_model(), sqz))
    GOLDEN.with_name("SHA256SUMS").write_text(f"{sqz_sum}  v1.sqz\n{model_sum}  v1.tflite\n")


if __name__ == "__main__":
    main()
