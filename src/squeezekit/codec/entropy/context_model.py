"""Symbols of kernels, each coded with one of some dozen frequency tables that its kernel's earlier symbols choose.

A small linear model in integers predicts each symbol's value from its neighbours in the kernel, another one the
value's magnitude. The two predictions, cut into classes, choose a table: the stream's own histogram, tilted
towards smaller or larger values. Where many symbols are the same, masks of the others come first, coded with one
table, then the others.

When not to use it: a few thousand symbols do not pay for the model, and in a matrix it saves too little (0.6 %).

The idea of a mixed model over causal neighbours is that of lossless image coders: Xiaolin Wu and Nasir Memon,
"Context-based, adaptive, lossless image coding", IEEE Transactions on Communications 45 (1997).
"""

import dataclasses

import numpy as np

from squeezekit.codec.entropy import bits, frequency_tables, headers, masks, rans
from squeezekit.codec.entropy.neighbours import LEAST_POSITIONS, Kernels, KernelValues
from squeezekit.codec.entropy.rans_decoder import Phases, Stream, Tables
from squeezekit.errors import FormatError

__all__ = ["Model", "mean_magnitude", "parse", "predicted", "tilted", "write_model"]

# Of every table; more would not fit a core's cache.
PRECISION = 12
MAX_ALPHABET = MAX_USED = 1 << 12
# A symbol takes some ten bytes while it is decoded.
MAX_SYMBOLS = 1 << 22
MAX_POSITIONS = 1 << 7
# A class takes a table; there must be this many symbols for each class.
LEAST_PER_CLASS = 256
_MAX_THRESHOLD = (1 << 31) - 1
# Tilts are in eighths of an octave at the largest value.
TILT = 4
# Masks are decoded in blocks of this many steps, beside other streams.
_MASK_STEPS = 256


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Model:
    """How the tables are chosen, and what they are."""

    table: frequency_tables.Table
    mean: list[np.ndarray]
    """For each kernel position the coefficients of the value: of each neighbour, then the constant; integers in
    thirty-seconds."""
    magnitude: np.ndarray
    """Coefficients of the value's magnitude, one for each of `magnitude_features`; one set for all positions."""
    mean_thresholds: np.ndarray
    """Ascending; a prediction's class is how many of them it reaches."""
    magnitude_thresholds: np.ndarray
    tilts: np.ndarray
    """int64 (magnitude classes, mean classes, 2): how much the tables lean towards large and towards positive."""


