"""Fake quantization: train with the weights, and if wanted the activations, of an integer network.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", 2018, section 3; symmetric as in LiteRT's 8-bit quantization specification; the gradient
passes straight through: Bengio et al., "Estimating or propagating gradients through stochastic
neurons", 2013.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from squeezekit.compress.setting_checks import expect_bits, expect_choice, expect_flag, expect_share
from squeezekit.compress.technique import Kernel, Sweep, Technique
from squeezekit.compress.techniques.activation_sites import insert_grids
from squeezekit.compress.techniques.activations import RANGES, ActivationGrid, has_grids
from squeezekit.compress.transform import Inserted, Slot, Transform

__all__ = ["Grid", "Quantize"]

BITS = (2, 8)

# Share of a step by which float32 arithmetic may miss the grid (127 steps, some 2^-23 each).
TOLERANCE = 1e-3


@keras.saving.register_keras_serializable(package="squeezekit")
class Grid(Transform):
    """w -> scale * round(w / scale) with scale = max|w| / (2^(bits-1) - 1), straight through.

    The scale follows the weights at every step and has no state. Nothing is ever clipped, zero stays
    zero, equal weights stay equal.

    Args:
        bits: values are whole multiples of the scale from -(2^(bits-1) - 1) to 2^(bits-1) - 1.
        axes: the axes over which the maximum is taken; None takes all (one scale for the tensor).
    """

    slot = Slot.ROUNDING

    def __init__(self, bits: int, axes: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bits = bits
        self.axes = None if axes is None else tuple(axes)
        self.levels = 2 ** (bits - 1) - 1

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Nothing to build: the scale is computed from the kernel."""

    def call(self, weight: Any) -> Any:
        """Return the kernel on its grid."""
        fixed = ops.stop_gradient(weight)
        peak = ops.max(ops.abs(fixed), axis=self.axes, keepdims=True)
        scale = ops.where(peak > 0, peak, ops.ones_like(peak)) / self.levels
        # The bracket is exactly zero: the value is the grid's, the gradient is the kernel's.
        return ops.round(fixed / scale) * scale + (weight - fixed)

    def invariant_violation(self, weight: np.ndarray) -> str:
        """Every value is a whole number of steps."""
        peak = np.abs(weight).max(axis=self.axes, keepdims=True)
        steps = weight / np.where(peak > 0, peak, 1) * self.levels
        off = np.count_nonzero(np.abs(steps - np.round(steps)) > TOLERANCE)
        return f"{off} weights are off the grid of {2 * self.levels + 1} values" if off else ""

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this grid."""
        return super().get_config() | {"bits": self.bits, "axes": self.axes}


@dataclasses.dataclass(frozen=True)
class Quantize(Technique):
    """Train with weights on a uniform symmetric grid: scale * k, |k| <= 2^(bits-1) - 1.

    At 8 bits these are the values that LiteRT's converter computes for the integer file, per tensor and per channel.
    With fewer bits the file stays an 8-bit one with few distinct values: it packs smaller, but values move by up to
    half an 8-bit step, because the 8-bit grid is no multiple of, say, the 4-bit one. Fold BatchNorm before.

    With `activations=8` the tensors between all layers, whatever `where` says, are rounded to 8-bit grids too, and
    `activation_ranges` gives their ranges to the export. The ranges are averages of each batch's extremes (Jacob et
    al., section 3.1) until the share `observe` of the stage; then they are fixed, or trained (PACT). Training steps
    take about 1.3 times as long. Train with `Schedule`, or ranges are never fixed.

    Args:
        bits: 2 to 8.
        per_channel: one scale for each output channel instead of one for the kernel: closer to the float weights,
            but equal weights of two channels become unequal, so it does not combine with sharing.
        activations: 8, or None to leave the tensors between layers alone.
        ranges: "observed" or "learned": where the ranges of activations come from.
        observe: share of the stage, in (0, 1], after which ranges no longer follow the batches.
        begin: share of the stage, in [0, 1], at which rounding of activations begins.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> print(Quantize(8) | Quantize(4, per_channel=True))
        quantize(bits=8) | quantize(bits=4, per_channel=True)
    """

    name: ClassVar[str] = "quantize"
    noun: ClassVar[str] = "quantizing"
    study_level: ClassVar[str] = "quantize(bits=8)"
    sweep: ClassVar[Sweep | None] = Sweep("bits", (8, 7, 6, 5, 4, 3, 2))
    integer: ClassVar[bool] = True

    bits: int = 8
    per_channel: bool = False
    activations: int | None = None
    ranges: str = RANGES[0]
    observe: float = 0.8
    begin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_bits(self.bits, BITS)
        expect_flag("per_channel", self.per_channel)
        if self.activations not in (None, 8) or isinstance(self.activations, bool):
            raise ValueError(f"Expected activations=8 or None. Received: activations={self.activations!r}.")
        expect_choice("ranges", self.ranges, RANGES)
        expect_share("begin", self.begin)
        expect_share("observe", self.observe)
        if self.observe == 0:
            raise ValueError("Expected observe over 0: a range must be seen. Received: observe=0.")

    @property
    def values(self) -> int | None:
        """Number of values of the grid of a kernel."""
        return None if self.per_channel else 2**self.bits - 1

    @property
    def remedy(self) -> str:
        """One scale for the kernel keeps equal values equal."""
        return "take per_channel=False" if self.per_channel else super().remedy

    def rewrite(self, model: keras.Model) -> keras.Model:
        """Return the model with grids between its layers, if activations are wanted and it has none."""
        if self.activations is None or has_grids(model):
            return model

        def make(of: Sequence[str], *, name: str, entry: bool) -> Inserted:
            # What enters the network is given: there is nothing to learn about its range.
            learned = self.ranges == "learned" and not entry
            begin, observe = float(self.begin), float(self.observe)  # shares, also where they are whole
            return ActivationGrid(of, learned=learned, pixels=entry, begin=begin, observe=observe, name=name)

        return insert_grids(model, make)

    def transform(self, kernel: Kernel, *, stage: int = 0) -> Grid:
        """Return the grid for one kernel."""
        if not self.per_channel:
            return Grid(self.bits, stage=stage)
        rank = len(kernel.shape)
        channels = {axis % rank for axis in kernel.channel_axes}
        return Grid(self.bits, [axis for axis in range(rank) if axis not in channels], stage=stage)
