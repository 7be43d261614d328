"""A run's images and folder, the steps that every run is made of, and the record of what it did."""

import datetime
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

import squeezekit
from squeezekit import codec, export, files, models
from squeezekit.compress import Recipe
from squeezekit.data import Dataset, open_dataset
from squeezekit.preprocess import Preprocess
from squeezekit.study.measure import measure_file
from squeezekit.study.plan import choose_preprocess
from squeezekit.training import (
    Compressed,
    Distil,
    History,
    Initial,
    Progress,
    Settings,
    compress_in_stages,
    train_network,
)

__all__ = ["Workshop", "describe_data", "describe_machine", "describe_run", "describe_start", "open_workshop"]

# What a result may depend on, besides our own code.
_VERSIONS_OF = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "pillow", "ai-edge-litert")


class Workshop:
    """A run's images, its folder, and the steps that every run is made of.

    Args:
        source: what the user named as the images, for the record.
        out: the run's folder.
        dataset: the images, opened.
        preprocess: what the networks see of an image.
        seed: of the run.
        progress: where to show how far it is.
    """

    def __init__(
        self, source: str, out: Path, dataset: Dataset, preprocess: Preprocess, seed: int, progress: Progress
    ) -> None:
        self.source = source
        self.out = out
        self.dataset = dataset
        self.preprocess = preprocess
        self.seed = seed
        self.progress = progress
        self.trainings: list[dict[str, Any]] = []
        self.started = time.time()

    @property
    def work(self) -> Path:
        """Where checkpoints and logs lie; safe to delete when the run is done."""
        return self.out / "work"

    def train(self, name: str, settings: Settings, **options: Any) -> keras.Model:
        """Train a network of the catalogue, or load it when an earlier run has done so; BatchNorm is in it."""
        model, history = train_network(
            name,
            self.dataset,
            self.preprocess,
            settings,
            folder=self.work,
            progress=self.progress,
            **options,
        )
        self.record(name, history)
        return model

    def compress(
        self, model: keras.Model, recipe: Recipe, settings: Settings, *, distil: Distil | None = None
    ) -> Compressed:
        """Run a recipe on a trained network, stage by stage; the result is plain, without BatchNorm to fold."""
        compressed = compress_in_stages(
            model,
            recipe,
            self.dataset,
            self.preprocess,
            settings,
            folder=self.work,
            progress=self.progress,
            distil=distil,
        )
        for stage in compressed.stages:
            self.record(stage.recipe, stage.history)
        return compressed

    def record(self, name: str, history: History) -> None:
        """Keep a training's curves for `run.json`."""
        self.trainings.append(
            {
                "name": name,
                "precision": history.precision,
                "resumed_at": history.resumed_at,
                "curves": history.curves,
            }
        )

    def export(
        self,
        model: keras.Model,
        path: Path,
        *,
        recipe: str = "",
        int8: bool = False,
        ranges: Mapping[str, tuple[float, float]] | None = None,
    ) -> Path:
        """Write a `.tflite`, float or full-integer; images of the training split set ranges that are not given."""
        self.progress.say(f"writing {path.name}")
        calibration = (
            export.calibration_batches(self.dataset.train, self.preprocess, seed=self.seed) if int8 else None
        )
        export.litert(
            models.fold_batch_norm(model),
            path,
            calibration=calibration,
            ranges=ranges if int8 else None,
            labels=self.dataset.class_names,
            preprocess=self.preprocess,
            provenance={
                "squeezekit": squeezekit.__version__,
                "model": model.name,
                "recipe": recipe,
                "seed": self.seed,
                "data": self.dataset.fingerprint[:16],
            },
        )
        return path

    def pack(self, tflite: Path, sqz: Path) -> Path:
        """Write the `.sqz` of a `.tflite`."""
        packed = codec.pack(
            tflite.read_bytes(), progress=lambda done, total: self.progress.update("packing", done, total)
        )
        files.write_bytes(sqz, packed)
        return sqz

    def measure(self, path: Path, name: str, network: str, plain: keras.Model) -> dict[str, Any]:
        """One row of the table, from the file that ships."""
        return measure_file(
            path,
            self.dataset,
            name=name,
            network=network,
            plain=models.fold_batch_norm(plain),
            progress=self.progress,
        )


def open_workshop(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int = 0,
    validation: float = 0.1,
    train_per_class: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Workshop:
    """Check the output folder and the images before any work starts.

    Args:
        source: the images, as `data.open_dataset` takes them.
        out: the run's folder; created when missing.
        size: side of the network's input in pixels; 0 takes it from the images.
        validation: share of the training images that choices are made by.
        train_per_class: so many images of every class for training and validation; see `data.open_dataset`.
        seed: of splits and trainings.
        progress: where to show how far it is.

    Raises:
        DataError: the images cannot serve.
        OSError: the folder cannot be written.
    """
    progress = progress or Progress()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    # A trial write now, not after an hour of training.
    with tempfile.TemporaryFile(dir=out):
        pass
    dataset = open_dataset(
        source,
        validation=validation,
        train_per_class=train_per_class,
        seed=seed,
        progress=lambda done, total: progress.update("reading images", done, total),
    )
    return Workshop(str(source), out, dataset, choose_preprocess(dataset, size), seed, progress)


def describe_run(
    shop: Workshop, command: str, rows: list[dict[str, Any]], more: Mapping[str, Any]
) -> dict[str, Any]:
    """What `run.json` holds.

    Args:
        shop: the run.
        command: the command line.
        rows: of `measure_file`; sizes are told as times smaller than the first.
        more: what this kind of run adds.
    """
    for row in rows:
        row["times_smaller"] = rows[0]["file_bytes"] / row["file_bytes"]
    started = datetime.datetime.fromtimestamp(shop.started, datetime.UTC)
    return {
        "command": command,
        "squeezekit": squeezekit.__version__,
        **describe_machine(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.time() - shop.started, 1),
        "data": describe_data(shop.dataset, shop.source),
        "labels": list(shop.dataset.class_names),
        "preprocess": shop.preprocess.to_dict(),
        "seed": shop.seed,
        **more,
        "reference": rows[0]["name"] if rows else "",
        "rows": rows,
        "trainings": shop.trainings,
    }


def describe_data(dataset: Dataset, source: str) -> dict[str, Any]:
    """What a record holds of the images.

    Args:
        dataset: the images.
        source: what the user named as the images.
    """
    return {
        "source": source,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.class_names),
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "test": len(dataset.test),
        **({"train_per_class": dataset.train_per_class} if dataset.train_per_class else {}),
        "skipped": [{"path": path, "reason": reason} for path, reason in dataset.skipped],
    }


def describe_machine() -> dict[str, Any]:
    """What a record holds of the machine: versions of what a result may depend on, and the processor's kind."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def describe_start(model: keras.Model, initial: Initial | None, frozen: Sequence[str]) -> dict[str, Any]:
    """What `run.json` holds of the weights that a training started from; nothing when it did from scratch."""
    return {} if initial is None else {"init": {**initial.to_dict(model), "frozen": list(frozen)}}


def _versions() -> dict[str, str]:
    """Installed versions of what a result may depend on."""
    installed = {}
    for name in _VERSIONS_OF:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
