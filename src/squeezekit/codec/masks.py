"""Which elements of a tensor differ from its most common one, as masks of some neighbours.

A mask is known by its place among all masks of its width, ordered by the number of ones and then by value:
neighbours in that order occur about equally often, which makes code tables short.
"""

import functools

import numpy as np

from squeezekit.codec.grid import Grid
from squeezekit.errors import FormatError

__all__ = ["MAX_GROUP", "fold", "group_for", "in_order", "pack", "unfold", "unpack"]

# The widest mask: 2**12 symbols still have a table that pays in a large tensor.
MAX_GROUP = 12
_FLAT = 8


@functools.cache
def in_order(group: int) -> np.ndarray:
    """All masks of a width by their place: uint8 of up to 8 flags, else uint16."""
    masks = np.arange(1 << group, dtype=np.uint16)
    ordered = masks[np.argsort(_count(masks), kind="stable")]
    return ordered.astype(np.uint8) if group <= _FLAT else ordered


def _count(masks: np.ndarray) -> np.ndarray:
    return np.unpackbits(masks.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1).sum(
        axis=1, dtype=np.int64
    )


def pack(flags: np.ndarray, group: int, stride: int) -> np.ndarray:
    """Masks of `group` flags that lie `stride` apart, each by its place; uint16.

    Args:
        flags: bool (n,); n is a multiple of group * stride, or the mask is of 8 neighbours.
        group: flags in a mask, the first the highest bit.
        stride: distance of the flags.
    """
    if (group, stride) == (_FLAT, 1):
        masks = np.packbits(flags).astype(np.uint16)
    else:
        # (blocks, group, stride) -> (blocks, stride, group)
        columns = flags.reshape(-1, group, stride).transpose(0, 2, 1).reshape(-1, group)
        masks = np.zeros(len(columns), np.uint16)
        for bit in range(group):
            masks |= columns[:, bit].astype(np.uint16) << np.uint16(group - 1 - bit)
    order = in_order(group)
    places = np.empty(len(order), np.uint16)
    places[order] = np.arange(len(order), dtype=np.uint16)
    return places[masks]


def unpack(masks: np.ndarray, group: int, stride: int, count: int) -> np.ndarray:
    """Flags of masks that `in_order` has given for their places: bool (count,).

    Raises:
        FormatError: ones beyond `count`.
    """
    if (group, stride) == (_FLAT, 1):
        flags = np.unpackbits(masks).view(bool)
        if flags[count:].any():
            raise FormatError("a mask that runs over the end of its tensor")
        return flags[:count]
    blocks = masks.reshape(-1, stride)
    columns = np.empty((len(blocks), group, stride), bool)
    for bit in range(group):
        np.not_equal(blocks & masks.dtype.type(1 << (group - 1 - bit)), 0, out=columns[:, bit])
    return columns.reshape(-1)


def group_for(grid: Grid) -> int:
    """Flags in a mask on a grid: a whole kernel where it is small enough, else 8 neighbours."""
    return grid.positions if grid.positions <= MAX_GROUP else _FLAT


def fold(present: np.ndarray, grid: Grid) -> np.ndarray:
    """Masks of a grid: of each kernel, or of neighbours in the tensor's order; uint16.

    Args:
        present: bool (positions, kernels).
        grid: whose size is a multiple of `group_for`.
    """
    return pack(grid.in_order(present), group_for(grid), grid.columns if grid.positions <= MAX_GROUP else 1)


def unfold(places: np.ndarray, grid: Grid) -> np.ndarray:
    """Undo `fold`."""
    masks = in_order(group_for(grid)).take(places, mode="clip")
    if grid.positions > MAX_GROUP:
        return grid.by_position(unpack(masks, _FLAT, 1, grid.size))
    present = np.empty((grid.positions, grid.kernels), bool)
    for position, flags in enumerate(present):
        np.not_equal(masks & masks.dtype.type(1 << (grid.positions - 1 - position)), 0, out=flags)
    return present
