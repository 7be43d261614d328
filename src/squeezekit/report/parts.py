"""The parts of the page: what each figure and table of it shows."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

from squeezekit.experiment import Results, file_bytes, full_rows
from squeezekit.experiment.record import figure, mapping, sequence
from squeezekit.report import figures
from squeezekit.report.effects import Effect, Estimate
from squeezekit.report.figures import Bar, Dot, Mark
from squeezekit.report.findings import Findings, View
from squeezekit.report.pictures import MAX_PICTURES
from squeezekit.report.templating import unbroken
from squeezekit.report.text import clip, milliseconds, percent, size, times
from squeezekit.report.wording import bought, points, ratio, signed

__all__ = [
    "class_changes_part",
    "class_table",
    "crossings",
    "effect_panels",
    "effects_chart",
    "flips",
    "interval_note",
    "losses",
    "on_data",
    "recalls",
    "run_pareto",
    "shaded",
    "shares",
    "study_marks",
    "told",
]

_MAX_CLASSES, _MAX_SHOWN, _MAX_LOSERS = 24, 3, 3
_MAX_BYTES = 1e15


def on_data(data: Mapping[str, Any]) -> str:
    """What the images are, for the line above the title."""
    return f" on {clip(data['source'], 120)}" if data.get("source") else ""


def _interval(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The ends of a row's 95 % interval, or None."""
    ends = [figure(end) for end in sequence(row.get("top1_interval"))]
    known = [end for end in ends if end is not None and 0 <= end <= 1]
    return (known[0], known[1]) if len(known) == len(ends) == 2 else None


def run_pareto(rows: Sequence[Mapping[str, Any]], reference: Mapping[str, Any]) -> str:
    """Accuracy against bytes of the files of a run; "" where no row has both."""
    marks = []
    for place, row in enumerate(rows):
        bytes_, top1 = figure(row.get("file_bytes")), figure(row.get("top1"))
        # Whatever else a damaged record holds has no place on a scale.
        if bytes_ is not None and 1 <= bytes_ < _MAX_BYTES and top1 is not None and 0 <= top1 <= 1:
            kind = "front" if row is rows[-1] else "baseline" if row is reference else "other"
            name = str(row.get("name") or "network")
            marks.append(Mark(f"row-{place}", bytes_, top1, _interval(row), kind, False, name))
    return (
        figures.inline(figures.pareto(marks), "Top-1 accuracy against the size of the file") if marks else ""
    )


def study_marks(found: Findings) -> list[Mark]:
    """Every file; names for the few that everyone looks for: AlexNet, the uncompressed network, the picks."""
    full = {row["id"] for row in full_rows([view.row for view in found.views], found.reference("network"))}
    marks, named = [], set()
    for place, view in enumerate(found.views):
        row = view.row
        kind = "baseline" if row.get("baseline") else "front" if view.front else "other"
        label = view.pick.partition(" and ")[0] or (
            "AlexNet" if row.get("baseline") else "uncompressed" if row["id"] in full else ""
        )
        marks.append(
            Mark(
                f"row-{place}",
                file_bytes(row),
                row["top1"],
                _interval(row),
                kind,
                bool(view.losers),
                "" if label in named else label,
            )
        )
        named.add(label)
    return marks


