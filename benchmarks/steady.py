"""A hundred thousand frames through `squeezekit predict MODEL -`: memory and open files from beginning to end.

    python benchmarks/steady.py zoo/intel.sqz --frames 100000

Every thousandth frame is broken, to see that it is reported and passed over. Linux only: memory is read from /proc.
"""

import argparse
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

BROKEN_EVERY = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    child = subprocess.Popen(
        [sys.executable, "-m", "squeezekit", "predict", str(options.model), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    complaints: list[bytes] = []
    feeder = threading.Thread(target=feed, args=(child.stdin, options.frames), daemon=True)
    listener = threading.Thread(target=lambda: complaints.extend(child.stderr), daemon=True)
    feeder.start()
    listener.start()
    samples, answers, start = [], 0, time.monotonic()
    every = max(1, options.frames // 20)
    for _ in child.stdout:
        answers += 1
        if answers % every == 0:
            samples.append(
                [answers, resident_bytes(child.pid), len(list(Path(f"/proc/{child.pid}/fd").iterdir()))]
            )
            print(f"\r{answers:,} of {options.frames:,}", end="", file=sys.stderr, flush=True)
    status = child.wait()
    listener.join()
    found = {
        "frames": options.frames,
        "answers": answers,
        "broken": len(complaints),
        "status": status,
        "seconds": round(time.monotonic() - start, 1),
        "samples": [
            dict(zip(("answers", "rss_bytes", "open_files"), sample, strict=True)) for sample in samples
        ],
    }
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{answers:,} answers and {len(complaints):,} complaints in {found['seconds']} s, status {status}")
    for count, memory, handles in samples:
        print(f"{count:>9,} frames  {memory / 1e6:7.1f} MB  {handles:3} open files")


def feed(pipe, frames: int) -> None:
    """A few different pictures, in turn."""
    draws = np.random.default_rng(0)
    pictures = []
    for _ in range(8):
        file = io.BytesIO()
        coarse = Image.fromarray(draws.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(file, "JPEG")
        pictures.append(file.getvalue())
    for number in range(1, frames + 1):
        data = pictures[number % len(pictures)]
        pipe.write(data[:-40] if number % BROKEN_EVERY == 0 else data)
    pipe.close()


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("The system does not tell how much memory a process has.")


if __name__ == "__main__":
    main()
