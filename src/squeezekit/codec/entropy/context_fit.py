"""The encoder of `contexts`: fits the linear models, the classes and the tilts, and writes the stream.

Only what is written must be integers; the fit may differ in a last digit between processors.
"""

from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import bits, context_model, frequency_tables, masks, rans
from squeezekit.codec.entropy.context_model import Model
from squeezekit.codec.entropy.frequency_tables import Table
from squeezekit.codec.entropy.neighbours import LEAST_POSITIONS, Kernels, KernelValues

__all__ = ["encode", "kernels_of", "suits"]

# Fewer symbols do not pay for a model.
LEAST_SYMBOLS = 1 << 11
# Masks pay when at least this share of the symbols are the same.
_LEAST_SHARE = 0.2
# (magnitude classes, mean classes) that are tried.
_CLASSES = ((2, 3), (4, 4))
_RIDGE = 3.0
_NEWTON_STEPS = 12
_COEFFICIENT_UNIT = 32


def kernels_of(shape: tuple[int, ...], count: int) -> Kernels | None:
    """The kernels of a tensor (out, height, width, in) of `count` elements; None for other shapes."""
    if len(shape) != 4 or not LEAST_POSITIONS <= shape[1] * shape[2] <= context_model.MAX_POSITIONS:
        return None
    kernels = Kernels(shape[0], shape[1] * shape[2], shape[2], shape[3])
    return kernels if kernels.size == count else None


def suits(histogram: np.ndarray) -> bool:
    """Whether a stream of this histogram is worth trying."""
    used, count = int(np.count_nonzero(histogram)), int(histogram.sum())
    fits = LEAST_SYMBOLS <= count <= context_model.MAX_SYMBOLS and 3 <= used <= context_model.MAX_USED
    return fits and len(histogram) <= context_model.MAX_ALPHABET


def encode(symbols: np.ndarray, histogram: np.ndarray, kernels: Kernels) -> bytes | None:
    """Code symbols, uint8 or uint16 (kernels.size,), of a histogram (alphabet,); None where no model fits."""
    base, present, mask = int(histogram.argmax()), None, b""
    by_position = kernels.by_position(symbols)
    group = masks.group_for(kernels)
    if histogram[base] >= _LEAST_SHARE * kernels.size and kernels.size % group == 0:
        present = by_position != base
        histogram = histogram.copy()
        histogram[base] = 0
        ranks = masks.fold(present, kernels)
        counts = bits.count(ranks, minlength=1 << group)
        if min(np.count_nonzero(counts), np.count_nonzero(histogram)) < 2:
            return None
        table = frequency_tables.choose(counts)
        mask = table.data + rans.encode_static(ranks, counts, table)
        mask = bits.varint(len(mask)) + mask
    else:
        base = int(histogram @ np.arange(len(histogram))) // kernels.size
    fitting = _Fitting(by_position, frequency_tables.choose(histogram), kernels, base, present)
    model, classes = fitting.fit()
    if model is None:
        return None
    head = b"".join(map(bits.varint, (kernels.positions, kernels.width, kernels.inputs, base)))
    head += bytes([present is not None]) + mask
    return head + context_model.write_model(model) + fitting.lanes(model, classes)