def recalls(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The weakest classes of the network that ships, and what all networks make of them."""
    tables = [mapping(row.get("per_class")) for row in rows]
    shipped: Mapping[str, Any] = next((table for table in reversed(tables) if table), {})
    order = sorted(shipped, key=lambda label: (figure(shipped[label]) or 0.0, str(label)))[:_MAX_CLASSES]
    lines = [(str(label), [figure(table.get(label)) for table in tables]) for label in order]
    drawn = [
        (label, [Dot(_series(place, rows), value) for place, value in enumerate(values) if value is not None])
        for label, values in lines
    ]
    return {
        "chart": figures.inline(figures.dots(drawn, "percent"), "Recall of each class") if lines else "",
        "lines": lines,
        "series": [
            (_series(place, rows), str(row.get("name") or "network")) for place, row in enumerate(rows)
        ],
        "more": len(shipped) - len(lines),
    }


def _series(place: int, rows: Sequence[Any]) -> int:
    """A colour and shape for each row: 0 is what ships."""
    return 0 if place == len(rows) - 1 else place + 1


def losses(view: View, labels: Sequence[str]) -> str:
    """Which classes lost over 5 points, in words."""
    names = [clip(labels[change.label], 24) for change in view.losers]
    more = f" and {len(names) - _MAX_LOSERS} more" if len(names) > _MAX_LOSERS else ""
    return f"loses over 5 points on {', '.join(names[:_MAX_LOSERS])}{more}"


def told(view: View, labels: Sequence[str]) -> str:
    """What the plot says of a mark."""
    row = view.row
    low, high = row["top1_interval"]
    told = [size(file_bytes(row))]
    if view.times_smaller is not None and not row.get("baseline"):
        told.append(f"{times(view.times_smaller)} times smaller than AlexNet")
    told.append(f"{percent(row['top1'])} right ({100 * low:.1f} to {percent(high)})")
    if view.churn is not None:
        told.append(f"churn {percent(view.churn)}")
    if figure(row.get("latency_ms")) is not None:
        told.append(f"{milliseconds(row['latency_ms'])} ms")
    sentence = unbroken(", ".join(told)) + "."
    return sentence + (f" It {losses(view, labels)}." if view.losers else "")


def _bars(found: Findings, effects: Sequence[Effect], tell: Any, name: Any = None) -> list[Bar]:
    estimates = [(effect, effect.estimate) for effect in effects]
    return [
        Bar((name or found.level_name)(effect), tell(one), one.value, one.low, one.high)
        for effect, one in estimates
    ]


def shares(found: Findings) -> str:
    """The bars of Shapley shares; "" without any."""
    if not found.shares:
        return ""
    chart = figures.bars(
        [("Share of the reduction", _bars(found, found.shares, bought, found.noun), "share")]
    )
    return figures.inline(chart, "Share of the reduction that each technique bought")


def effect_panels(found: Findings) -> list[tuple[str, list[Bar], str]]:
    """The panels of main effects that there are: title, bars, kind."""
    speed = _of_networks(found.main["latency"])
    panels = [
        ("How many times smaller the file becomes", _bars(found, found.main["bytes"], ratio), "ratio"),
        (
            "Change of top-1 accuracy, in points",
            _bars(found, _of_networks(found.main["top1"]), points),
            "points",
        ),
        (
            "How many times faster one inference becomes",
            _bars(found, speed, ratio),
            "ratio",
        ),
    ]
    return [panel for panel in panels if panel[1]]


def effects_chart(found: Findings) -> str:
    """The bars of main effects; "" without any."""
    panels = effect_panels(found)
    return (
        figures.inline(figures.bars(panels), "What each level does to bytes, accuracy and latency")
        if panels
        else ""
    )


def _of_networks(effects: Sequence[Effect]) -> list[Effect]:
    """Without those of coders: the decoded network is the same, and was measured once for all of them."""
    return [effect for effect in effects if not _is_coder(effect)]


def _is_coder(effect: Effect) -> bool:
    return any(factor == "coder" for factor, _ in effect.factors)


def interval_note(found: Findings) -> str:
    """Where the intervals of the effects come from."""
    sources = {effect.estimate.source for those in found.main.values() for effect in those}
    told = []
    if "images" in sources:
        told.append("accuracy's from a paired bootstrap over the test images")
    if "seeds" in sources:
        told.append("those of bytes and latency from seeds")
    coder = "A coder changes no answer and no latency. " if any(map(_is_coder, found.main["top1"])) else ""
    return coder + (f"Intervals are 95 %: {'; '.join(told)}." if told else "")


def crossings(found: Findings) -> list[tuple[str, str, list[str], list[tuple[str, list[Any]]]]]:
    """The tables of interactions that there are: title, how to read it, names of columns, rows of cells."""
    # A record may lack its grid.
    order = {name: place for place, name in enumerate(found.grid)}
    made = []
    for title, about, effects, tell, gain in (
        (
            "Bytes",
            "Times smaller beyond both alone; 1.00: they add up.",
            found.interactions["bytes"],
            lambda change: ratio(Estimate(change)).removesuffix("×"),
            -1,
        ),
        (
            "Accuracy",
            "Points of top-1 beyond both alone.",
            _of_networks(found.interactions["top1"]),
            signed,
            1,
        ),
    ):
        levels = list(dict.fromkeys(level for effect in effects for level in effect.factors))
        levels.sort(key=lambda level: order.get(level[0], len(order)))
        by_pair = {frozenset(effect.factors): effect.estimate for effect in effects}
        largest = max((abs(effect.estimate.value) for effect in effects), default=0.0) or 1.0

        def cell(
            estimate: Estimate | None, tell: Any = tell, gain: int = gain, largest: float = largest
        ) -> Any:
            if estimate is None:
                return None
            ends, sure = "", False
            if estimate.low is not None and estimate.high is not None:
                sure = estimate.low > 0 or estimate.high < 0
                ends = " to ".join(map(tell, (estimate.low, estimate.high)[::gain]))
            return {
                "told": tell(estimate.value),
                "ends": ends,
                "shade": round(3 * gain * estimate.value / largest),
                "sure": sure,
            }

        names = [found.level_name(Effect((level,), Estimate(0.0), 0)) for level in levels]
        rows = [
            (names[place], [cell(by_pair.get(frozenset((one, other)))) for other in levels[:place]])
            for place, one in enumerate(levels)
        ]
        # Levels of one factor are no pair: rows and columns of nothing but those go.
        rows = [(name, cells) for name, cells in rows if any(cells)]
        width = max((at + 1 for _, cells in rows for at, one in enumerate(cells) if one), default=0)
        if width:
            padded = [(name, [*cells[:width], *[None] * (width - len(cells))]) for name, cells in rows]
            made.append((title, about, names[:width], padded))
    return made


def class_changes_part(found: Findings) -> dict[str, Any] | None:
    """What each class gained or lost in the files that a user would take; None where nothing was compressed."""
    compressed = [view for view in found.views if view.changes]
    if not compressed:
        return None
    smallest = min(compressed, key=lambda view: file_bytes(view.row))
    views = [view for view in found.picks if view.changes]
    views = [*views, *([] if smallest in views else [smallest])][:_MAX_SHOWN]
    lines = []
    for worst in views[0].changes[:_MAX_CLASSES]:
        its = [next(other for other in view.changes if other.label == worst.label) for view in views]
        lines.append((found.labels[worst.label], worst.images, its))
    chart = figures.dots(
        [
            (name, [Dot(at, one.change, one.low, one.high) for at, one in enumerate(its)])
            for name, _, its in lines
        ],
        "points",
    )
    return {
        "views": views,
        "lines": lines,
        "more": len(views[0].changes) - len(lines),
        "chart": figures.inline(chart, "Change of each class's recall, in points"),
    }


def class_table(found: Findings) -> list[tuple[str, float, int, float]]:
    """Each class's mean change, in how many files it lost over 5 points, and its worst; most hurt first."""
    changes = collections.defaultdict(list)
    losses: collections.Counter[int] = collections.Counter()
    for view in found.views:
        for change in view.changes:
            changes[change.label].append(change.change)
        losses.update(change.label for change in view.losers)
    listed = [
        (found.labels[label], sum(those) / len(those), losses[label], min(those))
        for label, those in changes.items()
    ]
    return sorted(listed, key=lambda line: (-line[2], line[1]))[:_MAX_CLASSES]


def flips(found: Findings, results: Results, pictures: Mapping[int, str]) -> list[dict[str, str | None]]:
    """The first flipped images: what they are, what they were called before and after."""
    if not found.picks:
        return []
    factors, paths = found.picks[0].row["factors"], sequence(results.common["data"].get("test_paths"))
    after = [row["predicted"] for row in results.rows if row["factors"] == factors]
    before = [row["predicted"] for row in full_rows(results.rows, results.network)]
    return [
        {
            "truth": found.labels[found.truth[image]],
            "before": found.labels[_modal(before, image)],
            "after": found.labels[_modal(after, image)],
            "path": str(paths[image]) if image < len(paths) else None,
            "picture": pictures.get(image),
        }
        for image in found.flipped[:MAX_PICTURES]
    ]


def _modal(predicted: Sequence[Sequence[int]], image: int) -> int:
    """The most frequent label of an image, the smallest of several: as `effects.flips` counts."""
    votes = collections.Counter(labels[image] for labels in predicted)
    return min(votes, key=lambda label: (-votes[label], label))


def shaded(accuracy: float | None, chosen: bool, whole: float) -> dict[str, Any]:
    """A cell of a sensitivity table: the loss in points, a shade for it, and whether it is the setting to take."""
    if accuracy is None:
        return {"told": "", "shade": 0, "chosen": False}
    loss = whole - accuracy
    shade = 0 if loss < 0.005 else -min(3, 1 + math.floor(loss / 0.05))
    return {"told": signed(-loss), "shade": shade, "chosen": chosen}
