"""Magnitude pruning: the smallest weights become zero, at once, along a ramp or in rounds.

The papers are named in `magnitude`; N of every M weights: Mishra et al., "Accelerating sparse deep neural
networks", 2021.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.setting_checks import (
    expect_choice,
    expect_flag,
    expect_point,
    expect_share,
    expect_whole,
)
from squeezekit.compress.technique import AdviceContext, Kernel, Sweep, Technique
from squeezekit.compress.techniques.magnitude import (
    SCHEDULES,
    drop_lowest,
    group_candidates,
    input_axis,
    lamp_scores,
    parse_pattern,
    ramp_sparsity,
)
from squeezekit.compress.transform import Slot, TrainingProgress, Transform, Weights, to_numpy

__all__ = ["Mask", "Prune", "ScheduledMask"]

SCOPES = ("layer", "global", "lamp")


@dataclasses.dataclass(frozen=True)
class Prune(Technique):
    """Set the smallest weights to zero, more of them as training goes on.

    The mask is chosen again at each `every` until the schedule ends, then it is fixed. Biases are never pruned.
    Zeros make the packed file smaller, but not the plain `.tflite`, and inference no faster. Under some 50 %
    they save little, because their positions must be coded too.

    `start`, `end` and `every` are steps of training if whole numbers, shares of the stage if fractions.

    Args:
        sparsity: share of zeros in each kernel at the end, in [0, 1); exactly
            round(sparsity * weights) are masked.
        schedule: `"polynomial"` rises from `start` to `end` by Zhu and Gupta's equation 1; `"constant"`
            prunes once, at `start` (0: when applied); `"iterative"` rises in `rounds` equal steps, each
            with an equal part of the time to retrain (Han et al., with `regrow=False`).
        start: when the schedule begins.
        end: when it is complete, after `start`; the rest of the stage recovers.
        every: time from one choice of the polynomial's mask to the next.
        initial: sparsity before and at `start`, in [0, sparsity].
        rounds: of the iterative schedule, at least 1.
        scope: `"layer"` gives each kernel this sparsity; `"global"` ranks the weights of all kernels with
            these settings together and may empty a layer; `"lamp"` ranks them by w^2 / sum of all v^2 of the
            kernel with |v| >= |w|, so that every kernel keeps its largest weight.
        pattern: such as `"2:4"`: of every 4 consecutive weights along the input channels the 2 largest are
            kept, so `sparsity` must be 0.5. Depthwise kernels, and those whose input channels are no multiple
            of 4, stay dense. No engine that we export to computes such kernels faster.
        regrow: whether dropped weights go on learning (straight through) and may come back until the
            schedule ends.
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
    noun: ClassVar[str] = "pruning"
    takes: ClassVar[str] = "kernels of at least smallest= weights"
    study_level: ClassVar[str] = "prune(0.8, scope='lamp')"
    sweep: ClassVar[Sweep | None] = Sweep(
        "sparsity", (0.5, 0.6, 0.7, 0.8, 0.9, 0.95), {"schedule": "constant"}
    )
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
        expect_whole("rounds", self.rounds, least=1)
        expect_whole("smallest", self.smallest)
        expect_flag("regrow", self.regrow)
        if self.pattern is not None:
            kept, of = parse_pattern(self.pattern)
            if abs(self.sparsity - (1 - kept / of)) > 1e-3:
                raise ValueError(
                    f"Expected a sparsity of {1 - kept / of:g} with pattern={self.pattern!r}. "
                    f"Received: sparsity={self.sparsity}."
                )
            # 0.667 means two thirds.
            object.__setattr__(self, "sparsity", 1 - kept / of)

    def _check_window(self) -> None:
        """Refuse an end before the start. Steps and shares cannot be compared: the stage's length is unknown."""
        if self.schedule == "constant":
            return
        alike = isinstance(self.start, int) == isinstance(self.end, int) or self.start == 0
        if not alike or not self.start < self.end:
            raise ValueError(
                "Expected a start before the end, both in steps or both as shares. "
                f"Received: start={self.start!r}, end={self.end!r}."
            )

    def sparsity_at(self, progress: TrainingProgress) -> float:
        """Return the sparsity that is due at `progress`."""
        window = progress.share_of(self.start), progress.share_of(self.end)
        ramp = self.sparsity, *window, self.initial
        return ramp_sparsity(progress.done, *ramp, schedule=self.schedule, rounds=self.rounds)

    def without_schedule(self) -> "Prune":
        """Return the same all at once: the zeros of a pruned kernel are its smallest weights."""
        at_once: Prune = self.everywhere(schedule="constant", start=0.0, initial=0.0)
        return at_once

    def stronger(self) -> list[Technique]:
        """Return the technique with higher sparsities; a pattern leaves no choice."""
        higher = [] if self.pattern else np.arange(0.1, 0.96, 0.05).round(2).tolist()
        return [
            dataclasses.replace(self, sparsity=value, layers=()) for value in higher if value > self.sparsity
        ]

    def advice(self, context: AdviceContext) -> Iterator[str]:
        """Yield kernels that stay dense because other techniques make them too small."""
        had = {kernel.layer for kernel in context.before if self.takes_kernel(kernel)}
        lost = [kernel for kernel in context.kernels if kernel.layer in had and not self.takes_kernel(kernel)]
        if not lost:
            return
        least = min(kernel.size for kernel in lost)
        # The channels that are left may not fit a pattern, however small a kernel may be.
        too_small = all(self.everywhere(smallest=least).takes_kernel(kernel) for kernel in lost)
        remedy = (
            f"smallest={least}" if too_small else "multiple_of= of the pattern's groups where channels go"
        )
        yield (
            f"{self.everywhere_alike()} has no zeros in {context.layers([kernel.layer for kernel in lost])}, which "
            f"{context.reshaping} makes too small for it: {sum(kernel.size for kernel in lost):,} of "
            f"{sum(kernel.size for kernel in context.kernels):,} weights stay dense; take {remedy}."
        )

    def transform(self, kernel: Kernel, *, stage: int = 0) -> "Mask | None":
        """Return the mask for one kernel, or None if it is too small to prune or does not fit the pattern."""
        if kernel.size < self.smallest:
            return None
        axis = None
        if self.pattern is not None:
            axis = input_axis(kernel)
            if axis is None or kernel.shape[axis] % parse_pattern(self.pattern)[1]:
                return None
        return Mask(self.everywhere_alike(), axis, stage=stage)


