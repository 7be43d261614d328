"""The figures of a sensitivity run as one HTML file: a small curve a layer and technique, all on one scale."""

import dataclasses
import functools
import importlib.resources
import math
from collections.abc import Mapping
from typing import Any

import jinja2

from squeezekit.study.sensitivity import recipe_from, strongest
from squeezekit.study.table import clean, clip, count, percent

__all__ = ["render_sensitivity"]

_HEIGHT = 64
_MAX_NAME = 48
# What a technique's setting is called along the bottom.
_AXES = {"prune": "sparsity", "share": "bits", "quantize": "bits"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Panel:
    """One layer's curve; x in percent across, y in pixels down."""

    name: str
    weights: int
    points: str
    dots: list[tuple[float, float]]
    best: tuple[float, float, str] | None
    told: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Section:
    """All layers' curves of one technique."""

    name: str
    axis: str
    ends: tuple[str, str]
    panels: list[_Panel]


def render_sensitivity(result: Mapping[str, Any], drop: float = 0.01) -> str:
    """The page that shows what each layer bears.

    Args:
        result: of `sensitivity`.
        drop: the loss of accuracy up to which a setting is marked, in [0, 1].

    Returns:
        A whole HTML document that refers to nothing outside itself.

    Example:
        >>> lines = [{"technique": "prune", "setting": s, "layer": "<conv>", "accuracy": 1 - s} for s in (0.5, 0.9)]
        >>> page = render_sensitivity({"model": "net", "accuracy": 0.9, "images": 50, "layers": {"<conv>": 432},
        ...     "techniques": {"prune": [0.5, 0.9]}, "results": lines})
        >>> "&lt;conv&gt;" in page, "<conv>" in page
        (True, False)
    """
    accuracies = [result["accuracy"], *(line["accuracy"] for line in result["results"])]
    low = math.floor(min(accuracies) * 10) / 10
    high = min(1.0, math.ceil(max(accuracies) * 10) / 10)

    def down(accuracy: float) -> float:
        return _HEIGHT * (high - accuracy) / (high - low) if high > low else 0.0

    best = strongest(result, drop)
    sections = [_section(result, name, best[name], down) for name in result["techniques"]]
    return _template().render(
        result=result,
        sections=[section for section in sections if section.panels],
        recipe=str(recipe_from(result, drop)),
        drop=drop,
        height=_HEIGHT,
        base=down(result["accuracy"]),
        least=down(max(low, result["accuracy"] - drop)),
        ticks=[(high, 0.0), (low, float(_HEIGHT))],
    )


def _section(
    result: Mapping[str, Any], technique: str, best: Mapping[str, int | float | None], down: Any
) -> _Section:
    settings = result["techniques"][technique]
    across = {setting: 100 * place / max(1, len(settings) - 1) for place, setting in enumerate(settings)}
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in result["results"]:
        if line["technique"] == technique and line["setting"] in across:
            curves.setdefault(line["layer"], []).append((line["setting"], line["accuracy"]))
    panels = []
    for layer, curve in curves.items():
        curve.sort(key=lambda point: across[point[0]])
        dots = [(across[setting], down(accuracy)) for setting, accuracy in curve]
        chosen = best.get(layer)
        marked = next(
            (
                (across[setting], down(accuracy), f"{setting:g}")
                for setting, accuracy in curve
                if setting == chosen
            ),
            None,
        )
        panels.append(
            _Panel(
                name=layer,
                weights=result["layers"].get(layer, 0),
                points=" ".join(f"{x:.1f},{y:.1f}" for x, y in dots),
                dots=dots,
                best=marked,
                told=", ".join(f"{setting:g}: {percent(accuracy)}" for setting, accuracy in curve),
            )
        )
    ends = (f"{settings[0]:g}", f"{settings[-1]:g}") if settings else ("", "")
    return _Section(technique, _AXES.get(technique, "setting"), ends, panels)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(
        count=count,
        percent=percent,
        text=clean,
        name=lambda value: clip(value, _MAX_NAME),
        at=lambda value: f"{value:.2f}".rstrip("0").rstrip("."),
    )
    page = importlib.resources.files("squeezekit.study").joinpath("sensitivity.html")
    return environment.from_string(page.read_text(encoding="utf-8"))
