"""Kernels as a grid, taken along their diagonals, and what earlier diagonals tell about the next: integers only.

A grid has `rows` (outputs), `positions` in a kernel and `columns` (inputs); a kernel is a row and a column. A phase
is a diagonal of all kernels, from one corner to the other. Each symbol has a *value*, 0 where there is no symbol;
what a phase may know are the values of phases before it in the same kernel.

Values are held by position, so that a feature of all kernels is a sum of whole arrays, without an index.
"""

import dataclasses
import functools

import numpy as np

__all__ = ["LEAST_POSITIONS", "NEIGHBOURS", "Field", "Grid"]

# Kernels of fewer positions say too little about their next one.
LEAST_POSITIONS = 4
# Nearest earlier positions of the same kernel that are looked at.
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
class Grid:
    """How a stream's symbols lie: number (row * positions + position) * columns + column."""

    rows: int
    positions: int
    width: int
    """Positions in a row of the kernel."""
    columns: int

    @property
    def kernels(self) -> int:
        """Number of kernels."""
        return self.rows * self.columns

    @property
    def size(self) -> int:
        """Number of symbols."""
        return self.kernels * self.positions

    @property
    def phases(self) -> tuple[tuple[int, ...], ...]:
        """Positions of each phase, ascending."""
        return _diagonals(self.positions, self.width)

    def neighbours(self, position: int) -> tuple[int, ...]:
        """Positions of a kernel that come in phases before this one's, the nearest first."""
        return _neighbours(position, self.positions, self.width)

    def by_position(self, symbols: np.ndarray) -> np.ndarray:
        """(size,) in the tensor's order to (positions, kernels)."""
        return symbols.reshape(self.rows, self.positions, self.columns).transpose(1, 0, 2).reshape(
            self.positions, self.kernels
        )  # fmt: skip

    def in_order(self, symbols: np.ndarray) -> np.ndarray:
        """Undo `by_position`."""
        out = np.empty(self.size, symbols.dtype)
        self.put_in_order(symbols, out)
        return out

    def put_in_order(self, symbols: np.ndarray, out: np.ndarray) -> None:
        """Do so in an array (size,) of any type that holds the symbols."""
        parts = symbols.reshape(self.positions, self.rows, self.columns)
        out.reshape(self.rows, self.positions, self.columns)[...] = parts.transpose(1, 0, 2)


class Field:
    """Values of the phases so far, and the features that the next phase is predicted from.

    Args:
        grid: where the values lie.
        present: bool (positions, kernels), which symbols there are; None: all.
        typical: mean absolute value of the stream, in sixteenths, at least 1.
    """

    def __init__(self, grid: Grid, present: np.ndarray | None, typical: int) -> None:
        self.grid = grid
        self.values = np.zeros((grid.positions, grid.kernels), np.int16)
        """0 where a symbol is absent, or not known yet."""
        # Indices, because NumPy takes four times as long to pick by flags.
        self._places = None if present is None else [np.flatnonzero(flags) for flags in present]
        self._kept: np.ndarray | None = None
        if present is not None:
            kept = present.sum(axis=0, dtype=np.int32)
            self._kept = kept * np.int32(max(1, typical // grid.positions))

    def count(self, position: int) -> int:
        """Number of symbols at a position."""
        return self.grid.kernels if self._places is None else len(self._places[position])

    def of_present(self, position: int, dense: np.ndarray) -> np.ndarray:
        """What belongs to symbols of a position, of something known for all kernels."""
        return dense if self._places is None else dense.take(self._places[position])

    def put(self, position: int, dense: np.ndarray, symbols: np.ndarray) -> None:
        """Write the symbols of a position to where they belong among all kernels."""
        if self._places is None:
            dense[...] = symbols
        else:
            dense[self._places[position]] = symbols

    def mean(self, position: int, coefficients: np.ndarray) -> np.ndarray:
        """Predict the values at a position, in thirty-seconds: int32 (kernels,).

        Args:
            position: in the kernel.
            coefficients: one for each neighbour, and the constant.
        """
        total = np.full(self.grid.kernels, int(coefficients[-1]), np.int32)
        for other, coefficient in zip(
            self.grid.neighbours(position), coefficients[:-1].tolist(), strict=True
        ):
            if coefficient:
                total += np.multiply(self.values[other], np.int32(coefficient), dtype=np.int32)
        return total

    def scale_features(self, position: int, mean: np.ndarray) -> list[np.ndarray]:
        """What the size of the values at a position may be predicted from: int32 (kernels,) each.

        Args:
            position: in the kernel.
            mean: from `mean`.
        """
        sizes = np.zeros(self.grid.kernels, np.int16)
        for other in self.grid.neighbours(position):
            sizes += np.abs(self.values[other])
        features = [np.abs(mean) >> np.int32(1), sizes.astype(np.int32) << np.int32(1)]
        return features if self._kept is None else [*features, self._kept]
