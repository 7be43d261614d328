"""Magnitude pruning: the smallest weights become zero, at once, along a ramp or in rounds.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
2017, equation 1; magnitude as the criterion, rounds of pruning and retraining: Han et al., "Learning
both weights and connections for efficient neural networks", 2015; LAMP scores: Lee et al., "Layer-adaptive
sparsity for the magnitude-based pruning", 2021; N of every M weights: Mishra et al., "Accelerating
sparse deep neural networks", 2021.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.base import Kernel, Technique
from squeezekit.compress.expect import expect_choice, expect_point, expect_share
from squeezekit.compress.masks import (
    drop_lowest,
    group_candidates,
    input_axis,
    lamp_scores,
    magnitude_masks,
    parse_pattern,
)
from squeezekit.compress.ramps import SCHEDULES, ramp_sparsity
from squeezekit.compress.transforms import Moment, Slot, Transform, to_numpy

__all__ = ["Mask", "Prune", "magnitude_masks", "ramp_sparsity"]

SCOPES = ("layer", "global", "lamp")


@dataclasses.dataclass(frozen=True)
class Prune(Technique):
    """Set the smallest weights to zero, more and more of them while training goes on.

    The mask is chosen anew `every` so often until the schedule has brought the sparsity to its end; then
    it is fixed. Biases are never pruned. Zeros make the packed file smaller, not the plain `.tflite`, and
    make inference no faster. Under some 50 % they buy little: the positions of the zeros must be coded too.

    `start`, `end` and `every` are steps of training if whole numbers, shares of the stage if fractions.

    Args:
        sparsity: share of zeros in each kernel at the end, in [0, 1); exactly
            round(sparsity * weights) are masked.
        schedule: `"polynomial"` rises from `start` to `end` by Zhu and Gupta's equation 1; `"constant"`
            prunes once, at `start` (0: when applied); `"iterative"` rises in `rounds` equal steps, each
            with its part of the time from `start` to `end` to retrain in (Han et al.; they let nothing
            come back: `regrow=False`).
        start: when the schedule begins.
        end: when it is complete, after `start`; the rest of the stage recovers.
        every: from one choice of the polynomial's mask to the next.
        initial: sparsity before and at `start`, in [0, sparsity].
        rounds: of the iterative schedule, at least 1.
        scope: `"layer"` gives each kernel this sparsity; `"global"` ranks the weights of all kernels with
            these settings by one threshold, which spares small layers and may empty a large one; `"lamp"`
            does so by what a weight is of its kernel's remaining energy, w^2 / sum of all v^2 with |v| >= |w|,
            so that every kernel keeps its largest weight.
        pattern: such as `"2:4"`: of every 4 consecutive weights along the input channels the 2 largest are
            kept, so `sparsity` must be 0.5. A kernel whose input channels are no multiple of 4, and a
            depthwise one, stays dense. No engine that we export to computes such kernels faster.
        regrow: whether dropped weights learn on (straight through) and may come back until the schedule
            ends; False: what was dropped stays out.
        smallest: kernels of fewer weights stay dense: they hold few bytes and much accuracy.

    Raises:
        ValueError: a setting is out of range, or `sparsity` is not that of `pattern`.

    Example:
        >>> print(Prune(0.8))
        prune(0.8)
        >>> print(Prune(0.5, pattern="2:4", schedule="iterative", regrow=False))
        prune(0.5, schedule='iterative', pattern='2:4', regrow=False)
    """

    name: ClassVar[str] = "prune"
    survives_folding: ClassVar[bool] = True

    sparsity: float
    schedule: str = "polynomial"
    start: int | float = 0.0
    end: int | float = 0.5
    every: int | float = 0.01
    initial: float = 0.0
    rounds: int = 4
    scope: str = "layer"
    pattern: str | None = None
    regrow: bool = True
    smallest: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_share("sparsity", self.sparsity, below_one=True)
        expect_choice("schedule", self.schedule, SCHEDULES)
        expect_choice("scope", self.scope, SCOPES)
        expect_point("start", self.start)
        expect_point("end", self.end)
        expect_point("every", self.every, least=1)
        self._check_window()
        expect_share("initial", self.initial)
        if self.initial > self.sparsity:
            raise ValueError(
                f"Expected initial of at most sparsity={self.sparsity}. Received: initial={self.initial}."
            )
        for label, value, least in (("rounds", self.rounds, 1), ("smallest", self.smallest, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"Expected {label} as a whole number, at least {least}. Received: {label}={value!r}."
                )
        if not isinstance(self.regrow, bool):
            raise ValueError(f"Expected regrow as True or False. Received: regrow={self.regrow!r}.")
        if self.pattern is not None:
            kept, of = parse_pattern(self.pattern)
            if abs(self.sparsity - (1 - kept / of)) > 1e-3:
                raise ValueError(
                    f"Expected a sparsity of {1 - kept / of:g} with pattern={self.pattern!r}. "
                    f"Received: sparsity={self.sparsity}."
                )
            # 0.667 is meant as two thirds, and one weight more than the pattern gives would break it.
            object.__setattr__(self, "sparsity", 1 - kept / of)

    def _check_window(self) -> None:
        """Refuse an end before the start; steps and shares compare only when a stage's length is known."""
        if self.schedule == "constant":
            return
        alike = isinstance(self.start, int) == isinstance(self.end, int) or self.start == 0
        if not alike or not self.start < self.end:
            raise ValueError(
                "Expected a start before the end, both in steps or both as shares. "
                f"Received: start={self.start!r}, end={self.end!r}."
            )

    def sparsity_at(self, moment: Moment) -> float:
        """Return the sparsity that is due at `moment`."""
        window = moment.share_of(self.start), moment.share_of(self.end)
        return ramp_sparsity(
            moment.progress,
            self.sparsity,
            *window,
            self.initial,
            schedule=self.schedule,
            rounds=self.rounds,
        )

    def settled(self) -> "Prune":
        """Return the same all at once: the zeros of a pruned kernel are its smallest weights."""
        settled: Prune = self.everywhere(schedule="constant", start=0.0, initial=0.0)
        return settled

    def transform(self, kernel: Kernel, *, stage: int = 0) -> "Mask | None":
        """Return the mask for one kernel, or None if it is too small to prune or does not fit the pattern."""
        if kernel.size < self.smallest:
            return None
        axis = None
        if self.pattern is not None:
            axis = input_axis(kernel)
            if axis is None or kernel.shape[axis] % parse_pattern(self.pattern)[1]:
                return None
        return Mask(dataclasses.replace(self, where=None, layers=()), axis, stage=stage)


