"""Symbols of a kernel, each coded with one of some dozens of frequency tables that its surroundings choose.

A small linear model in integers predicts each symbol's value from its row, its column and its kernel's earlier
positions, another one the size of that value. The two predictions, cut into classes, choose a table: the
stream's own histogram, tilted towards smaller or larger values. Where many elements are alike, masks of which
are not come first (their value is the number of ones), then the others.

When not to use it: a few thousand symbols do not pay for the model, tens of millions take too long.

The idea of a mixed model over causal neighbours is that of lossless image coders: Xiaolin Wu and Nasir Memon,
"Context-based, adaptive, lossless image coding", IEEE Transactions on Communications 45 (1997).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from squeezekit.codec import bits, frequencies, masks, rans
from squeezekit.codec.grid import UNIT, Grid, History, Phase
from squeezekit.codec.lockstep import Asking, Tables
from squeezekit.errors import FormatError

__all__ = ["Model", "Stage", "Symbols", "read", "tilted", "write_model"]

# Of every table; more would not fit a core's cache.
PRECISION = 13
MAX_USED = 1 << 12
# A symbol takes some hundred bytes while it is decoded.
MAX_SYMBOLS = 1 << 22
MAX_POSITIONS = 1 << 7
MAX_CLASSES = 15
COEFFICIENT_BITS = 5
# A class takes a table; so many symbols of the grid must stand against each.
LEAST_PER_CLASS = 256
_MAX_CUT = (1 << 31) - 1
# Tilts are in eighths of an octave at the largest value.
_TILT = 4


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Model:
    """How the tables of one stage are chosen, and what they are."""

    table: frequencies.Table
    mean: list[np.ndarray]
    """For each kernel position (one in all where phases are diagonals) the coefficients of the value: of each of
    `History.mean_features`, then of the constant; integers in thirty-seconds."""
    scale: np.ndarray
    """The same for the value's size; one for all phases."""
    mean_cuts: np.ndarray
    """Ascending; a prediction's class is how many of them it reaches."""
    scale_cuts: np.ndarray
    tilts: np.ndarray
    """int64 (scale classes, mean classes, 2): how much the tables lean towards large and towards positive."""


