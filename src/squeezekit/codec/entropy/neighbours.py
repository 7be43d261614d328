"""Kernels along their diagonals, and the features that predict a diagonal from those before: integers only.

A kernel connects an input to an output channel. A phase is a diagonal of all kernels, from one corner to the
other. Each symbol has a *value*, 0 where there is no symbol; a phase is predicted from the values of the phases
before it in the same kernel. Values are held by position, so that a feature of all kernels is a sum of whole
arrays, without an index.
"""

import dataclasses
import functools

import numpy as np

__all__ = ["LEAST_POSITIONS", "NEIGHBOURS", "KernelValues", "Kernels"]

# Kernels of fewer positions say too little about their next one.
LEAST_POSITIONS = 4
# Nearest earlier positions of the same kernel that are used.
NEIGHBOURS = 6


@functools.cache
def _neighbours(position: int, positions: int, width: int) -> tuple[int, ...]:
    y, x = divmod(position, width)

    def distance(other: int) -> tuple[int, int]:
        return (other // width - y) ** 2 + (other % width - x) ** 2, other

    before = [other for other in range(positions) if sum(divmod(other, width)) < y + x]
    return tuple(sorted(before, key=distance)[:NEIGHBOURS])


@functools.cache
def _diagonals(positions: int, width: int) -> tuple[tuple[int, ...], ...]:
    last = max(sum(divmod(position, width)) for position in range(positions))
    return tuple(
        tuple(position for position in range(positions) if sum(divmod(position, width)) == phase)
        for phase in range(last + 1)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of a tensor: symbol number (output * positions + position) * inputs + input."""

    outputs: int
    positions: int
    """In a kernel."""
    width: int
    """Positions in a row of a kernel."""
    inputs: int

    @property
    def count(self) -> int:
        """Number of kernels."""
        return self.outputs * self.inputs

    @property
    def size(self) -> int:
        """Number of symbols."""
        return self.count * self.positions

    @property
    def phases(self) -> tuple[tuple[int, ...], ...]:
        """Positions of each phase, ascending."""
        return _diagonals(self.positions, self.width)

    def neighbours(self, position: int) -> tuple[int, ...]:
        """Positions of a kernel that come in phases before this one's, the nearest first."""
        return _neighbours(position, self.positions, self.width)

    def by_position(self, symbols: np.ndarray) -> np.ndarray:
        """(size,) in the tensor's order to (positions, kernels)."""
        parts = symbols.reshape(self.outputs, self.positions, self.inputs)
        return parts.transpose(1, 0, 2).reshape(self.positions, self.count)

    def in_order(self, symbols: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Undo `by_position`; in `out` (size,), of any type that holds the symbols, if it is given."""
        out = np.empty(self.size, symbols.dtype) if out is None else out
        parts = symbols.reshape(self.positions, self.outputs, self.inputs)
        out.reshape(self.outputs, self.positions, self.inputs)[...] = parts.transpose(1, 0, 2)
        return out


class KernelValues:
    """Values of the phases so far, and the features that the next phase is predicted from.

    `present`, bool (positions, kernels), marks which symbols there are; None: all. `typical` is the mean absolute
    value of the stream, in sixteenths, at least 1.
    """

    def __init__(self, kernels: Kernels, present: np.ndarray | None, typical: int) -> None:
        self.kernels = kernels
        self.values = np.zeros((kernels.positions, kernels.count), np.int16)
        """0 where a symbol is absent, or not known yet."""
        # Indices, because NumPy takes four times as long to pick by flags.
        self._indices = None if present is None else [np.flatnonzero(flags) for flags in present]
        self._kept: np.ndarray | None = None
        if present is not None:
            kept = present.sum(axis=0, dtype=np.int32)
            self._kept = kept * np.int32(max(1, typical // kernels.positions))

    def count(self, position: int) -> int:
        """Number of symbols at a position."""
        return self.kernels.count if self._indices is None else len(self._indices[position])

    def of_present(self, position: int, dense: np.ndarray) -> np.ndarray:
        """Of an array over all kernels, the items of those that have a symbol at a position."""
        return dense if self._indices is None else dense.take(self._indices[position])

    def put(self, position: int, values: np.ndarray) -> None:
        """Write the values of the symbols at a position."""
        if self._indices is None:
            self.values[position] = values
        else:
            self.values[position][self._indices[position]] = values

    def mean(self, position: int, coefficients: np.ndarray) -> np.ndarray:
        """Predict the values at a position, in thirty-seconds: int32 (kernels,).

        There is a coefficient for each neighbour, and the constant.
        """
        total = np.full(self.kernels.count, int(coefficients[-1]), np.int32)
        neighbours = self.kernels.neighbours(position)
        for other, coefficient in zip(neighbours, coefficients[:-1].tolist(), strict=True):
            if coefficient:
                total += np.multiply(self.values[other], np.int32(coefficient), dtype=np.int32)
        return total

    def magnitude_features(self, position: int, mean: np.ndarray) -> list[np.ndarray]:
        """Features that predict the magnitude of the values at a position, given `mean`: int32 (kernels,) each."""
        sizes = np.zeros(self.kernels.count, np.int16)
        for other in self.kernels.neighbours(position):
            sizes += np.abs(self.values[other])
        features = [np.abs(mean) >> np.int32(1), sizes.astype(np.int32) << np.int32(1)]
        return features if self._kept is None else [*features, self._kept]