@keras.saving.register_keras_serializable(package="squeezekit")
class Mask(Transform):
    """w -> w where kept, else 0. With `regrow`, gradients pass straight through to dropped weights until the end.

    Args:
        settings: of `Prune`, as one or as a dict.
        axis: along which the pattern's groups lie, if there is a pattern.
    """

    slot = Slot.ZEROS

    def __init__(self, settings: Prune | Mapping[str, Any], axis: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings if isinstance(settings, Prune) else Prune(**settings)
        self.axis = axis

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Keep everything, at the beginning of the schedule."""
        self.keep = self.state("keep", input_shape, dtype="bool", initial="ones", trainable=False)
        # 1 until the mask is final, then 0.
        self.open = self.state("open", (), dtype="float32", initial="ones", trainable=False)
        self.progress = self.state("progress", (), dtype="float32", initial="zeros", trainable=False)

    def call(self, weight: Any) -> Any:
        """Return the masked kernel; `where`, not a product, because a product makes zeros negative."""
        keep = ops.convert_to_tensor(self.keep)  # on JAX `where` takes no variable
        if not self.settings.regrow:
            return ops.where(keep, weight, ops.zeros_like(weight))
        return ops.where(keep, weight, self.open * (weight - ops.stop_gradient(weight)))

    def in_numpy(self, weight: np.ndarray) -> np.ndarray:
        """As `call`, whose zeros only gradients see."""
        return np.where(to_numpy(self.keep), weight, np.float32(0))

    @property
    def pending(self) -> bool:
        """True until the schedule has ended."""
        return float(to_numpy(self.open)) > 0

    def due(self, moment: Moment, since: int) -> bool:
        """At each rise of the sparsity; the polynomial's, which rises all the time, `every` so often."""
        settings = self.settings
        now, before = settings.sparsity_at(moment), settings.sparsity_at(Moment(max(since, 0), moment.total))
        final = settings.sparsity
        if since < 0 or (now == final and before != final):
            return True
        return now != before and (settings.schedule != "polynomial" or moment.passed(since, settings.every))

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Sequence[np.ndarray], moment: Moment) -> None:
        """Choose the masks anew for the sparsity that is due."""
        # One group for each mask, or with one threshold for all with the same settings.
        groups: dict[Any, list[tuple[Mask, np.ndarray]]] = {}
        for mask, weight in zip(transforms, weights, strict=True):
            if mask.pending and np.float32(moment.progress) >= to_numpy(mask.progress):
                key = id(mask) if mask.settings.scope == "layer" else mask.settings
                groups.setdefault(key, []).append((mask, weight))
        for members in groups.values():
            settings = members[0][0].settings
            sparsity = settings.sparsity_at(moment)
            keeps = drop_lowest([mask.ranks(weight) for mask, weight in members], sparsity)
            for (mask, _), keep in zip(members, keeps, strict=True):
                mask.keep.assign(keep)
                mask.progress.assign(moment.progress)
                if sparsity == settings.sparsity:
                    mask.open.assign(0.0)

    def ranks(self, weight: np.ndarray) -> np.ndarray:
        """Return what the weights are ranked by, of their shape; infinite where the pattern keeps them."""
        ranks = lamp_scores(weight) if self.settings.scope == "lamp" else np.abs(weight)
        if not self.settings.regrow:
            ranks = np.where(to_numpy(self.keep), ranks, np.float32(-1))
        if self.settings.pattern is None or self.axis is None:
            return ranks
        candidates = group_candidates(ranks, *parse_pattern(self.settings.pattern), self.axis)
        return np.where(candidates, ranks, np.float32(np.inf))

    def promise_broken(self, weight: np.ndarray) -> str:
        """At least the promised share is zero: exactly that many are masked, and others may be zero too."""
        if self.pending:
            return ""
        settings, keep = self.settings, to_numpy(self.keep)
        alive = np.count_nonzero(weight[~keep])
        if alive:
            return f"{alive} weights that were pruned are not zero"
        masked = keep.size - np.count_nonzero(keep)
        promised = np.floor(settings.sparsity * keep.size + 0.5)
        if (settings.scope == "layer" or settings.pattern) and masked != promised:
            return f"{masked} weights are pruned, {promised:.0f} were promised"
        if settings.pattern and self.axis is not None:
            kept, of = parse_pattern(settings.pattern)
            over = np.count_nonzero(keep & group_candidates(keep.astype(np.int8), kept, of, self.axis))
            return f"{over} weights too many are kept for the pattern {settings.pattern}" if over else ""
        return ""

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this mask, without its state."""
        fields = (item.name for item in dataclasses.fields(self.settings) if not item.kw_only)
        settings = {name: getattr(self.settings, name) for name in fields}
        return super().get_config() | {"settings": settings, "axis": self.axis}
