"""The encoder's side of `contexts`: fit the linear models, the classes and the tilts, and write the stream.

Only what is written must be integers; how it is found need not be the same on every processor.
"""

from collections.abc import Sequence

import numpy as np

from squeezekit.codec import bits, contexts, frequencies, masks, rans
from squeezekit.codec.contexts import Model
from squeezekit.codec.grid import LEAST_POSITIONS, Field, Grid

__all__ = ["encode", "grid_of", "suits"]

# Fewer symbols do not pay for a model.
LEAST_SYMBOLS = 1 << 11
# Masks pay when at least this share of the symbols are the same.
_LEAST_SHARE = 0.2
# (scale classes, value classes) that are tried.
_CLASSES = ((2, 3), (4, 4))
_RIDGE = 3.0
_NEWTON_STEPS = 12
_COEFFICIENT_UNIT = 32


def grid_of(shape: tuple[int, ...], count: int) -> Grid | None:
    """The grid of a kernel (out, height, width, in); None for other shapes."""
    if len(shape) != 4 or not LEAST_POSITIONS <= shape[1] * shape[2] <= contexts.MAX_POSITIONS:
        return None
    grid = Grid(shape[0], shape[1] * shape[2], shape[2], shape[3])
    return grid if grid.size == count else None


def suits(histogram: np.ndarray) -> bool:
    """Whether a stream of this histogram is worth trying."""
    used, count = int(np.count_nonzero(histogram)), int(histogram.sum())
    fits = len(histogram) <= contexts.MAX_ALPHABET and LEAST_SYMBOLS <= count <= contexts.MAX_SYMBOLS
    return fits and 3 <= used <= contexts.MAX_USED


def encode(symbols: np.ndarray, histogram: np.ndarray, grid: Grid) -> bytes | None:
    """Code a stream.

    Args:
        symbols: uint8 or uint16 (grid.size,).
        histogram: int64 (alphabet,) counts of the symbols.
        grid: how they lie.

    Returns:
        The stream; None where no model fits.
    """
    base, present, mask = int(histogram.argmax()), None, b""
    placed = grid.by_position(symbols)
    group = masks.group_for(grid)
    if histogram[base] >= _LEAST_SHARE * grid.size and grid.size % group == 0:
        present = placed != base
        histogram = histogram.copy()
        histogram[base] = 0
        places = masks.fold(present, grid)
        counts = bits.count(places, minlength=1 << group)
        if min(np.count_nonzero(counts), np.count_nonzero(histogram)) < 2:
            return None
        table = frequencies.choose(counts)
        mask = table.data + rans.encode_static(places, counts, table)
        mask = bits.varint(len(mask)) + mask
    else:
        base = int(histogram @ np.arange(len(histogram))) // grid.size
    stage = _Stage(placed, histogram, grid, base, present)
    model, classes = stage.fit()
    if model is None:
        return None
    head = b"".join(map(bits.varint, (grid.positions, grid.width, grid.columns, base)))
    return (
        head + bytes([present is not None]) + mask + contexts.write_model(model) + stage.lanes(model, classes)
    )


