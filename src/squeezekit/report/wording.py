"""What the report calls networks, techniques and changes: levels and rows in words, changes with their intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from squeezekit import models
from squeezekit.compress import TECHNIQUES
from squeezekit.experiment import reference_level
from squeezekit.report.effects import Estimate
from squeezekit.report.text import times

__all__ = ["bought", "level_name", "noun", "points", "ratio", "row_name", "signed"]

Grid = Mapping[str, Sequence[str]]

# How their inventors write them.
_CODERS = {"none": "no coder", "huffman": "Huffman", "rans": "rANS"}


def level_name(factor: str, level: str, reference: str = "") -> str:
    """A level in words; a recipe's own text where that is clear.

    Args:
        factor: "network", "coder", "order" or a technique.
        level: of it.
        reference: of a network, the one that it is compared with.

    Example:
        >>> level_name("network", "squeezenet-1.1-separable", "squeezenet-1.1")
        'separable fire'
        >>> level_name("prune", ""), level_name("coder", "small")
        ('no prune', 'small coder')
    """
    if factor == "network":
        ours, other = models.MODELS.get(level), models.MODELS.get(reference)
        more = [name for name in ours.features if other and name not in other.features] if ours else []
        related = ours is not None and other is not None and ours.family == other.family
        return " and ".join(more) if related and more else models.title(level)
    if factor == "coder":
        return _CODERS.get(level, f"{level} coder")
    if factor == "order":
        return level.replace(" | ", ", then ") or "usual order"
    return level or f"no {factor}"


def noun(factor: str, level: str, reference: str = "") -> str:
    """What a sentence calls the use of a level: "pruning", "coding", "separable fire"."""
    if factor in TECHNIQUES:
        return TECHNIQUES[factor].noun
    return "coding" if factor == "coder" else level_name(factor, level, reference)


def row_name(row: Mapping[str, Any], grid: Grid | None = None) -> str:
    """What was done to the network, in words.

    Args:
        row: of a study.
        grid: the levels of each factor; a factor of one level is no news.

    Example:
        >>> row_name({"factors": {"prune": "prune(0.8)", "coder": "rans"}})
        'prune(0.8), rANS'
    """
    if row.get("baseline"):
        return "AlexNet"
    grid = grid or {}
    done = []
    for factor, level in row["factors"].items():
        levels = grid.get(factor, ("", level))
        reference = reference_level(levels) if factor != "coder" else "none"
        if level != reference and len(levels) > 1:
            done.append(level_name(factor, level, reference))
    return ", ".join(done) or "uncompressed"


def signed(value: float, digits: int = 1) -> str:
    """Proportions as points with a sign, zero without one.

    Example:
        >>> signed(-0.0125), signed(0.004), signed(-0.0001)
        ('−1.2', '+0.4', '0.0')
    """
    text = f"{abs(100 * value):.{digits}f}"
    if not text.strip("0."):
        return text
    return ("\N{MINUS SIGN}" if value < 0 else "+") + text


def points(estimate: Estimate) -> str:
    """A change of accuracy with its interval: "−1.2 points (−1.6 to −0.8)"."""
    return f"{signed(estimate.value)} points" + _within(estimate, signed)


def ratio(estimate: Estimate) -> str:
    """A change of a logarithm as how many times less: "3.42× (3.30 to 3.55)"."""
    return f"{_ratio(estimate.value)}×" + _within(estimate, _ratio)


def bought(share: Estimate) -> str:
    """A share of the reduction: "38 % (36 to 40)"."""
    return f"{_whole(share.value)} %" + _within(share, _whole)


def _ratio(change: float) -> str:
    fold = math.exp(min(-change, 50.0))
    return times(fold) if fold >= 100 else f"{fold:.2f}"


def _whole(value: float) -> str:
    text = f"{abs(100 * value):.0f}"
    return text if value >= 0 or text == "0" else f"\N{MINUS SIGN}{text}"


def _within(estimate: Estimate, write: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    ends = write(estimate.low), write(estimate.high)
    # The less a logarithm, the larger the ratio: ends are told in rising order.
    low, high = reversed(ends) if write is _ratio else ends
    return f" ({low} to {high})"
