"""What a technique is: one step of a recipe, which makes a transform for each kernel."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import keras
import numpy as np

from squeezekit.compress.hooked_layers import hook_class
from squeezekit.compress.transform import Transform

__all__ = ["AdviceContext", "Kernel", "Recipe", "Sweep", "Technique", "Where", "fits", "ships_int8"]


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """What a technique knows of a kernel that it may transform.

    Args:
        layer: name of the layer, with the names of the models around it: `"head/fc"`.
        shape: of the kernel; convolutions (height, width, in, out), dense (in, out).
        channel_axes: the axes that together number the output channels.
    """

    layer: str
    shape: tuple[int, ...]
    channel_axes: tuple[int, ...]

    @classmethod
    def of(cls, name: str, layer: keras.layers.Layer) -> "Kernel | None":
        """Return the kernel of a layer; None if techniques cannot transform one of its kind."""
        kind = hook_class(layer)
        return None if kind is None else cls(name, tuple(layer.kernel.shape), kind.axes_of(layer))

    @property
    def size(self) -> int:
        """Number of weights."""
        return int(np.prod(self.shape))


Where = str | Sequence[str] | Callable[[Kernel], bool] | None
"""Which kernels: a layer's name or several, with `*` for any characters, or a predicate; None takes all."""


def fits(layer: str, pattern: str) -> bool:
    """Return whether a pattern names a layer, or a nested model or block around it.

    Example:
        >>> fits("head/fc", "head/*"), fits("head/fc", "head"), fits("head/fc", "fc")
        (True, True, False)
    """
    names = layer.split("/")
    return any(fnmatchcase("/".join(names[:count]), pattern) for count in range(1, len(names) + 1))


@dataclasses.dataclass(frozen=True, slots=True)
class Sweep:
    """What a sensitivity measurement tries of a technique.

    Args:
        setting: the name of the technique's first setting.
        values: what is tried, the gentlest first.
        fixed: other settings, with which the technique acts at once.
    """

    setting: str
    values: tuple[int | float, ...]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class AdviceContext:
    """What a technique may look at when it advises on a recipe."""

    recipe: "Recipe"
    reshaping: str
    """The text of its techniques that change layers, such as "prune_channels(0.5)"; "" if there are none."""
    before: tuple[Kernel, ...]
    """The kernels of the model."""
    kernels: tuple[Kernel, ...]
    """The kernels that those techniques leave."""

    @staticmethod
    def layers(names: Sequence[str]) -> str:
        """Return how many layers there are and the first names: "26 layers (conv1, fire2, fire3, ...)"."""
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"{len(names)} layer{'' if len(names) == 1 else 's'} ({shown})"


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

    noun: ClassVar[str] = ""
    """What sentences call it, "pruning"; "" for its name."""

    takes: ClassVar[str] = "layers with a kernel"
    """What it applies to, for messages when it finds none."""

    study_level: ClassVar[str] = ""
    """The recipe text of its usual level in a study; "" for the name with no settings."""

    sweep: ClassVar[Sweep | None] = None
    """What a sensitivity measurement tries; None for a technique that cannot act on one layer alone."""

    integer: ClassVar[bool] = False
    """True if the file of a recipe with it computes in integers."""

    survives_folding: ClassVar[bool] = False
    """True if its invariant survives the scaling of whole channels, which folding a BatchNorm does."""

    reshapes: ClassVar[bool] = False
    """True if `strip` returns a network of other shapes: later techniques should be applied to that one."""

    where: Where = dataclasses.field(default=None, kw_only=True)
    layers: Any = dataclasses.field(default=(), kw_only=True)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.noun = cls.noun or getattr(cls, "name", "")
        cls.study_level = cls.study_level or f"{getattr(cls, 'name', '')}()"

    def __post_init__(self) -> None:
        if isinstance(self.where, Sequence) and not isinstance(self.where, str):
            object.__setattr__(self, "where", tuple(self.where))
        named = bool(self.patterns) and all(isinstance(name, str) and name for name in self.patterns)
        if not (named or self.where is None or callable(self.where)):
            raise ValueError(
                f"Expected where as a layer's name, several, or a predicate. Received: where={self.where!r}."
            )
        object.__setattr__(self, "layers", _frozen(self.layers))
        for _, settings in self.layers:
            self._with(settings)  # raises what is wrong with them now, not when a layer fits

    @property
    def values(self) -> int | None:
        """Largest number of distinct values that it leaves in a kernel; None if it sets no limit."""
        return None

    @property
    def remedy(self) -> str:
        """What to change where it violates the invariant of another technique."""
        return "leave one of the two out of these layers"

    def stronger(self) -> "list[Technique]":
        """Return the technique with stronger settings, the gentlest first; by default those of `sweep`."""
        if self.sweep is None:
            return []
        now, values = getattr(self, self.sweep.setting), self.sweep.values
        rising = values[-1] > values[0]
        beyond = [value for value in values if (value > now if rising else value < now)]
        changes: list[dict[str, Any]] = [{self.sweep.setting: value, "layers": ()} for value in beyond]
        return [dataclasses.replace(self, **change) for change in changes]

    def advice(self, context: AdviceContext) -> Iterator[str]:
        """Yield what only this technique knows to be wrong with a recipe: a sentence with figure and remedy.

        `compress.advice` itself says when a technique finds no layer, is undone by the folding of BatchNorm,
        violates an invariant of another, or saves no bytes.
        """
        yield from ()

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
        first = next(iter(self.own_settings()))
        changes = dict(settings) if isinstance(settings, _Settings) else {first: settings}
        try:
            return dataclasses.replace(self, **{"layers": (), **changes})
        except TypeError as error:
            message = f"Expected settings of {self.name} in layers. Received: {changes} ({error})."
            raise ValueError(message) from None

    def without_schedule(self) -> "Technique | None":
        """Return the technique acting at once: a kernel that has its invariant already stays as it is.

        None if a stripped model keeps the invariant without a transform.
        """
        return self

    def everywhere_alike(self) -> Any:
        """Return the technique without `where` and `layers`."""
        return dataclasses.replace(self, where=None, layers=())

    def own_settings(self) -> dict[str, Any]:
        """Return the settings but `where` and `layers`, by name."""
        names = [field.name for field in dataclasses.fields(self) if not field.kw_only]
        return {name: getattr(self, name) for name in names}

    def takes_kernel(self, kernel: Kernel) -> bool:
        """Return whether the technique puts a transform before this kernel."""
        here = self.for_kernel(kernel)
        return here is not None and here.transform(kernel) is not None

    def everywhere(self, **changes: Any) -> Any:
        """Return the technique with `changes` for every kernel, whatever `layers` says of them."""
        layers = tuple(
            (name, _Settings((dict(item) | changes).items()) if isinstance(item, _Settings) else item)
            for name, item in self.layers
        )
        return dataclasses.replace(self, layers=layers, **changes)

    def rewrite(self, model: keras.Model) -> keras.Model:
        """Return the model with other layers, before any transform is added; most change none."""
        return model

    def bind(self, model: keras.Model) -> "Callable[[Kernel, int], Transform | None]":
        """Return what makes the transform of a kernel at a stage; for techniques that need the whole model."""

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
                } or ()
            if field.default is dataclasses.MISSING:
                arguments.append(repr(value))
            elif (position == 0 and not field.kw_only) or value != field.default:
                arguments.append(f"{field.name}={value!r}")
        return f"{self.name}({', '.join(arguments)})"


