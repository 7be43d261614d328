"""Fit a network on a split, with checkpoints after every epoch and an exact resume."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from squeezekit import compress, files
from squeezekit.data import Dataset, Images, batches, class_weights, lost_images, oversampled, steps_per_epoch
from squeezekit.models import TINY_SIDE
from squeezekit.preprocess import Preprocess
from squeezekit.training.checkpoint import Checkpoint
from squeezekit.training.distil import Distil, Distiller
from squeezekit.training.fused_batch_norm import fused_batch_norm
from squeezekit.training.precision import precision
from squeezekit.training.progress import EpochProgress, Progress
from squeezekit.training.settings import Balance, Settings

__all__ = ["History", "SmoothedCrossEntropy", "evaluate", "fit"]

# A checkpoint of fewer bytes is written after every epoch.
_LARGE_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class History:
    """The record of a training.

    Args:
        curves: one dict an epoch: loss, accuracy, val_accuracy, all in the training's own arithmetic.
        precision: "float32" or "bfloat16", the arithmetic that was used.
        resumed_at: epochs that an earlier run had done.
    """

    curves: list[dict[str, float]]
    precision: str
    resumed_at: int


@keras.saving.register_keras_serializable(package="squeezekit")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels against probabilities, with label smoothing.

    loss = -sum_c q_c log p_c with q = (1 - smoothing) * one_hot + smoothing / classes.

    Args:
        smoothing: mass spread over all classes, in [0, 1).

    Paper: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.
    """

    def __init__(self, smoothing: float = 0.1, name: str = "smoothed_cross_entropy") -> None:
        super().__init__(name=name)
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Labels (b,) or (b, 1) and probabilities (b, classes) to losses (b,)."""
        classes = y_pred.shape[-1]
        labels = keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,))
        targets = keras.ops.one_hot(labels, classes, dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(targets, y_pred, label_smoothing=self.smoothing)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss."""
        return {"smoothing": self.smoothing, "name": self.name}


def fit(
    model: keras.Model,
    dataset: Dataset,
    preprocess: Preprocess,
    settings: Settings,
    *,
    folder: Path,
    name: str,
    progress: Progress | None = None,
    compressed: bool = False,
    distil: Distil | None = None,
    identity: Mapping[str, Any] | None = None,
) -> History:
    """Train `model` in place; called again after a kill, go on from the last whole epoch to the same result.

    Images that do not fit into memory are cached in `folder` during the training, if its disk has twice the room.
    `folder/NAME.checkpoint.npz` holds the state after every epoch, or every few of a large network;
    `folder/logs/NAME` holds TensorBoard logs. A finished training is loaded from its checkpoint and not run again.

    Args:
        model: takes [0, 255] pixels (b, height, width, 3), gives probabilities (b, classes).
        dataset: trains on its `train`, reports on its `validation`; `test` is not used.
        preprocess: what the network sees of an image.
        settings: everything else that determines the result.
        folder: for checkpoints and logs; created when missing.
        name: what is trained, for file names and the display.
        progress: the display; a new `Progress()` by default.
        compressed: `model` comes from `compress.apply`, and its schedules proceed while it trains.
        distil: a teacher that guides `model`; it does not change, and no checkpoint holds it.
        identity: what else tells this training from others (the recipe so far).

    Returns:
        The curves of all epochs, those before a resume included.

    Raises:
        ValueError: the folder's checkpoint is of another training, or the teacher does not fit the model.
        FormatError: the checkpoint is damaged.
        DataError: an image was removed or changed since the dataset was opened.
    """
    settings = settings.for_images(len(dataset.train))
    train, weights = _balanced(dataset, settings)
    steps = steps_per_epoch(train, settings.batch_size)
    key = {
        "settings": settings.to_dict(),
        "data": dataset.fingerprint,
        "preprocess": preprocess.to_dict(),
        "network": [[variable.name, list(variable.shape)] for variable in model.weights],
        **({} if distil is None else {"distil": distil.to_dict()}),
        **({"train_per_class": dataset.train_per_class} if dataset.train_per_class else {}),
        **(identity or {}),
    }
    # What is compiled and fitted; `model` is what is saved.
    trainee = model if distil is None else Distiller(model, distil)
    keras.utils.set_random_seed(settings.seed)
    progress = progress or Progress()
    path = folder / f"{name}.checkpoint.npz"
    with contextlib.ExitStack() as stack:
        arithmetic = stack.enter_context(precision(model, settings.precision))
        if distil is not None:
            # Not of student and teacher as one model: its inputs are pixels, which stay exact.
            stack.enter_context(precision(distil.teacher, settings.precision))
        key["arithmetic"] = arithmetic
        # On larger inputs it would change the last bits of trainings that are on record.
        if min(preprocess.height, preprocess.width) < TINY_SIDE:
            stack.enter_context(fused_batch_norm(model))
        trainee.compile(
            settings.build_optimizer(settings.epochs * steps),
            SmoothedCrossEntropy(settings.label_smoothing),
            metrics=["accuracy"],
            # XLA on a CPU is slower on these networks than TensorFlow's own kernels.
            jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
        )
        trainee.optimizer.build(model.trainable_variables)
        _build_metrics(trainee, model.output_shape[-1])
        start, curves = _resume(model, trainee.optimizer, path, key)
        if start < settings.epochs:
            stack.enter_context(lost_images())
            folder.mkdir(parents=True, exist_ok=True)
            saver = _SaveEveryEpoch(model, path, key, curves)
            callbacks = [
                keras.callbacks.TensorBoard(str(folder / "logs" / name), write_graph=False),
                saver,
                EpochProgress(progress, name, steps, settings.epochs, start),
            ]
            if compressed:
                total = settings.epochs * steps
                callbacks.insert(0, compress.Schedule(model, total_steps=total, initial_step=start * steps))
            if keras.backend.backend() == "torch":
                callbacks.insert(0, _SeedEveryEpoch(settings.seed))
            trainee.fit(
                batches(
                    train,
                    preprocess,
                    batch_size=settings.batch_size,
                    training=True,
                    seed=settings.seed,
                    start_epoch=start,
                    epochs=settings.epochs,
                    augment=settings.augment,
                    cache_folder=folder,
                ),
                steps_per_epoch=steps,
                initial_epoch=start,
                epochs=settings.epochs,
                validation_data=_in_order(dataset.validation, preprocess, folder),
                callbacks=callbacks,
                class_weight=weights,
                shuffle=False,
                verbose=0,
            )
            curves = saver.curves
    return History(curves, arithmetic, start)


