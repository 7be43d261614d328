"""What a technique is: a frozen line of a recipe, and the Keras layer that it puts before a kernel."""

import abc
import dataclasses
import enum
import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

__all__ = ["Kernel", "Recipe", "Slot", "Technique", "Transform"]


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
class Kernel:
    """What a technique is told of the kernel that it may transform.

    Args:
        layer: name of the layer, with the names of the models around it: `"head/fc"`.
        shape: of the kernel; convolutions (height, width, in, out), dense (in, out).
        channel_axes: the axes that together number the output channels.
    """

    layer: str
    shape: tuple[int, ...]
    channel_axes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape))


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

    ignores_input: ClassVar[bool] = False
    """True if the result does not depend on the kernel given: what lies before it can learn nothing."""

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

    @abc.abstractmethod
    def promise_broken(self, weight: np.ndarray) -> str:
        """Say how the kernel that the layer really uses breaks this transform's promise; `""` if it holds."""

    def adapt(self, weight: np.ndarray) -> None:
        """Fit the state to the kernel in use, eagerly, once, when the technique is applied."""

    @property
    def pending(self) -> bool:
        """True while `update` can still change something: a ramp that has not ended."""
        return False

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Sequence[np.ndarray], progress: float) -> None:
        """Move all transforms of one stage to `progress`, eagerly, between two training steps.

        Args:
            transforms: of this class and of one stage, one for each layer.
            weights: what enters each transform now, float32.
            progress: share of the stage's training that is done, in [0, 1]. Never moves backwards.
        """

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this transform, without its state."""
        return {"name": self.name, "trainable": self.trainable, "stage": self.stage}

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `input_shape`: a transform never changes the shape of a kernel."""
        return input_shape


def to_numpy(tensor: Any) -> np.ndarray:
    """Return a copy that shares no buffer with the backend (JAX would delete it under us)."""
    return np.array(ops.convert_to_numpy(ops.convert_to_tensor(tensor)))


class Technique(abc.ABC):
    """One step of a recipe: a frozen dataclass of settings that makes a transform for each kernel."""

    name: ClassVar[str]

    survives_folding: ClassVar[bool] = False
    """True if its promise outlives the scaling of whole channels, which folding a BatchNorm does."""

    def settled(self) -> "Technique":
        """Return the technique without its schedule: on a kernel that keeps its promise it changes nothing."""
        return self

    @abc.abstractmethod
    def transform(self, kernel: Kernel, *, stage: int = 0) -> Transform | None:
        """Return an unbuilt transform for this kernel, or None to leave the kernel as it is."""

    def __or__(self, other: "Technique | Recipe") -> "Recipe":
        return Recipe(self) | other

    def __str__(self) -> str:
        """Return the recipe line: required settings bare, a first optional one always, the rest if changed."""
        arguments = []
        for position, field in enumerate(dataclasses.fields(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING:
                arguments.append(repr(value))
            elif position == 0 or value != field.default:
                arguments.append(f"{field.name}={value!r}")
        return f"{self.name}({', '.join(arguments)})"


class Recipe:
    """Techniques, one stage after another; immutable, hashable, and nesting flattens.

    Args:
        *steps: techniques, or recipes whose techniques are taken in their place.

    Raises:
        ValueError: a step is neither.

    Example:
        >>> from squeezekit.compress import Prune, Quantize, ShareWeights
        >>> recipe = Recipe(Prune(0.8) | ShareWeights(), Quantize())
        >>> print(recipe)
        prune(0.8) | share(bits=5) | quantize(bits=8)
        >>> [technique.name for technique in recipe]
        ['prune', 'share', 'quantize']
    """

    __slots__ = ("techniques",)

    techniques: tuple[Technique, ...]

    def __init__(self, *steps: "Technique | Recipe") -> None:
        techniques: list[Technique] = []
        for step in steps:
            if isinstance(step, Recipe):
                techniques.extend(step.techniques)
            elif isinstance(step, Technique):
                techniques.append(step)
            else:
                raise ValueError(f"Expected techniques or recipes. Received: {step!r}.")
        object.__setattr__(self, "techniques", tuple(techniques))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A recipe cannot be changed. Received: {name}={value!r}.")

    def __or__(self, other: "Technique | Recipe") -> "Recipe":
        return Recipe(self, other)

    def __iter__(self) -> Iterator[Technique]:
        return iter(self.techniques)

    def __len__(self) -> int:
        return len(self.techniques)

    def __getitem__(self, index: int) -> Technique:
        return self.techniques[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.techniques == other.techniques

    def __hash__(self) -> int:
        return hash(self.techniques)

    def __str__(self) -> str:
        return " | ".join(map(str, self.techniques))

    def __repr__(self) -> str:
        return f"Recipe({', '.join(map(repr, self.techniques))})"


def expect_share(name: str, value: Any, *, below_one: bool = False) -> None:
    """Raise ValueError unless `value` is a number in [0, 1], or in [0, 1) with `below_one`."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1 or (below_one and float(value) == 1):
        raise ValueError(f"Expected {name} in [0, 1{')' if below_one else ']'}. Received: {name}={value!r}.")


def expect_bits(value: Any, bounds: Iterable[int]) -> None:
    """Raise ValueError unless `value` is a whole number between the two `bounds`, both included."""
    low, high = bounds
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not low <= int(value) <= high:
        raise ValueError(f"Expected bits as a whole number from {low} to {high}. Received: bits={value!r}.")
