"""A kernel's symbols as a grid, taken in phases, and what earlier phases tell about the next: integers only.

A grid has `rows` (outputs), `positions` in a kernel and `columns` (inputs). Kernels of four positions or more
are taken along the kernel's diagonals, from one corner to the other: a phase is a diagonal of all kernels.
Other grids are taken along diagonals of rows and columns, so that every phase meets all of them.
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
def _neighbours(position: int, positions: int, width: int) -> tuple[int, ...]:
    y, x = divmod(position, width)

    def distance(other: int) -> tuple[int, int]:
        return (other // width - y) ** 2 + (other % width - x) ** 2, other

    before = [other for other in range(positions) if sum(divmod(other, width)) < y + x]
    return tuple(sorted(before, key=distance)[:NEIGHBOURS])


@functools.cache
def _diagonals(positions: int, width: int) -> tuple[tuple[int, ...], ...]:
    """Positions of each phase, ascending."""
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
    def size(self) -> int:
        """Number of symbols."""
        return self.rows * self.positions * self.columns

    @property
    def by_position(self) -> bool:
        """Whether each phase is a diagonal of all kernels."""
        return self.positions >= LEAST_POSITIONS

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(_diagonals(self.positions, self.width)) if self.by_position else DIAGONALS

    def neighbours(self, position: int) -> tuple[int, ...]:
        """Positions of a kernel that come in phases before this one's, the nearest first."""
        return _neighbours(position, self.positions, self.width)

    def cells(self, present: np.ndarray | None) -> "list[Phase]":
        """Where the symbols of each phase lie, in order.

        Args:
            present: bool (size,), which symbols there are; None: all.
        """
        if not self.by_position:
            # Here a column is one of a row's positions * columns symbols.
            number = np.arange(self.size) if present is None else np.flatnonzero(present)
            row, column = np.divmod(number, self.positions * self.columns)
            phase = ((row + column) % DIAGONALS).astype(np.uint8)
            order = np.argsort(phase, kind="stable")
            ends = np.cumsum(np.bincount(phase, minlength=DIAGONALS)).tolist()
            parts = [order[first:last] for first, last in zip([0, *ends], ends, strict=False)]
            return [Phase(number[own], row[own], column[own], ((0, slice(None)),)) for own in parts]
        kernels = self.rows * self.columns
        if present is None:
            flags = np.ones((1, kernels), bool)
        else:
            # (rows, positions, columns) -> (positions, rows, columns)
            by_position = present.reshape(self.rows, self.positions, self.columns).transpose(1, 0, 2)
            flags = by_position.reshape(self.positions, kernels)
        phases = []
        for positions in _diagonals(self.positions, self.width):
            kept = [np.flatnonzero(flags[position % len(flags)]) for position in positions]
            ends = np.cumsum([len(part) for part in kept]).tolist()
            blocks = [slice(first, last) for first, last in zip([0, *ends], ends, strict=False)]
            row, column = np.divmod(np.concatenate(kept), self.columns)
            number = row * (self.positions * self.columns) + column
            for position, block in zip(positions, blocks, strict=True):
                number[block] += position * self.columns
            phases.append(Phase(number, row, column, tuple(zip(positions, blocks, strict=True))))
        return phases


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """The symbols of a phase: their numbers, rows and columns, intp (n,) each."""

    number: np.ndarray
    row: np.ndarray
    column: np.ndarray
    blocks: tuple[tuple[int, slice], ...]
    """The kernel positions of the phase, and which of its symbols are there; one block of all, at position 0,
    where kernels are not taken by position."""


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
        self._here: Phase
        if grid.by_position:
            self._values = np.zeros(grid.size, np.int32)
            if present is not None:
                kept = present.reshape(grid.rows, grid.positions, grid.columns).sum(axis=1, dtype=np.int32)
                self._kept = kept.reshape(-1) * np.int32(typical) // np.int32(grid.positions)

    def phases(self) -> Iterator[Phase]:
        """Enter one phase after the other; those without symbols are left out."""
        for phase in self._grid.cells(self._present):
            if len(phase.number):
                self._here = phase
                yield phase

    def mean_features(self, position: int, block: slice) -> list[np.ndarray]:
        """What values of a block may be predicted from, in sixteenths: int32 (n,) each."""
        here = self._here
        features = [self._rows.mean()[here.row[block]], self._columns.mean()[here.column[block]]]
        if self._grid.by_position:
            number = here.number[block]
            for other in self._grid.neighbours(position):
                features.append(self._values[number + (other - position) * self._grid.columns])
        return features

    def scale_features(
        self, block: slice, mean: np.ndarray, neighbours: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """What the values' size may be predicted from, in sixteenths: int32 (n,) each.

        Args:
            block: of the phase.
            mean: the predicted values, int32 (n,).
            neighbours: the features after the first two of `mean_features`.
        """
        row, column = self._here.row[block], self._here.column[block]
        features = [self._rows.size()[row], self._columns.size()[column], np.abs(mean)]
        if not self._grid.by_position:
            return features
        total = np.full(len(mean), self._typical, np.int32)
        seen = np.ones(len(mean), np.int32)
        for values in neighbours:
            total += np.abs(values)
            seen += values != 0
        features.append(total // seen)
        if self._present is not None:
            features.append(self._kept[row * self._grid.columns + column])
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
        # Sums of integers below 2**53 are exact in doubles, which is what weighted counts are.
        self._seen = np.full(count, float(_PRIOR))
        self._sum, self._size = np.zeros(count), np.zeros(count)

    def add(self, places: np.ndarray, values: np.ndarray) -> None:
        count = len(self._seen)
        weights = values.astype(np.float64)
        self._seen += np.bincount(places, minlength=count)
        self._sum += np.bincount(places, weights, count)
        self._size += np.bincount(places, np.abs(weights), count)

    def mean(self) -> np.ndarray:
        return _floor(self._sum * UNIT, self._seen)

    def size(self) -> np.ndarray:
        return _floor(self._size * UNIT + _PRIOR * self._typical, self._seen)


def _floor(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return (above.astype(np.int64) // below.astype(np.int64)).astype(np.int32)