def tilted(levels: np.ndarray, values: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """Frequencies of every class: int64 (..., used).

    Args:
        levels: (used,), the histogram's.
        values: (used,) of the symbols.
        tilts: (..., 2).
    """
    sizes = np.abs(values)
    lean = tilts[..., :1] * sizes + tilts[..., 1:] * values
    leaning = levels + _TILT * lean // max(1, int(sizes.max()))
    leaning += frequencies.MAX_LEVEL - leaning.max(axis=-1, keepdims=True)
    return frequencies.frequencies(frequencies.weights(np.maximum(leaning, 0)), PRECISION)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Symbols of one kind: masks, or what they leave."""

    grid: Grid
    values: np.ndarray
    """int64 (alphabet,): value of each symbol."""
    model: Model

    @property
    def used_values(self) -> np.ndarray:
        """Values of the symbols that occur."""
        return self.values[self.model.table.symbols]

    def typical(self) -> int:
        """Mean absolute value by the histogram, in sixteenths, at least 1."""
        frequency = self.model.table.frequencies
        total = int((frequency * np.abs(self.used_values)).sum()) * UNIT
        return max(1, total >> self.model.table.precision)

    def tables(self) -> Tables:
        """One decoding table a class."""
        frequency = tilted(self.model.table.levels, self.used_values, self.model.tilts)
        return Tables.of(self.model.table.symbols, frequency, PRECISION)

    def classes(self, history: History, phase: Phase) -> np.ndarray | None:
        """Which table each symbol of the phase has; None where there is only one table."""
        if self.model.tilts.size == 2:
            return None
        return np.concatenate([self._classes(history, *block) for block in phase.blocks])

    def _classes(self, history: History, position: int, block: slice) -> np.ndarray:
        model = self.model
        features = history.mean_features(position, block)
        mean = predict(model.mean[position], features)
        place = np.searchsorted(model.mean_cuts, mean, side="right")
        if len(model.scale_cuts):
            sizes = predict(model.scale, history.scale_features(block, mean, features[2:]))
            place += np.searchsorted(model.scale_cuts, sizes, side="right") * (len(model.mean_cuts) + 1)
        return place


def predict(coefficients: np.ndarray, features: Sequence[np.ndarray]) -> np.ndarray:
    """Sum of features times coefficients, the last of which is the constant's; int32."""
    total = np.full(features[0].shape, int(coefficients[-1]) * UNIT, np.int32)
    for coefficient, feature in zip(coefficients[:-1].tolist(), features, strict=True):
        if coefficient:
            total += feature * np.int32(coefficient)
    return total >> np.int32(COEFFICIENT_BITS)


def mean_counts(grid: Grid) -> list[int]:
    """Number of coefficients of the value, for each kernel position."""
    return [3 + len(grid.neighbours(place)) for place in range(grid.positions)] if grid.by_position else [3]


def scale_count(grid: Grid, sparse: bool) -> int:
    """Number of coefficients of the value's size."""
    return 4 + grid.by_position * (1 + sparse)


def write_model(model: Model) -> bytes:
    """Everything of a model but its grid."""
    scale_classes, mean_classes, _ = model.tilts.shape
    out = model.table.data + bytes([scale_classes | mean_classes << 4])
    if model.tilts.size == 2:
        return out
    parts = [np.concatenate(model.mean), np.diff(model.mean_cuts, prepend=0)]
    if scale_classes > 1:
        parts += [model.scale, np.diff(model.scale_cuts, prepend=0)]
    parts += [model.tilts[..., 0].reshape(-1), model.tilts[..., 1].reshape(-1)]
    return out + b"".join(bits.numbers(bits.zigzag(part)) for part in parts)


def _read_model(reader: bits.Reader, alphabet: int, grid: Grid, sparse: bool) -> Model:
    table = frequencies.read(reader, alphabet, grid.size)
    kinds = reader.byte()
    scale_classes, mean_classes = kinds & 15, kinds >> 4
    if not 2 <= len(table.symbols) <= MAX_USED or scale_classes == 0 or mean_classes == 0:
        raise FormatError("a context model of an unknown kind")
    none = np.zeros(0, np.int64)
    if 1 < scale_classes * mean_classes > grid.size // LEAST_PER_CLASS:
        raise FormatError("a context model of more classes than its symbols can pay for")
    if scale_classes == mean_classes == 1:
        return Model(table, [], none, none, none, np.zeros((1, 1, 2), np.int64))

    def small(count: int) -> np.ndarray:
        values = bits.unzigzag(reader.numbers(count))
        if count and (values.min() < -128 or values.max() > 127):
            raise FormatError("a context model with numbers out of range")
        return values

    def cuts(count: int) -> np.ndarray:
        steps = bits.unzigzag(reader.numbers(count))
        if (steps[1:] < 0).any():
            raise FormatError("a context model whose classes do not ascend")
        out = np.cumsum(steps)
        if count and (out[0] < -_MAX_CUT or out[-1] > _MAX_CUT):
            raise FormatError("a context model with numbers out of range")
        return out.astype(np.int32)

    counts = mean_counts(grid)
    mean = np.split(small(sum(counts)), np.cumsum(counts)[:-1])
    mean_cuts, scale, scale_cuts = cuts(mean_classes - 1), none, none
    if scale_classes > 1:
        scale = small(scale_count(grid, sparse))
        scale_cuts = cuts(scale_classes - 1)
    shape = scale_classes, mean_classes
    tilts = np.stack([small(scale_classes * mean_classes).reshape(shape) for _ in range(2)], axis=-1)
    return Model(table, mean, scale, mean_cuts, scale_cuts, tilts)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Symbols:
    """A coded stream, its headers read, ready to be decoded with others."""

    count: int
    dtype: np.dtype
    common: int
    """The symbol that masks leave out."""
    stages: tuple[Stage, ...]
    """Masks and then what they leave, or only that."""
    lanes: tuple[rans.Lanes, ...]

    @property
    def held_symbols(self) -> int:
        """See `lockstep.Stream`."""
        return self.count

    def tables(self) -> list[Tables]:
        """See `lockstep.Stream`."""
        return [stage.tables() for stage in self.stages]

    def decoding(self) -> Asking:
        """See `lockstep.Stream`."""
        present = None
        out = np.empty(0, self.dtype)
        for number, stage in enumerate(self.stages):
            last = number == len(self.stages) - 1
            history = History(stage.grid, present, stage.typical())
            values = stage.values.astype(np.int32)
            out = np.full(stage.grid.size, self.common if last else 0, self.dtype if last else np.uint16)
            for phase in history.phases():
                symbols = yield number, len(phase.number), stage.classes(history, phase)
                out[phase.number] = symbols
                history.end(values[symbols])
            if not last:
                present = masks.unfold(out, self.stages[-1].grid)
        return out


def read(data: memoryview, count: int, alphabet: int) -> Symbols:
    """Read a stream up to its lanes.

    Raises:
        FormatError: not a stream of so many symbols of this alphabet.
    """
    if count > MAX_SYMBOLS:
        raise FormatError(f"{count:,} symbols coded by contexts; at most {MAX_SYMBOLS:,} are allowed")
    reader = bits.Reader(data)
    positions, width = reader.varint(MAX_POSITIONS), reader.varint(MAX_POSITIONS)
    columns = reader.varint(count)
    if not positions or not columns or not 0 < width <= positions or count % (positions * columns):
        raise FormatError("a context model whose grid does not fit its symbols")
    grid = Grid(count // (positions * columns), positions, width, columns)
    # One more than the common symbol, or 0 where there are no masks.
    common = reader.varint(alphabet) - 1
    zero = reader.varint(alphabet)
    mask_grid = masks.grid_for(grid) if common >= 0 else None
    if common >= 0 and mask_grid is None:
        raise FormatError("masks that do not fit their grid")
    stages, lanes = [], []
    if mask_grid is not None:
        ones = masks.ones(masks.group_for(grid))
        stages.append(Stage(mask_grid, ones, _read_model(reader, len(ones), mask_grid, False)))
        part = bits.Reader(reader.take(reader.varint()))
        lanes.append(rans.read(part, mask_grid.size, mask_grid.phases))
    values = np.arange(alphabet) - zero
    stages.append(Stage(grid, values, _read_model(reader, alphabet, grid, common >= 0)))
    lanes.append(rans.read(reader, count, grid.phases))
    dtype = np.dtype(np.uint8 if alphabet <= 256 else np.uint16)
    return Symbols(count, dtype, max(common, 0), tuple(stages), tuple(lanes))
