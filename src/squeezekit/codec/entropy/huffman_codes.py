"""Optimal prefix codes of limited length, and the codes that follow from their lengths alone.

L. L. Larmore and D. S. Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", JACM 37 (1990).
"""

import numpy as np

__all__ = ["MAX_BITS", "MAX_FILE_BITS", "canonical_codes", "code_lengths"]

# Codes of at most 15 bits: a decoding table of 2**15 entries stays in a core's cache, and a limit this far
# above 8-bit symbols costs under 0.1 %. A 16-bit window position plus a code fits the decoder's 32 bits.
MAX_BITS = 15
# The longest code a file may hold: 65,536 equally likely symbols need it.
MAX_FILE_BITS = 16


def code_lengths(histogram: np.ndarray, limit: int = MAX_BITS) -> np.ndarray:
    """Lengths of an optimal prefix code with no code longer than `limit` bits, by package-merge (section 2).

    Where the symbols need it the limit is 16.

    Returns:
        uint8 (alphabet,): bits of each symbol's code; 0 for symbols that do not occur, and for one that is alone.

    Raises:
        ValueError: more symbols than 16 bits can distinguish.

    Example:
        >>> code_lengths(np.array([8, 0, 4, 2, 2])).tolist()
        [1, 0, 2, 3, 3]
    """
    lengths = np.zeros(len(histogram), np.uint8)
    used = np.flatnonzero(histogram)
    if len(used) > 1 << limit:
        limit = MAX_FILE_BITS
    if len(used) > 1 << limit:
        raise ValueError(f"Expected at most {1 << limit} different symbols. Received: {len(used)}.")
    if len(used) < 2:
        return lengths
    used = used[np.argsort(histogram[used], kind="stable")]
    leaves = np.asarray(histogram, np.int64)[used]
    # Level by level: pair up the cheapest items of the level below into packages, merge them with the leaves.
    level, leaf_flags = leaves, [np.ones(len(leaves), bool)]
    for _ in range(limit - 1):
        packages = level[: len(level) // 2 * 2].reshape(-1, 2).sum(axis=1)
        merged = np.concatenate((leaves, packages))
        order = np.argsort(merged, kind="stable")
        level = merged[order]
        leaf_flags.append(order < len(leaves))
    # Take the 2n - 2 cheapest items of the top level, unpack them, count how often each leaf is taken.
    taken, taken_leaves = 2 * len(leaves) - 2, []
    for flags in reversed(leaf_flags):
        taken_leaves.append(int(flags[:taken].sum()))
        taken = 2 * (taken - taken_leaves[-1])
    ranks = np.arange(len(leaves))
    lengths[used] = sum((ranks < count).astype(np.uint8) for count in taken_leaves)
    return lengths


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """Assign codes in canonical order, by length and then by symbol: uint32, symbol s has the low `lengths[s]` bits.

    Example:
        >>> canonical_codes(np.array([1, 0, 2, 3, 3], np.uint8)).tolist()
        [0, 0, 2, 6, 7]
    """
    codes = np.zeros(len(lengths), np.uint32)
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    if len(order):
        # In units of the longest code each code begins where the one before ends.
        longest = int(lengths.max())
        widths = np.int64(1) << (longest - lengths[order].astype(np.int64))
        codes[order] = (np.cumsum(widths) - widths) >> (longest - lengths[order].astype(np.int64))
    return codes
