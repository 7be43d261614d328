"""The cold start and peak memory of a model file, in a fresh process."""

import dataclasses
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from squeezekit.errors import FormatError
from squeezekit.runtime.contents import read_contents
from squeezekit.runtime.latency import noise
from squeezekit.runtime.model import assemble

__all__ = ["Footprint", "footprint", "report"]

# The clock starts before squeezekit is imported; every Python has loaded `time` already.
_PROBE = """
import time
started = time.perf_counter()
from squeezekit.runtime.footprint import report
report(time.perf_counter() - started)
"""
_PARTS = ("import_ms", "decode_ms", "allocate_ms", "first_ms")
_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """A fresh process that opens a model and labels one image.

    Args:
        import_ms: importing the runtime; mostly NumPy, Pillow and LiteRT, and the same for every file.
        decode_ms: reading the file and decoding the network.
        allocate_ms: LiteRT allocates memory and packs weights. For a network with a float output this includes one
            inference, which tells probabilities from logits.
        first_ms: the first answer, including reading and resizing the image.
        peak_memory_bytes: peak memory of the process, including Python and its packages; None if the system does not
            report it.
    """

    import_ms: float
    decode_ms: float
    allocate_ms: float
    first_ms: float
    peak_memory_bytes: int | None

    @property
    def cold_start_ms(self) -> float:
        """From the file's name to the first label, without the imports, which are the same for every file."""
        return self.decode_ms + self.allocate_ms + self.first_ms

    @property
    def total_ms(self) -> float:
        """From the start of Python to the first label."""
        return self.import_ms + self.cold_start_ms


def footprint(
    path: str | os.PathLike[str], image: str | os.PathLike[str] | None = None, *, processes: int = 3
) -> Footprint:
    """Measure a file in fresh processes, and return the medians.

    Args:
        path: a `.sqz` or `.tflite`.
        image: the image to label; None for noise of the network's own size.
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
            [sys.executable, "-c", _PROBE, os.fspath(path), *([] if image is None else [os.fspath(image)])],
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
        **{part: statistics.median(figures[part] for figures in found) for part in _PARTS},
        peak_memory_bytes=None if None in peaks else int(statistics.median(peaks)),
    )


def report(import_seconds: float) -> None:
    """Run in the fresh process: read the file and the image from the command line, print the figures.

    Args:
        import_seconds: time of the imports.
    """
    path, images = Path(sys.argv[1]), sys.argv[2:]
    times = [time.perf_counter()]
    contents = read_contents(path.read_bytes())
    times.append(time.perf_counter())
    model = assemble(path, contents)
    times.append(time.perf_counter())
    if images:
        model.predict(images[0])
    else:
        model.rank(noise(model.input_shape)[0], top=1)
    times.append(time.perf_counter())
    seconds = [import_seconds, *(after - before for before, after in itertools.pairwise(times))]
    figures = {part: 1000 * value for part, value in zip(_PARTS, seconds, strict=True)}
    print(json.dumps({**figures, "peak_memory_bytes": _peak_memory_bytes()}))


def _peak_memory_bytes() -> int | None:
    # Not getrusage: on Linux its maximum includes that of the process that started this one.
    try:
        status = Path("/proc/self/status").read_text("ascii", errors="replace")
    except OSError:
        return None
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else None
