"""The outcome of a run as one HTML file: no script, no network, no font of its own; readable in ten years.

Python works out what is shown and where it lies in a chart; `report.html` holds every tag, SVG included, so that
the template's autoescape stands between a folder's name and the page. A chart's horizontal places are percentages
and its letters have one size, so it is as readable on a phone as on a desk.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from squeezekit.study import charts
from squeezekit.study.charts import mapping, sequence
from squeezekit.study.pages import duration, moment, pairs, template, unbroken
from squeezekit.study.table import (
    clip,
    count,
    figure,
    headline,
    reference_row,
    result_rows,
    unbalanced,
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
    return template("report.html").render(
        run=run,
        data=data,
        rows=rows,
        shipped=rows[-1] if rows else {},
        reference=reference or {},
        macro=unbalanced(run),
        shapes=shapes,
        intervals=[charts.interval(row) for row in rows],
        command=clip(run.get("command"), _MAX_LONG),
        title=headline(run),
        headline=unbroken(headline(run)),
        plot=charts.plot(rows, shapes),
        recalls=charts.recalls(rows, shapes, _MAX_CLASSES),
        curves=charts.curves(trainings, _MAX_PANELS),
        skipped=skipped[:_MAX_SKIPPED],
        skipped_count=len(skipped),
        facts=_facts(run, data),
        file=shlex.quote(file),
        file_literal=json.dumps(file),
    )


def _facts(run: Mapping[str, Any], data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the run was made, as pairs of a name and a text; what is not known is left out."""
    classes = [str(label) for label in sequence(data.get("classes"))]
    splits = [
        f"{count(data[split])} for {what}"
        for split, what in (("train", "training"), ("validation", "validation"), ("test", "the test"))
        if figure(data.get(split)) is not None
    ]
    named = ", ".join(clip(label, _MAX_NAME) for label in classes[:_MAX_CLASSES])
    facts = [
        ("Recipe", run.get("recipe")),
        ("Seed", run.get("seed")),
        ("Images", data.get("source")),
        ("Split", ", ".join(splits)),
        (f"Classes ({len(classes)})", named + (", …" if len(classes) > _MAX_CLASSES else "")),
        ("Fingerprint of the images", data.get("fingerprint")),
        ("What the network sees", pairs(run.get("preprocess"))),
        ("Training", pairs(run.get("settings"))),
        ("Compression", pairs(run.get("compress_settings"))),
        ("Teacher", pairs(run.get("distil"))),
        ("Versions", pairs({"squeezekit": run.get("squeezekit"), **mapping(run.get("versions"))}, " ")),
        ("Machine", run.get("machine")),
        ("Started", moment(run.get("started"))),
        ("Took", duration(run.get("seconds"))),
    ]
    return [(name, clip(value, _MAX_LONG)) for name, value in facts if value not in (None, "")]
