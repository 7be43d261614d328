"""Memory of streaming a large `.npz` against `numpy.load`: a made batch file of downsampled ImageNet at 64 pixels.

    python benchmarks/arrays.py --gigabytes 4
    python benchmarks/arrays.py --gigabytes 4 --deflated

Each way of reading runs in a process of its own; its memory is the peak of the resident set above what the
process had when the reading began. Labels, order and the mean are checked on the way.

Measured on 2 cores, 4.0 GB stored: in order 9.3 MB and 4.4 s, shuffled 77.9 MB (a window of 64 MB) and 5.6 s,
`numpy.load` 4,003.2 MB and 8.0 s, 51 times as much memory. The same deflated: in order 12.4 MB and 34.7 s, shuffled
80.9 MB and 33.9 s, `numpy.load` 4,003.7 MB and 29.4 s.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

ROW = 3 * 64 * 64


def make(path: Path, images: int, compression: int) -> None:
    """Write the file a piece at a time; row i is the byte i % 251, with some noise to give deflate its work."""
    noise = np.random.default_rng(0).integers(0, 4, (256, ROW), np.uint8)
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        with archive.open("data.npy", "w", force_zip64=True) as member:
            head = {"descr": "|u1", "fortran_order": False, "shape": (images, ROW)}
            np.lib.format.write_array_header_1_0(member, head)
            for start in range(0, images, 256):
                numbers = np.arange(start, min(start + 256, images))
                member.write(
                    (noise[: len(numbers)] + (numbers % 251).astype(np.uint8)[:, np.newaxis]).tobytes()
                )
        with archive.open("labels.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(images) % 1000 + 1)


# What each process runs. The peak is reset where the reading begins: see proc(5), clear_refs.
CHILD = """
import sys, time
import numpy as np
from squeezekit.data import open_arrays
def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, start, busy, total, images = status("VmRSS"), time.perf_counter(), time.process_time(), 0, 0
path, way = sys.argv[1:]
if way == "load":
    with np.load(path) as file:
        data, labels = file["data"], file["labels"]
        images, total = len(labels), sum(int(data[i:i + 256].sum()) for i in range(0, len(data), 256))
elif way == "order":
    for pixels, labels in open_arrays(path).blocks():
        assert (labels == (images + np.arange(len(labels))) % 1000).all()
        images, total = images + len(labels), total + int(pixels.sum())
else:
    seen = np.zeros(len(open_arrays(path)), bool)
    for pixels, labels, places in open_arrays(path).shuffled(0):
        assert (labels == places % 1000).all()
        seen[places] = True
        images, total = images + len(labels), total + int(pixels.sum())
    assert seen.all()
print(status("VmHWM") - before, time.perf_counter() - start, time.process_time() - busy, images, total)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--deflated", action="store_true")
    options = parser.parse_args()
    images = int(options.gigabytes * 1e9) // ROW
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train_data_batch_1.npz"
        begin = time.perf_counter()
        make(path, images, zipfile.ZIP_DEFLATED if options.deflated else zipfile.ZIP_STORED)
        print(
            f"{images:,} images, {images * ROW:,} bytes, {path.stat().st_size:,} in the file, "
            f"made in {time.perf_counter() - begin:.0f} s"
        )
        found = {}
        for way in ("order", "shuffle", "load"):
            words = [sys.executable, "-c", CHILD, str(path), way]
            done = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
            found[way] = (int(done[0]), float(done[2]), *done[3:])
            print(
                f"{way:8}{found[way][0] / 1e6:10,.1f} MB {float(done[1]):8.1f} s {found[way][1]:8.1f} CPU-s "
                f"{images / found[way][1]:10,.0f} images a CPU-s"
            )
    assert found["order"][2:] == found["shuffle"][2:] == found["load"][2:], "different pixels"
    ratio = found["load"][0] / max(1, max(found["order"][0], found["shuffle"][0]))
    print(f"numpy.load takes {ratio:,.0f} times the memory; counts and sums of pixels agree")


if __name__ == "__main__":
    main()
