"""The fields of a settings dataclass that are command-line options: their help, range and values.

A field is described once, beside its default. The command line, the checks and the command that repeats a run
all read that description.
"""

import dataclasses
import enum
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Option", "build", "check_ranges", "command_words", "option", "options_of"]

_KEY = "option"


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """What the command line says about a field.

    Args:
        help: one or two sentences; "" for a field that has a range but no option.
        least: smallest value; None for no limit.
        most: largest value; None for no limit.
        above: whether `least` itself is too small.
        auto: whether the default means that the program chooses; the help then says how, and shows no default.
        choices: all values of a text.
        metavar: what stands for the value in the help.
        name: of the option, without dashes; "" for the field's.
        parse: makes the field's value of a word; None where the type says how.
        kind: the field's type, without None.
        default: the field's default.
    """

    help: str = ""
    least: float | None = None
    most: float | None = None
    above: bool = False
    auto: bool = False
    choices: tuple[str, ...] = ()
    metavar: str = ""
    name: str = ""
    parse: Callable[[str], Any] | None = None
    kind: Any = None
    default: Any = None

    def allows(self, value: float) -> bool:
        """Whether a number is finite and in the range."""
        if not math.isfinite(value):
            return False
        above = self.least is None or (value > self.least if self.above else value >= self.least)
        return above and (self.most is None or value <= self.most)

    @property
    def range(self) -> str:
        """The range in words: ">= 0", "in [0, 1]" or "finite"."""
        if self.least is None and self.most is None:
            return "finite"
        if self.most is None:
            return f"{'>' if self.above else '>='} {self.least:g}"
        return f"in {'(' if self.above else '['}{self.least or 0:g}, {self.most:g}]"


def option(default: Any = dataclasses.MISSING, help: str = "", *, factory: Any = None, **details: Any) -> Any:
    """A dataclass field with an `Option`; `factory` makes a mutable default.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Settings:
        ...     epochs: int = option(20, "Passes over the images.", least=1)
        >>> Settings().epochs
        20
    """
    metadata = {_KEY: Option(help, **details)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def options_of(settings: Any) -> Iterator[tuple[str, Option, Any]]:
    """The field name, `Option` and value of each option of a dataclass, those of nested dataclasses too.

    Args:
        settings: a value of a dataclass, or the dataclass itself for the defaults.

    Yields:
        In the order of the fields; the option's `name`, `kind` and `default` are filled in.
    """
    kinds = _kinds(settings if isinstance(settings, type) else type(settings))
    for field in dataclasses.fields(settings):
        found, kind, made = field.metadata.get(_KEY), kinds[field.name], field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        value = default if isinstance(settings, type) else getattr(settings, field.name)
        if dataclasses.is_dataclass(kind) and found is None and value is not None:
            yield from options_of(kind if value is dataclasses.MISSING else value)
        elif found is not None and found.help:
            named = found.name or field.name.replace("_", "-")
            yield field.name, dataclasses.replace(found, name=named, kind=kind, default=default), value


def build(kind: type, values: Mapping[str, Any]) -> Any:
    """Make a settings dataclass from plain values, as click or a JSON record has them.

    Args:
        kind: the dataclass.
        values: by field name; an enum by its value; a nested dataclass's by its name, or its fields among the
            others. None and missing fields take their defaults; other names are ignored.

    Raises:
        ValueError: a value is not one that the field takes.
    """
    given: dict[str, Any] = {}
    kinds = _kinds(kind)
    for field in dataclasses.fields(kind):
        value, wanted = values.get(field.name), kinds[field.name]
        found = field.metadata.get(_KEY)
        if found is not None and found.parse is not None:
            value = found.parse(value) if isinstance(value, str) else value
        elif isinstance(wanted, enum.EnumType):
            value = None if value is None else wanted(value)
        elif value is None and field.default is None:
            continue
        elif isinstance(wanted, type) and dataclasses.is_dataclass(wanted) and not isinstance(value, wanted):
            value = build(wanted, value if isinstance(value, Mapping) else values)
        if value is not None:
            given[field.name] = value
    return kind(**given)


def check_ranges(settings: Any) -> None:
    """Check the numbers of a dataclass against the ranges of its fields.

    Raises:
        ValueError: a number is out of its range.
    """
    for field in dataclasses.fields(settings):
        found, value = field.metadata.get(_KEY), getattr(settings, field.name)
        if found is not None and isinstance(value, int | float) and not found.allows(value):
            raise ValueError(f"Expected {field.name} {found.range}. Received: {field.name}={value}.")


def command_words(settings: Any) -> list[str]:
    """The options of a command line that differ from their defaults.

    Args:
        settings: a value of a dataclass whose fields are options.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Settings:
        ...     batch_size: int = option(64, "Images a step.", least=1)
        ...     seed: int = option(0, "Of everything.")
        >>> command_words(Settings(batch_size=8))
        ['--batch-size', '8']
    """
    words: list[str] = []
    for _, found, value in options_of(settings):
        if value == found.default:
            continue
        for each in value if isinstance(value, tuple) else (value,):
            text = each.value if isinstance(each, enum.Enum) else each
            words += [f"--{found.name}"] if isinstance(each, bool) else [f"--{found.name}", str(text)]
    return words


def _kinds(settings: type) -> dict[str, Any]:
    """The types of the fields, without None."""
    hints = typing.get_type_hints(settings)
    return {
        name: typing.get_args(hint)[0] if type(None) in typing.get_args(hint) else hint
        for name, hint in hints.items()
    }
