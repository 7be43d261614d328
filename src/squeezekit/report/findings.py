"""What a study found, worked out from its rows: picks, effects, who pays, and three sentences of figures."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from squeezekit.experiment import Results, file_bytes, full_rows, is_uncompressed, reference_level
from squeezekit.experiment.record import mapping, sequence
from squeezekit.report import effects
from squeezekit.report.effects import ClassChange, Effect, Estimate
from squeezekit.report.tables import churn, full_of, times_smaller
from squeezekit.report.text import count, percent, size, times
from squeezekit.report.wording import bought, level_name, noun, points, ratio, row_name

__all__ = ["LOSS", "Findings", "View", "study_findings", "summary"]

Row = Mapping[str, Any]

# A class that loses more than this is told in words wherever its row is shown.
LOSS = 0.05
# What "nearly as good as AlexNet" may mean: a point, and ten.
_WITHIN = (0.01, 0.10)


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """A row and what the report adds to it.

    Args:
        row: of `results.jsonl`.
        name: what was done, in words.
        times_smaller: than AlexNet's file.
        churn: against the uncompressed network of the same seed, in [0, 1].
        changes: of each class against that network, worst first; empty where nothing was compressed.
        front: whether no other row is both smaller and more often right.
        pick: why the row was picked; "" for most.
    """

    row: Row
    name: str
    times_smaller: float | None
    churn: float | None
    changes: list[ClassChange]
    front: bool
    pick: str = ""

    @property
    def worst(self) -> ClassChange | None:
        """The class that lost most."""
        return self.changes[0] if self.changes else None

    @property
    def losers(self) -> list[ClassChange]:
        """The classes that lost over 5 points."""
        # Tolerance: 3 of 60 images are 5 points, whatever floats make of them.
        return [change for change in self.changes if change.change < -LOSS - 1e-9]


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """All that the report shows of the results; see `effects` for what the figures mean.

    Args:
        views: AlexNet first, then from small to large.
        picks: the smallest files within 1 and within 10 points of AlexNet, chosen on validation images.
        main: effects by measure ("bytes", "top1", "latency").
        interactions: likewise.
        shares: of each technique in the reduction of the log of bytes, adding up to 1; empty when unknown.
        reduction: the whole of it as times smaller.
        flipped: test images whose label differs between the uncompressed network and the first pick.
        grid: the levels of each factor.
        sentences: the three findings.
    """

    views: list[View]
    labels: list[str]
    truth: list[int]
    picks: list[View]
    main: dict[str, list[Effect]]
    interactions: dict[str, list[Effect]]
    shares: list[Effect]
    reduction: float | None
    flipped: list[int]
    grid: dict[str, list[str]]
    sentences: list[str]

    def reference(self, factor: str) -> str:
        """The level of a factor that the others are compared with."""
        return reference_level(self.grid.get(factor) or [""])

    def level_name(self, effect: Effect) -> str:
        """The level of a main effect in words."""
        factor, level = effect.factors[0]
        return level_name(factor, level, self.reference(factor))

    def noun(self, effect: Effect) -> str:
        """What a sentence calls the use of that level."""
        factor, level = effect.factors[0]
        return noun(factor, level, self.reference(factor))


def study_findings(results: Results) -> Findings:
    """Work out everything that the report says.

    Args:
        results: of `read_results`.
    """
    rows, data = results.rows, results.common["data"]
    labels, truth = data["labels"], data["truth"]
    grid = {
        str(name): [*map(str, sequence(its))] for name, its in mapping(results.common.get("grid")).items()
    }
    network = results.network
    chosen: dict[str, str] = {}
    for within, name in zip(_WITHIN, ("within 1 point", "within 10 points"), strict=True):
        row = effects.smallest_within(rows, within)
        if row is not None:
            chosen[row["id"]] = " and ".join(filter(None, [chosen.get(row["id"]), name]))
    front = set(effects.pareto(rows))
    views = [
        View(
            row=row,
            name=row_name(row, grid),
            times_smaller=times_smaller(row, results),
            churn=churn(row, rows, network),
            changes=_changes(row, rows, network, truth, len(labels)),
            front=row["id"] in front,
            pick=chosen.get(row["id"], ""),
        )
        for row in sorted(rows, key=lambda row: (not row.get("baseline"), file_bytes(row)))
    ]
    main, crossed = {}, {}
    compressed = [row for row in rows if not row.get("baseline")]
    for measure in ("bytes", "top1", "latency"):
        known = compressed and (measure != "latency" or all(row.get("latency_ms") for row in compressed))
        main[measure] = effects.main_effects(compressed, measure, truth, grid) if known else []
        crossed[measure] = effects.interactions(compressed, measure, truth, grid) if known else []
    shares, reduction = _shares(compressed, main["bytes"], truth, grid)
    by_id = {view.row["id"]: view for view in views}
    picks = [by_id[identity] for identity in chosen]
    found = Findings(
        views=views,
        labels=labels,
        truth=truth,
        picks=picks,
        main=main,
        interactions=crossed,
        shares=shares,
        reduction=reduction,
        flipped=_flipped(picks[0] if picks else None, views, network),
        grid=grid,
        sentences=[],
    )
    sentences = [_smallest(found), _sources(found), _payers(found)]
    return dataclasses.replace(found, sentences=[sentence for sentence in sentences if sentence])


def summary(found: Findings) -> dict[str, Any]:
    """The findings as plain values for JSON: bytes and latency as times smaller and faster, accuracy in [0, 1]."""
    return {
        "findings": found.sentences,
        "picks": [
            {"pick": view.pick, "name": view.name, **{key: view.row.get(key) for key in _PLAIN}}
            | {"file_bytes": file_bytes(view.row), "times_smaller": view.times_smaller}
            | {"lost_over_5_points": [found.labels[change.label] for change in view.losers]}
            for view in found.picks
        ],
        "front": [view.row["id"] for view in found.views if view.front],
        "effects": {measure: _plain(those, measure) for measure, those in found.main.items()},
        "interactions": {measure: _plain(those, measure) for measure, those in found.interactions.items()},
        "shares_of_the_reduction": _plain(found.shares, "shares"),
    }


_PLAIN = ("id", "seed", "file", "recipe", "top1", "top1_interval", "validation_top1")


def _plain(those: Sequence[Effect], measure: str) -> list[dict[str, Any]]:
    """Effects as plain values; a logarithm becomes the ratio that the report shows."""
    listed = []
    for effect in those:
        ends = [effect.estimate.low, effect.estimate.value, effect.estimate.high]
        if measure in ("bytes", "latency"):
            ends = [None if end is None else math.exp(-end) for end in reversed(ends)]
        low, value, high = ends
        listed.append(
            {"levels": dict(effect.factors), "value": value, "low": low, "high": high}
            | {"interval_from": effect.estimate.source, "contexts": effect.contexts}
        )
    return listed


def _changes(
    row: Row, rows: Sequence[Row], network: str, truth: Sequence[int], classes: int
) -> list[ClassChange]:
    same = is_uncompressed(row) and row["network"] == network
    full = None if row.get("baseline") or same else full_of(row, rows, network)
    if full is None:
        return []
    return effects.class_changes(row, full, truth, classes)


def _shares(
    rows: Sequence[Row], main: Sequence[Effect], truth: Sequence[int], grid: effects.Grid
) -> tuple[list[Effect], float | None]:
    """Shapley shares of each factor's strongest level, largest first, and the reduction that they divide."""
    strongest: dict[str, Effect] = {}
    for effect in main:
        factor = effect.factors[0][0]
        if factor not in strongest or effect.estimate.value < strongest[factor].estimate.value:
            strongest[factor] = effect
    levels = {factor: effect.factors[0][1] for factor, effect in strongest.items()}
    values = effects.shapley(rows, "bytes", truth, grid, levels=levels) if rows else []
    whole = sum(effect.estimate.value for effect in values)
    if whole >= 0:
        return [], None

    def part(value: float | None) -> float | None:
        return None if value is None else value / whole

    shares = [
        dataclasses.replace(
            effect,
            # Divided by a negative number: the low end becomes the high one.
            estimate=Estimate(
                effect.estimate.value / whole,
                part(effect.estimate.high),
                part(effect.estimate.low),
                effect.estimate.source,
            ),
        )
        for effect in values
    ]
    return sorted(shares, key=lambda share: -share.estimate.value), math.exp(-whole)


