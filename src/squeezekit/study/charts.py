"""Where everything lies in the report's charts: plain figures and places, no markup.

Horizontal places are percentages of the chart's width and vertical ones pixels, so that a chart becomes narrower on
a phone while its letters keep their size.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from squeezekit.study.table import MISSING, clip, count, figure, percent, size

__all__ = [
    "Axis",
    "Curves",
    "Mark",
    "Panel",
    "Plot",
    "Recall",
    "Recalls",
    "curves",
    "interval",
    "label_place",
    "mapping",
    "plot",
    "recalls",
    "round_axis",
    "sequence",
    "series",
]

PLOT_HEIGHT = 250
PANEL_HEIGHT = 96
# More points than these no screen shows.
_MAX_POINTS = 64
_MAX_NAME = 48
# Labels are kept apart for the narrowest screen: what does not collide there collides nowhere.
NARROW = 285
_LETTER_WIDTH, LINE_HEIGHT = 7.2, 15


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A network in the plot of accuracy against bytes; x in percent of the width, y in pixels from the top."""

    row: Mapping[str, Any]
    series: int
    x: float
    y: float
    bar: tuple[float, float] | None
    anchor: str
    lines: list[str]
    label_y: float = 0.0

    def box(self, label_y: float) -> tuple[float, float, float, float]:
        """Left, right, top and bottom in pixels of the label on a narrow screen, its first baseline at `label_y`."""
        width = _LETTER_WIDTH * max(len(line) for line in self.lines)
        left = self.x * NARROW / 100 - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        top = label_y - 0.8 * LINE_HEIGHT
        return left, left + width, top, top + LINE_HEIGHT * len(self.lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """The marks, the decades in bytes with their x in percent, the ticks with their y, and where the axis runs."""

    marks: list[Mark]
    decades: list[tuple[int, float]]
    ticks: list[tuple[float, float]]
    top: float
    height: float


@dataclasses.dataclass(frozen=True, slots=True)
class Recall:
    """One class: what each network makes of it, and (series, x in percent) of those that have a figure."""

    name: str
    shipped: float | None
    figures: list[float | None]
    dots: list[tuple[int, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Recalls:
    """The classes shown, how many are not, and the ticks with their x in percent."""

    classes: list[Recall]
    more: int
    ticks: list[tuple[float, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Panel:
    """One training's curve: runs of points between gaps, in percent across and pixels down."""

    name: str
    note: str
    epochs: int
    lines: list[str]
    single: list[tuple[float, float]]
    best: tuple[int, float, float, float] | None
    last: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Curves:
    """The trainings shown, how many are not, and the ends of their common scale with their y."""

    panels: list[Panel]
    more: int
    ticks: list[tuple[float, float]]
    height: int = PANEL_HEIGHT


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """A range of proportions and its ticks, both ends included."""

    low: float
    high: float
    ticks: list[float]

    def place(self, value: float) -> float:
        """Where `value` lies, in [0, 1] from low to high."""
        return (value - self.low) / (self.high - self.low)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is one, else an empty one: a run may lack any part."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """`value` where it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else []


def series(rows: Sequence[Mapping[str, Any]], reference: Mapping[str, Any] | None) -> list[int]:
    """A colour and shape for each row: 0 is what ships, 1 the reference, the others from 2 on.

    Example:
        >>> rows = [{"name": "AlexNet"}, {"name": "SqueezeNet"}, {"name": "squeezed"}]
        >>> series(rows, rows[0])
        [1, 2, 0]
    """
    others = iter(range(2, len(rows) + 2))
    return [0 if row is rows[-1] else 1 if row is reference else next(others) for row in rows]


def round_axis(values: Sequence[float]) -> Axis:
    """The narrowest round range around proportions, of at most six steps."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    for step in (0.01, 0.02, 0.05, 0.1, 0.2):
        # Tolerance, or 0.7 / 0.1 = 6.999... would add a step of nothing.
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        first, last = max(0, min(first, last - 1)), max(last, first + 1)
        last = min(last, round(1 / step))
        first = min(first, last - 1)
        if last - first <= 6:
            break
    return Axis(first * step, last * step, [tick * step for tick in range(first, last + 1)])


def _plot_y(axis: Axis, value: float) -> float:
    return PLOT_HEIGHT * (1 - axis.place(value))


def _panel_y(axis: Axis, value: float) -> float:
    return PANEL_HEIGHT * (1 - axis.place(value))


def interval(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The ends of a row's 95 % interval, or None."""
    ends = [figure(end) for end in sequence(row.get("top1_interval"))]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return ends[0], ends[1]


def plot(rows: Sequence[Mapping[str, Any]], shapes: Sequence[int]) -> Plot | None:
    """Accuracy against bytes on a logarithmic scale, or None where no row has both.

    Args:
        rows: the measured networks.
        shapes: of `series`.
    """
    known = []
    for row, shape in zip(rows, shapes, strict=True):
        file_bytes, top1 = figure(row.get("file_bytes")), figure(row.get("top1"))
        if file_bytes is not None and file_bytes >= 1 and top1 is not None:
            known.append((file_bytes, top1, shape, row))
    if not known:
        return None
    known.sort(key=lambda item: item[0])
    first = math.floor(math.log10(known[0][0]))
    last = max(first + 1, math.ceil(math.log10(known[-1][0])))
    axis = round_axis([end for _, top1, _, row in known for end in (top1, *(interval(row) or ()))])
    marks: list[Mark] = []
    for file_bytes, top1, shape, row in known:
        x = 100 * (math.log10(file_bytes) - first) / (last - first)
        ends = interval(row)
        mark = Mark(
            row=row,
            series=shape,
            x=x,
            y=_plot_y(axis, top1),
            bar=(_plot_y(axis, ends[1]), _plot_y(axis, ends[0])) if ends else None,
            anchor="start" if x < 35 else "end" if x > 65 else "middle",
            lines=[
                *(clip(part, 24) for part in str(row.get("name", MISSING)).split(", ", 1)),
                f"{size(file_bytes)}, {percent(top1)}",
            ],
        )
        marks.append(dataclasses.replace(mark, label_y=label_place(mark, marks)))
    boxes = [mark.box(mark.label_y) for mark in marks]
    top = min([0.0, *(box[2] for box in boxes)])
    bottom = max([PLOT_HEIGHT, *(box[3] for box in boxes)]) + 14
    step = max(1, math.ceil((last - first) / 5))
    return Plot(
        marks=marks,
        decades=[
            (10**power, 100 * (power - first) / (last - first)) for power in range(first, last + 1, step)
        ],
        ticks=[(tick, _plot_y(axis, tick)) for tick in axis.ticks],
        top=top,
        height=bottom,
    )


def label_place(mark: Mark, placed: Sequence[Mark], crowd: Sequence[tuple[float, float]] = ()) -> float:
    """Above the interval or below it, whichever covers less of the labels, intervals and points already there."""
    high, low = mark.bar or (mark.y, mark.y)
    above = high - 10 - LINE_HEIGHT * (len(mark.lines) - 1)
    below = low + 10 + 0.8 * LINE_HEIGHT
    taken = [other.box(other.label_y) for other in placed]
    for other in placed:
        at, (start, end) = other.x * NARROW / 100, other.bar or (other.y, other.y)
        taken.append((at - 7, at + 7, start - 4, end + 4))
    taken += [(x * NARROW / 100 - 6, x * NARROW / 100 + 6, y - 6, y + 6) for x, y in crowd]
    return min((above, below), key=lambda y: sum(_overlap(mark.box(y), box) for box in taken))


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Square pixels that two boxes (left, right, top, bottom) share."""
    width = min(one[1], other[1]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[2], other[2])
    return max(0.0, width) * max(0.0, height)


def recalls(rows: Sequence[Mapping[str, Any]], shapes: Sequence[int], most: int) -> Recalls:
    """The weakest classes of the network that ships, and what all networks make of them.

    Args:
        rows: the measured networks; the last one ships.
        shapes: of `series`.
        most: how many classes to show.
    """
    tables = [mapping(row.get("per_class")) for row in rows]
    shipped: Mapping[str, Any] = next((table for table in reversed(tables) if table), {})
    by_recall = sorted((figure(recall) or 0.0, str(label), label) for label, recall in shipped.items())
    shown = [label for *_, label in by_recall[:most]]
    figures = {label: [figure(table.get(label)) for table in tables] for label in shown}
    # A recall is read against "all of them", so the axis always reaches 100 %.
    axis = round_axis([value for values in figures.values() for value in values if value is not None] + [1.0])
    classes = []
    for label, values in figures.items():
        # Drawn in this order: what ships comes last, on top of the others.
        dots = [
            (shape, 100 * axis.place(value))
            for shape, value in zip(shapes, values, strict=True)
            if value is not None
        ]
        classes.append(Recall(str(label), values[-1], values, dots))
    return Recalls(
        classes, len(shipped) - len(shown), [(tick, 100 * axis.place(tick)) for tick in axis.ticks]
    )


def curves(trainings: Sequence[Mapping[str, Any]], most: int) -> Curves:
    """The validation accuracy of each training, epoch by epoch, all on one scale.

    Args:
        trainings: of `run.json`.
        most: how many to show.
    """
    axis = round_axis(
        [value for training in trainings for value in _validation(training) if value is not None]
    )
    return Curves(
        [_panel(training, axis) for training in trainings[:most]],
        max(0, len(trainings) - most),
        [(tick, _panel_y(axis, tick)) for tick in (axis.low, axis.high)],
    )


def _validation(training: Mapping[str, Any]) -> list[float | None]:
    """A training's validation accuracy by epoch; None where there is no number."""
    return [figure(mapping(epoch).get("val_accuracy")) for epoch in sequence(training.get("curves"))]


def _panel(training: Mapping[str, Any], axis: Axis) -> Panel:
    """The curve of one training, thinned where it has more points than anyone can see."""
    values = _validation(training)
    known = [(value, -epoch) for epoch, value in enumerate(values, 1) if value is not None]
    best = None
    if known:
        highest, epoch = max(known)
        best = (-epoch, highest, _epoch_x(-epoch, len(values)), _panel_y(axis, highest))
    stride = max(1, math.ceil(len(values) / _MAX_POINTS))
    runs: list[list[tuple[float, float]]] = [[]]
    for epoch, value in enumerate(values, 1):
        kept = (epoch - 1) % stride == 0 or epoch == len(values) or (best and epoch == best[0])
        if value is None:
            runs.append([])
        elif kept:
            runs[-1].append((_epoch_x(epoch, len(values)), _panel_y(axis, value)))
    notes = [clip(training["precision"], _MAX_NAME)] if training.get("precision") else []
    if figure(training.get("resumed_at")):
        notes.append(f"resumed after epoch {count(training['resumed_at'])}")
    return Panel(
        name=str(training.get("name") or "training"),
        note=", ".join(notes),
        epochs=len(values),
        lines=[" ".join(f"{x:.1f},{y:.1f}" for x, y in points) for points in runs if len(points) > 1],
        single=[points[0] for points in runs if len(points) == 1],
        best=best,
        last=values[-1] if values else None,
    )


def _epoch_x(epoch: int, epochs: int) -> float:
    """Percent across: the first epoch at the left edge, the last at the right, a single one in the middle."""
    return 100 * (epoch - 1) / (epochs - 1) if epochs > 1 else 50.0
