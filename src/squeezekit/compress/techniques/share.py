"""Weight sharing: every weight of a layer is one of few trained values.

Han, Mao and Dally, "Deep Compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", 2016, section 3; the clustering here is exact unless asked otherwise.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.setting_checks import (
    expect_bits,
    expect_choice,
    expect_flag,
    expect_point,
    expect_whole,
)
from squeezekit.compress.technique import AdviceContext, Kernel, Sweep, Technique
from squeezekit.compress.techniques.kmeans import STARTS, assign, kmeans_1d, lloyd_1d, uniform_step
from squeezekit.compress.transform import Slot, TrainingProgress, Transform, Weights, to_numpy

__all__ = ["Codebook", "ShareWeights"]

BITS = (2, 8)
EXACT = "exact"

HALF_POWERS = 2.0 ** np.arange(-14, 16)
"""Where float16's spacing doubles: 2^-10 of the power below, and constant under 2^-14."""
HALF_MAX = 65504.0

PIECE = 24_000
"""TensorFlow's segment sum takes so many weights in one pass. Of more, it gives each few entries to a thread, and
each thread passes over all weights: five times the work for 150,000 weights and 32 entries."""

MOST_PIECES = 16
"""A larger kernel is summed in larger pieces, so that the graph stays small."""

# Share of a step by which float32 arithmetic may miss the grid (127 steps, some 2^-23 each).
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class ShareWeights(Technique):
    """Let all weights of a kernel share 2^bits values, found by exact k-means and then trained.

    One of the values is zero, so 2^bits - 1 are found. The packed file stores a short index for each weight
    and the values once a layer; the plain `.tflite` gets no smaller. Weights stop learning one by one, so share
    late, just before quantizing. Fold BatchNorm before: folding afterwards gives each channel its own values.
    Under 4 bits expect to lose accuracy.

    Args:
        bits: 2 to 8; Deep Compression takes 8 for convolutions and 5 for dense layers.
        start: `"exact"` finds the best clustering; `"linear"`, `"density"` and `"random"` run Lloyd's
            algorithm from Deep Compression's starts (section 3.2), a local optimum to compare with.
        half: the values are float16 numbers, in training too (straight through), for a format that stores them
            in two bytes; the `.sqz` stores them no shorter.
        grid: the values are whole multiples of one step, from -(2^(bits-1) - 1) to 2^(bits-1) - 1, and only
            the step is trained: fewer bytes, but farther from the weights at the same bits.
        begin: when weights begin to share, in steps or as a share of the stage; until then they train one by
            one. 0: when applied.
        seed: of the random start.

    Raises:
        ValueError: a setting is out of range, or `grid` comes with `half` or a start.

    Example:
        >>> print(ShareWeights(4))
        share(bits=4)
        >>> print(ShareWeights(half=True, begin=0.25, layers={"fc": 4}))
        share(bits=5, half=True, begin=0.25, layers={'fc': 4})
    """

    name: ClassVar[str] = "share"
    noun: ClassVar[str] = "sharing"
    study_level: ClassVar[str] = "share(bits=5)"
    sweep: ClassVar[Sweep | None] = Sweep("bits", (8, 7, 6, 5, 4, 3, 2))

    bits: int = 5
    start: str = EXACT
    half: bool = False
    grid: bool = False
    begin: int | float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_bits(self.bits, BITS)
        expect_choice("start", self.start, (EXACT, *STARTS))
        expect_flag("half", self.half)
        expect_flag("grid", self.grid)
        if self.grid and (self.half or self.start != EXACT):
            raise ValueError(
                "Expected grid=True without half or start: it trains one step and clusters nothing. "
                f"Received: half={self.half}, start={self.start!r}."
            )
        expect_point("begin", self.begin)
        expect_whole("seed", self.seed)

    def without_schedule(self) -> "ShareWeights":
        """Return the same at once and exact: few values are their own clusters."""
        at_once: ShareWeights = self.everywhere(begin=0.0, start=EXACT)
        return at_once

    @property
    def values(self) -> int:
        """Number of entries."""
        return 2**self.bits

    def advice(self, context: AdviceContext) -> Iterator[str]:
        """Yield other techniques that leave fewer values than the codebook has."""
        found: dict[tuple[Any, Any], list[str]] = {}
        for kernel in context.kernels:
            mine = self.for_kernel(kernel)
            for other in context.recipe:
                theirs = None if isinstance(other, ShareWeights) else other.for_kernel(kernel)
                if mine and theirs and mine.values and theirs.values and theirs.values < mine.values:
                    pair = mine.everywhere_alike(), theirs.everywhere_alike()
                    found.setdefault(pair, []).append(kernel.layer)
        for (mine, theirs), names in found.items():
            finer = f"{theirs.name}(bits={mine.bits + 1}) or more, or " if mine.bits < BITS[1] else ""
            yield (
                f"{theirs} has {theirs.values} values, fewer than the {mine.values} of {mine}, in "
                f"{context.layers(names)}: take {finer}share(bits={theirs.values.bit_length() - 1})."
            )

    def transform(self, kernel: Kernel, *, stage: int = 0) -> "Codebook":
        """Return the codebook for one kernel."""
        return Codebook(self.everywhere_alike(), stage=stage)

    def entries(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cluster float32 weights (n,) that are not zero.

        Returns:
            float64 (k,) values, sorted, k < 2^bits (k = 2^bits - 1 with `grid`); float64 (k,) their factors (with
            `grid` the multiples, else ones); int32 (n,) the value of each weight.
        """
        if self.grid:
            step = uniform_step(weights, self.levels)
            multiples = np.arange(-self.levels, self.levels + 1, dtype=np.float64)
            return step * multiples, multiples, assign(weights, step * multiples)
        clusters = 2**self.bits - 1
        if self.start == EXACT:
            values = kmeans_1d(weights, clusters)
        else:
            values = lloyd_1d(weights, clusters, self.start, seed=self.seed)
        return values, np.ones(len(values)), assign(weights, values)

    @property
    def levels(self) -> int:
        """The largest multiple of the grid's step."""
        return 2 ** (self.bits - 1) - 1


@keras.saving.register_keras_serializable(package="squeezekit")
class Codebook(Transform):
    """w -> codebook[assignment]: the assignment is fixed, the entries are trained.

    The gradient of an entry is the sum of those of its weights (Deep Compression, equation 3). Entry 0 is
    always zero, so weights that are zero when sharing begins stay zero, and a later mask needs no new value.

    Args:
        settings: of `ShareWeights`, as one or as a dict.
    """

    slot = Slot.VALUES
    fits_result = True

    def __init__(self, settings: ShareWeights | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings if isinstance(settings, ShareWeights) else ShareWeights(**settings)
        self.later = self.settings.begin > 0
        self.ignores_input = not self.later

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make an empty codebook; `adapt` fills it, or `update` if sharing begins later."""
        entries = 2**self.settings.bits
        self.codebook = self.state("codebook", (entries,), trainable=True)
        # 0 for the entry that stays zero and for those that no weight uses; else 1, or the multiple of the step.
        self.factors = self.state("factors", (entries,))
        self.assignment = self.state("assignment", input_shape, "int32")
        if self.later:
            self.sharing = self.state("sharing", (), "bool")

    def adapt(self, weight: np.ndarray) -> None:
        """Cluster now, unless sharing begins later."""
        if not self.later:
            self._cluster(weight)

    @property
    def pending(self) -> bool:
        """True until the weights share."""
        return self.later and not to_numpy(self.sharing)

    def due(self, progress: TrainingProgress, since: int) -> bool:
        """Once, when sharing begins."""
        begin = progress.share_of(self.settings.begin)
        return since / progress.total < begin <= progress.done

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Weights, progress: TrainingProgress) -> None:
        """Cluster the kernels in use when sharing begins."""
        for book, weight in zip(transforms, weights, strict=True):
            if book.pending and progress.done >= progress.share_of(book.settings.begin):
                book._cluster(weight)
                book.sharing.assign(True)

    def _cluster(self, weight: np.ndarray) -> None:
        codebook, factors = np.zeros((2, 2**self.settings.bits), np.float32)
        assignment = np.zeros(weight.shape, np.int32)
        alive = weight != 0
        if alive.any():
            values, multiples, nearest = self.settings.entries(weight[alive])
            zero = int(np.searchsorted(values, 0.0)) if self.settings.grid else None
            if zero is not None:  # the grid's own zero is entry 0
                values, multiples = np.delete(values, zero), np.delete(multiples, zero)
                nearest = np.where(nearest == zero, -1, nearest - (nearest > zero))
            codebook[1 : len(values) + 1] = values
            factors[1 : len(values) + 1] = multiples
            assignment[alive] = 1 + nearest
        self.codebook.assign(codebook)
        self.factors.assign(factors)
        self.assignment.assign(assignment)

    def call(self, weight: Any) -> Any:
        """Look every weight up; the kernel given is used only until the weights share."""
        # Entries are computed before the lookup, so its gradient is a dense vector of sums.
        shared = look_up(self._values(), self.assignment)
        if not self.later:
            return shared
        return ops.where(ops.convert_to_tensor(self.sharing), shared, weight)

    def in_numpy(self, weight: np.ndarray) -> np.ndarray:
        """As `call`: the lookup in NumPy."""
        if self.pending:
            return weight.copy()
        if self.settings.grid or self.settings.half:
            values = to_numpy(self._values())
        else:
            values = to_numpy(self.codebook) * to_numpy(self.factors)
        return np.take(values, to_numpy(self.assignment))

    def _values(self) -> Any:
        entries = self.codebook * self.factors
        if self.settings.grid:
            # The least-squares step of the entries: all learn what one learns.
            power = ops.sum(ops.square(self.factors))
            step = ops.sum(entries) / ops.where(power > 0, power, ops.ones_like(power))
            return step * self.factors
        return half(entries) if self.settings.half else entries

    def invariant_violation(self, weight: np.ndarray) -> str:
        """No more distinct values than entries; float16 numbers with `half`, multiples of the step with `grid`."""
        if self.pending:
            return ""
        settings = self.settings
        distinct = np.unique(weight)
        if distinct.size > 2**settings.bits:
            return f"{distinct.size} distinct values instead of {2**settings.bits}"
        if settings.half:
            with np.errstate(over="ignore"):
                others = np.count_nonzero(distinct != distinct.astype(np.float16))
            return f"{others} of the values are no float16 numbers" if others else ""
        if settings.grid and distinct.any():
            # Entry 1 is -levels steps.
            steps = distinct / (to_numpy(self._values())[1] / -settings.levels)
            off = np.count_nonzero(np.abs(steps - np.round(steps)) > TOLERANCE)
            return f"{off} of the values are off the grid" if off else ""
        return ""

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this codebook, without its state."""
        return super().get_config() | {"settings": self.settings.own_settings()}


def half(values: Any) -> Any:
    """Round a float32 vector to float16 numbers, straight through.

    By exact arithmetic, because XLA may drop a cast to float16 and back as excess precision.
    """
    fixed = ops.clip(ops.stop_gradient(values), -HALF_MAX, HALF_MAX)
    powers = ops.convert_to_tensor(HALF_POWERS.astype(np.float32))
    reached = ops.expand_dims(ops.abs(fixed), -1) >= powers  # (entries, 30)
    spacing = ops.max(ops.where(reached, powers, ops.ones_like(powers) * powers[0]), axis=-1) / 1024.0
    # The bracket is exactly zero unless a value was clipped: the gradient is the kernel's.
    return ops.round(fixed / spacing) * spacing + (values - ops.stop_gradient(values))


def look_up(values: Any, indices: Any) -> Any:
    """Return values[indices], differentiable in `values`: float32 (entries,), indices int32 of any shape."""
    if keras.backend.backend() != "tensorflow" or math.prod(indices.shape) <= PIECE:
        return ops.take(values, indices, axis=0)
    flat = _take_in_pieces(values, ops.reshape(indices, (-1,)))
    return ops.reshape(flat, indices.shape)


@ops.custom_gradient
def _take_in_pieces(values: Any, indices: Any) -> Any:
    def gradient(upstream: Any) -> tuple[Any, None]:
        return sum_by_entry(upstream, indices, values.shape[0]), None

    return ops.take(values, indices, axis=0), gradient


def sum_by_entry(upstream: Any, indices: Any, entries: int) -> Any:
    """Sum `upstream` (weights,) by entry, one weight after another: bit for bit the gradient of a plain lookup."""
    size = upstream.shape[0]
    piece = max(PIECE, -(-size // MOST_PIECES))
    sums = ops.segment_sum(upstream[:piece], indices[:piece], entries)
    for start in range(piece, size, piece):
        # The sums so far come first in the next piece, so none is split.
        parts = ops.concatenate([sums, upstream[start : start + piece]])
        owners = ops.concatenate([ops.arange(entries, dtype="int32"), indices[start : start + piece]])
        sums = ops.segment_sum(parts, owners, entries)
    return sums
