"""What each technique bought: effects, interactions and Shapley shares over the rows of a study, with intervals.

Every figure here is a contrast, a weighted sum of the rows' figures: one pass over a table of weights serves all of
them, and a bootstrap is the same sum over other figures.

Papers: Shapley, "A value for n-person games", 1953; Efron, "Bootstrap methods", 1979 (pairs: all rows see the same
resampled images); Hooker et al., "What Do Compressed Deep Neural Networks Forget?", 2019 (images that flip).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from squeezekit.experiment import file_bytes, reference_level

__all__ = [
    "ClassChange",
    "Effect",
    "Estimate",
    "class_changes",
    "flips",
    "interactions",
    "main_effects",
    "pareto",
    "shapley",
    "smallest_within",
]

Row = Mapping[str, Any]
# A combination of levels, in the order of the factors.
Cell = tuple[str, ...]
Contrast = dict[Cell, float]
Grid = Mapping[str, Sequence[str]]

_DRAWS = 1000
# The two-sided 95 % quantile of the normal distribution.
_NORMAL = float(stats.norm.ppf(0.975))


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval.

    Args:
        value: the estimate.
        low: lower end; None when nothing tells how sure the value is (one seed, and no test images in it).
        high: upper end, likewise.
        source: where the interval comes from: "seeds" (Student's t), "images" (paired bootstrap), or "".
    """

    value: float
    low: float | None = None
    high: float | None = None
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """What a level of a factor (two, for an interaction) did to a measure.

    Args:
        factors: pairs of factor and level.
        estimate: of the change, in the measure's own unit.
        contexts: in how many combinations of the other factors it was seen.
    """

    factors: tuple[tuple[str, str], ...]
    estimate: Estimate
    contexts: int


@dataclasses.dataclass(frozen=True, slots=True)
class ClassChange:
    """What a class gained or lost: the change of its recall in [-1, 1], its 95 % interval, its test images."""

    label: int
    change: float
    low: float
    high: float
    images: int


def main_effects(
    rows: Sequence[Row], measure: str, truth: Sequence[int], grid: Grid | None = None
) -> list[Effect]:
    """The mean change that each level makes against its factor's reference, over all settings of the other factors.

    Args:
        rows: of one study; baselines and rows of unfinished seeds are passed over.
        measure: "bytes" or "latency" (natural logarithms, so that exp of an effect is a ratio) or "top1" in [0, 1].
        truth: the class of each test image.
        grid: the levels of each factor, which say what its reference is (`experiment.reference_level`); by default
            those of the rows, as they come.

    Returns:
        One effect for each level but the references, in the factors' order.

    Raises:
        ValueError: an unknown measure.

    Example:
        >>> def row(prune, size):
        ...     return {"factors": {"prune": prune}, "seed": 0, "file_bytes": size, "predicted": [0]}
        >>> effect = main_effects([row("", 800), row("prune(0.8)", 200)], "bytes", [0])[0]
        >>> effect.factors, round(math.exp(effect.estimate.value), 3)
        ((('prune', 'prune(0.8)'),), 0.25)
    """
    table = _Table(rows, measure, truth, grid)
    effects = []
    for place, level in table.changes():
        pairs = [
            (cell, _at(cell, place, level))
            for cell in table.cells
            if cell[place] == table.reference(place) and _at(cell, place, level) in table.cells
        ]
        if pairs:
            terms = itertools.chain.from_iterable(((-1.0, off), (1.0, on)) for off, on in pairs)
            effects.append(table.effect(((place, level),), _sum(terms, len(pairs)), len(pairs)))
    return effects


def interactions(
    rows: Sequence[Row], measure: str, truth: Sequence[int], grid: Grid | None = None
) -> list[Effect]:
    """How far two levels together are from the sum of what each does alone: y11 - y10 - y01 + y00, on average.

    Under 0 for "bytes" they help one another, over 0 one takes away what the other bought. Arguments as for
    `main_effects`.

    Returns:
        One effect for each pair of levels of different factors that was seen with all four corners.
    """
    table = _Table(rows, measure, truth, grid)
    effects = []
    for (first, one), (second, other) in itertools.combinations(table.changes(), 2):
        if first == second:
            continue
        squares = []
        for cell in table.cells:
            if cell[first] == table.reference(first) and cell[second] == table.reference(second):
                corners = (_at(cell, first, one), _at(cell, second, other))
                both = _at(corners[0], second, other)
                if both in table.cells and all(corner in table.cells for corner in corners):
                    squares.append(((1, cell), (-1, corners[0]), (-1, corners[1]), (1, both)))
        if squares:
            contrast = _sum(itertools.chain.from_iterable(squares), len(squares))
            effects.append(table.effect(((first, one), (second, other)), contrast, len(squares)))
    return effects