def evaluate(model: keras.Model, split: Images, preprocess: Preprocess) -> float:
    """Top-1 accuracy in [0, 1] of a Keras model on a split, in the model's own arithmetic.

    It serves to choose between models while training. Reported results come from the runtime and the file.

    Args:
        model: pixels to probabilities.
        split: the images; at least one.
        preprocess: what the network sees of an image.
    """
    right = 0
    for pixels, labels in _in_order(split, preprocess):
        predicted = keras.ops.convert_to_numpy(model.predict_on_batch(pixels)).argmax(axis=1)
        right += int(np.sum(predicted == keras.ops.convert_to_numpy(labels)))
    return right / len(split)


def _balanced(dataset: Dataset, settings: Settings) -> tuple[Images, dict[int, float] | None]:
    """The training images of an epoch, and the weight of each class in the loss."""
    if settings.balance is Balance.SAMPLE:
        return oversampled(dataset.train, settings.seed), None
    if settings.balance is Balance.WEIGHTS:
        weights = class_weights(dataset.train, len(dataset.class_names))
        return dataset.train, dict(enumerate(weights.tolist()))
    return dataset.train, None


def _build_metrics(trainee: keras.Model, classes: int) -> None:
    """Make the metrics' variables now: made in the first step, they make TensorFlow trace it twice."""
    probabilities = keras.ops.full((1, classes), 1 / classes)
    trainee.compute_metrics(None, keras.ops.zeros((1,), "int32"), probabilities)
    trainee.reset_metrics()


def _in_order(split: Images, preprocess: Preprocess, cache_folder: Path | None = None) -> Any:
    """The images of a split, once, in their order, without random changes."""
    return batches(split, preprocess, batch_size=128, cache_folder=cache_folder)


def _resume(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    path: Path,
    identity: Mapping[str, Any],
) -> tuple[int, list[dict[str, float]]]:
    """Restore the model from its checkpoint if there is one; return the epochs done and their curves."""
    files.remove_leftovers(path)
    if not path.exists():
        return 0, []
    checkpoint = Checkpoint.load(path)
    different = sorted(
        key
        for key in identity.keys() | checkpoint.identity.keys()
        if identity.get(key) != checkpoint.identity.get(key)
    )
    if different:
        raise ValueError(
            f"{path} is of a training with other {', '.join(different)}. "
            "Use another output folder, or delete this one to start over."
        )
    checkpoint.restore(model, optimizer)
    return checkpoint.epoch, checkpoint.curves


class _SeedEveryEpoch(keras.callbacks.Callback):
    """Seeds each epoch by the seed and its number, so that a resume has the same randomness.

    For PyTorch: there Keras's Dropout without a seed draws from the process's generator, not from a variable that a
    checkpoint holds.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember which epoch it is."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Seed every generator of the process at the first batch: a loader draws when it starts."""
        if batch == 0:
            seed = np.random.SeedSequence([self._seed, self._epoch]).generate_state(1)[0]
            keras.utils.set_random_seed(int(seed))


class _SaveEveryEpoch(keras.callbacks.Callback):
    """Writes the checkpoint after each epoch, and collects the curves for it.

    A large one is written after some epochs only, so that writing takes at most a tenth of the time: AlexNet's has a
    quarter of a gigabyte, and an epoch on few images takes seconds.
    """

    def __init__(
        self, saved: keras.Model, path: Path, identity: Mapping[str, Any], curves: list[dict[str, float]]
    ) -> None:
        super().__init__()
        self._saved = saved
        self._path = path
        self._identity = identity
        self._not_before = 0.0
        self.curves = list(curves)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save the state."""
        self.curves.append({key: float(value) for key, value in (logs or {}).items()})
        finished = epoch + 1 == self.params["epochs"]
        started = time.monotonic()
        if started < self._not_before and not finished:
            return
        # On JAX the access to `self.model` updates the variables of all its parts.
        optimizer = self.model.optimizer
        # Two thirds of the state are the optimizer's, of no use to a finished training.
        variables = [*self._saved.variables, *([] if finished else optimizer.variables)]
        values = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
        Checkpoint(self._identity, epoch + 1, self.curves, values).save(self._path)
        if self._path.stat().st_size > _LARGE_BYTES:
            now = time.monotonic()
            self._not_before = now + 9 * (now - started)
