"""From a file on disk to the first prediction: a `.sqz` against the plain `.tflite` that it holds, in fresh processes.

    python benchmarks/cold_start.py zoo/intel.sqz photo.jpg

Each process imports the runtime (NumPy, Pillow, LiteRT), opens the file and classifies the image once; both kinds of
file take turns, so that whatever slows the machine slows both. The ratio is taken pair by pair. The parts are
from within the process: what is not in them is Python's own start. The modules are compiled before, as they are
after any installation, whatever PYTHONDONTWRITEBYTECODE says.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("import", "open", "predict")
CHILD = """
import json, sys, time
times = [time.perf_counter()]
from squeezekit import runtime
times.append(time.perf_counter())
model = runtime.load(sys.argv[1])
times.append(time.perf_counter())
label = model.predict(sys.argv[2]).label
times.append(time.perf_counter())
print(json.dumps([label, *(1000 * (after - before) for before, after in zip(times, times[1:]))]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="A .sqz file.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tflite = Path(folder, "model.tflite")
        command = [sys.executable, "-m", "squeezekit", "unpack", str(options.model), "-o", str(tflite)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = measure({"sqz": options.model, "tflite": tflite}, options.image, options.pairs)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'':8}{'whole ms':>10}" + "".join(f"{part + ' ms':>12}" for part in PARTS))
    for name in ("sqz", "tflite"):
        print(f"{name:8}{found[name]['whole']:10.1f}" + "".join(f"{found[name][p]:12.1f}" for p in PARTS))
    ratio = found["ratio"]
    print(
        f"{found['pairs']} pairs; ratio {ratio['median']:.3f} (quartiles {ratio['low']:.3f} to {ratio['high']:.3f})"
    )


def measure(models: dict[str, Path], image: Path, pairs: int) -> dict:
    """Medians in milliseconds of each kind and its parts, and the quartiles of the ratio."""
    runs: dict[str, list[list[float]]] = {name: [] for name in models}
    labels = set()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(pairs + 1):
        # Who comes first changes: the second of a pair finds caches that the first one filled.
        for name in sorted(models, reverse=bool(turn % 2)):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(models[name]), str(image)],
                check=True,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            whole = 1000 * (time.perf_counter() - started)
            label, *parts = json.loads(done.stdout.splitlines()[-1])
            labels.add(label)
            if turn:  # the first pair reads everything from the disk
                runs[name].append([whole, *parts])
    if len(labels) != 1:
        raise SystemExit(f"The two files disagree: {sorted(labels)}.")
    ratios = [one[0] / other[0] for one, other in zip(runs["sqz"], runs["tflite"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    rows = {
        name: dict(zip(("whole", *PARTS), map(statistics.median, zip(*own, strict=True)), strict=True))
        for name, own in runs.items()
    }
    return {**rows, "ratio": {"median": middle, "low": low, "high": high}, "pairs": pairs}


if __name__ == "__main__":
    main()