class ScheduledMask(Transform):
    """w -> w where kept, else 0; until the mask is fixed, dropped weights go on learning, straight through."""

    slot = Slot.ZEROS

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Keep everything, at the beginning of the schedule."""
        self.keep = self.state("keep", input_shape, "bool", ones=True)
        # 1 until the mask is fixed, then 0.
        self.open = self.state("open", (), ones=True)
        self.progress = self.state("progress", ())

    def call(self, weight: Any) -> Any:
        """Return the masked kernel; `where`, not a product, because a product makes zeros negative."""
        keep = ops.convert_to_tensor(self.keep)  # on JAX `where` takes no variable
        return ops.where(keep, weight, self.open * (weight - ops.stop_gradient(weight)))

    def in_numpy(self, weight: np.ndarray) -> np.ndarray:
        """As `call`, whose zeros only gradients see."""
        return np.where(to_numpy(self.keep), weight, np.float32(0))

    @property
    def pending(self) -> bool:
        """True until the schedule has ended."""
        return float(to_numpy(self.open)) > 0

    def may_move(self, progress: TrainingProgress) -> bool:
        """Whether the mask is not fixed and was not updated for a later moment."""
        return self.pending and bool(np.float32(progress.done) >= to_numpy(self.progress))

    def move(self, keep: np.ndarray, progress: TrainingProgress, *, final: bool) -> None:
        """Take a new mask; `final` fixes it."""
        self.keep.assign(keep)
        self.progress.assign(progress.done)
        if final:
            self.open.assign(0.0)


@keras.saving.register_keras_serializable(package="squeezekit")
class Mask(ScheduledMask):
    """The mask of `Prune`.

    Args:
        settings: of `Prune`, as one or as a dict.
        axis: along which the pattern's groups lie, if there is a pattern.
    """

    def __init__(self, settings: Prune | Mapping[str, Any], axis: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings if isinstance(settings, Prune) else Prune(**settings)
        self.axis = axis

    def call(self, weight: Any) -> Any:
        """Return the masked kernel."""
        if self.settings.regrow:
            return super().call(weight)
        return ops.where(ops.convert_to_tensor(self.keep), weight, ops.zeros_like(weight))

    def due(self, progress: TrainingProgress, since: int) -> bool:
        """At each rise of the sparsity; the polynomial's, which rises all the time, `every` so often."""
        settings = self.settings
        now, before = (
            settings.sparsity_at(progress),
            settings.sparsity_at(TrainingProgress(max(since, 0), progress.total)),
        )
        final = settings.sparsity
        if since < 0 or (now == final and before != final):
            return True
        return now != before and (settings.schedule != "polynomial" or progress.passed(since, settings.every))

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Weights, progress: TrainingProgress) -> None:
        """Choose the masks again for the sparsity that is due."""
        # A group for each mask, or one for all masks with the same settings.
        groups: dict[Any, list[tuple[Mask, np.ndarray]]] = {}
        for mask, weight in zip(transforms, weights, strict=True):
            if mask.may_move(progress):
                key = id(mask) if mask.settings.scope == "layer" else mask.settings
                groups.setdefault(key, []).append((mask, weight))
        for members in groups.values():
            settings = members[0][0].settings
            sparsity = settings.sparsity_at(progress)
            keeps = drop_lowest([mask.ranks(weight) for mask, weight in members], sparsity)
            for (mask, _), keep in zip(members, keeps, strict=True):
                mask.move(keep, progress, final=sparsity == settings.sparsity)

    def ranks(self, weight: np.ndarray) -> np.ndarray:
        """Return the numbers that weights are ranked by, of their shape; infinite where the pattern keeps them."""
        ranks = lamp_scores(weight) if self.settings.scope == "lamp" else np.abs(weight)
        if not self.settings.regrow:
            ranks = np.where(to_numpy(self.keep), ranks, np.float32(-1))
        if self.settings.pattern is None or self.axis is None:
            return ranks
        candidates = group_candidates(ranks, *parse_pattern(self.settings.pattern), self.axis)
        return np.where(candidates, ranks, np.float32(np.inf))

    def invariant_violation(self, weight: np.ndarray) -> str:
        """At least the wanted share is zero: exactly that many are masked, and others may be zero too."""
        if self.pending:
            return ""
        settings, keep = self.settings, to_numpy(self.keep)
        alive = np.count_nonzero(weight[~keep])
        if alive:
            return f"{alive} weights that were pruned are not zero"
        masked = keep.size - np.count_nonzero(keep)
        wanted = np.floor(settings.sparsity * keep.size + 0.5)
        if (settings.scope == "layer" or settings.pattern) and masked != wanted:
            return f"{masked} pruned weights instead of {wanted:.0f}"
        if settings.pattern and self.axis is not None:
            kept, of = parse_pattern(settings.pattern)
            over = np.count_nonzero(keep & group_candidates(keep.astype(np.int8), kept, of, self.axis))
            return f"{over} weights too many are kept for the pattern {settings.pattern}" if over else ""
        return ""

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this mask, without its state."""
        return super().get_config() | {"settings": self.settings.own_settings(), "axis": self.axis}
