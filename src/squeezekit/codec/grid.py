"""A kernel's symbols as a grid, taken in phases, and what earlier phases tell about the next: integers only.

A grid has `rows` (outputs), `positions` in a kernel and `columns` (inputs). Kernels of four positions or more
are taken position by position; other grids along diagonals, so that every phase meets all rows and columns.
Each symbol has a *value*; what a phase may know is sums of the values of phases before it.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["UNIT", "Grid", "History"]

# Values are handled in sixteenths.
UNIT = 16
# Kernels of fewer positions say too little about their next one.
LEAST_POSITIONS = 4
DIAGONALS = 8
# Nearest earlier positions of the same kernel that are looked at.
NEIGHBOURS = 8
# A row's or column's mean is drawn to that of all as if it had been seen this often more.
_PRIOR = 8


@functools.cache
def _neighbours(position: int, width: int) -> tuple[int, ...]:
    y, x = divmod(position, width)

    def distance(other: int) -> int:
        return (other // width - y) ** 2 + (other % width - x) ** 2

    return tuple(sorted(range(position), key=lambda other: (distance(other), other))[:NEIGHBOURS])


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

    def neighbours(self, position: int) -> tuple[int, ...]:
        """Earlier positions of a kernel, the nearest first."""
        return _neighbours(position, self.width)

    def cells(self, present: np.ndarray | None) -> "list[Cells]":
        """Where the symbols of each phase lie, in order.

        Args:
            present: bool (size,), which symbols there are; None: all.
        """
        wide = self.columns if self.by_position else self.positions * self.columns
        if self.by_position:
            if present is None:
                place = np.arange(self.rows * wide)
                row, column = place // wide, place % wide
                first = row * (self.positions * wide) + column
                return [Cells(first + phase * wide, row, column) for phase in range(self.positions)]
            # (rows, positions, columns) -> (positions, rows, columns)
            place = np.flatnonzero(present.reshape(self.rows, self.positions, wide).transpose(1, 0, 2))
            phase, place = np.divmod(place, self.rows * wide)
            row, column = np.divmod(place, wide)
            number = (row * self.positions + phase) * wide + column
        else:
            # Here a column is one of a row's positions * columns symbols.
            number = np.arange(self.size) if present is None else np.flatnonzero(present)
            row, column = np.divmod(number, wide)
            phase = ((row + column) % DIAGONALS).astype(np.uint8)
            order = np.argsort(phase, kind="stable")
            number, row, column, phase = number[order], row[order], column[order], phase[order]
        ends = np.searchsorted(phase, np.arange(1, self.phases + 1)).tolist()
        return [
            Cells(number[first:last], row[first:last], column[first:last])
            for first, last in zip([0, *ends], ends, strict=False)
        ]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Some symbols of a grid: their numbers, rows and columns, intp (n,) each."""

    number: np.ndarray
    row: np.ndarray
    column: np.ndarray


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
        self._here: Cells
        if grid.by_position:
            self._values = np.zeros(grid.size, np.int32)
            if present is not None:
                kept = present.reshape(grid.rows, grid.positions, grid.columns).sum(axis=1, dtype=np.int32)
                self._kept = kept.reshape(-1) * np.int32(typical) // np.int32(grid.positions)

    def phases(self) -> Iterator[tuple[int, np.ndarray]]:
        """Enter one phase after the other that has symbols; yields it and their numbers, intp (n,)."""
        for phase, self._here in enumerate(self._grid.cells(self._present)):
            if len(self._here.number):
                yield phase, self._here.number

    def mean_features(self, phase: int) -> list[np.ndarray]:
        """What a value may be predicted from, in sixteenths: int32 (n,) each."""
        here = self._here
        features = [self._rows.mean()[here.row], self._columns.mean()[here.column]]
        if self._grid.by_position:
            for other in self._grid.neighbours(phase):
                features.append(self._values[here.number + (other - phase) * self._grid.columns])
        return features

    def scale_features(self, phase: int, mean: np.ndarray, neighbours: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a value's size may be predicted from, in sixteenths: int32 (n,) each.

        Args:
            phase: the phase begun.
            mean: the predicted value, int32 (n,).
            neighbours: the features after the first two of `mean_features`.
        """
        here = self._here
        features = [self._rows.size()[here.row], self._columns.size()[here.column], np.abs(mean)]
        if not self._grid.by_position:
            return features
        total = np.full(len(mean), self._typical, np.int32)
        seen = np.ones(len(mean), np.int32)
        for values in neighbours:
            total += np.abs(values)
            seen += values != 0
        features.append(total // seen)
        if self._present is not None:
            features.append(self._kept[here.row * self._grid.columns + here.column])
        return features

    def end(self, values: np.ndarray) -> None:
        """Leave the phase with its values known: int32 (n,)."""
        here = self._here
        self._rows.add(here.row, values)
        self._columns.add(here.column, values)
        if self._grid.by_position:
            self._values[here.number] = values * np.int32(UNIT)


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
