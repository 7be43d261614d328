"""Trained stages in a cache: each in a folder that is called by what determines it, so none is trained twice."""

import contextlib
import dataclasses
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import keras

from squeezekit import files, models
from squeezekit.compress import parse
from squeezekit.errors import DataError
from squeezekit.experiment.energy import Meter
from squeezekit.experiment.plan import Site, Stage
from squeezekit.training import History, Progress, compress_in_stages, train_network

__all__ = ["MODEL_FILE", "is_finished", "lock_experiment", "read_stage", "train_stage"]

MODEL_FILE = "model.keras"
_RECORD, _ENERGY = "stage.json", "energy.json"
# Seconds between two looks at a lock that another experiment holds for minutes.
_LOCK_POLL_SECONDS = 0.5


def is_finished(site: Site, key: str) -> bool:
    """Whether a stage is in the cache as a whole; one that was interrupted is not."""
    folder = site.folder(key)
    return (folder / _RECORD).exists() and (folder / MODEL_FILE).exists()


def read_stage(site: Site, key: str) -> dict[str, Any]:
    """The record of a finished stage: identity, curves, seconds, ranges of activations."""
    return json.loads((site.folder(key) / _RECORD).read_text("utf-8"))


def train_stage(site: Site, stage: Stage, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a stage, or load its record when it is in the cache; after a kill it goes on from its last epoch.

    CACHE/KEY holds `model.keras` (a network from scratch with its BatchNorm, else plain), `stage.json`, the
    checkpoint and the log; while it is trained, `energy.json`. The stages before it are loaded, and trained if they
    are not there. While another process trains the same stage, this one waits, and takes what it left.

    Args:
        site: where the experiment works.
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
    with _lock_stage(site.folder(stage.key), lambda: progress.say(busy)):
        if is_finished(site, stage.key):
            return read_stage(site, stage.key)
        return _train(site, stage, progress)


@contextlib.contextmanager
def lock_experiment(out: Path) -> Iterator[None]:
    """Be the only experiment that writes to a folder. The lock is the kernel's: a kill takes it along.

    Args:
        out: the experiment's folder; created when missing.

    Raises:
        ValueError: another experiment is writing there.
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / "study.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(
            f"{out}: another study is writing there. Wait for its end or take another output folder; "
            "--cache lets both share what they train."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _lock_stage(folder: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Be the only one that trains a stage; call `waiting` once if another does, and wait for it."""
    lock = filelock.FileLock(folder / "stage.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        waiting()
        lock.acquire(poll_interval=_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _require_seen(site: Site, key: str) -> None:
    """Refuse to work where another machine's files do not arrive."""
    for path in (site.folder(key), Path(site.dataset.train.files()[0])):
        if not path.exists():
            raise DataError(
                f"{platform.node()} does not see {path}: images and cache (--cache) must lie in folders that every "
                "machine of a study sees under the same path"
            )


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A network and what its training left: curves, ranges of its activations, what is known of its teacher."""

    model: keras.Model
    history: History
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _train(site: Site, stage: Stage, progress: Progress) -> dict[str, Any]:
    """Train a stage that nobody else is training, and write it down."""
    if stage.recipe and not is_finished(site, stage.keys[0]):
        raise ValueError(f"Expected a trained {stage.network} in {site.folder(stage.keys[0])}.")
    folder = site.folder(stage.key)
    started = time.monotonic()
    interrupted = any(folder.glob("*.checkpoint.npz"))
    with Meter(folder / _ENERGY, resumed=interrupted) as meter:
        trained = _trained(site, stage, progress)
    for name in (MODEL_FILE, _RECORD, _ENERGY, "hooked.keras"):
        files.remove_leftovers(folder / name)
    with files.replacing(folder / MODEL_FILE) as temporary:
        trained.model.save(temporary)
    record = {
        "identity": dict(stage.identity),
        "study": site.id,
        # Of the last go; an interrupted one before it did `resumed_at` epochs.
        "seconds": round(time.monotonic() - started, 2),
        "resumed_at": trained.history.resumed_at,
        "precision": trained.history.precision,
        "ranges": {name: list(bounds) for name, bounds in trained.ranges.items()},
        "curves": trained.history.curves,
        **trained.notes,
        "energy": meter.record(),
    }
    # Last: it says that everything else is there.
    files.write_json(folder / _RECORD, record)
    (folder / _ENERGY).unlink(missing_ok=True)
    return record


def _trained(site: Site, stage: Stage, progress: Progress) -> _Trained:
    """The training itself."""
    if stage.given is not None and not stage.recipe:
        return _Trained(stage.given, History([], "", 0))
    # Whatever else this process has built leaves no trace: not in names, not in draws, not in memory.
    keras.utils.clear_session()
    keras.utils.set_random_seed(stage.seed)
    if stage.recipe:
        return _compressed(site, stage, [site.folder(key) for key in stage.keys], progress)
    model, history = train_network(
        stage.network,
        site.dataset,
        site.preprocess,
        stage.settings,
        folder=site.folder(stage.key),
        progress=progress,
        **stage.options,
    )
    initial, distil = stage.options["initial"], stage.options["distil"]
    notes = (
        {}
        if initial is None
        else {"init": {**initial.to_dict(model), "frozen": list(stage.options["frozen"])}}
    )
    return _Trained(model, history, notes=notes | ({} if distil is None else {"distil": distil.to_dict()}))


def _compressed(site: Site, stage: Stage, folders: Sequence[Path], progress: Progress) -> _Trained:
    network = models.load(folders[0] / MODEL_FILE)
    distil = None if stage.distil is None else stage.distil.of(network)
    compressed = compress_in_stages(
        network,
        parse(stage.recipe),
        site.dataset,
        site.preprocess,
        stage.settings,
        folder=folders[-1],
        folders=folders[1:],
        progress=progress,
        distil=distil,
    )
    # A technique that finds no layer is skipped and trains nothing.
    history = compressed.stages[-1].history if compressed.stages else History([], "", 0)
    skipped = not compressed.stages or compressed.stages[-1].recipe != stage.recipe
    notes = {} if distil is None else {"distil": distil.to_dict()}
    return _Trained(
        compressed.model,
        History([], "", 0) if skipped else history,
        dict(compressed.ranges),
        notes | ({"skipped": True} if skipped else {}),
    )
