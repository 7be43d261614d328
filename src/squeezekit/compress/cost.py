"""What a model costs: parameters, zeros, distinct values, multiply-accumulates."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from squeezekit.compress.graph.clone import leaves, members
from squeezekit.compress.graph.nested_layers import HookedBlock, is_block, own_variables, parts, trace
from squeezekit.compress.hooked_layers import HOOKED, KernelHook
from squeezekit.compress.transform import Inserted, to_numpy

__all__ = ["LayerMeasure", "Measures", "measure"]

# A kernel weight of these meets each position of the input once, one of all others each position of the output.
_BY_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_KNOWN = (*HOOKED, layers.SeparableConv1D, layers.SeparableConv2D)


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
    """Measure a model; one with transforms counts as the plain model that `strip` would return now.

    A layer that the graph calls several times counts once, one in a block that is not called counts nothing, and
    so does what a block computes besides calling layers.

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


Shape = tuple[int | None, ...]
Calls = list[tuple[Shape, Shape]]
"""Shapes of input and output, call by call."""


def _measure_layers(model: keras.Model) -> Iterator[LayerMeasure]:
    blocks = [(name, layer) for name, layer in members(model) if is_block(layer)]
    seen = _calls_in_blocks(model) if blocks else {}
    inside = seen.keys()
    for name, layer in leaves(model):
        if isinstance(layer, Inserted):
            continue
        weights = _weights(layer)
        kernels = [weight for weight in weights if weight.ndim > 1]
        macs = 0
        if kernels:
            _check_kind(name, layer)
            # Keras keeps the shapes of the layers that are called in a model's graph themselves.
            calls = seen[id(layer)] if id(layer) in inside else [(layer.input.shape, layer.output.shape)]
            macs = _positions(name, layer, calls) * sum(kernel.size for kernel in kernels)
        if weights:
            yield _layer_measure(name, layer, weights, macs)
    for name, block in blocks:
        counted = {id(weight) for weight in block.weights}  # no seeds
        own = [to_numpy(variable) for variable in own_variables(block) if id(variable) in counted]
        if any(weight.ndim > 1 for weight in own):
            _check_kind(name, block)
        if own:
            yield _layer_measure(name, block, own, 0)


def _layer_measure(name: str, layer: layers.Layer, weights: list[np.ndarray], macs: int) -> LayerMeasure:
    kernels = [weight.ravel() for weight in weights if weight.ndim > 1]
    return LayerMeasure(
        name=name,
        kind=_kind(layer).__name__,
        parameters=sum(weight.size for weight in weights),
        nonzero=sum(int(np.count_nonzero(weight)) for weight in weights),
        distinct=np.unique(np.concatenate(kernels)).size if kernels else 0,
        macs=macs,
    )


def _kind(layer: layers.Layer) -> type[layers.Layer]:
    if isinstance(layer, HookedBlock):
        return type(layer.block)
    return layer.stock if isinstance(layer, KernelHook) else type(layer)


def _weights(layer: layers.Layer) -> list[np.ndarray]:
    if isinstance(layer, KernelHook):
        biases = [] if layer.bias is None else [to_numpy(layer.bias)]
        return [layer.effective_kernel(), *biases]
    return [to_numpy(weight) for weight in layer.weights]


def _calls_in_blocks(model: keras.Model) -> dict[int, Calls]:
    """The calls of each layer in a block, by identity of the layer, which Keras does not keep.

    The model runs once on symbolic tensors while each layer records its shapes.
    """
    inputs = [keras.KerasTensor(tensor.shape, tensor.dtype) for tensor in model.inputs]
    if any(None in tensor.shape[1:] for tensor in inputs):
        raise ValueError(f"Expected a model with a fixed input size. Received: {model.name}.")
    watched = [part for _, block in members(model) if is_block(block) for _, part in parts(block)]
    seen: dict[int, Calls] = {id(layer): [] for layer in watched}

    def watch(layer: layers.Layer) -> None:
        call = layer.call

        def watching(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            entry = next(iter([*args, *kwargs.values()]), None)
            seen[id(layer)].append((_shape(entry), _shape(result)))
            return result

        vars(layer)["call"] = watching

    with contextlib.ExitStack() as watches:
        for layer in watched:
            watches.callback(vars(layer).pop, "call")
            watch(layer)
        trace(model, inputs if len(inputs) > 1 else inputs[0])
    return seen


def _shape(value: Any) -> Shape:
    """Shape of a tensor; none of anything else, which no known kind of layer takes."""
    return tuple(value.shape) if keras.ops.is_tensor(value) else ()


def _positions(name: str, layer: layers.Layer, calls: Calls) -> int:
    """How often each kernel weight is multiplied for one input."""
    if not calls:
        return 0
    entry, result = calls[0]
    if isinstance(layer, layers.EinsumDense):
        places = _einsum_places(layer.equation, entry)
    else:
        places = _places(layer, entry if isinstance(layer, _BY_INPUT) else result)
    count = 1
    for size in places:
        if size is None:
            raise ValueError(
                f"Expected a model with a fixed input size. Received: {name} with output {result}."
            )
        count *= size
    return count


def _places(layer: layers.Layer, shape: Shape) -> Shape:
    first = not isinstance(layer, layers.Dense) and layer.data_format == "channels_first"
    return shape[2:] if first else shape[1:-1]


def _einsum_places(equation: str, entry: Shape) -> Shape:
    """The axes of the input, but the batch, that the kernel lacks: "abc,cd->abd" meets each b."""
    labels, kernel = equation.split("->")[0].split(",")
    before, _, after = labels.partition("...")
    hidden = len(entry) - len(before) - len(after)  # axes that the dots stand for
    return tuple(
        size
        for label, size in list(zip([*before, *["."] * hidden, *after], entry, strict=True))[1:]
        if label not in kernel
    )


def _check_kind(name: str, layer: layers.Layer) -> None:
    if not isinstance(layer, _KNOWN):
        raise ValueError(
            "Expected layers whose multiplications are known. "
            f"Received: {name} of the kind {_kind(layer).__name__}."
        )