def shapley(
    rows: Sequence[Row],
    measure: str,
    truth: Sequence[int],
    grid: Grid | None = None,
    *,
    levels: Mapping[str, str] | None = None,
) -> list[Effect]:
    """Divide the change from nothing to everything among the factors: each one's mean over all orders of adding them.

    The values add up to the whole change exactly. Other arguments as for `main_effects`.

    Args:
        rows: of one study.
        measure: as for `main_effects`.
        truth: as for `main_effects`.
        grid: as for `main_effects`.
        levels: the level of each factor that counts as "on"; by default the first that is not its reference.

    Returns:
        One effect a factor; nothing when a combination that is needed is missing.
    """
    table = _Table(rows, measure, truth, grid)
    chosen: dict[int, str] = {}
    for place, level in table.changes():
        wanted = (levels or {}).get(table.factors[place])
        if wanted is None or wanted == level:
            chosen.setdefault(place, level)
    players = sorted(chosen)
    effects = []
    for player in players:
        others = [place for place in players if place != player]
        terms = []
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(players))
            for coalition in itertools.combinations(others, size):
                without = table.corner({place: chosen[place] for place in coalition})
                with_it = _at(without, player, chosen[player])
                if without not in table.cells or with_it not in table.cells:
                    return []
                terms += [(-weight, without), (weight, with_it)]
        effects.append(table.effect(((player, chosen[player]),), _sum(terms), 2 ** len(others)))
    return effects


def pareto(rows: Sequence[Row]) -> list[str]:
    """Ids of the rows that no other row beats in both bytes and top-1, smallest first."""
    front: list[str] = []
    best = -math.inf
    for row in sorted(rows, key=lambda row: (file_bytes(row), -row["top1"])):
        if row["top1"] > best:
            best = row["top1"]
            front.append(row["id"])
    return front


def smallest_within(rows: Sequence[Row], points: float) -> Row | None:
    """The smallest file whose *validation* accuracy is at most `points` (in [0, 1]) under that of the baseline.

    With several seeds the baseline is the mean of theirs. Test images choose nothing.
    """
    baselines = [row["validation_top1"] for row in rows if row.get("baseline")]
    if not baselines:
        return None
    bar = sum(baselines) / len(baselines) - points
    fine = [row for row in rows if not row.get("baseline") and row["validation_top1"] >= bar]
    return min(fine, key=file_bytes, default=None)


def class_changes(row: Row, full: Row, truth: Sequence[int], classes: int) -> list[ClassChange]:
    """What each class gained or lost by compression, worst first; a class without test images is left out.

    The interval is that of a mean of paired differences (-1, 0 or 1 an image), by the normal approximation with
    one added image each way (Agresti and Min, 2005), which holds for small classes and for no change at all.

    Args:
        row: a compressed network's.
        full: the uncompressed network of the same seed.
        truth: the class of each test image.
        classes: number of classes.
    """
    labels = np.asarray(truth)
    now, before = (np.asarray(each["predicted"]) == labels for each in (row, full))
    changes = []
    for label in range(classes):
        mine = labels == label
        count = int(mine.sum())
        if not count:
            continue
        won, lost = int((now & ~before & mine).sum()), int((before & ~now & mine).sum())
        middle = (won - lost) / (count + 2)
        spread = math.sqrt((won + lost + 1) - (won - lost) ** 2 / (count + 2)) / (count + 2)
        low, high = middle - _NORMAL * spread, middle + _NORMAL * spread
        changes.append(ClassChange(label, (won - lost) / count, max(-1.0, low), min(1.0, high), count))
    return sorted(changes, key=lambda change: change.change)


def flips(rows: Sequence[Row], full_rows: Sequence[Row]) -> list[int]:
    """Test images whose most frequent label over the seeds differs between two sets of networks, in order.

    Where the full networks agree more on an image, its flip says more about compression: those come first.
    """
    (now, _), (before, sure) = _modal(rows), _modal(full_rows)
    flipped = np.flatnonzero(now != before)
    return [int(image) for image in flipped[np.argsort(-sure[flipped], kind="stable")]]


