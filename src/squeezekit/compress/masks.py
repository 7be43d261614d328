"""Which weights a mask keeps: the largest of a kernel, of several kernels, or of every few in a row."""

import re
from collections.abc import Sequence

import numpy as np

from squeezekit.compress.base import Kernel

__all__ = ["drop_lowest", "group_candidates", "input_axis", "lamp_scores", "magnitude_masks", "parse_pattern"]


def magnitude_masks(weights: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Return boolean masks that keep all but the smallest magnitudes of `weights` taken together.

    Exactly round(sparsity * number of weights) are dropped; halves are rounded up. Among equal
    magnitudes the earliest go first, so the result is the same on every machine.

    Args:
        weights: arrays of any shapes.
        sparsity: share to drop, in [0, 1].

    Returns:
        One bool array for each of `weights`; True is kept.

    Example:
        >>> magnitude_masks([np.array([0.1, -3.0]), np.array([0.5, -0.2])], 0.5)
        [array([False,  True]), array([ True, False])]
    """
    return drop_lowest([np.abs(weight) for weight in weights], sparsity)


def drop_lowest(ranks: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Return boolean masks of the shapes of `ranks` that keep all but the lowest, ties from the front."""
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
    """What each weight is of the energy that its kernel has left when all smaller weights are gone.

    score(w) = w^2 / sum of v^2 over all v of the kernel with |v| >= |w|; of equal magnitudes the earlier
    one counts as smaller. The largest weight's is 1, so one threshold for many kernels empties none.

    Args:
        weight: float32, of any shape, not all zero.

    Returns:
        float32 scores of the same shape, in [0, 1]; zeros have 0.

    Example:
        >>> lamp_scores(np.array([-1.0, 0.0, 2.0, 2.0])).round(3)
        array([0.111, 0.   , 0.5  , 1.   ], dtype=float32)

    Paper: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", 2021, equation 5.
    """
    energy = np.square(weight.ravel().astype(np.float64))
    # By magnitude, then by place. The bits of floats that are not negative are ordered as the floats are, and one key
    # for both sorts several times faster than a stable argsort.
    bits = np.abs(weight.ravel()).astype(np.float32).view(np.uint32).astype(np.uint64)
    keys = np.sort((bits << np.uint64(32)) | np.arange(bits.size, dtype=np.uint64))
    order = (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)
    left = np.cumsum(energy[order][::-1])[::-1]
    scores = np.zeros(energy.size, np.float32)
    scores[order] = energy[order] / np.where(left > 0, left, 1)
    return scores.reshape(weight.shape)


def parse_pattern(pattern: str) -> tuple[int, int]:
    """Return (kept, of) of a pattern such as "2:4".

    Raises:
        ValueError: not two whole numbers with 0 < kept < of.

    Example:
        >>> parse_pattern("2:4")
        (2, 4)
    """
    match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", pattern) if isinstance(pattern, str) else None
    kept, of = map(int, match.groups()) if match else (0, 0)
    if not 0 < kept < of:
        raise ValueError(
            f"Expected pattern as 'kept:of', such as '2:4', with 0 < kept < of. Received: pattern={pattern!r}."
        )
    return kept, of


def input_axis(kernel: Kernel) -> int | None:
    """Return the axis of the input channels: of the last two the one that numbers no output channels.

    None for a kernel without one: in a depthwise convolution no products of input channels are summed.

    Example:
        >>> input_axis(Kernel("conv", (3, 3, 16, 8), (-1,))), input_axis(Kernel("dw", (3, 3, 16, 1), (-2, -1)))
        (2, None)
    """
    rank = len(kernel.shape)
    outputs = {axis % rank for axis in kernel.channel_axes}
    return next((axis for axis in (rank - 1, rank - 2) if axis >= 0 and axis not in outputs), None)


def group_candidates(ranks: np.ndarray, kept: int, of: int, axis: int) -> np.ndarray:
    """Return where `ranks` are not among the `kept` highest of `of` consecutive ones along `axis`.

    Args:
        ranks: any shape whose `axis` is a multiple of `of`.
        kept: how many of each group stay, in [1, of).
        of: size of a group.
        axis: along which groups lie.

    Returns:
        A bool array of the shape of `ranks`; exactly `of - kept` of each group are True, ties from the front.

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
