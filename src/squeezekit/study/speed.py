"""Latency of all of a study's networks in turns, so that what slows the machine for a while slows all of them."""

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from squeezekit import runtime
from squeezekit.quiet import quiet_native
from squeezekit.training import Progress

__all__ = ["latency_ms", "measure_in_turns"]

# Rounds in which every network runs a few times; a round's figure is the median of its runs.
_ROUNDS, _RUNS = 30, 7


def measure_in_turns(rows: Iterable[Mapping[str, Any]], out: Path, progress: Progress) -> dict[str, Any]:
    """Time one file of each trained network, turn by turn.

    Args:
        rows: of the study, whose files are there; those of one stage hold the same network.
        out: the study's folder.
        progress: where to show how far it is.

    Returns:
        "rounds", "runs" of a network in a round, and "ms": by stage the median of each round, in the order in which
        rounds were run.
    """
    files: dict[str, Path] = {}
    for row in rows:
        files.setdefault(row["stage"], out / row["file"])
    with quiet_native():
        models = [runtime.load(path) for path in files.values()]
    found = runtime.latencies(
        models,
        rounds=_ROUNDS,
        runs=_RUNS,
        progress=lambda done, total: progress.update("latency in turns", done, total),
    )
    medians = [taken.round_medians_ms.tolist() for taken in found]
    return {"rounds": _ROUNDS, "runs": _RUNS, "ms": dict(zip(files, medians, strict=True))}


def latency_ms(record: Any, stage: str) -> float | None:
    """The median of a stage's rounds; None where `study.json` has none.

    Args:
        record: what `measure_in_turns` returned, or what a file has in its place.
        stage: key of the stage.

    Example:
        >>> latency_ms({"ms": {"a": [1.0, 9.0, 2.0]}}, "a")
        2.0
    """
    rounds = record.get("ms") if isinstance(record, Mapping) else None
    times = rounds.get(stage) if isinstance(rounds, Mapping) else None
    if (
        not isinstance(times, list)
        or not times
        or not all(type(time) is float and time > 0 for time in times)
    ):
        return None
    return statistics.median(times)