class _Table:
    """The rows as figures by seed and cell, and what an estimate needs."""

    def __init__(
        self, rows: Sequence[Row], measure: str, truth: Sequence[int], grid: Grid | None = None
    ) -> None:
        if measure not in ("bytes", "latency", "top1"):
            raise ValueError(f"Expected a measure of bytes, latency or top1. Received: {measure!r}.")
        rows = [row for row in rows if row["factors"]]
        seen: dict[str, dict[str, None]] = {name: {} for name in grid or {}}
        for row in rows:
            for name in row["factors"]:
                seen.setdefault(name, {})
        for name, its_levels in seen.items():
            its_levels.update(dict.fromkeys(row["factors"].get(name, "") for row in rows))
        # What all rows have in common, a coder that was not studied, is no effect.
        self.factors = [name for name, its_levels in seen.items() if len(its_levels) > 1]
        self._references = [
            reference_level(
                [level for level in (grid or {}).get(name, ()) if level in seen[name]] or [*seen[name]]
            )
            for name in self.factors
        ]
        by_seed: dict[int, dict[Cell, Row]] = {}
        for row in rows:
            cell = tuple(row["factors"].get(name, "") for name in self.factors)
            by_seed.setdefault(row["seed"], {})[cell] = row
        most = max(map(len, by_seed.values()), default=0)
        # A seed that is not finished would weigh some combinations more than others.
        whole = [cells for _, cells in sorted(by_seed.items()) if len(cells) == most]
        shared = set.intersection(*map(set, whole)) if whole else set()
        order = [cell for cell in (whole[0] if whole else {}) if cell in shared]
        self.cells = {cell: index for index, cell in enumerate(order)}
        self._images = None
        if measure == "top1":
            labels = np.asarray(truth)
            # (seeds, cells, images): whether each was right.
            right = [[np.asarray(cells[cell]["predicted"]) == labels for cell in order] for cells in whole]
            self._images = np.asarray(right, np.float32)
            self.figures = self._images.mean(axis=2)
        else:
            figures = [[_figure(cells[cell], measure) for cell in order] for cells in whole]
            self.figures = np.log(np.asarray(figures, np.float64))

    def reference(self, place: int) -> str:
        return self._references[place]

    def changes(self) -> list[tuple[int, str]]:
        """Each factor's place and each of its levels but the reference, in the order in which rows came."""
        found: dict[tuple[int, str], None] = {}
        for place in range(len(self.factors)):
            for cell in self.cells:
                if cell[place] != self.reference(place):
                    found[place, cell[place]] = None
        return list(found)

    def corner(self, on: Mapping[int, str]) -> Cell:
        return tuple(on.get(place, self.reference(place)) for place in range(len(self.factors)))

    def effect(self, changes: tuple[tuple[int, str], ...], contrast: Contrast, contexts: int) -> Effect:
        named = tuple((self.factors[place], level) for place, level in changes)
        return Effect(named, self._estimate(contrast), contexts)

    def _estimate(self, contrast: Contrast) -> Estimate:
        weights = np.zeros(len(self.cells))
        for cell, weight in contrast.items():
            weights[self.cells[cell]] = weight
        by_seed = self.figures @ weights
        value, seeds = float(by_seed.mean()), len(by_seed)
        if self._images is not None:
            # The same images for all rows, so that what is hard for every network cancels.
            change = np.einsum("sci,c->i", self._images, weights) / seeds
            random = np.random.default_rng(0)
            images = len(change)
            draws = random.multinomial(images, np.full(images, 1 / images), size=_DRAWS) @ change / images
            low, high = np.quantile(draws, (0.025, 0.975))
            return Estimate(value, float(low), float(high), "images")
        if seeds < 2:
            return Estimate(value)
        half = float(stats.t.ppf(0.975, seeds - 1) * by_seed.std(ddof=1) / math.sqrt(seeds))
        return Estimate(value, value - half, value + half, "seeds")


def _figure(row: Row, measure: str) -> float:
    return file_bytes(row) if measure == "bytes" else row["latency_ms"]


def _at(cell: Cell, place: int, level: str) -> Cell:
    return (*cell[:place], level, *cell[place + 1 :])


def _sum(terms: Iterable[tuple[float, Cell]], contexts: int = 1) -> Contrast:
    """Add weights up by cell, as a mean over so many contexts."""
    contrast: Contrast = {}
    for weight, cell in terms:
        contrast[cell] = contrast.get(cell, 0.0) + weight / contexts
    return contrast


def _modal(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent label of each image (the smallest of several) and the share of rows that give it."""
    predicted = np.asarray([row["predicted"] for row in rows])
    votes = np.apply_along_axis(np.bincount, 0, predicted, minlength=int(predicted.max()) + 1)
    return votes.argmax(axis=0), votes.max(axis=0) / len(rows)
