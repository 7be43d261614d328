"""Symbols of kernels, each coded with one of some dozen frequency tables that its kernel's earlier symbols choose.

A small linear model in integers predicts each symbol's value from its neighbours in the kernel, another one the
size of that value. The two predictions, cut into classes, choose a table: the stream's own histogram, tilted
towards smaller or larger values. Where many elements are alike, masks of which are not come first, coded with one
table, then the others.

When not to use it: a few thousand symbols do not pay for the model, and rows and columns of a matrix say too
little about its elements (0.6 % where we looked).

The idea of a mixed model over causal neighbours is that of lossless image coders: Xiaolin Wu and Nasir Memon,
"Context-based, adaptive, lossless image coding", IEEE Transactions on Communications 45 (1997).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from squeezekit.codec import bits, frequencies, lists, masks, rans
from squeezekit.codec.grid import LEAST_POSITIONS, Field, Grid
from squeezekit.codec.lockstep import Asking, Tables
from squeezekit.errors import FormatError

__all__ = ["Model", "Symbols", "predicted", "read", "tilted", "typical", "write_model"]

# Of every table; more would not fit a core's cache.
PRECISION = 12
MAX_ALPHABET = MAX_USED = 1 << 12
# A symbol takes some ten bytes while it is decoded.
MAX_SYMBOLS = 1 << 22
MAX_POSITIONS = 1 << 7
MAX_CLASSES = 15
# A class takes a table; so many symbols of the grid must stand against each.
LEAST_PER_CLASS = 256
_MAX_CUT = (1 << 31) - 1
# Tilts are in eighths of an octave at the largest value.
TILT = 4
# Masks are decoded so many steps at a time, beside other streams.
_MASK_STEPS = 256


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Model:
    """How the tables are chosen, and what they are."""

    table: frequencies.Table
    mean: list[np.ndarray]
    """For each kernel position the coefficients of the value: of each neighbour, then the constant; integers in
    thirty-seconds."""
    scale: np.ndarray
    """Coefficients of the value's size, one for each of `Field.scale_features`; one set for all positions."""
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
    leaning = levels + TILT * lean // max(1, int(sizes.max()))
    leaning += frequencies.MAX_LEVEL - leaning.max(axis=-1, keepdims=True)
    return frequencies.frequencies(frequencies.weights(np.maximum(leaning, 0)), PRECISION)


def typical(table: frequencies.Table, base: int) -> int:
    """Mean absolute value by a table, in sixteenths, at least 1; values are symbols less `base`."""
    total = int((table.frequencies * np.abs(table.symbols - base)).sum()) * 16
    return max(1, total >> table.precision)


def predicted(model: Model, field: Field, position: int) -> tuple[np.ndarray, np.ndarray]:
    """The two predictions for all kernels at a position: int32 (kernels,) both."""
    mean = field.mean(position, model.mean[position])
    sizes = np.zeros_like(mean)
    for coefficient, feature in zip(model.scale.tolist(), field.scale_features(position, mean), strict=True):
        sizes += feature * np.int32(coefficient)
    return mean, sizes


def _classes(model: Model, field: Field, position: int) -> np.ndarray:
    """Which table each symbol of a position has, uint8."""
    mean, sizes = predicted(model, field, position)
    place = np.zeros(len(mean), np.uint8)
    for cut in model.scale_cuts.tolist():
        place += (sizes >= np.int32(cut)).view(np.uint8)
    place *= np.uint8(len(model.mean_cuts) + 1)
    for cut in model.mean_cuts.tolist():
        place += (mean >= np.int32(cut)).view(np.uint8)
    return field.of_present(position, place)


def write_model(model: Model) -> bytes:
    """Everything of a model but its grid."""
    scale_classes, mean_classes, _ = model.tilts.shape
    parts = [np.concatenate(model.mean), model.scale]
    parts += [np.diff(cuts, prepend=0) for cuts in (model.mean_cuts, model.scale_cuts)]
    parts += [model.tilts[..., 0].reshape(-1), model.tilts[..., 1].reshape(-1)]
    head = model.table.data + bytes([scale_classes | mean_classes << 4])
    return head + b"".join(bits.numbers(bits.zigzag(part)) for part in parts)


