"""How long a study will take: from the measured seconds of stages and rows where there are any, else a guess."""

import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from squeezekit import compress, models
from squeezekit.experiment.experiment import Experiment
from squeezekit.experiment.plan import Plan, Site, Stage
from squeezekit.experiment.stage_cache import is_finished
from squeezekit.training import Precision

__all__ = ["estimate"]

# The guess: multiply-accumulates a second that two cores do in a training step (forward, and twice that backward),
# and what is the same for every network: tracing, loading, exporting.
_MACS_PER_SECOND = {Precision.BFLOAT16: 6e10, Precision.FLOAT32: 2.5e10}
_STEPS_OF_A_MAC = 3
_START_SECONDS = 15.0
_ROW_SECONDS, _IMAGE_SECONDS = 6.0, 0.004

GUESS = "a guess from multiply-accumulates, for two cores; within a factor of three"
MEASURED = "measured seconds of stages on these images"


def estimate(experiment: Experiment, site: Site, plan: Plan, lines: Sequence[bytes]) -> dict[str, Any]:
    """What a study will do, and how long that may take.

    Args:
        experiment: the study, filled in.
        site: where it works.
        plan: what it has to do.
        lines: of `results.jsonl`; what is no row is passed by.

    Returns:
        As `dry_run`.
    """
    measured = _measured_rows(lines)
    seconds = _seconds_per_epoch(site)
    guess = _guess(experiment, site)
    row_seconds = statistics.mean(measured.values()) if measured else _ROW_SECONDS
    if not measured:
        row_seconds += _IMAGE_SECONDS * len(site.dataset.test)
    rows = []
    needed: set[str] = set()
    for row in plan.rows:
        done = row.id in measured and (site.out / row.file).exists()
        if not done and not is_finished(site, row.stage.key):
            needed.update(row.stage.keys)
        rows.append(
            {
                "id": row.id,
                "baseline": row.baseline,
                "factors": dict(row.factors),
                **_training(row.stage),
                "file": row.file,
                "measured": row.id in measured,
                "done": done,
                "seconds": round(row_seconds, 1),
            }
        )
    trainings: list[dict[str, Any]] = []
    known = guessed = 0
    for stage in plan.stages:
        done = is_finished(site, stage.key)
        rate = seconds.get((stage.network, bool(stage.recipe)))
        if not done and stage.key in needed:
            known, guessed = known + (rate is not None), guessed + (rate is None)
        trainings.append(
            {
                **_training(stage),
                "epochs": stage.settings.epochs,
                "done": done,
                "needed": stage.key in needed,
                "seconds": round(rate * stage.settings.epochs if rate is not None else guess(stage), 1),
            }
        )
    left = [item for item in trainings if item["needed"] and not item["done"]]
    left += [row for row in rows if not row["done"]]
    return {
        "grid": dict(plan.grid),
        "rows": rows,
        "trainings": trainings,
        "seconds": round(sum(item["seconds"] for item in left), 1),
        "basis": GUESS if not known else MEASURED if not guessed else f"{MEASURED}; for {guessed}, {GUESS}",
    }


def _training(stage: Stage) -> dict[str, Any]:
    return {"stage": stage.key, "network": stage.network, "recipe": stage.recipe, "seed": stage.seed}


def _measured_rows(lines: Sequence[bytes]) -> dict[str, float]:
    """Seconds by id of the rows that a study has."""
    found = {}
    for line in lines:
        try:
            row = json.loads(line)
            found[row["id"]] = float(row["seconds"])
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _seconds_per_epoch(site: Site) -> dict[tuple[str, bool], float]:
    """Of stages in the cache on these images: by network, and whether a technique was trained."""
    found: dict[tuple[str, bool], list[float]] = {}
    for path in sorted(site.cache.glob("*/stage.json")):
        try:
            record = json.loads(path.read_text("utf-8"))
            identity = record["identity"]
            same = identity["data"] == site.dataset.fingerprint
            epochs = len(record["curves"]) - record["resumed_at"]
            if same and identity["preprocess"] == site.preprocess.to_dict() and epochs > 0:
                kind = (identity["network"], bool(identity["recipe"]))
                found.setdefault(kind, []).append(record["seconds"] / epochs)
        except (ValueError, KeyError, TypeError):
            continue
    return {kind: statistics.mean(rates) for kind, rates in found.items()}


def _guess(experiment: Experiment, site: Site) -> Callable[[Stage], float]:
    """A guess of a stage's seconds by what its network multiplies."""
    macs: dict[str, int] = {}
    shape = (site.preprocess.height, site.preprocess.width, 3)

    def seconds(stage: Stage) -> float:
        if stage.network not in macs:
            network = models.build(
                stage.network, shape, len(site.dataset.class_names), width=experiment.width
            )
            macs[stage.network] = compress.measure(network).macs
        images = len(site.dataset.train) * stage.settings.epochs
        work = _STEPS_OF_A_MAC * macs[stage.network] * images
        return _START_SECONDS + work / _MACS_PER_SECOND[stage.settings.precision]

    return seconds
