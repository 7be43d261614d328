"""Processor time and memory of a folder of very many images: both must grow no faster than the number of images.

    python benchmarks/many_names.py --names 10000 100000

Two class folders share the names; each file is the same GIF of one pixel, so that decoding takes no time. Every step
runs in a process of its own, whose memory is read before and after.
"""

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from squeezekit.curate.audit import audit_folder
from squeezekit.data import open_dataset
from squeezekit.files import regular_names
from squeezekit.imaging import IMAGE_SUFFIXES
from squeezekit.runtime.frames import folder_images

STEPS: dict[str, Callable[[Path], object]] = {
    "list names": lambda root: regular_names(root / "a", IMAGE_SUFFIXES),
    "predict lists": folder_images,
    "train opens": open_dataset,
    "check audits": lambda root: audit_folder(root, near=False),
}


def fill(root: Path, names: int) -> None:
    """Half of the names in each class folder; every thousandth is a file, the others are links to it."""
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "GIF")
    for number in range(names):
        path = root / "ab"[number % 2] / f"a photo of some length {number:07d}.gif"
        if number < 2:
            path.parent.mkdir(parents=True)
        if number % 20_000 < 2:
            path.write_bytes(stream.getvalue())
            first = path
        else:
            os.link(first, path)


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step(name: str, root: Path) -> None:
    """Run a step in this process; print its processor time in seconds and the memory it took in bytes."""
    before, start = peak_bytes(), time.process_time()
    kept = STEPS[name](root)
    print(time.process_time() - start, peak_bytes() - before)
    del kept


def main() -> None:
    """Print a line a step and number of names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step(options.step[0], Path(options.step[1]))
        return
    print(f"{'step':15}{'names':>10}{'CPU s':>9}{'us a name':>11}{'MB':>8}{'bytes a name':>14}")
    for names in options.names:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), names)
            for name in STEPS:
                words = [sys.executable, __file__, "--step", name, folder]
                printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                seconds, taken = (float(word) for word in printed.split())
                each = f"{1e6 * seconds / names:11.1f}{taken / 1e6:8.1f}{taken / names:14,.0f}"
                print(f"{name:15}{names:10,}{seconds:9.2f}{each}", flush=True)


if __name__ == "__main__":
    main()
