"""Magnitude pruning in numbers: which weights a mask keeps, and how the sparsity rises while a stage trains.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017,
equation 1; rounds of pruning and retraining: Han et al., "Learning both weights and connections for efficient
neural networks", 2015, section 3; LAMP: Lee et al., "Layer-adaptive sparsity for the magnitude-based
pruning", 2021.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from squeezekit.compress.technique import Kernel

__all__ = [
    "SCHEDULES",
    "drop_lowest",
    "group_candidates",
    "input_axis",
    "lamp_scores",
    "parse_pattern",
    "ramp_sparsity",
]


def drop_lowest(ranks: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Return boolean masks that keep all but the lowest of `ranks` taken together; True is kept.

    Exactly round(sparsity * number of ranks) are dropped, of equal ones the earliest first.

    Example:
        >>> drop_lowest([np.array([0.1, 3.0]), np.array([0.5, 0.2])], 0.5)
        [array([False,  True]), array([ True, False])]
    """
    flat = np.concatenate([rank.ravel() for rank in ranks])
    dropped = int(np.floor(sparsity * flat.size + 0.5))
    kept = np.ones(flat.size, bool)
    if dropped:
        threshold = np.partition(flat, dropped - 1)[dropped - 1]
        below = flat < threshold
        kept[below] = False
        ties = np.flatnonzero(flat == threshold)
        kept[ties[: dropped - int(below.sum())]] = False
    ends = np.cumsum([rank.size for rank in ranks])[:-1]
    return [part.reshape(rank.shape) for part, rank in zip(np.split(kept, ends), ranks, strict=True)]


def lamp_scores(weight: np.ndarray) -> np.ndarray:
    """Return each weight's share, in [0, 1], of the energy that its kernel has left without all smaller weights.

    score(w) = w^2 / sum of v^2 over all v of the kernel with |v| >= |w| (Lee et al., 2021, equation 5); of equal
    magnitudes the earlier one counts as smaller. The largest weight has 1, so one threshold for many kernels empties
    none.

    Example:
        >>> lamp_scores(np.array([-1.0, 0.0, 2.0, 2.0])).round(3)
        array([0.111, 0.   , 0.5  , 1.   ], dtype=float32)
    """
    energy = np.square(weight.ravel().astype(np.float64))
    # By magnitude, then by place: bits of floats that are not negative sort like the floats, and one key for both
    # sorts several times faster than a stable argsort.
    bits = np.abs(weight.ravel()).astype(np.float32).view(np.uint32).astype(np.uint64)
    keys = np.sort((bits << np.uint64(32)) | np.arange(bits.size, dtype=np.uint64))
    order = (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)
    left = np.cumsum(energy[order][::-1])[::-1]
    scores = np.zeros(energy.size, np.float32)
    scores[order] = energy[order] / np.where(left > 0, left, 1)
    return scores.reshape(weight.shape)


def parse_pattern(pattern: str) -> tuple[int, int]:
    """Return (kept, of) of a pattern such as "2:4"; raise ValueError unless 0 < kept < of."""
    match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", pattern) if isinstance(pattern, str) else None
    kept, of = map(int, match.groups()) if match else (0, 0)
    if not 0 < kept < of:
        raise ValueError(
            f"Expected pattern as 'kept:of', such as '2:4', with 0 < kept < of. Received: pattern={pattern!r}."
        )
    return kept, of


def input_axis(kernel: Kernel) -> int | None:
    """Return the axis of the input channels: of the last two the one that numbers no output channels, or None.

    A depthwise convolution has none: it sums no products over input channels.
    """
    rank = len(kernel.shape)
    outputs = {axis % rank for axis in kernel.channel_axes}
    return next((axis for axis in (rank - 1, rank - 2) if axis >= 0 and axis not in outputs), None)


def group_candidates(ranks: np.ndarray, kept: int, of: int, axis: int) -> np.ndarray:
    """Return where `ranks` are not among the `kept` highest of `of` consecutive ones along `axis`.

    The axis is a multiple of `of`; exactly `of - kept` of each group are True, of equal ones the earliest.

    Example:
        >>> group_candidates(np.array([3, 1, 2, 4, 5, 5, 5, 5]), 2, 4, 0)
        array([False,  True,  True, False,  True,  True, False, False])
    """
    moved = np.moveaxis(ranks, axis, -1)
    groups = moved.reshape(*moved.shape[:-1], -1, of)  # (..., groups, of)
    order = np.argsort(groups, axis=-1, kind="stable")
    candidates = np.zeros(groups.shape, bool)
    np.put_along_axis(candidates, order[..., : of - kept], True, axis=-1)
    return np.moveaxis(candidates.reshape(moved.shape), -1, axis)


SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "polynomial": lambda done, rounds: 1.0 - (1.0 - done) ** 3,
    "constant": lambda done, rounds: 1.0,
    # The first round begins at once, each has an equal part of the time to retrain; 1e-9 allows for 0.6 / 3 < 0.2.
    "iterative": lambda done, rounds: min(rounds, 1 + int(done * rounds + 1e-9)) / rounds,
}
"""By name: (share of the window from start to end, rounds) -> share of the way to the final sparsity."""


def ramp_sparsity(
    progress: float,
    final: float,
    start: float,
    end: float,
    initial: float = 0.0,
    *,
    schedule: str = "polynomial",
    rounds: int = 1,
) -> float:
    """Return the sparsity due at `progress`; the polynomial is f + (i - f) (1 - (p - start) / (end - start))^3.

    `progress`, `start` and `end` are shares of the stage's training. Before `start` the sparsity is `initial`, from
    `end` on exactly `final`; the constant one is complete at `start`, the iterative one takes `rounds` equal steps.

    Example:
        >>> [round(ramp_sparsity(p, 0.8, 0.0, 0.5), 3) for p in (0.0, 0.1, 0.25, 0.5, 1.0)]
        [0.0, 0.39, 0.7, 0.8, 0.8]
        >>> [ramp_sparsity(p, 0.8, 0.0, 0.5, schedule="iterative", rounds=2) for p in (0.0, 0.2, 0.25, 0.5)]
        [0.4, 0.4, 0.8, 0.8]
    """
    if progress < start:
        return initial
    done = 1.0 if progress >= end else (progress - start) / (end - start)
    way = SCHEDULES[schedule](done, rounds)
    return final if way >= 1.0 else initial + (final - initial) * way