def tilted(levels: np.ndarray, values: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """Frequencies of every class, int64 (..., used), from the levels (used,) and values (used,) of the symbols."""
    sizes = np.abs(values)
    lean = tilts[..., :1] * sizes + tilts[..., 1:] * values
    leaning = levels + TILT * lean // max(1, int(sizes.max()))
    leaning += frequency_tables.MAX_LEVEL - leaning.max(axis=-1, keepdims=True)
    return frequency_tables.frequencies(frequency_tables.weights(np.maximum(leaning, 0)), PRECISION)


def mean_magnitude(table: frequency_tables.Table, base: int) -> int:
    """Mean absolute value by a table, in sixteenths, at least 1; values are symbols less `base`."""
    total = int((table.frequencies * np.abs(table.symbols - base)).sum()) * 16
    return max(1, total >> table.precision)


def predicted(model: Model, known: KernelValues, position: int) -> tuple[np.ndarray, np.ndarray]:
    """The two predictions for all kernels at a position: int32 (kernels,) both."""
    mean = known.mean(position, model.mean[position])
    sizes = np.zeros_like(mean)
    features = known.magnitude_features(position, mean)
    for coefficient, feature in zip(model.magnitude.tolist(), features, strict=True):
        sizes += feature * np.int32(coefficient)
    return mean, sizes


def _classes(model: Model, known: KernelValues, position: int) -> np.ndarray:
    """Which table each symbol of a position has, uint8."""
    mean, sizes = predicted(model, known, position)
    classes = np.zeros(len(mean), np.uint8)
    for threshold in model.magnitude_thresholds.tolist():
        classes += (sizes >= np.int32(threshold)).view(np.uint8)
    classes *= np.uint8(len(model.mean_thresholds) + 1)
    for threshold in model.mean_thresholds.tolist():
        classes += (mean >= np.int32(threshold)).view(np.uint8)
    return known.of_present(position, classes)


def write_model(model: Model) -> bytes:
    """Everything of a model but its kernels."""
    magnitude_classes, mean_classes, _ = model.tilts.shape
    parts = [np.concatenate(model.mean), model.magnitude]
    parts += [np.diff(cuts, prepend=0) for cuts in (model.mean_thresholds, model.magnitude_thresholds)]
    parts += [model.tilts[..., 0].reshape(-1), model.tilts[..., 1].reshape(-1)]
    head = model.table.data + bytes([magnitude_classes | mean_classes << 4])
    return head + b"".join(bits.numbers(bits.zigzag(part)) for part in parts)


def _parse_model(reader: bits.Reader, alphabet: int, kernels: Kernels, sparse: bool) -> headers.Parser[Model]:
    table = yield from frequency_tables.parse(reader, alphabet, kernels.size)
    classes = reader.byte()
    magnitude_classes, mean_classes = classes & 15, classes >> 4
    if not 2 <= len(table.symbols) <= MAX_USED or magnitude_classes == 0 or mean_classes == 0:
        raise FormatError("a context model of an unknown kind")
    if not magnitude_classes * mean_classes <= kernels.size // LEAST_PER_CLASS:
        raise FormatError("a context model of more classes than its symbols can pay for")

    def small(count: int) -> headers.Parser[np.ndarray]:
        values = bits.unzigzag((yield headers.read_numbers, (reader, count)))
        if count and (values.min() < -128 or values.max() > 127):
            raise FormatError("a context model with numbers out of range")
        return values

    def thresholds(count: int) -> headers.Parser[np.ndarray]:
        steps = bits.unzigzag((yield headers.read_numbers, (reader, count)))
        if (steps[1:] < 0).any():
            raise FormatError("a context model whose classes do not ascend")
        out = np.cumsum(steps)
        if count and (out[0] < -_MAX_THRESHOLD or out[-1] > _MAX_THRESHOLD):
            raise FormatError("a context model with numbers out of range")
        return out

    counts = [len(kernels.neighbours(position)) + 1 for position in range(kernels.positions)]
    mean = np.split((yield from small(sum(counts))), np.cumsum(counts)[:-1])
    magnitude = yield from small(2 + sparse)
    mean_thresholds = yield from thresholds(mean_classes - 1)
    magnitude_thresholds = yield from thresholds(magnitude_classes - 1)
    large = yield from small(magnitude_classes * mean_classes)
    positive = yield from small(magnitude_classes * mean_classes)
    tilts = np.stack([large, positive], axis=-1).reshape(magnitude_classes, mean_classes, 2)
    return Model(table, mean, magnitude, mean_thresholds, magnitude_thresholds, tilts)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """Which symbols are not the common one, coded with one table."""

    count: int
    table: frequency_tables.Table
    lanes: rans.Lanes


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _ContextStream:
    """A coded stream, its headers read, ready to be decoded with others; see `rans_decoder.Stream`."""

    kernels: Kernels
    dtype: np.dtype
    base: int
    """The symbol of value 0; the one that masks leave out."""
    masks: _Masks | None
    model: Model
    own_lanes: rans.Lanes
    out: np.ndarray | None = None
    """Where the symbols go, in order."""

    @property
    def lanes(self) -> tuple[rans.Lanes, ...]:
        return (self.own_lanes,) if self.masks is None else (self.own_lanes, self.masks.lanes)

    @property
    def held_symbols(self) -> int:
        return self.kernels.size

    @property
    def steps(self) -> int:
        steps = self.kernels.size // len(self.own_lanes.counts)
        return steps if self.masks is None else steps + self.masks.count // len(self.masks.lanes.counts)

    def tables(self) -> list[Tables]:
        table = self.model.table
        frequency = tilted(table.levels, table.symbols - self.base, self.model.tilts)
        out = [Tables(table.symbols, frequency, PRECISION)]
        if self.masks is not None:
            table = self.masks.table
            out.append(Tables(table.symbols, table.frequencies, table.precision))
        return out

    def decoding(self) -> Phases:
        kernels, present = self.kernels, None
        if self.masks is not None:
            ranks = np.empty(self.masks.count, np.uint16)
            block = _MASK_STEPS * len(self.masks.lanes.counts)
            for first in range(0, len(ranks), block):
                yield 1, ranks[first : first + block], None
            present = masks.unfold(ranks, kernels)
            del ranks
        known = KernelValues(kernels, present, mean_magnitude(self.model.table, self.base))
        del present
        for positions in kernels.phases:
            counts = [known.count(position) for position in positions]
            if not any(counts):
                continue
            classes = np.concatenate([_classes(self.model, known, position) for position in positions])
            symbols = np.empty(len(classes), self.dtype)
            yield 0, symbols, classes
            for position, part in zip(positions, headers.Segments(counts).split(symbols), strict=True):
                known.put(position, part.astype(np.int16) - np.int16(self.base))
        known.values += np.int16(self.base)
        out = np.empty(kernels.size, self.dtype) if self.out is None else self.out
        return kernels.in_order(known.values, out)


def parse(
    data: memoryview, count: int, alphabet: int, out: np.ndarray | None = None
) -> headers.Parser[Stream]:
    """Read exactly one stream of `count` symbols in [0, alphabet) up to its lanes, beside others.

    The symbols go to `out` (count,), of a type that holds them, if it is given.

    Raises:
        FormatError: not such a stream.
    """
    if count > MAX_SYMBOLS or alphabet > MAX_ALPHABET:
        raise FormatError(
            f"{count:,} symbols of {alphabet:,} kinds coded by contexts; "
            f"at most {MAX_SYMBOLS:,} of {MAX_ALPHABET:,} are allowed"
        )
    reader = bits.Reader(data)
    positions, width = reader.varint(MAX_POSITIONS), reader.varint(MAX_POSITIONS)
    inputs = reader.varint(count)
    fits = positions >= LEAST_POSITIONS and inputs and count % (positions * inputs) == 0
    if not fits or not 0 < width <= positions:
        raise FormatError("a context model whose kernels do not fit its symbols")
    kernels = Kernels(count // (positions * inputs), positions, width, inputs)
    base, sparse = reader.varint(alphabet - 1), reader.byte()
    group = masks.group_for(kernels)
    if sparse > 1 or (sparse and kernels.size % group):
        raise FormatError("masks that do not fit their kernels")
    mask = None
    if sparse:
        part, mask_count = bits.Reader(reader.take(reader.varint())), kernels.size // group
        table = yield from frequency_tables.parse(part, 1 << group, mask_count)
        if len(table.symbols) < 2:
            raise FormatError("masks that are all the same")
        mask = _Masks(mask_count, table, (yield from rans.parse(part, mask_count)))
    model = yield from _parse_model(reader, alphabet, kernels, bool(sparse))
    dtype = np.dtype(np.uint8 if alphabet <= 256 else np.uint16)
    lanes = yield from rans.parse(reader, count, len(kernels.phases))
    return _ContextStream(kernels, dtype, base, mask, model, lanes, out)
