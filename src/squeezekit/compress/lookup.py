"""A table looked up by an index for each weight, whose gradient is a sum for each entry (Deep Compression, eq. 3)."""

import math
from typing import Any

import keras
from keras import ops

__all__ = ["look_up"]

PIECE = 24_000
"""So many weights TensorFlow's segment sum takes in one pass. With more it gives each few entries to a thread of their
own, and each of these passes over all weights: five times the work for 150,000 weights and 32 entries."""

MOST_PIECES = 16
"""A larger kernel is summed in larger pieces, so that the graph stays small."""


def look_up(values: Any, indices: Any) -> Any:
    """Return values[indices]; differentiable in `values`.

    Args:
        values: float32 (entries,).
        indices: int32 of any shape, in [0, entries).

    Returns:
        float32 of the shape of `indices`.

    Example:
        >>> ops.convert_to_numpy(look_up(ops.array([0.0, 0.5]), ops.array([[1, 0]])))
        array([[0.5, 0. ]], dtype=float32)
    """
    if keras.backend.backend() != "tensorflow" or math.prod(indices.shape) <= PIECE:
        return ops.take(values, indices, axis=0)
    flat = _take_in_pieces(values, ops.reshape(indices, (-1,)))
    return ops.reshape(flat, indices.shape)


@ops.custom_gradient
def _take_in_pieces(values: Any, indices: Any) -> Any:
    def gradient(upstream: Any) -> tuple[Any, None]:
        return sum_by_entry(upstream, indices, values.shape[0]), None

    return ops.take(values, indices, axis=0), gradient


def sum_by_entry(upstream: Any, indices: Any, entries: int) -> Any:
    """Sum what came to each entry, one weight after another: bit for bit the gradient of a plain lookup.

    Args:
        upstream: float32 (weights,).
        indices: int32 (weights,).
        entries: of the table.

    Returns:
        float32 (entries,).
    """
    size = upstream.shape[0]
    piece = max(PIECE, -(-size // MOST_PIECES))
    sums = ops.segment_sum(upstream[:piece], indices[:piece], entries)
    for start in range(piece, size, piece):
        # What is summed so far comes first in the next piece, so no sum is split.
        parts = ops.concatenate([sums, upstream[start : start + piece]])
        owners = ops.concatenate([ops.arange(entries, dtype="int32"), indices[start : start + piece]])
        sums = ops.segment_sum(parts, owners, entries)
    return sums
