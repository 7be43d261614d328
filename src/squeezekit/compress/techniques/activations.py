"""Fake quantization of activations: train with the tensors between layers as an integer network holds them.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", 2018, section 3: asymmetric 8-bit grids that hold zero exactly, ranges from moving averages
that are frozen before training ends. Learned ranges: each bound gets the gradient of the values that it
clips, as in Choi et al., "PACT: parameterized clipping activation for quantized neural networks", 2018
(section 3), with the gradient scale of Esser et al., "Learned step size quantization", 2020 (section 2.2).
"""

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from squeezekit.compress.graph.rewrite import graph_of, rebuild
from squeezekit.compress.transform import Inserted, TrainingProgress, to_numpy

__all__ = ["RANGES", "ActivationGrid", "activation_ranges", "has_grids"]

LEVELS = 255
"""Steps of the 8-bit grid."""

# An average over some hundred batches: over fewer, while there were fewer.
SLOWEST_RATE = 0.01


RANGES = ("observed", "learned")
"""Where ranges come from: averages of the batches' extremes, or trained with the weights from there on."""


class Phase(enum.IntEnum):
    """What a grid does."""

    OBSERVING = 0
    """Observes ranges and changes nothing."""
    ROUNDING = 1
    """Observes while it rounds to the grid."""
    FIXED = 2
    """Rounds to the grid of the range as it was observed, or learns on from there."""


