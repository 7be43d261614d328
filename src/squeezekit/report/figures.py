"""Static figures by matplotlib: SVG for the page and for papers, PNG and PDF beside it.

In the page, colours become the page's own variables, so that one drawing serves light and dark. The page's script finds
each mark by its id.
"""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import markupsafe
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from squeezekit.report.text import clip, size

__all__ = ["Bar", "Curve", "Dot", "Mark", "bars", "curves", "dots", "inline", "pareto", "written"]

# Told apart by people with any colour vision (after Okabe and Ito); shapes tell the same.
_COLOURS = {
    "ink": "#1a1d21", "quiet": "#59616b", "line": "#dfe3e8", "pale": "#c3cad2", "page": "#ffffff",
    "s0": "#0067a8", "s1": "#b84c00", "s2": "#7d5ba6", "s3": "#00795a",
}  # fmt: skip
_SERIES = (("o", "s0"), ("s", "s1"), ("D", "s2"), ("^", "s3"))
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "squeezekit",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _COLOURS["line"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": _COLOURS["quiet"],
    "axes.titlecolor": _COLOURS["ink"],
    "axes.titlesize": 9,
    "grid.color": _COLOURS["line"],
    "grid.linewidth": 0.8,
    "text.color": _COLOURS["ink"],
    # A folder's name may hold a dollar sign.
    "text.parse_math": False,
    "xtick.color": _COLOURS["quiet"],
    "ytick.color": _COLOURS["quiet"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_INCHES = 7.2
_MAX_NAME = 40
_MAX_EPOCHS = 100
# What matplotlib calls its own groups: several drawings in a page would call theirs the same.
_OWN_IDS = re.compile(r' id="[\w.]+_\d+"')


class Mark(NamedTuple):
    """A file in the plot of accuracy against bytes; `kind` is "front", "other" or "baseline", `label` "" for most."""

    id: str
    size_bytes: float
    top1: float
    interval: tuple[float, float] | None
    kind: str
    loses: bool
    label: str


class Bar(NamedTuple):
    """An effect: what it is called, its figure as text, its value and the ends of its interval."""

    name: str
    told: str
    value: float
    low: float | None
    high: float | None


class Dot(NamedTuple):
    """A value of a series in a line of dots, with the ends of its interval where it has one."""

    series: int
    value: float
    low: float | None = None
    high: float | None = None


class Curve(NamedTuple):
    """Trainings of one kind: values in [0, 1] by epoch, None where there is none."""

    name: str
    lines: Sequence[Sequence[float | None]]


def inline(figure: Figure, title: str) -> markupsafe.Markup:
    """The SVG for a page: it scales, says what it is, and takes the page's colours.

    Args:
        figure: of this module.
        title: plain text for whoever does not see it; escaped here.
    """
    svg = written(figure, "svg").decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = _OWN_IDS.sub("", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    head = re.sub(r' (width|height|version|xmlns(:\w+)?)="[^"]*"', "", svg[: svg.index(">")])
    told = markupsafe.escape(title)
    return markupsafe.Markup(
        f'{head} class="drawn" role="img"><title>{told}</title>{svg[svg.index(">") + 1 :]}'
    )


def written(figure: Figure, kind: str) -> bytes:
    """A figure as a file, the same bytes for the same figure.

    Args:
        figure: of this module.
        kind: "svg", "png" (200 dots an inch) or "pdf".
    """
    made = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A letter that matplotlib's font lacks: browsers have it, a PNG or PDF shows a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font|Matplotlib currently does not support")
        figure.savefig(made, format=kind, metadata=dates[kind], dpi=200)
    return made.getvalue()


def pareto(marks: Sequence[Mark]) -> Figure:
    """Accuracy against bytes on a logarithmic scale; a dashed line joins the files that no other beats in both."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.2)
        axes.set_xscale("log")
        front = sorted((mark for mark in marks if mark.kind == "front"), key=lambda mark: mark.size_bytes)
        axes.plot(
            [mark.size_bytes for mark in front], [mark.top1 for mark in front], "--", c=_COLOURS["s0"], lw=1
        )
        for mark in sorted(marks, key=lambda mark: ("other", "baseline", "front").index(mark.kind)):
            colour = _COLOURS[{"front": "s0", "other": "pale", "baseline": "s1"}[mark.kind]]
            shape = "s" if mark.kind == "baseline" else "v" if mark.loses else "o"
            if mark.interval and mark.kind != "other":
                axes.plot([mark.size_bytes] * 2, mark.interval, c=colour, lw=1.5)
            (point,) = axes.plot(mark.size_bytes, mark.top1, shape, c=colour, ms=6, mec=_COLOURS["page"])
            point.set_gid(mark.id)
        _labels(axes, [mark for mark in marks if mark.label])
        axes.margins(x=0.08, y=0.12)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(FixedLocator(_round_steps(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        # Files of nearly one size are told apart by their bytes alone.
        tell = size if high > 1.5 * low else "{:,.0f} bytes".format
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tell(value).replace(".0 ", " ")))
    return figure


def bars(charts: Sequence[tuple[str, Sequence[Bar], str]]) -> Figure:
    """Effects as bars from "no change", a panel a measure.

    Args:
        charts: title, bars and kind of each panel: "ratio" (values are natural logarithms, and less is better),
            "points" or "share" (proportions, more is better).
    """
    with mpl.rc_context(_STYLE):
        heights = [len(its) + 1.2 for _, its, _ in charts]
        figure = Figure((_INCHES, 0.34 * sum(heights) + 0.2), layout="constrained")
        panels = figure.subplots(len(charts), squeeze=False, height_ratios=heights)[:, 0]
        for axes, (title, its, kind) in zip(panels, charts, strict=True):
            _bar_panel(axes, title, its, kind)
    return figure


def dots(lines: Sequence[tuple[str, Sequence[Dot]]], kind: str) -> Figure:
    """A line of dots a class, with intervals where they are known.

    Args:
        lines: name and dots of each class, the first on top.
        kind: "points" for changes around zero, "percent" for proportions.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.3 * len(lines) + 0.7)
        for place, (_, its) in enumerate(lines):
            for number, dot in enumerate(its):
                shape, colour = _SERIES[min(dot.series, len(_SERIES) - 1)]
                y = place + 0.18 * (number - (len(its) - 1) / 2) * (kind == "points")
                if dot.low is not None and dot.high is not None:
                    axes.plot([dot.low, dot.high], [y, y], c=_COLOURS[colour], lw=1.2)
                axes.plot(dot.value, y, shape, c=_COLOURS[colour], ms=5.5, mec=_COLOURS["page"])
        if kind == "points":
            axes.axvline(0, c=_COLOURS["quiet"], lw=1)
        axes.set_yticks(range(len(lines)), [clip(name, _MAX_NAME) for name, _ in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.xaxis.set_major_formatter(_formatter(kind))
    return figure


def curves(kinds: Sequence[Curve]) -> Figure:
    """Validation accuracy by epoch, a panel a kind of training, all on one scale; a dot marks each best epoch."""
    columns = min(3, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    with mpl.rc_context(_STYLE):
        figure = Figure((_INCHES, 1.5 * rows + 0.2), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axes, kind in zip(panels, kinds, strict=False):
            axes.set_title("\n".join(textwrap.wrap(clip(kind.name, 3 * 28), 28)), loc="left")
            for values in kind.lines:
                known = [(value, -epoch) for epoch, value in enumerate(values, 1) if value is not None]
                # Of very many epochs some: the page is to stay small.
                epochs = range(0, len(values), len(values) // (_MAX_EPOCHS + 1) + 1)
                whole = [values[epoch] for epoch in epochs]
                its = [math.nan if value is None else value for value in whole]
                axes.plot([epoch + 1 for epoch in epochs], its, c=_COLOURS["ink"], lw=1.2)
                if known:
                    best, epoch = max(known)
                    axes.plot(-epoch, best, "o", c=_COLOURS["s0"], ms=4)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=1))
            axes.yaxis.set_major_formatter(_formatter("percent"))
        for axes in panels[len(kinds) :]:
            axes.set_axis_off()
    return figure


def _figure(inches: float) -> tuple[Figure, Axes]:
    figure = Figure((_INCHES, inches), layout="constrained")
    return figure, figure.subplots()


def _labels(axes: Axes, marks: Sequence[Mark]) -> None:
    """Names beside a few marks, one above and the next below, towards the middle of the plot."""
    ordered = sorted(marks, key=lambda mark: mark.size_bytes)
    for number, mark in enumerate(ordered):
        drawn = mark.interval if mark.kind != "other" else None
        low, high = drawn or (mark.top1, mark.top1)
        above = number % 2 == 0
        side = "left" if number == 0 else "right" if number == len(ordered) - 1 else "center"
        axes.annotate(
            f"{clip(mark.label, _MAX_NAME)}\n{size(mark.size_bytes)}, {100 * mark.top1:.1f} %",
            (mark.size_bytes, high if above else low),
            (0, 6 if above else -6),
            textcoords="offset points",
            ha=side,
            va="bottom" if above else "top",
            fontsize=8.5,
        )


def _bar_panel(axes: Axes, title: str, its: Sequence[Bar], kind: str) -> None:
    sign = -1 if kind == "ratio" else 1
    for place, bar in enumerate(its):
        value = sign * bar.value
        axes.barh(place, value, 0.5, color=_COLOURS["s0" if value >= 0 else "s1"])
        if bar.low is not None and bar.high is not None:
            axes.plot([sign * bar.low, sign * bar.high], [place, place], c=_COLOURS["ink"], lw=1.4)
    axes.axvline(0, c=_COLOURS["quiet"], lw=1)
    names = [f"{clip(bar.name, _MAX_NAME)}\n{bar.told}" for bar in its]
    axes.set_yticks(range(len(its)), names, fontsize=8)
    axes.set_ylim(len(its) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_title(title, loc="left")
    if kind == "ratio":
        low, high = axes.get_xlim()
        ratios = _round_steps(math.exp(max(low, -50)), math.exp(min(high, 50)))
        axes.xaxis.set_major_locator(FixedLocator([math.log(ratio) for ratio in ratios]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{math.exp(value):.4g}×"))
    else:
        axes.xaxis.set_major_formatter(_formatter(kind))


def _round_steps(low: float, high: float) -> list[float]:
    """Round numbers within a range of positive ones, at most seven."""
    if high / low < 4:
        # Steps of which 1 is a multiple, for ratios.
        steps = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [step for step in steps if low <= step <= high]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [
            step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high
        ]
        if len(found) <= 7:
            break
    return found[:: math.ceil(len(found) / 7)]


def _formatter(kind: str) -> FuncFormatter:
    texts: Mapping[str, Callable[[float, Any], str]] = {
        "percent": lambda value, _: f"{100 * value:g} %",
        "share": lambda value, _: f"{100 * value:.0f} %",
        "points": lambda value, _: f"{100 * value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0",
    }
    return FuncFormatter(texts[kind])
