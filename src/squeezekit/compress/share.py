"""Weight sharing: every weight of a layer is one of few trained values.

Han, Mao and Dally, "Deep Compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", 2016, section 3; the clustering here is exact unless asked otherwise.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.base import Kernel, Technique
from squeezekit.compress.expect import expect_bits, expect_choice, expect_point
from squeezekit.compress.kmeans import STARTS, assign, kmeans_1d, lloyd_1d, uniform_step
from squeezekit.compress.lookup import look_up
from squeezekit.compress.transforms import Moment, Slot, Transform, to_numpy

__all__ = ["Codebook", "ShareWeights"]

BITS = (2, 8)
EXACT = "exact"

HALF_POWERS = 2.0 ** np.arange(-14, 16)
"""Where float16's spacing doubles; it is 2^-10 of the power below, and as fine as at 2^-14 under that."""
HALF_MAX = 65504.0

# Share of a step by which float32 arithmetic may miss the grid (127 steps, some 2^-23 each).
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class ShareWeights(Technique):
    """Let all weights of a kernel share 2^bits values, found by exact k-means and then trained.

    One of the values is zero, so 2^bits - 1 remain to be found. The packed file stores a short index a
    weight and the values once a layer; the plain `.tflite` gets no smaller. The weights no longer learn
    one by one: share last, or last but quantization. Fold BatchNorm before, or folding afterwards
    gives each channel values of its own. Under 4 bits expect to lose accuracy.

    Args:
        bits: 2 to 8; Deep Compression takes 8 for convolutions and 5 for dense layers.
        start: `"exact"` finds the best clustering; `"linear"`, `"density"` and `"random"` run Lloyd's
            algorithm from Deep Compression's starts (section 3.2), which gets stuck: to compare with.
        half: the values are float16 numbers, also while they train (straight through), for a format that
            stores them in two bytes; the `.sqz` stores them no shorter.
        grid: the values are whole multiples, from -(2^(bits-1) - 1) to 2^(bits-1) - 1, of one step,
            and only the step is trained: farther from the weights than free values at the same bits,
            in fewer bytes.
        begin: when in the stage weights begin to share, in steps or as a share of it; until then they
            train one by one. 0: when applied.
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
        for label, value in (("half", self.half), ("grid", self.grid)):
            if not isinstance(value, bool):
                raise ValueError(f"Expected {label} as True or False. Received: {label}={value!r}.")
        if self.grid and (self.half or self.start != EXACT):
            raise ValueError(
                "Expected grid=True without half or start: it trains one step and clusters nothing. "
                f"Received: half={self.half}, start={self.start!r}."
            )
        expect_point("begin", self.begin)
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise ValueError(f"Expected seed as a whole number, at least 0. Received: seed={self.seed!r}.")

    def settled(self) -> "ShareWeights":
        """Return the same at once and exact: few values are their own clusters."""
        settled: ShareWeights = self.everywhere(begin=0.0, start=EXACT)
        return settled

    def transform(self, kernel: Kernel, *, stage: int = 0) -> "Codebook":
        """Return the codebook for one kernel."""
        return Codebook(dataclasses.replace(self, where=None, layers=()), stage=stage)

    def entries(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cluster weights that are not zero.

        Args:
            weights: (n,) float32, at least one.

        Returns:
            float64 (k,) values, sorted, k < 2^bits; float64 (k,) their factors (on a grid the multiples,
            else ones); int32 (n,) the value of each weight.
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

    The gradient of an entry is the sum of those of its weights (Deep Compression, equation 3): that is
    what differentiating the lookup gives. Entry 0 is always zero, so weights that are zero when
    sharing begins stay zero, and a mask that comes later needs no further value.

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
        """Make an empty codebook; `adapt` fills it, or `update` when sharing begins later."""
        entries = 2**self.settings.bits
        self.codebook = self.state("codebook", (entries,), dtype="float32", initial="zeros", trainable=True)
        # 0 for the entry that stays zero and for those that no weight uses; else 1, or the multiple of the step.
        self.factors = self.state("factors", (entries,), dtype="float32", initial="zeros", trainable=False)
        self.assignment = self.state(
            "assignment", input_shape, dtype="int32", initial="zeros", trainable=False
        )
        if self.later:
            self.sharing = self.state("sharing", (), dtype="bool", initial="zeros", trainable=False)

    def adapt(self, weight: np.ndarray) -> None:
        """Cluster now, unless sharing begins later."""
        if not self.later:
            self._cluster(weight)

    @property
    def pending(self) -> bool:
        """True until the weights share."""
        return self.later and not to_numpy(self.sharing)

    def due(self, moment: Moment, since: int) -> bool:
        """Once, when sharing begins."""
        begin = moment.share_of(self.settings.begin)
        return since / moment.total < begin <= moment.progress

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Sequence[np.ndarray], moment: Moment) -> None:
        """Cluster the kernels in use when sharing begins."""
        for book, weight in zip(transforms, weights, strict=True):
            if book.pending and moment.progress >= moment.share_of(book.settings.begin):
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
        # All that is done to the entries comes before the lookup, so its gradient is a dense vector of sums.
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
            # The least-squares step of the entries: what an entry learns, it learns for all.
            power = ops.sum(ops.square(self.factors))
            step = ops.sum(entries) / ops.where(power > 0, power, ops.ones_like(power))
            return step * self.factors
        return half(entries) if self.settings.half else entries

    def promise_broken(self, weight: np.ndarray) -> str:
        """No more distinct values than entries; float16 numbers or multiples of the step if so promised."""
        if self.pending:
            return ""
        settings = self.settings
        distinct = np.unique(weight)
        if distinct.size > 2**settings.bits:
            return f"{distinct.size} distinct values, {2**settings.bits} were promised"
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
        fields = (item.name for item in dataclasses.fields(self.settings) if not item.kw_only)
        return super().get_config() | {"settings": {name: getattr(self.settings, name) for name in fields}}


def half(values: Any) -> Any:
    """Round a float32 vector to float16 numbers, straight through.

    By arithmetic, because XLA may drop a cast to float16 and back as excess precision. Dividing by a
    power of two is exact, and so is everything after the rounding.
    """
    fixed = ops.clip(ops.stop_gradient(values), -HALF_MAX, HALF_MAX)
    powers = ops.convert_to_tensor(HALF_POWERS.astype(np.float32))
    reached = ops.expand_dims(ops.abs(fixed), -1) >= powers  # (entries, 30)
    spacing = ops.max(ops.where(reached, powers, ops.ones_like(powers) * powers[0]), axis=-1) / 1024.0
    # The bracket is exactly zero unless a value was clipped: the gradient is the kernel's.
    return ops.round(fixed / spacing) * spacing + (values - ops.stop_gradient(values))
