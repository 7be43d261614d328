"""Write the golden files anew: `python tests/codec/make_golden.py`. Only for a new format version."""

import hashlib
from pathlib import Path

from synthetic_tflite import golden_contexts_model, golden_model

from squeezekit import codec

FOLDER = Path(__file__).with_name("golden")
GOLDEN = FOLDER / "v1.sqz"
INFO = {"labels": ["naïve", "shape"], "provenance": {"recipe": "prune(0.8)"}}
# Which model each file holds, and the coder that packs it.
FILES = {
    "v1": (golden_model, "huffman"),
    "v1-rans": (golden_model, "rans"),
    "v1-contexts": (golden_contexts_model, "small"),
}


def main() -> None:
    lines = []
    for name, (model, coder) in FILES.items():
        sqz = codec.pack(model(), info=INFO, coder=coder)
        (FOLDER / f"{name}.sqz").write_bytes(sqz)
        for suffix, data in ((".sqz", sqz), (".tflite", model())):
            lines.append(f"{hashlib.sha256(data).hexdigest()}  {name}{suffix}\n")
    (FOLDER / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
