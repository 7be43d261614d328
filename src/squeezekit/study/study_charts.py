"""Where everything lies in the study's charts: plain figures and places, no markup; units as in `charts`."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from squeezekit.study.charts import Mark, interval, label_place, round_axis
from squeezekit.study.effects import ClassChange, Effect, full_rows
from squeezekit.study.findings import Findings, View, level_name, signed
from squeezekit.study.grid import FACTORS
from squeezekit.study.table import percent, size

__all__ = [
    "Bar",
    "Bars",
    "Cell",
    "Change",
    "Changes",
    "Grid",
    "Point",
    "Scatter",
    "bars",
    "changes_chart",
    "crossings",
    "linear_ticks",
    "ratio_ticks",
    "scatter",
]

HEIGHT = 320
# As many as there are shapes that the page can tell apart.
_MAX_SHOWN = 3
# Of a thousand classes, those that lose most.
MAX_CLASSES = 24


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """A row in the plot; `kind` is "baseline", "front" or "other", `at` its place among the views."""

    view: View
    at: int
    kind: str
    x: float
    y: float
    bar: tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Scatter:
    """Accuracy against bytes: points drawn in this order, labels of some, the front as x,y pairs, both axes."""

    points: list[Point]
    labels: list[Mark]
    front: list[tuple[float, float]]
    sizes: list[tuple[int, float]]
    ticks: list[tuple[float, float]]
    top: float
    height: float


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """A bar from zero to `x`, its interval, all in percent of the width, and what is told of it."""

    name: str
    told: str
    x: float
    ends: tuple[float, float] | None
    gain: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Bars:
    """Bars on one scale, where zero lies, and ticks as text and x."""

    bars: list[Bar]
    zero: float
    ticks: list[tuple[str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One class: for each shown row (series) its change's x, its interval's ends, and the figures."""

    name: str
    images: int
    marks: list[tuple[int, float, float, float, ClassChange]]


