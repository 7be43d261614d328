"""The outcome of a run as one HTML file: no script, no network, no font of its own; readable in ten years.

Python works out what is shown and where it lies in a chart; `report.html` holds every tag, SVG included, so that
the template's autoescape stands between a folder's name and the page. A chart's horizontal places are percentages
and its letters have one size, so it is as readable on a phone as on a desk.
"""

import datetime
import functools
import importlib.resources
import json
import shlex
from collections.abc import Mapping
from typing import Any

import jinja2
import markupsafe

from squeezekit.study import charts
from squeezekit.study.charts import mapping, sequence
from squeezekit.study.table import (
    clean,
    clip,
    count,
    figure,
    headline,
    milliseconds,
    percent,
    reference_row,
    result_rows,
    size,
    times,
)

__all__ = ["render"]

# What keeps the page under 100 KB whatever the run: the rest is in run.json, and the page says so.
_MAX_CLASSES = 32
_MAX_SKIPPED = 12
_MAX_PANELS = 12
_MAX_NAME = 48
_MAX_TEXT = 120
_MAX_LONG = 900


def render(run: Mapping[str, Any]) -> str:
    """The page that shows a run: a sentence, a table, three charts, and how to repeat it.

    Nothing in `run` is trusted: labels, paths and messages are escaped, shortened and stripped of control
    characters, and a figure that is missing, None or NaN shows as "n/a".

    Args:
        run: the content of `run.json`; `rows` ends with the network that ships.

    Returns:
        A whole HTML document under 100 KB that refers to nothing outside itself.

    Example:
        >>> page = render({"rows": [{"name": "<b>", "file_bytes": 34_212, "top1": 0.843, "images": 1500}]})
        >>> "34.2 KB" in page, "<b>" in page
        (True, False)
    """
    rows = result_rows(run)
    data = mapping(run.get("data"))
    reference = reference_row(run)
    file = str(rows[-1].get("file") or "model.sqz") if rows else "model.sqz"
    shapes = charts.series(rows, reference)
    trainings = [item for item in sequence(run.get("trainings")) if isinstance(item, Mapping)]
    skipped = [item for item in sequence(data.get("skipped")) if isinstance(item, Mapping)]
    return _template().render(
        run=run,
        data=data,
        rows=rows,
        shipped=rows[-1] if rows else {},
        reference=reference or {},
        shapes=shapes,
        intervals=[charts.interval(row) for row in rows],
        command=clip(run.get("command"), _MAX_LONG),
        title=headline(run),
        headline=_unbroken(headline(run)),
        plot=charts.plot(rows, shapes),
        recalls=charts.recalls(rows, shapes, _MAX_CLASSES),
        curves=charts.curves(trainings, _MAX_PANELS),
        skipped=skipped[:_MAX_SKIPPED],
        skipped_count=len(skipped),
        facts=_facts(run, data),
        file=shlex.quote(file),
        file_literal=json.dumps(file),
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
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
    source = importlib.resources.files("squeezekit.study").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _finalize(value: Any) -> Any:
    """Every printed value passes here: what no text may hold (control characters, lone surrogates) goes."""
    return value if isinstance(value, (markupsafe.Markup, int, float)) else clean(value)


def _filter(write: Any) -> Any:
    """A formatter whose figure and unit stay on one line."""
    return lambda value: write(value).replace(" ", "\N{NO-BREAK SPACE}")


def _unbroken(sentence: str) -> str:
    """Keep figures and their units on one line."""
    for unit in ("%", "KB", "MB", "GB", "bytes", "times"):
        sentence = sentence.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return sentence


def _facts(run: Mapping[str, Any], data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the run was made, as pairs of a name and a text; what is not known is left out."""
    classes = [str(label) for label in sequence(data.get("classes"))]
    splits = [
        f"{count(data[split])} for {what}"
        for split, what in (("train", "training"), ("validation", "validation"), ("test", "the test"))
        if figure(data.get(split)) is not None
    ]
    named = ", ".join(clip(label, _MAX_NAME) for label in classes[:_MAX_CLASSES])
    pairs = [
        ("Recipe", run.get("recipe")),
        ("Seed", run.get("seed")),
        ("Images", data.get("source")),
        ("Split", ", ".join(splits)),
        (f"Classes ({len(classes)})", named + (", …" if len(classes) > _MAX_CLASSES else "")),
        ("Fingerprint of the images", data.get("fingerprint")),
        ("What the network sees", _pairs(run.get("preprocess"))),
        ("Training", _pairs(run.get("settings"))),
        ("Compression", _pairs(run.get("compress_settings"))),
        ("Teacher", _pairs(run.get("distil"))),
        ("Versions", _pairs({"squeezekit": run.get("squeezekit"), **mapping(run.get("versions"))}, " ")),
        ("Machine", run.get("machine")),
        ("Started", _moment(run.get("started"))),
        ("Took", _duration(run.get("seconds"))),
    ]
    return [(name, clip(value, _MAX_LONG)) for name, value in pairs if value not in (None, "")]


def _pairs(values: Any, between: str = " = ") -> str:
    """A flat mapping in a line; what is nested is written as JSON."""
    shown = []
    for key, value in list(mapping(values).items())[:_MAX_CLASSES]:
        plain = value if isinstance(value, (str, int, float)) else json.dumps(value, default=str)
        shown.append(f"{clip(key, _MAX_NAME)}{between}{clip(plain, _MAX_NAME)}")
    return ", ".join(shown)


def _moment(value: Any) -> str:
    """An ISO 8601 time to the minute; anything else as it is."""
    try:
        moment = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return "" if value is None else str(value)
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def _duration(seconds: Any) -> str:
    number = figure(seconds)
    if number is None:
        return ""
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{number:.1f} s"
