"""What a technique is: a frozen line of a recipe that makes a transform for each kernel."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import keras
import numpy as np

from squeezekit.compress.transforms import Transform

__all__ = ["Kernel", "Recipe", "Technique", "Where", "fits"]


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
