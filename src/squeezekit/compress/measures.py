"""What a model weighs and costs: parameters, zeros, distinct values, multiply-accumulates."""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
from keras import layers

from squeezekit.compress.apply import leaves
from squeezekit.compress.base import Inserted, to_numpy
from squeezekit.compress.hooks import KernelHook

__all__ = ["LayerMeasure", "Measures", "measure"]

# A kernel weight of these meets each position of the output once, ...
_BY_OUTPUT = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Dense,
)
# ... of these each position of the input.
_BY_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


@dataclasses.dataclass(frozen=True, slots=True)
class LayerMeasure:
    """One layer that has weights.

    Args:
        name: with the names of nested models in front.
        kind: class of the layer in a plain model.
        parameters: number of weights: kernels, biases, BatchNorm's statistics.
        nonzero: how many of them are not zero.
        distinct: number of different values in the kernels; 0 if there is no kernel.
        macs: multiply-accumulates of the kernels for one input; biases and normalization count nothing.
    """

    name: str
    kind: str
    parameters: int
    nonzero: int
    distinct: int
    macs: int


@dataclasses.dataclass(frozen=True, slots=True)
class Measures:
    """All layers of a model that have weights, and their sums."""

    layers: tuple[LayerMeasure, ...]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def nonzero(self) -> int:
        """Number of weights that are not zero."""
        return sum(layer.nonzero for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input, zeros included: stock kernels do not skip them."""
        return sum(layer.macs for layer in self.layers)


def measure(model: keras.Model) -> Measures:
    """Measure a model; one with transforms as the plain model that it stands for now.

    A layer that the graph calls several times is counted as called once.

    Args:
        model: a built functional or sequential model with a fixed input size.

    Returns:
        The figures of each layer and their sums.

    Raises:
        ValueError: a layer with a kernel is of an unknown kind, or a size of its output is unknown.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])
        >>> figures = measure(model)
        >>> figures.parameters, figures.macs  # 3 * 3 * 3 * 4 + 4; 6 * 6 * 108
        (112, 3888)
    """
    return Measures(tuple(_measure_layers(model)))


def _measure_layers(model: keras.Model) -> Iterator[LayerMeasure]:
    for name, layer in leaves(model):
        weights = _weights(layer)
        if not weights or isinstance(layer, Inserted):
            continue
        kernels = [weight for weight in weights if weight.ndim > 1]
        yield LayerMeasure(
            name=name,
            kind=(layer.stock if isinstance(layer, KernelHook) else type(layer)).__name__,
            parameters=sum(weight.size for weight in weights),
            nonzero=sum(int(np.count_nonzero(weight)) for weight in weights),
            distinct=np.unique(np.concatenate([kernel.ravel() for kernel in kernels])).size if kernels else 0,
            macs=_positions(name, layer) * sum(kernel.size for kernel in kernels) if kernels else 0,
        )


def _weights(layer: layers.Layer) -> list[np.ndarray]:
    if isinstance(layer, KernelHook):
        biases = [] if layer.bias is None else [to_numpy(layer.bias)]
        return [layer.effective_kernel(), *biases]
    return [to_numpy(weight) for weight in layer.weights]


def _positions(name: str, layer: layers.Layer) -> int:
    """How often each kernel weight is multiplied for one input."""
    if isinstance(layer, _BY_OUTPUT):
        shape = layer.output.shape
    elif isinstance(layer, _BY_INPUT):
        shape = layer.input.shape
    else:
        raise ValueError(
            "Expected layers whose multiplications are known. "
            f"Received: {name} of the kind {type(layer).__name__}."
        )
    first = not isinstance(layer, layers.Dense) and layer.data_format == "channels_first"
    places = shape[2:] if first else shape[1:-1]
    if None in places:
        raise ValueError(f"Expected a model with a fixed input size. Received: {name} with output {shape}.")
    return int(np.prod(places, dtype=np.int64))
