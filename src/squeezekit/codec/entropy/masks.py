"""Which symbols of a tensor differ from its most common one, as masks of some neighbours.

A mask is coded as its rank among all masks of its width, ordered by the number of ones and then by value:
neighbours in that order occur about equally often, which makes code tables short.
"""

import functools

import numpy as np

from squeezekit.codec.entropy.neighbours import Kernels
from squeezekit.errors import FormatError

__all__ = ["MAX_GROUP", "by_rank", "fold", "group_for", "pack", "unfold", "unpack"]

# The widest mask: 2**12 symbols still have a table that pays in a large tensor.
MAX_GROUP = 12
_FLAT = 8


@functools.cache
def by_rank(group: int) -> np.ndarray:
    """All masks of a width in order of rank: uint8 of up to 8 flags, else uint16."""
    masks = np.arange(1 << group, dtype=np.uint16)
    flags = np.unpackbits(masks.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)
    ordered = masks[np.argsort(flags.sum(axis=1, dtype=np.int64), kind="stable")]
    return ordered.astype(np.uint8) if group <= _FLAT else ordered


def pack(flags: np.ndarray, group: int, stride: int) -> np.ndarray:
    """Ranks of the masks of `group` flags that lie `stride` apart, the first the highest bit; uint16.

    `flags` are bool (n,); n is a multiple of group * stride, or the mask is of 8 neighbours.
    """
    if (group, stride) == (_FLAT, 1):
        masks = np.packbits(flags).astype(np.uint16)
    else:
        # (blocks, group, stride) -> (blocks, stride, group)
        rows = flags.reshape(-1, group, stride).transpose(0, 2, 1).reshape(-1, group)
        masks = np.zeros(len(rows), np.uint16)
        for bit in range(group):
            masks |= rows[:, bit].astype(np.uint16) << np.uint16(group - 1 - bit)
    order = by_rank(group)
    ranks = np.empty(len(order), np.uint16)
    ranks[order] = np.arange(len(order), dtype=np.uint16)
    return ranks[masks]


def unpack(masks: np.ndarray, group: int, stride: int, count: int) -> np.ndarray:
    """Flags of masks, which `by_rank` has looked up: bool (count,).

    Raises:
        FormatError: ones beyond `count`.
    """
    if (group, stride) == (_FLAT, 1):
        flags = np.unpackbits(masks).view(bool)
        if flags[count:].any():
            raise FormatError("a mask that runs over the end of its tensor")
        return flags[:count]
    blocks = masks.reshape(-1, stride)
    flags = np.empty((len(blocks), group, stride), bool)
    for bit in range(group):
        np.not_equal(blocks & masks.dtype.type(1 << (group - 1 - bit)), 0, out=flags[:, bit])
    return flags.reshape(-1)


def group_for(kernels: Kernels) -> int:
    """Flags in a mask: a whole kernel where it is small enough, else 8 neighbours."""
    return kernels.positions if kernels.positions <= MAX_GROUP else _FLAT


def fold(present: np.ndarray, kernels: Kernels) -> np.ndarray:
    """Ranks of masks, each of a kernel or of neighbours in the tensor's order; uint16.

    `present` is bool (positions, kernels); the kernels' size is a multiple of `group_for`.
    """
    stride = kernels.inputs if kernels.positions <= MAX_GROUP else 1
    return pack(kernels.in_order(present), group_for(kernels), stride)


def unfold(ranks: np.ndarray, kernels: Kernels) -> np.ndarray:
    """Undo `fold`."""
    masks = by_rank(group_for(kernels)).take(ranks, mode="clip")
    if kernels.positions > MAX_GROUP:
        return kernels.by_position(unpack(masks, _FLAT, 1, kernels.size))
    present = np.empty((kernels.positions, kernels.count), bool)
    for position, flags in enumerate(present):
        np.not_equal(masks & masks.dtype.type(1 << (kernels.positions - 1 - position)), 0, out=flags)
    return present
