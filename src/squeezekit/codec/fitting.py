"""The encoder's side of `contexts`: fit the linear models, the classes and the tilts, and write the stream.

Only what is written must be integers; how it is found need not be the same on every processor.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from squeezekit.codec import bits, contexts, frequencies, masks, rans
from squeezekit.codec.contexts import Model, Stage
from squeezekit.codec.grid import UNIT, Grid, History, Phase

__all__ = ["encode", "grid_of", "suits"]

# Fewer symbols do not pay for a model.
LEAST_SYMBOLS = 1 << 11
# Masks pay when at least this share of the symbols are the same.
_LEAST_SHARE = 0.2
# (scale classes, value classes) that are tried.
_CLASSES = ((3, 3), (5, 5), (5, 9))
_MASK_CLASSES = ((1, 5), (1, 9))
_RIDGE = 3.0


def grid_of(shape: tuple[int, ...], count: int) -> Grid | None:
    """The grid of a kernel (out, height, width, in) or a matrix (out, in); None for other shapes."""
    if len(shape) == 4 and shape[1] * shape[2] <= contexts.MAX_POSITIONS:
        grid = Grid(shape[0], shape[1] * shape[2], shape[2], shape[3])
    elif len(shape) == 2:
        grid = Grid(shape[0], 1, 1, shape[1])
    else:
        return None
    return grid if grid.size == count else None


def suits(histogram: np.ndarray) -> bool:
    """Whether a stream of this histogram is worth trying."""
    used = int(np.count_nonzero(histogram))
    return LEAST_SYMBOLS <= int(histogram.sum()) <= contexts.MAX_SYMBOLS and 3 <= used <= contexts.MAX_USED


def encode(symbols: np.ndarray, histogram: np.ndarray, grid: Grid) -> bytes | None:
    """Code a stream.

    Args:
        symbols: uint8 or uint16 (grid.size,).
        histogram: int64 (alphabet,) counts of the symbols.
        grid: how they lie.

    Returns:
        The stream; None where no model fits.
    """
    common = int(histogram.argmax())
    head = bits.varint(grid.positions) + bits.varint(grid.width) + bits.varint(grid.columns)
    mask_grid = masks.grid_for(grid)
    if histogram[common] < _LEAST_SHARE * grid.size or mask_grid is None:
        mean = int(histogram @ np.arange(len(histogram))) // grid.size
        model, lanes = _stage(symbols, histogram, grid, np.arange(len(histogram)) - mean, None, _CLASSES)
        return head + b"\0" + bits.varint(mean) + model + lanes
    present = symbols != common
    folded = masks.fold(present, grid)
    ones = masks.ones(masks.group_for(grid))
    counts = np.bincount(folded, minlength=len(ones))
    rest = histogram.copy()
    rest[common] = 0
    if min(np.count_nonzero(counts), np.count_nonzero(rest)) < 2:
        return None
    # One more than the common symbol, which is also the one of value 0.
    head += bits.varint(common + 1) + bits.varint(common)
    model, lanes = _stage(folded, counts, mask_grid, ones, None, _MASK_CLASSES)
    head += model + bits.varint(len(lanes)) + lanes
    model, lanes = _stage(symbols, rest, grid, np.arange(len(histogram)) - common, present, _CLASSES)
    return head + model + lanes


class _Seen:
    """Everything known of each symbol when its turn comes; lists have an item a phase, or a block."""

    def __init__(self, symbols: np.ndarray, stage: Stage, present: np.ndarray | None) -> None:
        self.stage, self.present = stage, present
        self.phases: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.features: list[list[np.ndarray]] = []
        self.places: list[int] = []
        for phase, history, values in self._histories(symbols):
            self.phases.append(symbols[phase.number])
            for position, block in phase.blocks:
                self.places.append(position)
                self.values.append(values[block])
                self.features.append(history.mean_features(position, block))
        self._all = symbols

    def _histories(self, symbols: np.ndarray) -> Iterator[tuple[Phase, History, np.ndarray]]:
        values = self.stage.values.astype(np.int32)
        history = History(self.stage.grid, self.present, self.stage.typical())
        for phase in history.phases():
            own = values[symbols[phase.number]]
            yield phase, history, own
            history.end(own)

    def scale_features(self, predicted: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """What the values' sizes may be predicted from, block by block."""
        out: list[list[np.ndarray]] = []
        for phase, history, _ in self._histories(self._all):
            for _, block in phase.blocks:
                number = len(out)
                out.append(history.scale_features(block, predicted[number], self.features[number][2:]))
        return out


