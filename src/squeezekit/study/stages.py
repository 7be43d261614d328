"""Trained stages in a cache: each in a folder that is called by what determines it, so none is trained twice."""

import json
import platform
import time
from pathlib import Path
from typing import Any

import keras

from squeezekit import files, models
from squeezekit.compress import parse
from squeezekit.errors import DataError
from squeezekit.study.agenda import Site, Stage
from squeezekit.study.energy import Meter
from squeezekit.study.locks import lock_stage
from squeezekit.training import History, Progress, compress_in_stages, train_network

__all__ = ["is_finished", "read_stage", "train_stage"]

_MODEL, _RECORD, _ENERGY = "model.keras", "stage.json", "energy.json"


def is_finished(site: Site, key: str) -> bool:
    """Whether a stage is in the cache as a whole; one that was interrupted is not."""
    folder = site.folder(key)
    return (folder / _RECORD).exists() and (folder / _MODEL).exists()


def read_stage(site: Site, key: str) -> dict[str, Any]:
    """The record of a finished stage: identity, curves, seconds, ranges of activations."""
    return json.loads((site.folder(key) / _RECORD).read_text("utf-8"))


def train_stage(site: Site, stage: Stage, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a stage, or load its record when it is in the cache; after a kill it goes on from its last epoch.

    CACHE/KEY holds `model.keras` (from scratch with its BatchNorm, else plain), `stage.json`, the
    checkpoint and the log; while it is trained, `energy.json`. The stages before it are loaded, and trained if they are
    not there. While another process trains the same stage, this one waits, and takes what it left.

    Args:
        site: where the study works.
        stage: what to train.
        progress: where to show how far it is.

    Returns:
        What `stage.json` holds.

    Raises:
        DataError: this machine does not see the stage's folder, or the images.
        ValueError: the network that the recipe starts from is not trained.
    """
    progress = progress or Progress()
    _require_seen(site, stage.key)
    busy = f"{stage.title}: another study is training it, waiting for its end"
    with lock_stage(site.folder(stage.key), lambda: progress.say(busy)):
        if is_finished(site, stage.key):
            return read_stage(site, stage.key)
        return _train(site, stage, progress)


def _require_seen(site: Site, key: str) -> None:
    """Refuse to work where another machine's files do not arrive."""
    for path in (site.folder(key), Path(site.dataset.train.files()[0])):
        if not path.exists():
            raise DataError(
                f"{platform.node()} does not see {path}: images and cache (--cache) must lie in folders that every "
                "machine of a study sees under the same path"
            )


def _train(site: Site, stage: Stage, progress: Progress) -> dict[str, Any]:
    """Train a stage that nobody else is training, and write it down."""
    if stage.recipe and not is_finished(site, stage.keys[0]):
        raise ValueError(f"Expected a trained {stage.network} in {site.folder(stage.keys[0])}.")
    folder = site.folder(stage.key)
    started = time.monotonic()
    interrupted = any(folder.glob("*.checkpoint.npz"))
    with Meter(folder / _ENERGY, resumed=interrupted) as meter:
        model, history, ranges = _trained(site, stage, progress)
    for name in (_MODEL, _RECORD, _ENERGY, "hooked.keras"):
        files.remove_leftovers(folder / name)
    with files.replacing(folder / _MODEL) as temporary:
        model.save(temporary)
    record = _record(site, stage, history, ranges, time.monotonic() - started)
    record["energy"] = meter.record()
    # Last: it says that everything else is there.
    files.write_json(folder / _RECORD, record)
    (folder / _ENERGY).unlink(missing_ok=True)
    return record


def _trained(
    site: Site, stage: Stage, progress: Progress | None
) -> tuple[keras.Model, History, dict[str, tuple[float, float]]]:
    """The training itself: network, curves, and the ranges of its activations where it measured them."""
    # Whatever else this process has built leaves no trace: not in names, not in draws, not in memory.
    keras.utils.clear_session()
    keras.utils.set_random_seed(stage.seed)
    folder = site.folder(stage.key)
    if stage.recipe:
        compressed = compress_in_stages(
            models.load(site.folder(stage.keys[0]) / _MODEL),
            parse(stage.recipe),
            site.dataset,
            site.preprocess,
            stage.settings,
            folder=folder,
            folders=[site.folder(key) for key in stage.keys[1:]],
            progress=progress,
        )
        return compressed.model, compressed.stages[-1].history, dict(compressed.ranges)
    model, history = train_network(
        stage.network,
        site.dataset,
        site.preprocess,
        stage.settings,
        folder=folder,
        progress=progress,
        width=stage.width,
    )
    return model, history, {}


def _record(
    site: Site, stage: Stage, history: History, ranges: dict[str, tuple[float, float]], seconds: float
) -> dict[str, Any]:
    return {
        "identity": dict(stage.identity),
        "study": site.study,
        # Of the last go; an interrupted one before it did `resumed_at` epochs.
        "seconds": round(seconds, 2),
        "resumed_at": history.resumed_at,
        "precision": history.precision,
        "ranges": {name: list(bounds) for name, bounds in ranges.items()},
        "curves": history.curves,
    }
