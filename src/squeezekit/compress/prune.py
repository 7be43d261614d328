"""Magnitude pruning with a polynomial ramp.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
2017, equation 1; magnitude as the criterion: Han et al., "Learning both weights and connections for
efficient neural networks", 2015.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.base import Kernel, Moment, Slot, Technique, Transform, expect_share, to_numpy

__all__ = ["Mask", "Prune", "magnitude_masks", "ramp_sparsity"]

SCOPES = ("layer", "global")


def ramp_sparsity(progress: float, final: float, start: float, end: float, initial: float = 0.0) -> float:
    """Return the sparsity due at `progress`: s = f + (i - f) (1 - (p - start) / (end - start))^3.

    Args:
        progress: share of the stage's training that is done, in [0, 1].
        final: sparsity from `end` on, in [0, 1).
        start: progress at which the ramp begins; before it the sparsity is `initial`.
        end: progress at which it is complete.
        initial: sparsity at the beginning.

    Returns:
        Sparsity in [0, 1): steep at first, while the network has weights to spare, flat at the end.

    Example:
        >>> [round(ramp_sparsity(p, 0.8, 0.0, 0.5), 3) for p in (0.0, 0.1, 0.25, 0.5, 1.0)]
        [0.0, 0.39, 0.7, 0.8, 0.8]
    """
    if progress >= end:
        return final
    done = max(0.0, progress - start) / (end - start)
    return final + (initial - final) * (1.0 - done) ** 3


def magnitude_masks(weights: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Return boolean masks that keep all but the smallest magnitudes of `weights` taken together.

    Exactly round(sparsity * number of weights) are dropped; halves are rounded up. Among equal
    magnitudes the earliest go first, so the result is the same on every machine.

    Args:
        weights: arrays of any shapes.
        sparsity: share to drop, in [0, 1].

    Returns:
        One bool array for each of `weights`; True is kept.

    Example:
        >>> magnitude_masks([np.array([0.1, -3.0]), np.array([0.5, -0.2])], 0.5)
        [array([False,  True]), array([ True, False])]
    """
    magnitudes = np.concatenate([np.abs(weight).ravel() for weight in weights])
    dropped = int(np.floor(sparsity * magnitudes.size + 0.5))
    kept = np.ones(magnitudes.size, bool)
    if dropped:
        threshold = np.partition(magnitudes, dropped - 1)[dropped - 1]
        below = magnitudes < threshold
        kept[below] = False
        ties = np.flatnonzero(magnitudes == threshold)
        kept[ties[: dropped - int(below.sum())]] = False
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    return [part.reshape(weight.shape) for part, weight in zip(np.split(kept, ends), weights, strict=True)]


