"""A kernel's symbols as a grid, taken in phases, and what earlier phases tell about the next: integers only.

A grid has `rows` (outputs), `positions` in a kernel and `columns` (inputs). Kernels of four positions or more
are taken position by position; other grids along diagonals, so that every phase meets all rows and columns.
Each symbol has a *value*; what a phase may know is sums of the values of phases before it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

__all__ = ["CONSTANT_UNIT", "Grid", "History"]

# Values are handled in sixteenths.
UNIT = 16
CONSTANT_UNIT = UNIT
# Kernels of fewer positions say too little about their next one.
LEAST_POSITIONS = 4
DIAGONALS = 8
# Nearest earlier positions of the same kernel that are looked at.
NEIGHBOURS = 8
# A row's or column's mean is drawn to that of all as if it had been seen this often more.
_PRIOR = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """How a stream's symbols lie: number (row * positions + position) * columns + column."""

    rows: int
    positions: int
    width: int
    """Positions in a row of the kernel."""
    columns: int

    @property
    def size(self) -> int:
        """Number of symbols."""
        return self.rows * self.positions * self.columns

    @property
    def by_position(self) -> bool:
        """Whether each phase is one position of all kernels."""
        return self.positions >= LEAST_POSITIONS

    @property
    def phases(self) -> int:
        """Number of phases."""
        return self.positions if self.by_position else DIAGONALS

    def neighbours(self, position: int) -> list[int]:
        """Earlier positions of a kernel, the nearest first."""
        y, x = divmod(position, self.width)

        def distance(other: int) -> int:
            return (other // self.width - y) ** 2 + (other % self.width - x) ** 2

        return sorted(range(position), key=lambda other: (distance(other), other))[:NEIGHBOURS]

    def cells(self, phase: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return numbers, rows and columns of the symbols of a phase, in order: intp (n,) each."""
        if self.by_position:
            row = np.repeat(np.arange(self.rows), self.columns)
            column = np.tile(np.arange(self.columns), self.rows)
            return (row * self.positions + phase) * self.columns + column, row, column
        # Here a column is one of a row's positions * columns symbols; both count up by one along a diagonal.
        wide = self.positions * self.columns
        row = np.arange(self.rows)[:, None]
        column = np.arange(-(-wide // DIAGONALS)) * DIAGONALS + (phase - row) % DIAGONALS  # (rows, steps)
        inside = column < wide
        row = np.broadcast_to(row, column.shape)[inside]
        column = column[inside]
        return row * wide + column, row, column


class History:
    """Values of the phases so far, and the features that the next phase is predicted from.

    Args:
        grid: where the values lie.
        present: bool (grid.size,), which symbols of the grid there are; None: all.
        typical: mean absolute value of the stream, in sixteenths, at least 1.
    """

    def __init__(self, grid: Grid, present: np.ndarray | None, typical: int) -> None:
        self._grid, self._present, self._typical = grid, present, typical
        wide = grid.columns if grid.by_position else grid.positions * grid.columns
        self._rows, self._columns = _Sums(grid.rows, typical), _Sums(wide, typical)
        self._cells: tuple[np.ndarray, np.ndarray, np.ndarray]
        if grid.by_position:
            self._values = np.zeros(grid.size, np.int32)
            if present is not None:
                kept = present.reshape(grid.rows, grid.positions, grid.columns).sum(axis=1, dtype=np.int32)
                self._kept = kept.reshape(-1) * np.int32(typical) // np.int32(grid.positions)

    def begin(self, phase: int) -> np.ndarray:
        """Enter a phase; returns the numbers of its symbols, intp (n,)."""
        cells, rows, columns = self._grid.cells(phase)
        if self._present is not None:
            here = self._present[cells]
            cells, rows, columns = cells[here], rows[here], columns[here]
        self._cells = cells, rows, columns
        return cells

    def mean_features(self, phase: int) -> list[np.ndarray]:
        """What a value may be predicted from, in sixteenths: int32 (n,) each."""
        cells, rows, columns = self._cells
        features = [self._rows.mean()[rows], self._columns.mean()[columns]]
        if self._grid.by_position:
            for other in self._grid.neighbours(phase):
                features.append(self._values[cells + (other - phase) * self._grid.columns] * np.int32(UNIT))
        return features

    def scale_features(self, phase: int, mean: np.ndarray, neighbours: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a value's size may be predicted from, in sixteenths: int32 (n,) each.

        Args:
            phase: the phase begun.
            mean: the predicted value, int32 (n,).
            neighbours: the features after the first two of `mean_features`.
        """
        _, rows, columns = self._cells
        features = [self._rows.size()[rows], self._columns.size()[columns], np.abs(mean)]
        if not self._grid.by_position:
            return features
        total = np.full(len(rows), self._typical, np.int32)
        seen = np.ones(len(rows), np.int32)
        for values in neighbours:
            total += np.abs(values)
            seen += values != 0
        features.append(total // seen)
        if self._present is not None:
            features.append(self._kept[rows * self._grid.columns + columns])
        return features

    def end(self, values: np.ndarray) -> None:
        """Leave the phase with its values known: int32 (n,)."""
        cells, rows, columns = self._cells
        self._rows.add(rows, values)
        self._columns.add(columns, values)
        if self._grid.by_position:
            self._values[cells] = values


class _Sums:
    """Count, sum and absolute sum of the values met in each row (or column)."""

    def __init__(self, count: int, typical: int) -> None:
        self._typical = typical
        self._seen = np.full(count, _PRIOR, np.int64)
        self._sum, self._size = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def add(self, places: np.ndarray, values: np.ndarray) -> None:
        # Weighted counts are doubles, exact for integers below 2**53.
        count = len(self._seen)
        self._seen += np.bincount(places, minlength=count)
        self._sum += np.bincount(places, values, count).astype(np.int64)
        self._size += np.bincount(places, np.abs(values), count).astype(np.int64)

    def mean(self) -> np.ndarray:
        return (self._sum * UNIT // self._seen).astype(np.int32)

    def size(self) -> np.ndarray:
        return ((self._size * UNIT + _PRIOR * self._typical) // self._seen).astype(np.int32)