@keras.saving.register_keras_serializable(package="squeezekit")
class ActivationGrid(Inserted):
    """x -> scale * (clip(round(x / scale) + zero, 0, 255) - zero), the gradient straight through, 0 where clipped.

    scale = (high - low) / 255 and zero = round(-low / scale), so that 0 is on the grid: LiteRT's own. Nothing is
    rounded before training has observed a batch.

    Args:
        of: names of the layers whose outputs are on this grid.
        learned: train the range from `observe` on.
        pixels: whether it is the model's input: if that lies within [0, 255] and exceeds half of it, the range is
            exactly this, so that whole numbers stay as they are.
        begin: share of the stage at which rounding begins.
        observe: share of the stage from which the batches no longer change the range.
    """

    def __init__(
        self,
        of: Sequence[str],
        *,
        learned: bool = False,
        pixels: bool = False,
        begin: float = 0.0,
        observe: float = 0.8,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("autocast", None)
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        self.of = tuple(of)
        self.learned = learned
        self.pixels = pixels
        self.begin = begin
        self.observe = observe

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the range, the phase and the number of batches observed."""

        def state(name: str, dtype: str = "float32", trainable: bool = False) -> Any:
            how = {"initializer": "zeros", "trainable": trainable, "autocast": False}
            return self.add_weight(name=name, shape=(), dtype=dtype, **how)

        self.low, self.high = state("low"), state("high")
        self.batches, self.phase = state("batches", "int32"), state("phase", "int32")
        # Logarithms of what the bounds are multiplied by: training moves every range by shares of itself.
        names = ("low_factor", "high_factor") if self.learned else ()
        self.factors = [state(name, trainable=True) for name in names]

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the tensor on its grid, of the type given; the arithmetic is in float32."""
        values = ops.cast(inputs, "float32")
        if training:
            self._watch(values)
        low, high = self._bounds(values)
        rounded = keras.quantizers.fake_quant_with_min_max_vars(values, low, high)
        # With begin=0 training always rounds, and a step without the choice compiles faster.
        if self.begin or not training:
            begun = ops.logical_and(self.phase >= Phase.ROUNDING, self.batches > 0)
            rounded = ops.where(begun, rounded, values)
        return ops.cast(rounded, keras.backend.standardize_dtype(inputs.dtype))

    def _watch(self, values: Any) -> None:
        values = ops.stop_gradient(values)
        low, high = ops.convert_to_tensor(self.low), ops.convert_to_tensor(self.high)
        fixed = self.phase >= Phase.FIXED
        # Not computed once it does not matter: two passes over the tensor.
        lowest, highest = ops.cond(fixed, lambda: (low, high), lambda: (ops.min(values), ops.max(values)))
        rate = ops.maximum(1.0 / (ops.cast(self.batches, "float32") + 1.0), SLOWEST_RATE)
        self.low.assign(low + rate * (lowest - low))
        self.high.assign(high + rate * (highest - high))
        self.batches.assign_add(ops.where(fixed, 0, 1))

    def _bounds(self, values: Any) -> tuple[Any, Any]:
        low, high = ops.minimum(self.low, 0.0), ops.maximum(self.high, 0.0)
        if self.pixels:
            exact = ops.logical_and(low >= 0, ops.logical_and(high > LEVELS / 2, high <= LEVELS))
            low, high = ops.where(exact, 0.0, low), ops.where(exact, float(LEVELS), high)
        high = ops.where(high > low, high, low + 1.0)  # all zeros: any grid does
        if not self.learned:
            return low, high
        # Else the gradient, a sum over all values, would drown those of the weights.
        size = ops.cast(ops.size(values), "float32")
        slow = ops.where(self.phase >= Phase.FIXED, ops.rsqrt(size * LEVELS), 0.0)
        low_factor, high_factor = (ops.exp(_slowed(factor, slow)) for factor in self.factors)
        return low * low_factor, high * high_factor

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest value of the grid, as rounded to include 0; None if nothing was observed."""
        if not int(to_numpy(self.batches)):
            return None
        low, high = (to_numpy(bound).astype(np.float64) for bound in self._bounds(ops.zeros(())))
        scale = (high - low) / LEVELS
        zero = np.floor(-low / scale + 0.5)
        return float(0 - zero * scale), float((LEVELS - zero) * scale)

    @property
    def pending(self) -> bool:
        """True until the range is fixed."""
        return int(to_numpy(self.phase)) < Phase.FIXED

    def advance(self, progress: TrainingProgress) -> None:
        """Begin to round, and fix the range, when it is time."""
        fixed = progress.done >= progress.share_of(self.observe)
        begun = fixed or progress.done >= progress.share_of(self.begin)
        phase = Phase.FIXED if fixed else Phase.ROUNDING if begun else Phase.OBSERVING
        self.phase.assign(max(int(to_numpy(self.phase)), phase))

    @classmethod
    def after_strip(cls, plain: keras.Model) -> keras.Model:
        """Return a copy of the model without grids."""
        passed = keras.layers.InputLayer | cls
        return rebuild(plain, lambda name, layer, copy: [] if isinstance(layer, passed) else [copy()])

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """Return the input's shape and type."""
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this grid, without its state."""
        settings = {
            "learned": self.learned,
            "pixels": self.pixels,
            "begin": self.begin,
            "observe": self.observe,
        }
        return {"name": self.name, "trainable": self.trainable, "of": list(self.of)} | settings


def activation_ranges(model: keras.Model) -> Mapping[str, tuple[float, float]]:
    """Return the range of every activation that is on a grid, by the name of the layer that gives it.

    `export.litert(compress.strip(model), ..., ranges=...)` writes them into the integer file. The branches of a
    concatenation all have its range. Activations that training has not observed are left out.

    Args:
        model: what `apply` returned, trained; a plain model has no ranges.

    Returns:
        {name: (smallest, largest)}, read-only, with the names of nested models in front. Each range holds 0 on a
        grid of 255 steps.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.ReLU(name="relu")])
        >>> dict(activation_ranges(model))
        {}
    """
    found = {}
    for call in graph_of(model).calls:
        if isinstance(call.operation, ActivationGrid) and call.operation.range is not None:
            found.update(dict.fromkeys(call.operation.of, call.operation.range))
    return MappingProxyType(found)


def has_grids(model: keras.Model) -> bool:
    """Whether activations of the model are on grids already."""
    return any(isinstance(call.operation, ActivationGrid) for call in graph_of(model).calls)


def _slowed(variable: Any, share: Any) -> Any:
    """The variable itself, whose gradient is multiplied by `share`."""
    value = ops.convert_to_tensor(variable)
    return ops.stop_gradient(value * (1 - share)) + value * share