@dataclasses.dataclass(frozen=True, slots=True)
class Changes:
    """The rows shown, the classes that lose most, how many are not shown, where zero lies, ticks as text and x."""

    views: list[View]
    classes: list[Change]
    more: int
    zero: float
    ticks: list[tuple[str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """An interaction: its figure and interval as text, and a shade from -3 (in each other's way) to 3 (help)."""

    told: str
    ends: str
    shade: int
    sure: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """Interactions as a triangle: a row for each level but the first, cells up to the one before itself."""

    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]


def scatter(views: Sequence[View]) -> Scatter:
    """Accuracy against bytes on a logarithmic scale.

    Args:
        views: of `Findings`, at least one.
    """
    sizes = [view.row["bytes"]["file"] for view in views]
    # A little air on both sides, or half a mark would hang over the edge.
    low, high = math.log10(min(sizes)) - 0.06, math.log10(max(sizes)) + 0.06
    shown = [view for view in views if view.front or view.row.get("baseline")]
    ends = [end for view in shown for end in interval(view.row) or ()]
    axis = round_axis([*(view.row["top1"] for view in views), *ends])

    def across(size_bytes: float) -> float:
        return 100 * (math.log10(size_bytes) - low) / (high - low)

    def down(proportion: float) -> float:
        return HEIGHT * (1 - axis.place(proportion))

    points = []
    for at, view in enumerate(views):
        bottom, top = interval(view.row) or (view.row["top1"], view.row["top1"])
        kind = "baseline" if view.row.get("baseline") else "front" if view.front else "other"
        x, y = across(view.row["bytes"]["file"]), down(view.row["top1"])
        # A row in the crowd may have an interval past the axis: it is cut, not drawn over the text below.
        points.append(Point(view, at, kind, x, y, (max(0.0, down(top)), min(float(HEIGHT), down(bottom)))))
    order = {"other": 0, "baseline": 1, "front": 2}
    points.sort(key=lambda point: order[point.kind])
    front = sorted((point.x, point.y) for point in points if point.view.front)
    labels = _labels(points)
    boxes = [mark.box(mark.label_y) for mark in labels]
    return Scatter(
        points=points,
        labels=labels,
        front=front,
        sizes=[(tick, across(tick)) for tick in _round_sizes(10**low, 10**high)],
        ticks=[(tick, down(tick)) for tick in axis.ticks],
        top=min([0.0, *(box[2] for box in boxes)]),
        height=max([float(HEIGHT), *(box[3] for box in boxes)]) + 14,
    )


def _labels(points: Sequence[Point]) -> list[Mark]:
    """Names for the few points that everyone looks for: AlexNet, the uncompressed network, the picks."""
    named: dict[str, Point] = {}
    full = [row["id"] for row in full_rows([point.view.row for point in points])]
    for point in sorted(points, key=lambda point: point.at):
        view = point.view
        name = view.pick.partition(" and ")[0]
        if name or view.row.get("baseline"):
            named.setdefault(name or view.name, point)
        elif view.row["id"] in full:
            named.setdefault("uncompressed", point)
    crowd = [(point.x, point.y) for point in points]
    marks: list[Mark] = []
    for name, point in sorted(named.items(), key=lambda item: item[1].x):
        row, narrow = point.view.row, point.kind in ("front", "baseline")
        mark = Mark(
            row=row,
            series=0,
            x=point.x,
            y=point.y,
            bar=point.bar if narrow else None,
            anchor="start" if point.x < 35 else "end" if point.x > 65 else "middle",
            lines=[name, f"{size(row['bytes']['file'])}, {percent(row['top1'])}"],
        )
        marks.append(dataclasses.replace(mark, label_y=label_place(mark, marks, crowd)))
    return marks


def _round_sizes(low: float, high: float) -> list[int]:
    """Round numbers of bytes within a range, at most six."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [
            step * 10**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in steps
            if low <= step * 10**power <= high
        ]
        if len(found) <= 6:
            break
    return found[:: math.ceil(len(found) / 6)] if found else []


def bars(
    effects: Sequence[Effect],
    tell: Callable[[Any], str],
    ticks: Callable[[float, float], list[tuple[str, float]]],
    *,
    gain: int = 1,
) -> Bars:
    """Effects as bars from zero, in their order.

    Args:
        effects: main effects or shares.
        tell: an estimate as text.
        ticks: of an axis over a range, as text and value.
        gain: 1 where more is better, -1 where less is; better goes to the right.
    """
    spans = []
    for effect in effects:
        estimate = effect.estimate
        ends = [gain * end for end in (estimate.low, estimate.high) if end is not None]
        spans.append((gain * estimate.value, (min(ends), max(ends)) if ends else None))
    values = [value for middle, ends in spans for value in (middle, *(ends or ()))]
    marked = ticks(min(0.0, *values, 0.0), max(0.0, *values, 0.0))
    low = min([0.0, *values, *(value for _, value in marked)])
    high = max([0.0, *values, *(value for _, value in marked)])

    def across(value: float) -> float:
        return 100 * (value - low) / (high - low) if high > low else 0.0

    return Bars(
        bars=[
            Bar(
                name=level_name(*effect.factors[0]),
                told=tell(effect.estimate),
                x=across(middle),
                ends=(across(ends[0]), across(ends[1])) if ends else None,
                gain=middle >= 0,
            )
            for effect, (middle, ends) in zip(effects, spans, strict=True)
        ],
        zero=across(0.0),
        ticks=[(text, across(value)) for text, value in marked],
    )


def ratio_ticks(low: float, high: float) -> list[tuple[str, float]]:
    """Ticks of a logarithmic axis as round ratios, 1 among them, at most six."""
    least, most = math.exp(low), math.exp(min(high, 50.0))
    for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1):
        first, last = math.floor((least - 1) / step + 1e-9), math.ceil((most - 1) / step - 1e-9)
        if last - first <= 5 and 1 + first * step > 0:
            ratios = [1 + tick * step for tick in range(first, max(last, first + 1) + 1)]
            return [(f"{ratio:.4g}×", math.log(ratio)) for ratio in ratios]
    for base in (2, 4, 10, 100):
        first, last = math.floor(low / math.log(base) + 1e-9), math.ceil(high / math.log(base) - 1e-9)
        if last - first <= 5:
            break
    return [(f"{base**tick:.4g}×", tick * math.log(base)) for tick in range(first, last + 1)]


def linear_ticks(
    low: float, high: float, tell: Callable[[float], str] = lambda value: signed(value)
) -> list[tuple[str, float]]:
    """Ticks of an axis of changes in proportions, zero among them."""
    step = 0.001
    for step in (scale * digit for scale in (0.001, 0.01, 0.1, 1) for digit in (1, 2, 5)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= 5:
            break
    return [(tell(tick * step), tick * step) for tick in range(first, max(last, first + 1) + 1)]


def changes_chart(found: Findings) -> Changes | None:
    """What each class gained or lost in the files that a user would take; None where nothing was compressed."""
    smallest = min(
        (view for view in found.views if view.changes),
        key=lambda view: view.row["bytes"]["file"],
        default=None,
    )
    if smallest is None:
        return None
    views: list[View] = []
    for view in (*found.picks, smallest):
        if view.changes and view not in views:
            views.append(view)
    views = views[:_MAX_SHOWN]
    spans = [
        end for view in views for change in view.changes for end in (change.low, change.high, change.change)
    ]
    ticks = linear_ticks(min(0.0, *spans), max(0.0, *spans), lambda value: signed(value, 0))
    low, high = ticks[0][1], ticks[-1][1]

    def across(value: float) -> float:
        return 100 * (value - low) / (high - low)

    classes = []
    for worst in views[0].changes[:MAX_CLASSES]:
        marks = []
        for series, view in enumerate(views):
            change = next(other for other in view.changes if other.label == worst.label)
            marks.append((series, across(change.change), across(change.low), across(change.high), change))
        classes.append(Change(found.labels[worst.label], worst.images, marks))
    more = len(views[0].changes) - len(classes)
    return Changes(views, classes, more, across(0.0), [(text, across(value)) for text, value in ticks])


def crossings(effects: Sequence[Effect], tell: Callable[[float], str], *, gain: int = 1) -> Grid | None:
    """Interactions as a triangle of cells, or None without any.

    Args:
        effects: of `effects.interactions`.
        tell: a figure as text.
        gain: 1 where more is better, -1 where less is.
    """
    factors = list(FACTORS)
    levels = sorted(
        dict.fromkeys(level for effect in effects for level in effect.factors),
        key=lambda level: factors.index(level[0]),
    )
    largest = max((abs(effect.estimate.value) for effect in effects), default=0.0)
    found = {frozenset(effect.factors): effect for effect in effects}

    def cell(one: tuple[str, str], other: tuple[str, str]) -> Cell | None:
        effect = found.get(frozenset((one, other)))
        if effect is None:
            return None
        estimate = effect.estimate
        ends = ""
        sure = False
        if estimate.low is not None and estimate.high is not None:
            sure = estimate.low > 0 or estimate.high < 0
            pair = (estimate.low, estimate.high)
            low, high = pair if gain > 0 else pair[::-1]
            ends = f"{tell(low)} to {tell(high)}"
        shade = round(3 * gain * estimate.value / largest) if largest > 0 else 0
        return Cell(tell(estimate.value), ends, shade, sure)

    if not levels:
        return None
    rows = [
        (level_name(*one), [cell(one, other) for other in levels[:place]])
        for place, one in enumerate(levels)
        if place
    ]
    # A factor's levels among themselves are no pairs: rows and columns of nothing but those go.
    rows = [(name, cells) for name, cells in rows if any(cells)]
    width = max((at + 1 for _, cells in rows for at, one in enumerate(cells) if one), default=0)
    return Grid(
        columns=[level_name(*level) for level in levels[:width]],
        rows=[(name, [*cells[:width], *[None] * (width - len(cells))]) for name, cells in rows],
    )
