"""The template engine of the page, which escapes everything, and texts for a run's facts."""

import datetime
import functools
import importlib.resources
import json
from typing import Any

import jinja2
import markupsafe

from squeezekit.experiment.record import figure, mapping
from squeezekit.report.text import clean, clip, count, milliseconds, percent, size, times

__all__ = ["duration", "moment", "pairs", "source", "template", "unbroken"]

_MAX_NAME = 48
_MAX_TEXT = 120
_MAX_PAIRS = 32


@functools.cache
def template(name: str) -> jinja2.Template:
    """The template of that file name beside this module, every printed value escaped and stripped."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
        # A run may lack any part of itself.
        undefined=jinja2.ChainableUndefined,
    )
    environment.filters.update(
        count=count,
        size=_filter(size),
        percent=_filter(percent),
        times=times,
        ms=milliseconds,
        name=lambda value: clip(value, _MAX_NAME),
        text=lambda value: clip(value, _MAX_TEXT),
        at=lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
    )
    return environment


def source(name: str) -> str:
    """The text of a file beside this module."""
    return importlib.resources.files("squeezekit.report").joinpath(name).read_text(encoding="utf-8")


def _finalize(value: Any) -> Any:
    """Every printed value passes here: what no text may hold (control characters, lone surrogates) goes."""
    return value if isinstance(value, (markupsafe.Markup, int, float)) else clean(value)


def _filter(write: Any) -> Any:
    """A formatter whose figure and unit stay on one line."""
    return lambda value: write(value).replace(" ", "\N{NO-BREAK SPACE}")


def unbroken(sentence: str) -> str:
    """Keep figures and their units on one line."""
    for unit in ("%", "KB", "MB", "GB", "bytes", "times", "points"):
        sentence = sentence.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return sentence


def pairs(values: Any, between: str = " = ") -> str:
    """A flat mapping in a line; what is nested is written as JSON."""
    shown = []
    for key, value in list(mapping(values).items())[:_MAX_PAIRS]:
        plain = value if isinstance(value, (str, int, float)) else json.dumps(value, default=str)
        shown.append(f"{clip(key, _MAX_NAME)}{between}{clip(plain, _MAX_NAME)}")
    return ", ".join(shown)


def moment(value: Any) -> str:
    """An ISO 8601 time to the minute; anything else as it is."""
    try:
        known = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return "" if value is None else str(value)
    return f"{known:%Y-%m-%d %H:%M} {known.tzname() or ''}".strip()


def duration(seconds: Any) -> str:
    """Seconds as hours and minutes, or minutes and seconds; nothing for what is no number."""
    number = figure(seconds)
    if number is None:
        return ""
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{number:.1f} s"