class _Fitting:
    """All that the decoder knows when a symbol's turn comes; lists have an item for each position."""

    def __init__(
        self, symbols: np.ndarray, table: Table, kernels: Kernels, base: int, present: np.ndarray | None
    ) -> None:
        self.kernels, self.base, self.table = kernels, base, table
        self.known = KernelValues(kernels, present, context_model.mean_magnitude(self.table, base))
        # All at once: features read only neighbours, which belong to earlier phases.
        self.known.values[...] = symbols.astype(np.int16) - np.int16(base)
        self.order = [position for phase in kernels.phases for position in phase]
        self.symbols = [self.known.of_present(position, symbols[position]) for position in self.order]

    def fit(self) -> tuple[Model | None, np.ndarray]:
        """The model that takes the fewest bits, None if one table for all takes fewer; each symbol's class."""
        none = np.zeros(0, np.int64)
        every = np.concatenate(self.symbols)
        best: Model | None = None
        best_classes = none
        counts = bits.count(every, minlength=int(self.table.symbols[-1]) + 1)[self.table.symbols]
        best_bits = frequency_tables.cost_bits(counts, self.table.frequencies, self.table.precision)
        mean = self._fit_mean()
        magnitude = self._fit_magnitude(mean)
        rough = Model(self.table, mean, magnitude, none, none, none)
        found = [context_model.predicted(rough, self.known, position) for position in self.order]
        means, sizes = (
            np.concatenate(list(map(self.known.of_present, self.order, own)))
            for own in zip(*found, strict=True)
        )
        for magnitude_classes, mean_classes in _CLASSES:
            mean_cuts, size_cuts = _quantiles(means, mean_classes), _quantiles(sizes, magnitude_classes)
            wide, total = len(mean_cuts) + 1, (len(mean_cuts) + 1) * (len(size_cuts) + 1)
            if not 1 < total <= self.kernels.size // context_model.LEAST_PER_CLASS:
                continue
            classes = np.searchsorted(mean_cuts, means, side="right")
            classes += wide * np.searchsorted(size_cuts, sizes, side="right")
            histograms = self._histograms(every, classes, total)
            tilts = self._fit_tilts(histograms).reshape(len(size_cuts) + 1, wide, 2)
            model = Model(self.table, mean, magnitude, mean_cuts, size_cuts, tilts)
            frequency = context_model.tilted(self.table.levels, self.table.symbols - self.base, tilts)
            cost = 8 * len(context_model.write_model(model)) - 8 * len(self.table.data)
            cost += (histograms * (context_model.PRECISION - np.log2(frequency.reshape(total, -1)))).sum()
            if cost < best_bits:
                best, best_classes, best_bits = model, classes, cost
        return best, best_classes

    def lanes(self, model: Model, classes: np.ndarray) -> bytes:
        """Code the symbols with a model."""
        used = self.table.symbols
        index = np.zeros(int(used[-1]) + 1, np.int64)
        index[used] = np.arange(len(used))
        entries = index[np.concatenate(self.symbols)] + len(used) * classes
        frequency = context_model.tilted(self.table.levels, used - self.base, model.tilts)
        start = (np.cumsum(frequency, axis=-1) - frequency).reshape(-1)
        flat = frequency.reshape(-1)
        code_bytes = float((context_model.PRECISION - np.log2(flat[entries])).sum()) / 8
        lanes = rans.lane_count(len(entries), code_bytes, steps=256)
        counts = [sum(self.known.count(position) for position in phase) for phase in self.kernels.phases]
        phases = np.split(entries, np.cumsum(counts)[:-1])
        return rans.encode(phases, flat, start, context_model.PRECISION, lanes)

    def _histograms(self, every: np.ndarray, classes: np.ndarray, total: int) -> np.ndarray:
        """Of each class, over the table's symbols: (classes, used)."""
        alphabet = int(self.table.symbols[-1]) + 1
        counts = bits.count(every + alphabet * classes, minlength=total * alphabet)
        return counts.reshape(total, alphabet)[:, self.table.symbols]

    def _fit_mean(self) -> list[np.ndarray]:
        out = []
        for position in range(self.kernels.positions):
            rows = [self.known.values[other] for other in self.kernels.neighbours(position)]
            features = [self.known.of_present(position, row) for row in rows]
            target = self.known.of_present(position, self.known.values[position])
            out.append(_least_squares([*features, np.ones_like(target)], target, _COEFFICIENT_UNIT))
        return out

    def _fit_magnitude(self, mean: list[np.ndarray]) -> np.ndarray:
        rows: list[list[np.ndarray]] = []
        targets = []
        for position in self.order:
            features = self.known.magnitude_features(position, self.known.mean(position, mean[position]))
            rows.append([self.known.of_present(position, feature) for feature in features])
            targets.append(np.abs(self.known.of_present(position, self.known.values[position])))
        target = np.concatenate(targets)
        joined = [np.concatenate(feature) for feature in zip(*rows, strict=True)]
        # Only differences between symbols matter: a constant is fitted and left out. In sixteenths, like features.
        return _least_squares([*joined, np.full(len(target), 16, np.int32)], target, 16 * 32)[:-1]

    def _fit_tilts(self, histograms: np.ndarray) -> np.ndarray:
        """For each class the tilts under which its symbols take fewest bits, by Newton's method: (classes, 2)."""
        values = self.table.symbols - self.base
        largest = max(1, int(np.abs(values).max()))
        # One unit of a tilt multiplies a weight by 2 ** (TILT / 32 * value / largest).
        unit = np.log(2) * context_model.TILT / frequency_tables.OCTAVE
        features = np.stack([np.abs(values), values]) / largest * unit
        products = (features[:, None] * features).reshape(4, -1)
        base = self.table.levels * np.log(2) / frequency_tables.OCTAVE
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


def _quantiles(predictions: np.ndarray, classes: int) -> np.ndarray:
    """Thresholds that make classes of about the same size; fewer where values repeat."""
    return np.unique(np.quantile(predictions, np.arange(1, classes) / classes).astype(np.int64))