def _flipped(view: View | None, views: Sequence[View], network: str) -> list[int]:
    """The test images that a picked recipe flips, over all seeds that have it."""
    if view is None:
        return []
    same = [other.row for other in views if other.row["factors"] == view.row["factors"]]
    full = full_rows([other.row for other in views], network)
    return effects.flips(same, full) if full else []


def _smallest(found: Findings) -> str:
    """How small, at what accuracy, compared with what."""
    compressed = [view for view in found.views if not view.row.get("baseline")]
    if not compressed:
        return ""
    baselines = [view.row["top1"] for view in found.views if view.row.get("baseline")]
    images = count(len(found.truth))
    view = next(iter(found.picks), None) or min(compressed, key=lambda view: file_bytes(view.row))
    row = view.row
    low, high = row["top1_interval"]
    right = f"{percent(row['top1'])} of {images} test images right ({100 * low:.1f} to {percent(high)}"
    if not baselines:
        return f"The smallest file has {size(file_bytes(row))} and gets {right})."
    right += f"; AlexNet: {percent(sum(baselines) / len(baselines))})"
    # Rounded down where decimals no longer matter: the sentence may not claim more than the file holds.
    fold = view.times_smaller or 0.0
    told = f"{times(fold) if fold < 100 else count(math.floor(fold))} times smaller than AlexNet"
    what = f"the smallest file {view.pick.partition(' and ')[0]} of it" if view.pick else "the smallest file"
    missed = "" if view.pick else " No file stays within 10 points of it."
    return f"{size(file_bytes(row))}, {told}, and {right}: {what}.{missed}"


