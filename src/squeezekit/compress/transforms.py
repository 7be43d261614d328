"""The Keras layers that techniques put before kernels and between layers, and when they change.

Techniques themselves are in `base`.
"""

import abc
import dataclasses
import enum
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

__all__ = ["END", "Inserted", "Moment", "Slot", "Transform", "to_numpy"]


class Slot(enum.IntEnum):
    """Where in the chain of one kernel a transform acts, whatever the order in which it was applied.

    With this order each transform leaves the promises of those before it standing: a mask adds no
    value to a codebook that keeps zero among its entries, and an elementwise grid keeps zeros zero and
    equal values equal. It is why techniques may be applied in any order without code for their pairs.
    """

    VALUES = 0
    """Says which values a weight may take: a codebook."""
    ZEROS = 1
    """Says which weights are zero: a mask."""
    ROUNDING = 2
    """Puts every value on a grid: quantization."""


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """How far the training of a stage is.

    Args:
        step: number of batches done, at least 0.
        total: number of batches of the whole stage, at least 1.

    Example:
        >>> Moment(30, 120).progress, Moment(30, 120).share_of(60), Moment(30, 120).share_of(0.5)
        (0.25, 0.5, 0.5)
    """

    step: int
    total: int

    @property
    def progress(self) -> float:
        """Share of the stage that is done, in [0, 1]."""
        return min(1.0, self.step / self.total)

    def share_of(self, point: int | float) -> float:
        """A point of the stage as a share of it: whole numbers are steps, fractions are shares already."""
        return min(1.0, point / self.total) if isinstance(point, int) else float(point)

    def passed(self, since: int, every: int | float) -> bool:
        """Say whether a multiple of `every` (a whole number of steps, or a share) lies in (since, step].

        Example:
            >>> [step for step in range(30) if Moment(step, 100).passed(step - 1, 0.1)]
            [0, 10, 20]
        """
        stride = max(1, every if isinstance(every, int) else round(every * self.total))
        return self.step // stride > since // stride


END = Moment(1, 1)
"""The end of any stage."""


class Transform(keras.layers.Layer, abc.ABC):
    """Maps a float32 kernel to a kernel of the same shape, as part of the layer that it is hooked into.

    Its state is Keras variables only, so it enters compiled steps as state, is saved with the model,
    and differs by nothing after a reload. It computes in float32 whatever the policy around it: the
    layer autocasts nothing, and neither do the variables that `state` makes.

    Args:
        stage: how many applications came before the one that made this transform. Transforms of one
            stage are updated together.
    """

    slot: ClassVar[Slot]

    ignores_input: bool = False
    """True if the result does not depend on the kernel given: what lies before it can learn nothing."""

    fits_result: ClassVar[bool] = False
    """True if `update` wants the kernel in use, with the zeros of a later mask, not what enters it."""

    def __init__(self, *, stage: int = 0, **kwargs: Any) -> None:
        kwargs.pop("autocast", None)
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        self.stage = stage

    def state(self, name: str, shape: Sequence[int], *, dtype: str, initial: str, trainable: bool) -> Any:
        """Add a variable that no policy casts; its path is how it is found again in a saved model."""
        return self.add_weight(
            name=name,
            shape=tuple(shape),
            dtype=dtype,
            initializer=initial,
            trainable=trainable,
            autocast=False,
        )

    @abc.abstractmethod
    def call(self, weight: Any) -> Any:
        """Transform the kernel; `keras.ops` only, compiled with the training step."""

    def in_numpy(self, weight: np.ndarray) -> np.ndarray:
        """Return what `call` makes of a float32 kernel, bit for bit, as a new array, outside a step.

        Schedules ask every kernel again and again. Where NumPy has the answer it is many times cheaper than
        operation after operation of a backend.
        """
        return to_numpy(self.call(ops.convert_to_tensor(weight)))

    @abc.abstractmethod
    def promise_broken(self, weight: np.ndarray) -> str:
        """Say how the kernel that the layer really uses breaks this transform's promise; `""` if it holds."""

    def adapt(self, weight: np.ndarray) -> None:
        """Fit the state to the kernel in use, eagerly, once, when the technique is applied."""

    @property
    def pending(self) -> bool:
        """True while `update` can still change something: a schedule that has not ended."""
        return False

    def due(self, moment: Moment, since: int) -> bool:
        """Say from the settings alone whether `Schedule` shall update now, after the update at step `since`.

        Asked at every step, so it reads no variable. By default a hundred times a stage.
        """
        return moment.passed(since, 0.01)

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Sequence[np.ndarray], moment: Moment) -> None:
        """Move all transforms of one stage to `moment`, eagerly, between two training steps.

        Args:
            transforms: of this class and of one stage, one for each layer.
            weights: what enters each transform now, float32; with `fits_result` the kernels in use.
            moment: how far the stage's training is. Never moves backwards.
        """

    @classmethod
    def leave(cls, plain: keras.Model) -> keras.Model:
        """Finish the plain model that `strip` made of one with such transforms; most leave it as it is."""
        return plain

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this transform, without its state."""
        return {"name": self.name, "trainable": self.trainable, "stage": self.stage}

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `input_shape`: a transform never changes the shape of a kernel."""
        return input_shape


class Inserted(keras.layers.Layer, abc.ABC):
    """A layer that `Technique.rewrite` puts between the others and `strip` takes out again."""

    @property
    def pending(self) -> bool:
        """True while `advance` can still change something."""
        return False

    def advance(self, moment: Moment) -> None:
        """Move to `moment`, eagerly, between two training steps. Never moves backwards."""

    @classmethod
    @abc.abstractmethod
    def leave(cls, plain: keras.Model) -> keras.Model:
        """Return a copy of the model without the layers of this class."""


def to_numpy(tensor: Any) -> np.ndarray:
    """Return a copy that shares no buffer with the backend (JAX would delete it under us)."""
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(tensor)))