def _stage(
    symbols: np.ndarray,
    histogram: np.ndarray,
    grid: Grid,
    values: np.ndarray,
    present: np.ndarray | None,
    kinds: Sequence[tuple[int, int]],
) -> tuple[bytes, bytes]:
    """Code one stage; returns its model and its lanes."""
    none = np.zeros(0, np.int64)
    table = frequencies.choose(histogram)
    best = Model(table, [], none, none, none, np.zeros((1, 1, 2), np.int64))
    seen = _Seen(symbols, Stage(grid, values, best), present)
    best_classes, best_bits = None, _cost(seen, best, None)
    mean = _fit_mean(seen)
    predicted = [
        contexts.predict(mean[place], features)
        for place, features in zip(seen.places, seen.features, strict=True)
    ]
    sized = seen.scale_features(predicted)
    scale = _least_squares(sized, [np.abs(values) * np.int32(UNIT) for values in seen.values])
    sizes = [contexts.predict(scale, features) for features in sized]
    for scale_kinds, mean_kinds in kinds:
        if scale_kinds * mean_kinds > grid.size // contexts.LEAST_PER_CLASS:
            continue
        mean_cuts, scale_cuts = _cuts(predicted, mean_kinds), _cuts(sizes, scale_kinds)
        if len(mean_cuts) + len(scale_cuts) == 0:
            continue
        wide = len(mean_cuts) + 1
        classes = np.searchsorted(mean_cuts, np.concatenate(predicted), side="right")
        classes += wide * np.searchsorted(scale_cuts, np.concatenate(sizes), side="right")
        tilts = _fit_tilts(seen, classes, (len(scale_cuts) + 1, wide))
        model = Model(table, mean, scale, mean_cuts, scale_cuts, tilts)
        cost = _cost(seen, model, classes)
        if cost < best_bits:
            best, best_classes, best_bits = model, classes, cost
    return contexts.write_model(best), _lanes(seen, best, best_classes)


def _lanes(seen: _Seen, model: Model, classes: np.ndarray | None) -> bytes:
    used = model.table.symbols
    place = np.zeros(len(seen.stage.values), np.int64)
    place[used] = np.arange(len(used))
    frequency = contexts.tilted(model.table.levels, seen.stage.values[used], model.tilts)
    start = np.cumsum(frequency, axis=-1) - frequency
    entries = place[np.concatenate(seen.phases)]
    if classes is not None:
        entries += len(used) * classes
    flat = frequency.reshape(-1)
    code_bytes = float((contexts.PRECISION - np.log2(flat[entries])).sum()) / 8
    lanes = rans.lane_count(len(entries), code_bytes)
    phases = np.split(entries, np.cumsum([len(phase) for phase in seen.phases])[:-1])
    return rans.encode(phases, flat, start.reshape(-1), contexts.PRECISION, lanes)


def _cost(seen: _Seen, model: Model, classes: np.ndarray | None) -> float:
    """Bits of the model and of the symbols coded with it."""
    used = model.table.symbols
    frequency = contexts.tilted(model.table.levels, seen.stage.values[used], model.tilts).reshape(
        -1, len(used)
    )
    counts = _counts(seen, classes, len(frequency))[:, used]
    log = contexts.PRECISION - np.log2(frequency)
    return 8 * len(contexts.write_model(model)) + float((counts * log).sum())


def _counts(seen: _Seen, classes: np.ndarray | None, kinds: int) -> np.ndarray:
    """Histogram of each class: (kinds, alphabet)."""
    alphabet = len(seen.stage.values)
    symbols = np.concatenate(seen.phases).astype(np.int64)
    if classes is not None:
        symbols += alphabet * classes
    return np.bincount(symbols, minlength=kinds * alphabet).reshape(kinds, alphabet)


def _least_squares(features: list[list[np.ndarray]], targets: list[np.ndarray]) -> np.ndarray:
    """Coefficients in thirty-seconds for the features and the constant, fitted over several phases."""
    rows = [np.stack([*part, np.full_like(part[0], UNIT)]).astype(np.float64) / UNIT for part in features]
    x = np.concatenate(rows, axis=1)
    y = np.concatenate(targets) / UNIT
    found = np.linalg.solve(x @ x.T + _RIDGE * np.eye(len(x)), x @ y)
    return np.rint(found * (1 << contexts.COEFFICIENT_BITS)).clip(-128, 127).astype(np.int64)


def _fit_mean(seen: _Seen) -> list[np.ndarray]:
    out = []
    for place, count in enumerate(contexts.mean_counts(seen.stage.grid)):
        members = [index for index, other in enumerate(seen.places) if other == place]
        if members:
            targets = [seen.values[index] * np.int32(UNIT) for index in members]
            out.append(_least_squares([seen.features[index] for index in members], targets))
        else:
            out.append(np.zeros(count, np.int64))
    return out


def _cuts(predicted: list[np.ndarray], classes: int) -> np.ndarray:
    """Boundaries that make classes of about the same size; fewer where values repeat."""
    return np.unique(np.quantile(np.concatenate(predicted), np.arange(1, classes) / classes).astype(np.int64))


def _fit_tilts(seen: _Seen, classes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """For each class the tilts under which its symbols take fewest bits, by Newton's method."""
    table = seen.stage.model.table
    values = seen.stage.values[table.symbols]
    largest = max(1, int(np.abs(values).max()))
    counts = _counts(seen, classes, shape[0] * shape[1])[:, table.symbols].astype(np.float64)
    # One unit of a tilt multiplies a weight by 2 ** (4 / 32 * value / largest).
    unit = np.log(2) * contexts._TILT / frequencies.OCTAVE
    features = np.stack([np.abs(values), values]) / largest * unit
    base = table.levels * np.log(2) / frequencies.OCTAVE
    total = counts.sum(axis=1)
    wanted = counts @ features.T
    tilts = np.zeros((len(counts), 2))
    for _ in range(40):
        logits = base + tilts @ features
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        mean = share @ features.T
        second = np.einsum("cs,is,js->cij", share, features, features) - mean[:, :, None] * mean[:, None, :]
        gradient = wanted - total[:, None] * mean - 0.002 * tilts
        hessian = total[:, None, None] * second + (0.002 + 1e-6 * total[:, None, None]) * np.eye(2)
        tilts += np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0].clip(-8, 8)
        tilts = tilts.clip(-128, 127)
    return np.rint(tilts).astype(np.int64).reshape(*shape, 2)
