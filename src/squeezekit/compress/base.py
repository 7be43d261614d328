"""What a technique is: a frozen line of a recipe, and the Keras layer that it puts before a kernel."""

import abc
import dataclasses
import enum
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

__all__ = ["Inserted", "Kernel", "Moment", "Recipe", "Slot", "Technique", "Transform", "Where"]


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


Where = str | Sequence[str] | Callable[[Kernel], bool] | None
"""Which kernels: a layer's name or several, with `*` for any characters, or a predicate; None takes all."""


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


def fits(layer: str, pattern: str) -> bool:
    """Return whether a pattern names a layer, or a nested model or block that it is in.

    Example:
        >>> fits("head/fc", "head/*"), fits("head/fc", "head"), fits("head/fc", "fc")
        (True, True, False)
    """
    names = layer.split("/")
    return any(fnmatchcase("/".join(names[:count]), pattern) for count in range(1, len(names) + 1))


@dataclasses.dataclass(frozen=True)
class Technique(abc.ABC):
    """One step of a recipe: a frozen dataclass of settings that makes a transform for each kernel.

    Args:
        where: the layers to transform. A layer inside a nested model or block has the names around it
            in front: `"head/fc"`; `"head"` stands for all in it.
        layers: other settings for some layers: {name or pattern: value of the technique's first setting,
            or {setting: value}, or None to leave the layer alone}. The first pattern that fits counts.

    Raises:
        ValueError: `where` or `layers` has another form, or a value in `layers` is out of range.
    """

    name: ClassVar[str]

    survives_folding: ClassVar[bool] = False
    """True if its promise outlives the scaling of whole channels, which folding a BatchNorm does."""

    reshapes: ClassVar[bool] = False
    """True if `strip` gives a network of other shapes: what comes later should be given that one."""

    where: Where = dataclasses.field(default=None, kw_only=True)
    layers: Any = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.where, Sequence) and not isinstance(self.where, str):
            object.__setattr__(self, "where", tuple(self.where))
        patterns = self.patterns
        if not (self.where is None or callable(self.where) or patterns) or not all(
            isinstance(pattern, str) and pattern for pattern in patterns
        ):
            raise ValueError(
                f"Expected where as a layer's name, several, or a predicate. Received: where={self.where!r}."
            )
        object.__setattr__(self, "layers", _frozen(self.layers))
        for _, settings in self.layers:
            self._with(settings)  # raises what is wrong with them now, not when a layer fits

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names and patterns in `where`; none if it is a predicate or takes all."""
        if isinstance(self.where, str):
            return (self.where,)
        return self.where if isinstance(self.where, tuple) else ()

    def for_kernel(self, kernel: Kernel) -> "Technique | None":
        """Return the technique with the settings for one kernel, or None where it leaves the kernel alone."""
        if callable(self.where):
            if not self.where(kernel):
                return None
        elif self.where is not None and not any(fits(kernel.layer, name) for name in self.patterns):
            return None
        for pattern, settings in self.layers:
            if fits(kernel.layer, pattern):
                return self._with(settings)
        return self

    def _with(self, settings: Any) -> "Technique | None":
        if settings is None:
            return None
        first = next(field.name for field in dataclasses.fields(self) if not field.kw_only)
        changes = dict(settings) if isinstance(settings, _Settings) else {first: settings}
        try:
            return dataclasses.replace(self, **{"layers": (), **changes})
        except TypeError as error:
            raise ValueError(
                f"Expected settings of {self.name} in layers. Received: {changes} ({error})."
            ) from None

    def settled(self) -> "Technique | None":
        """Return the technique without its schedule: on a kernel that keeps its promise it changes nothing.

        None if a model that was stripped keeps the promise whatever happens to it.
        """
        return self

    def everywhere(self, **changes: Any) -> Any:
        """Return the technique with `changes` for every kernel, whatever `layers` says of them."""
        layers = tuple(
            (name, _Settings((dict(item) | changes).items()) if isinstance(item, _Settings) else item)
            for name, item in self.layers
        )
        return dataclasses.replace(self, layers=layers, **changes)

    def rewrite(self, model: keras.Model) -> keras.Model:
        """Return the model with other layers, before any transform is put in; most change none."""
        return model

    def bind(self, model: keras.Model) -> "Callable[[Kernel, int], Transform | None]":
        """Return what makes the transform of a kernel at a stage, for a technique that must know the whole model."""

        def make(kernel: Kernel, stage: int) -> Transform | None:
            technique = self.for_kernel(kernel)
            return None if technique is None else technique.transform(kernel, stage=stage)

        return make

    @abc.abstractmethod
    def transform(self, kernel: Kernel, *, stage: int = 0) -> Transform | None:
        """Return an unbuilt transform for this kernel, or None to leave the kernel as it is."""

    def __or__(self, other: "Technique | Recipe") -> "Recipe":
        return Recipe(self) | other

    def __str__(self) -> str:
        """Return the recipe line: required settings bare, a first optional one always, the rest if changed."""
        arguments = []
        fields = sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only))
        for position, field in enumerate(fields):
            value = getattr(self, field.name)
            if field.name == "layers":
                value = {
                    name: dict(item) if isinstance(item, _Settings) else item for name, item in value
                } or field.default
            if field.default is dataclasses.MISSING:
                arguments.append(repr(value))
            elif (position == 0 and not field.kw_only) or value != field.default:
                arguments.append(f"{field.name}={value!r}")
        return f"{self.name}({', '.join(arguments)})"


class _Settings(tuple):
    """A dict of settings, frozen: (name, value) pairs. A class of its own, for a tuple may be a value."""

    __slots__ = ()


def _frozen(layers: Any) -> tuple[tuple[str, Any], ...]:
    """`layers` as it was written, or frozen already, as pairs that can be hashed."""
    if isinstance(layers, Mapping):
        layers = tuple(layers.items())
    pairs = isinstance(layers, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in layers)
    if not pairs or not all(isinstance(name, str) for name, _ in layers):
        raise ValueError(f"Expected layers as {{name: settings}}. Received: layers={layers!r}.")
    return tuple(
        (name, _Settings(settings.items()) if isinstance(settings, Mapping) else settings)
        for name, settings in layers
    )


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


def expect_point(name: str, value: Any, *, least: int = 0) -> None:
    """Raise ValueError unless `value` is a whole number of steps from `least` on, or a share of a stage."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if (whole and value >= least) or (isinstance(value, float) and 0 <= value <= 1):
        return
    raise ValueError(
        f"Expected {name} as a whole number of steps from {least} on, or as a share of the stage in [0.0, 1.0]. "
        f"Received: {name}={value!r}."
    )


def expect_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in tuple(choices):
        raise ValueError(f"Expected {name} as one of {', '.join(choices)}. Received: {name}={value!r}.")


def expect_bits(value: Any, bounds: Iterable[int]) -> None:
    """Raise ValueError unless `value` is a whole number between the two `bounds`, both included."""
    low, high = bounds
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not low <= int(value) <= high:
        raise ValueError(f"Expected bits as a whole number from {low} to {high}. Received: bits={value!r}.")
