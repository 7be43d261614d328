"""What a file costs a device that has just been started: time to the first answer, and memory at the worst moment."""

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from squeezekit.errors import FormatError
from squeezekit.runtime.model import load

__all__ = ["Footprint", "footprint", "report"]

_PROBE = "from squeezekit.runtime.footprint import report; report()"
_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """A fresh process that opens a model and labels one image.

    Args:
        cold_start_ms: from the file's name to the first label: reading, decoding, laying out memory, one inference.
            Starting Python and importing packages, which is the same for every file, is not in it.
        peak_memory_bytes: the most memory that the process ever had, Python and its packages included; None where
            the system does not tell.
    """

    cold_start_ms: float
    peak_memory_bytes: int | None


def footprint(
    path: str | os.PathLike[str], image: str | os.PathLike[str], *, processes: int = 3
) -> Footprint:
    """Measure a file in processes of its own; the medians of their figures.

    Args:
        path: a `.sqz` or `.tflite`.
        image: the image to label.
        processes: how many to start, one after another, at least 1.

    Raises:
        ValueError: `processes` is below 1.
        FormatError: the file or the image cannot be used.
    """
    if processes < 1:
        raise ValueError(f"Expected at least 1 process. Received: processes={processes}.")
    found = []
    for _ in range(processes):
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, os.fspath(path), os.fspath(image)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise FormatError(f"{path}: cannot be measured in a fresh process ({reason})")
        found.append(json.loads(done.stdout))
    peaks = [figures["peak_memory_bytes"] for figures in found]
    return Footprint(
        cold_start_ms=statistics.median(figures["cold_start_ms"] for figures in found),
        peak_memory_bytes=None if None in peaks else int(statistics.median(peaks)),
    )


def report() -> None:
    """Be that process: the file and the image are the words of the command line, the figures go to stdout."""
    path, image = sys.argv[1:3]
    start = time.perf_counter()
    load(path).predict(image)
    milliseconds = 1000 * (time.perf_counter() - start)
    print(json.dumps({"cold_start_ms": milliseconds, "peak_memory_bytes": _peak_memory_bytes()}))


def _peak_memory_bytes() -> int | None:
    # Not getrusage: on Linux its maximum begins with that of the process that started this one.
    try:
        status = Path("/proc/self/status").read_text("ascii", errors="replace")
    except OSError:
        return None
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else None