class _Settings(tuple):
    """A dict of settings as (name, value) pairs. A class of its own, because a value may be a tuple."""

    __slots__ = ()


def _frozen(layers: Any) -> tuple[tuple[str, Any], ...]:
    """`layers` as pairs that can be hashed."""
    if isinstance(layers, Mapping):
        layers = tuple(layers.items())
    pairs = isinstance(layers, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in layers)
    if not pairs or not all(isinstance(name, str) for name, _ in layers):
        raise ValueError(f"Expected layers as {{name: settings}}. Received: layers={layers!r}.")
    return tuple(
        (name, _Settings(settings.items()) if isinstance(settings, Mapping) else settings)
        for name, settings in layers
    )


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Recipe:
    """Techniques, one stage after another; a recipe in a recipe is flattened.

    Args:
        *steps: techniques, or recipes.

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

    def __or__(self, other: "Technique | Recipe") -> "Recipe":
        return Recipe(self, other)

    def __iter__(self) -> Iterator[Technique]:
        return iter(self.techniques)

    def __len__(self) -> int:
        return len(self.techniques)

    def __getitem__(self, index: int) -> Technique:
        return self.techniques[index]

    def __str__(self) -> str:
        return " | ".join(map(str, self.techniques))

    def __repr__(self) -> str:
        return f"Recipe({', '.join(map(repr, self.techniques))})"


def ships_int8(recipe: Recipe) -> bool:
    """Return whether the file of a recipe is full-integer by default.

    Example:
        >>> from squeezekit.compress import Quantize
        >>> ships_int8(Recipe(Quantize(8))), ships_int8(Recipe())
        (True, False)
    """
    return any(technique.integer for technique in recipe)
