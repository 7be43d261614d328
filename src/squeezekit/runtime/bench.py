"""Measure models on this machine: latency, throughput, cold start, memory and energy."""

import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from squeezekit.runtime.energy import energy, find_meter
from squeezekit.runtime.footprint import footprint
from squeezekit.runtime.latency import latencies, noise, ratio
from squeezekit.runtime.machine import describe_machine, temperature_c, throttled
from squeezekit.runtime.model import Model, load

__all__ = ["bench"]

_ROUNDS = 20
_THROUGHPUT_S = 0.5
_ENERGY_S = 2.0
_COLD_PARTS = ("import", "decode", "allocate", "first", "total")


def bench(
    paths: Sequence[str | os.PathLike[str]],
    *,
    runs: int = 200,
    threads: int = 1,
    processes: int = 3,
    image: str | os.PathLike[str] | None = None,
    meter_log: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure models on this machine.

    Latency is the time from pixels in memory to probabilities. Models take turns in rounds, so that whatever slows
    the machine slows all of them; ratios are to the first model. Each cold start is a fresh process.

    Args:
        paths: `.sqz` or `.tflite` files, at least one.
        runs: timed inferences of each model, at least 20.
        threads: threads of each inference; throughput is also measured for 1, 2, 4 ... threads.
        processes: fresh processes; the cold start is their median; at least 1.
        image: image for the fresh processes; None for noise.
        meter_log: log of a USB power meter, see `UsbMeter`.
        progress: called with (steps done, all steps).

    Returns:
        What `squeezekit bench --json` prints: "machine", "temperature_c" {"before", "after"}, "throttled", and
        "models", each with "path", "bytes", "input", "threads", "runs", "latency_ms" {"median", "p90", "p99"}, "ratio"
        {"to", "median", "low", "high"} (None for the first), "throughput" [{"threads", "images_per_second"}],
        "cold_start_ms" {"import", "decode", "allocate", "first", "total"}, "peak_rss_bytes" and "energy"
        {"millijoules", "idle_watts", "method", "measured", "runs"}.

    Raises:
        ValueError: no model, or a number out of range.
        FormatError: a file cannot be used.
        OSError: a file cannot be read.
    """
    if not paths:
        raise ValueError("Expected at least one model. Received: none.")
    if runs < _ROUNDS:
        raise ValueError(f"Expected at least {_ROUNDS} runs. Received: runs={runs}.")
    counts = sorted({threads, *_thread_counts()})
    steps = _ROUNDS + len(paths) * (len(counts) + 2)
    done = 0

    def advance(more: int = 1) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, steps)

    meter = find_meter(Path(meter_log) if meter_log is not None else None)
    try:
        models = [load(path, threads=threads) for path in paths]
        before = temperature_c()
        times = latencies(models, rounds=_ROUNDS, runs=-(-runs // _ROUNDS), progress=lambda *_: advance())
        rows = []
        for place, (path, model, taken) in enumerate(zip(paths, models, times, strict=True)):
            throughput = []
            for count in counts:
                same = model if count == threads else load(path, threads=count)
                throughput.append({"threads": count, "images_per_second": _images_per_second(same)})
                advance()
            cold = footprint(path, image, processes=processes)
            advance()
            run = functools.partial(model.probabilities, noise(model.input_shape))
            joules = energy(run, meter, seconds=_ENERGY_S)
            advance()
            against = ratio(taken, times[0]) if place else None
            rows.append(
                {
                    "path": os.fspath(path),
                    "bytes": os.stat(path).st_size,
                    "input": list(model.input_shape[1:]),
                    "threads": threads,
                    "runs": taken.rounds.size,
                    "latency_ms": {"median": taken.median_ms, "p90": taken.p90_ms, "p99": taken.p99_ms},
                    "ratio": against and {"to": os.fspath(paths[0]), **dataclasses.asdict(against)},
                    "throughput": throughput,
                    "cold_start_ms": {part: getattr(cold, f"{part}_ms") for part in _COLD_PARTS},
                    "peak_rss_bytes": cold.peak_memory_bytes,
                    "energy": dataclasses.asdict(joules),
                }
            )
    finally:
        meter.close()
    return {
        "machine": describe_machine(),
        "temperature_c": {"before": before, "after": temperature_c()},
        "throttled": throttled(),
        "models": rows,
    }


def _thread_counts() -> list[int]:
    """1, 2, 4 and so on, up to the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return list(itertools.takewhile(lambda count: count <= cores, (1 << power for power in range(10))))


def _images_per_second(model: Model) -> float:
    pixels = noise(model.input_shape)
    model.probabilities(pixels)
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < _THROUGHPUT_S:
        model.probabilities(pixels)
        images += 1
    return images / (time.perf_counter() - start)
