"""The Keras layers that techniques put before kernels and between layers, and when they change."""

import abc
import dataclasses
import enum
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

__all__ = ["END", "Inserted", "Slot", "TrainingProgress", "Transform", "Weights", "to_numpy"]

Weights = Sequence[np.ndarray]
"""Kernels, float32."""


class Slot(enum.IntEnum):
    """Where in the chain of one kernel a transform acts, whatever the order in which it was applied.

    In this order each transform keeps the invariants of those before it: a mask adds no value to a codebook
    with zero among its entries, and an elementwise grid keeps zeros zero and equal values equal. So techniques
    may be applied in any order, and no code handles their pairs.
    """

    VALUES = 0
    """Says which values a weight may take: a codebook."""
    ZEROS = 1
    """Says which weights are zero: a mask."""
    ROUNDING = 2
    """Puts every value on a grid: quantization."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far the training of a stage is: `step` of `total` batches are done.

    Example:
        >>> progress = TrainingProgress(30, 120)
        >>> progress.done, progress.share_of(60), progress.share_of(0.5)
        (0.25, 0.5, 0.5)
    """

    step: int
    total: int

    @property
    def done(self) -> float:
        """Share of the stage that is done, in [0, 1]."""
        return min(1.0, self.step / self.total)

    def share_of(self, point: int | float) -> float:
        """Return a point of the stage as a share of it: whole numbers are steps, fractions are shares."""
        return min(1.0, point / self.total) if isinstance(point, int) else float(point)

    def passed(self, since: int, every: int | float) -> bool:
        """Return whether a multiple of `every` (steps, or a share of the stage) lies in (since, step].

        Example:
            >>> [step for step in range(30) if TrainingProgress(step, 100).passed(step - 1, 0.1)]
            [0, 10, 20]
        """
        stride = max(1, every if isinstance(every, int) else round(every * self.total))
        return self.step // stride > since // stride


END = TrainingProgress(1, 1)
"""The end of any stage."""


class Transform(keras.layers.Layer, abc.ABC):
    """Maps a float32 kernel to a kernel of the same shape, as part of the layer that it is hooked into.

    Its state is Keras variables only, so compiled steps carry it and the saved model holds it. It computes in
    float32 under any policy: neither the layer nor the variables that `state` makes are autocast.

    Args:
        stage: how many applications came before the one that made this transform. Transforms of one
            stage are updated together.
    """

    slot: ClassVar[Slot]

    ignores_input: bool = False
    """True if the result does not depend on the kernel given: nothing before it can learn."""

    fits_result: ClassVar[bool] = False
    """True if `update` takes the kernel in use, with the zeros of a later mask, not what enters the transform."""

    def __init__(self, *, stage: int = 0, **kwargs: Any) -> None:
        kwargs.pop("autocast", None)
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        self.stage = stage

    def state(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        ones: bool = False,
        trainable: bool = False,
    ) -> Any:
        """Add a variable of zeros or ones that no policy casts."""
        how = {"initializer": "ones" if ones else "zeros", "trainable": trainable, "autocast": False}
        return self.add_weight(name=name, shape=tuple(shape), dtype=dtype, **how)

    @abc.abstractmethod
    def call(self, weight: Any) -> Any:
        """Transform the kernel; `keras.ops` only, compiled with the training step."""

    def in_numpy(self, weight: np.ndarray) -> np.ndarray:
        """Return what `call` makes of a float32 kernel, bit for bit, as a new array, outside a step.

        Schedules ask for every kernel often, and NumPy answers many times faster than a backend's operations.
        """
        return to_numpy(self.call(ops.convert_to_tensor(weight)))

    @abc.abstractmethod
    def invariant_violation(self, weight: np.ndarray) -> str:
        """Say how the kernel that the layer uses violates this transform's invariant; `""` if it holds."""

    def adapt(self, weight: np.ndarray) -> None:
        """Fit the state to the kernel in use, eagerly, once, when the technique is applied."""

    @property
    def pending(self) -> bool:
        """True while `update` can still change something: a schedule that has not ended."""
        return False

    def due(self, progress: TrainingProgress, since: int) -> bool:
        """Return whether `Schedule` updates now, after the update at step `since`; by default 100 times a stage.

        Called at every step, so it reads settings only, no variable.
        """
        return progress.passed(since, 0.01)

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Weights, progress: TrainingProgress) -> None:
        """Move the transforms of one stage, one for each layer, to `progress`, eagerly, between two steps.

        Args:
            transforms: of this class.
            weights: what enters each now, float32; with `fits_result` the kernels in use.
            progress: never moves backwards.
        """

    @classmethod
    def after_strip(cls, plain: keras.Model) -> keras.Model:
        """Return what `strip` returns for a model that had such transforms; most change nothing."""
        return plain

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this transform, without its state."""
        return {"name": self.name, "trainable": self.trainable, "stage": self.stage}

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `input_shape`: a transform never changes the shape of a kernel."""
        return input_shape


class Inserted(keras.layers.Layer, abc.ABC):
    """A layer that `Technique.rewrite` puts between the others and `strip` removes."""

    @property
    def pending(self) -> bool:
        """True while `advance` can still change something."""
        return False

    def advance(self, progress: TrainingProgress) -> None:
        """Move to `progress`, eagerly, between two training steps. Never moves backwards."""

    @classmethod
    @abc.abstractmethod
    def after_strip(cls, plain: keras.Model) -> keras.Model:
        """Return a copy of the model without the layers of this class."""


def to_numpy(tensor: Any) -> np.ndarray:
    """Return a copy that shares no buffer with the backend (JAX would delete it under us)."""
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(tensor)))