def _read_model(reader: bits.Reader, alphabet: int, grid: Grid, sparse: bool) -> lists.Parser[Model]:
    table = yield from frequencies.read(reader, alphabet, grid.size)
    kinds = reader.byte()
    scale_classes, mean_classes = kinds & 15, kinds >> 4
    if not 2 <= len(table.symbols) <= MAX_USED or scale_classes == 0 or mean_classes == 0:
        raise FormatError("a context model of an unknown kind")
    if not scale_classes * mean_classes <= grid.size // LEAST_PER_CLASS:
        raise FormatError("a context model of more classes than its symbols can pay for")

    def small(count: int) -> lists.Parser[np.ndarray]:
        values = bits.unzigzag((yield lists.numbers, (reader, count)))
        if count and (values.min() < -128 or values.max() > 127):
            raise FormatError("a context model with numbers out of range")
        return values

    def cuts(count: int) -> lists.Parser[np.ndarray]:
        steps = bits.unzigzag((yield lists.numbers, (reader, count)))
        if (steps[1:] < 0).any():
            raise FormatError("a context model whose classes do not ascend")
        out = np.cumsum(steps)
        if count and (out[0] < -_MAX_CUT or out[-1] > _MAX_CUT):
            raise FormatError("a context model with numbers out of range")
        return out

    counts = [len(grid.neighbours(position)) + 1 for position in range(grid.positions)]
    mean = np.split((yield from small(sum(counts))), np.cumsum(counts)[:-1])
    scale = yield from small(2 + sparse)
    mean_cuts = yield from cuts(mean_classes - 1)
    scale_cuts = yield from cuts(scale_classes - 1)
    large = yield from small(scale_classes * mean_classes)
    positive = yield from small(scale_classes * mean_classes)
    tilts = np.stack([large, positive], axis=-1).reshape(scale_classes, mean_classes, 2)
    return Model(table, mean, scale, mean_cuts, scale_cuts, tilts)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Which symbols are not the common one, coded with one table."""

    count: int
    table: frequencies.Table
    lanes: rans.Lanes


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Symbols:
    """A coded stream, its headers read, ready to be decoded with others."""

    grid: Grid
    dtype: np.dtype
    base: int
    """The symbol of value 0; the one that masks leave out."""
    masks: Masks | None
    model: Model
    own_lanes: rans.Lanes
    out: np.ndarray | None = None
    """Where the symbols go, in order."""

    @property
    def lanes(self) -> tuple[rans.Lanes, ...]:
        """See `lockstep.Stream`."""
        return (self.own_lanes,) if self.masks is None else (self.own_lanes, self.masks.lanes)

    @property
    def held_symbols(self) -> int:
        """See `lockstep.Stream`."""
        return self.grid.size

    @property
    def steps(self) -> int:
        """See `lockstep.Stream`."""
        steps = self.grid.size // len(self.own_lanes.counts)
        return steps if self.masks is None else steps + self.masks.count // len(self.masks.lanes.counts)

    def tables(self) -> list[Tables]:
        """See `lockstep.Stream`."""
        table = self.model.table
        frequency = tilted(table.levels, table.symbols - self.base, self.model.tilts)
        out = [Tables(table.symbols, frequency, PRECISION)]
        if self.masks is not None:
            table = self.masks.table
            out.append(Tables(table.symbols, table.frequencies, table.precision))
        return out

    def decoding(self) -> Asking:
        """See `lockstep.Stream`."""
        grid, present = self.grid, None
        if self.masks is not None:
            places = np.empty(self.masks.count, np.uint16)
            block = _MASK_STEPS * len(self.masks.lanes.counts)
            for first in range(0, len(places), block):
                yield 1, places[first : first + block], None
            present = masks.unfold(places, grid)
            del places
        field = Field(grid, present, typical(self.model.table, self.base))
        del present
        for positions in grid.phases:
            counts = [field.count(position) for position in positions]
            if not any(counts):
                continue
            classes = np.concatenate([_classes(self.model, field, position) for position in positions])
            symbols = np.empty(len(classes), self.dtype)
            yield 0, symbols, classes
            for position, part in zip(positions, _parts(symbols, counts), strict=True):
                field.put(position, field.values[position], part.astype(np.int16) - np.int16(self.base))
        field.values += np.int16(self.base)
        out = np.empty(grid.size, self.dtype) if self.out is None else self.out
        grid.put_in_order(field.values, out)
        return out


def _parts(symbols: np.ndarray, counts: list[int]) -> Iterator[np.ndarray]:
    first = 0
    for count in counts:
        yield symbols[first : first + count]
        first += count


def read(data: memoryview, count: int, alphabet: int, out: np.ndarray | None = None) -> lists.Parser[Symbols]:
    """Read a stream up to its lanes, beside others.

    Args:
        data: exactly one stream.
        count: its symbols.
        alphabet: they lie in [0, alphabet).
        out: where they go, (count,) of a type that holds them.

    Raises:
        FormatError: not a stream of so many symbols of this alphabet.
    """
    if count > MAX_SYMBOLS or alphabet > MAX_ALPHABET:
        received = f"{count:,} symbols of {alphabet:,} kinds"
        raise FormatError(
            f"{received} coded by contexts; at most {MAX_SYMBOLS:,} of {MAX_ALPHABET:,} are allowed"
        )
    reader = bits.Reader(data)
    positions, width = reader.varint(MAX_POSITIONS), reader.varint(MAX_POSITIONS)
    columns = reader.varint(count)
    if (
        positions < LEAST_POSITIONS
        or not columns
        or not 0 < width <= positions
        or count % (positions * columns)
    ):
        raise FormatError("a context model whose grid does not fit its symbols")
    grid = Grid(count // (positions * columns), positions, width, columns)
    base, sparse = reader.varint(alphabet - 1), reader.byte()
    group = masks.group_for(grid)
    if sparse > 1 or (sparse and grid.size % group):
        raise FormatError("masks that do not fit their grid")
    mask = None
    if sparse:
        part = bits.Reader(reader.take(reader.varint()))
        table = yield from frequencies.read(part, 1 << group, grid.size // group)
        if len(table.symbols) < 2:
            raise FormatError("masks that are all the same")
        mask = Masks(grid.size // group, table, (yield from rans.read(part, grid.size // group)))
    model = yield from _read_model(reader, alphabet, grid, bool(sparse))
    dtype = np.dtype(np.uint8 if alphabet <= 256 else np.uint16)
    lanes = yield from rans.read(reader, count, len(grid.phases))
    return Symbols(grid, dtype, base, mask, model, lanes, out)