@keras.saving.register_keras_serializable(package="squeezekit")
class Mask(Transform):
    """w -> w where kept, else 0. While the ramp runs, gradients pass straight through to dropped weights.

    Args:
        sparsity: share of dropped weights at the end, in [0, 1).
        ramp: (start, end) in shares of the stage's training, or None for all at once.
        scope: `"layer"`, or `"global"` for one threshold over all masks of the stage.
    """

    slot = Slot.ZEROS

    def __init__(
        self, sparsity: float, ramp: Sequence[float] | None = None, scope: str = "layer", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.sparsity = sparsity
        self.ramp = None if ramp is None else tuple(ramp)
        self.scope = scope

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Keep everything, at the beginning of the ramp."""
        self.keep = self.state("keep", input_shape, dtype="bool", initial="ones", trainable=False)
        # 1 while dropped weights may come back, 0 once the mask is final.
        self.regrow = self.state("regrow", (), dtype="float32", initial="ones", trainable=False)
        self.progress = self.state("progress", (), dtype="float32", initial="zeros", trainable=False)

    def call(self, weight: Any) -> Any:
        """Return the masked kernel; `where`, not a product, because a product makes zeros negative."""
        keep = ops.convert_to_tensor(self.keep)  # on JAX `where` takes no variable
        return ops.where(keep, weight, self.regrow * (weight - ops.stop_gradient(weight)))

    @property
    def pending(self) -> bool:
        """True until the ramp has ended."""
        return float(to_numpy(self.regrow)) > 0

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Sequence[np.ndarray], moment: Moment) -> None:
        """Choose the masks anew for the sparsity that is due."""
        progress = moment.progress
        due = [
            (mask, weight)
            for mask, weight in zip(transforms, weights, strict=True)
            if mask.pending and np.float32(progress) >= to_numpy(mask.progress)
        ]
        if not due:
            return
        together = due[0][0].scope == "global"
        for group in [due] if together else [[pair] for pair in due]:
            first = group[0][0]
            start, end = (0.0, 0.0) if first.ramp is None else first.ramp
            keeps = magnitude_masks(
                [weight for _, weight in group], ramp_sparsity(progress, first.sparsity, start, end)
            )
            for (mask, _), keep in zip(group, keeps, strict=True):
                mask.keep.assign(keep)
                mask.progress.assign(progress)
                mask.regrow.assign(0.0 if progress >= end else 1.0)

    def promise_broken(self, weight: np.ndarray) -> str:
        """At least the promised share is zero: exactly that many are masked, and others may be zero too."""
        if self.pending:
            return ""
        keep = to_numpy(self.keep)
        alive = np.count_nonzero(weight[~keep])
        if alive:
            return f"{alive} weights that were pruned are not zero"
        promised = np.floor(self.sparsity * keep.size + 0.5)
        if self.scope == "layer" and keep.size - np.count_nonzero(keep) != promised:
            return f"{keep.size - np.count_nonzero(keep)} weights are pruned, {promised:.0f} were promised"
        return ""

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this mask, without its state."""
        return super().get_config() | {"sparsity": self.sparsity, "ramp": self.ramp, "scope": self.scope}


@dataclasses.dataclass(frozen=True)
class Prune(Technique):
    """Set the smallest weights to zero, more and more of them while training goes on.

    The share of zeros follows Zhu and Gupta's equation 1. Until the ramp ends dropped weights still
    learn (straight through) and may come back; then the mask is fixed. Biases are never pruned.
    Zeros make the packed file smaller, not the plain `.tflite`, and make inference no faster. Under
    some 50 % they buy little: the positions of the zeros must be coded too.

    Args:
        sparsity: share of zeros in each kernel at the end, in [0, 1); exactly
            round(sparsity * weights) are masked.
        ramp: (start, end) in shares of the stage's training, 0 <= start < end <= 1, so that the rest of
            the stage recovers. None prunes at once, when the technique is applied.
        scope: `"layer"` gives each kernel this sparsity; `"global"` ranks the weights of all kernels
            together, which spares small layers and may empty a large one.
        smallest: kernels of fewer weights stay dense: they hold few bytes and much accuracy.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> print(Prune(0.8))
        prune(0.8)
        >>> print(Prune(0.5, ramp=None, scope="global"))
        prune(0.5, ramp=None, scope='global')
    """

    name: ClassVar[str] = "prune"
    survives_folding: ClassVar[bool] = True

    sparsity: float
    ramp: tuple[float, float] | None = (0.0, 0.5)
    scope: str = "layer"
    smallest: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_share("sparsity", self.sparsity, below_one=True)
        if self.scope not in SCOPES:
            raise ValueError(f"Expected scope as one of {', '.join(SCOPES)}. Received: scope={self.scope!r}.")
        if not isinstance(self.smallest, int) or self.smallest < 0:
            raise ValueError(
                f"Expected smallest as a whole number, at least 0. Received: smallest={self.smallest!r}."
            )
        if self.ramp is None:
            return
        if not isinstance(self.ramp, Sequence) or len(self.ramp) != 2:
            raise ValueError(f"Expected ramp as (start, end) or None. Received: ramp={self.ramp!r}.")
        for value, label in zip(self.ramp, ("start", "end"), strict=True):
            expect_share(f"ramp's {label}", value)
        if not self.ramp[0] < self.ramp[1]:
            raise ValueError(f"Expected a ramp that starts before it ends. Received: ramp={self.ramp!r}.")
        object.__setattr__(self, "ramp", tuple(self.ramp))

    def settled(self) -> "Prune":
        """Return the same without a ramp: the zeros of a pruned kernel are its smallest weights."""
        return dataclasses.replace(self, ramp=None)

    def transform(self, kernel: Kernel, *, stage: int = 0) -> Mask | None:
        """Return the mask for one kernel, or None if it is too small to prune."""
        if kernel.size < self.smallest:
            return None
        return Mask(self.sparsity, self.ramp, self.scope, stage=stage)