class _Stage:
    """Everything known of each symbol when its turn comes; lists have an item for each position."""

    def __init__(
        self, placed: np.ndarray, histogram: np.ndarray, grid: Grid, base: int, present: np.ndarray | None
    ) -> None:
        self.grid, self.base = grid, base
        self.table = frequencies.choose(histogram)
        self.field = Field(grid, present, contexts.typical(self.table, base))
        # Neighbours belong to earlier phases, so that those not known yet are not asked for.
        self.field.values[...] = placed.astype(np.int16) - np.int16(base)
        self.order = [position for phase in grid.phases for position in phase]
        self.symbols = [self.field.of_present(position, placed[position]) for position in self.order]

    def fit(self) -> tuple[Model | None, np.ndarray]:
        """The model that takes the fewest bits, None if one table for all takes fewer; each symbol's class."""
        none = np.zeros(0, np.int64)
        every = np.concatenate(self.symbols)
        best: Model | None = None
        best_classes = none
        counts = bits.count(every, minlength=int(self.table.symbols[-1]) + 1)[self.table.symbols]
        best_bits = frequencies.cost_bits(counts, self.table.frequencies, self.table.precision)
        mean = self._fit_mean()
        scale = self._fit_scale(mean)
        rough = Model(self.table, mean, scale, none, none, none)
        found = [contexts.predicted(rough, self.field, position) for position in self.order]
        means, sizes = (
            np.concatenate(
                [
                    self.field.of_present(place, one[kind])
                    for place, one in zip(self.order, found, strict=True)
                ]
            )
            for kind in (0, 1)
        )
        for scale_kinds, mean_kinds in _CLASSES:
            mean_cuts, scale_cuts = _cuts(means, mean_kinds), _cuts(sizes, scale_kinds)
            wide, kinds = len(mean_cuts) + 1, (len(mean_cuts) + 1) * (len(scale_cuts) + 1)
            if not 1 < kinds <= self.grid.size // contexts.LEAST_PER_CLASS:
                continue
            classes = np.searchsorted(mean_cuts, means, side="right")
            classes += wide * np.searchsorted(scale_cuts, sizes, side="right")
            histograms = self._histograms(every, classes, kinds)
            tilts = self._fit_tilts(histograms).reshape(len(scale_cuts) + 1, wide, 2)
            model = Model(self.table, mean, scale, mean_cuts, scale_cuts, tilts)
            frequency = contexts.tilted(self.table.levels, self.table.symbols - self.base, tilts)
            cost = 8 * len(contexts.write_model(model)) - 8 * len(self.table.data)
            cost += (histograms * (contexts.PRECISION - np.log2(frequency.reshape(kinds, -1)))).sum()
            if cost < best_bits:
                best, best_classes, best_bits = model, classes, cost
        return best, best_classes

    def lanes(self, model: Model, classes: np.ndarray) -> bytes:
        """Code the symbols with a model."""
        used = self.table.symbols
        place = np.zeros(int(used[-1]) + 1, np.int64)
        place[used] = np.arange(len(used))
        entries = place[np.concatenate(self.symbols)] + len(used) * classes
        frequency = contexts.tilted(self.table.levels, used - self.base, model.tilts)
        start = (np.cumsum(frequency, axis=-1) - frequency).reshape(-1)
        flat = frequency.reshape(-1)
        code_bytes = float((contexts.PRECISION - np.log2(flat[entries])).sum()) / 8
        lanes = rans.lane_count(len(entries), code_bytes, steps=256)
        counts = [sum(self.field.count(position) for position in positions) for positions in self.grid.phases]
        phases = np.split(entries, np.cumsum(counts)[:-1])
        return rans.encode(phases, flat, start, contexts.PRECISION, lanes)

    def _histograms(self, every: np.ndarray, classes: np.ndarray, kinds: int) -> np.ndarray:
        """Of each class, over the table's symbols: (kinds, used)."""
        alphabet = int(self.table.symbols[-1]) + 1
        counts = bits.count(every + alphabet * classes, minlength=kinds * alphabet)
        return counts.reshape(kinds, alphabet)[:, self.table.symbols]

    def _fit_mean(self) -> list[np.ndarray]:
        out = []
        for position in range(self.grid.positions):
            rows = [self.field.values[other] for other in self.grid.neighbours(position)]
            features = [self.field.of_present(position, row) for row in rows]
            target = self.field.of_present(position, self.field.values[position])
            out.append(_least_squares([*features, np.ones_like(target)], target, _COEFFICIENT_UNIT))
        return out

    def _fit_scale(self, mean: list[np.ndarray]) -> np.ndarray:
        rows: list[list[np.ndarray]] = []
        targets = []
        for position in self.order:
            predicted = self.field.mean(position, mean[position])
            features = self.field.scale_features(position, predicted)
            rows.append([self.field.of_present(position, feature) for feature in features])
            targets.append(np.abs(self.field.of_present(position, self.field.values[position])))
        target = np.concatenate(targets)
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
        # Only differences between symbols matter: a constant is fitted and left out. In sixteenths, like features.
        return _least_squares([*columns, np.full(len(target), 16, np.int32)], target, 16 * 32)[:-1]

    def _fit_tilts(self, histograms: np.ndarray) -> np.ndarray:
        """For each class the tilts under which its symbols take fewest bits, by Newton's method: (kinds, 2)."""
        values = self.table.symbols - self.base
        largest = max(1, int(np.abs(values).max()))
        # One unit of a tilt multiplies a weight by 2 ** (TILT / 32 * value / largest).
        unit = np.log(2) * contexts.TILT / frequencies.OCTAVE
        features = np.stack([np.abs(values), values]) / largest * unit
        products = (features[:, None] * features).reshape(4, -1)
        base = self.table.levels * np.log(2) / frequencies.OCTAVE
        total = histograms.sum(axis=1).astype(np.float64)
        wanted = histograms @ features.T
        tilts = np.zeros((len(histograms), 2))
        for _ in range(_NEWTON_STEPS):
            logits = base + tilts @ features
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            mean = share @ features.T
            second = (share @ products.T).reshape(-1, 2, 2) - mean[:, :, None] * mean[:, None, :]
            gradient = wanted - total[:, None] * mean - 0.002 * tilts
            hessian = total[:, None, None] * second + (0.002 + 1e-6 * total[:, None, None]) * np.eye(2)
            tilts += np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0].clip(-8, 8)
            tilts = tilts.clip(-128, 127)
        return np.rint(tilts).astype(np.int64)


def _least_squares(features: Sequence[np.ndarray], target: np.ndarray, unit: int) -> np.ndarray:
    """Coefficients of the features that fit the target, times `unit`: int64, a byte each."""
    x = np.stack(features).astype(np.float64)
    found = np.linalg.solve(x @ x.T + _RIDGE * np.eye(len(x)), x @ target.astype(np.float64))
    return np.rint(found * unit).clip(-128, 127).astype(np.int64)


def _cuts(predictions: np.ndarray, classes: int) -> np.ndarray:
    """Boundaries that make classes of about the same size; fewer where values repeat."""
    return np.unique(np.quantile(predictions, np.arange(1, classes) / classes).astype(np.int64))