def _sources(found: Findings) -> str:
    """What bought the reduction."""
    if found.shares and found.reduction:
        parts = [f"{found.noun(share)} {bought(share.estimate)}" for share in found.shares]
        parts[0] = f"{found.noun(found.shares[0])} bought {bought(found.shares[0].estimate)} of that"
        return f"All techniques together make the file {times(found.reduction)} times smaller: {', '.join(parts)}."
    best = min(found.main["bytes"], key=lambda effect: effect.estimate.value, default=None)
    if best is None:
        return ""
    return f"{_capital(found.level_name(best))} saves most: {ratio(best.estimate)} smaller on average."


def _payers(found: Findings) -> str:
    """Which technique costs most accuracy, and who pays."""
    worst = min(found.main["top1"], key=lambda effect: effect.estimate.value, default=None)
    compressed = [view for view in found.views if view.changes]
    if worst is None or not compressed:
        return ""
    if worst.estimate.high is not None and worst.estimate.value < 0 <= worst.estimate.high:
        # An interval that holds zero does not say that anything was lost.
        nearest = f"{found.noun(worst)} comes nearest, {points(worst.estimate)} on average"
        cost = f"No technique surely costs accuracy: {nearest}"
    elif worst.estimate.value < 0:
        cost = f"{_capital(found.noun(worst))} costs most accuracy, {points(worst.estimate)} on average"
    else:
        cost = "No technique costs accuracy on average"
    losing = [view for view in compressed if view.losers]
    if not losing:
        return f"{cost}, and no class loses over 5 points in any of {count(len(compressed))} files."
    hit = collections.Counter(change.label for view in losing for change in view.losers)
    label, files = hit.most_common(1)[0]
    return (
        f"{cost}; {count(len(losing))} of {count(len(compressed))} files lose over 5 points on a class, "
        f"most often {found.labels[label]} ({count(files)} files)."
    )


def _capital(text: str) -> str:
    # rANS is written as it is.
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]
