"""Channel dependencies: which channels of a network are the same, and which layers make and read them.

Every tensor of a functional model gets an id for each of its channels (its last axis). A convolution makes new
ones; activations, BatchNorm, pooling and depthwise convolutions pass them on; a concatenation lines them up; an
addition ties those of its inputs, because one cannot be removed without the other. An operation that is not
understood fixes the channels that it touches: they stay.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import activations, layers

from squeezekit.compress.graph.clone import check_model, members
from squeezekit.compress.graph.nested_layers import is_model
from squeezekit.compress.graph.rewrite import nodes
from squeezekit.compress.hooked_layers import KernelHook

__all__ = ["ChannelDependencies", "Site"]

Ids = np.ndarray
"""int64, one id for each channel of a tensor."""


def _all(module: Any, *names: str) -> set[Any]:
    return {getattr(module, name) for name in names}


# They act on each value alone.
_ELEMENTWISE = _all(
    activations,
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "hard_silu", "sigmoid"),
    *("hard_sigmoid", "log_sigmoid", "tanh", "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink"),
    *("softplus", "softsign", "exponential", "mish"),
)
_PASSING = _all(
    layers,
    *("Activation", "ReLU", "LeakyReLU", "ELU", "Identity", "Dropout", "SpatialDropout2D", "GaussianDropout"),
    *("GaussianNoise", "AveragePooling2D", "MaxPooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
    *("ZeroPadding2D", "Cropping2D", "UpSampling2D", "Resizing"),
)
_MERGING = _all(layers, "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
# Operations of keras.ops in a graph, by the names of their classes, which Keras does not export.
_PASSING_OPERATIONS = {
    *("Relu", "ReLU", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "HardSilu"),
    *("Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign", "Negative", "Absolute", "Square"),
}
_MERGING_OPERATIONS = {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"}


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A layer whose weights or settings have channels.

    Args:
        name: with the names of nested models in front.
        layer: hooked or not.
        kind: its stock class.
        inputs: id of each input channel, (in,).
        outputs: id of each output channel, (out,).
    """

    name: str
    layer: keras.layers.Layer
    kind: type[keras.layers.Layer]
    inputs: Ids
    outputs: Ids

    @property
    def makes(self) -> bool:
        """True if the output channels are its own: a kernel mixes its inputs."""
        return self.kind in (layers.Conv2D, layers.Dense)


class ChannelDependencies:
    """The channels of a built functional or sequential model.

    Args:
        model: with or without transforms; nested models are followed.

    Attributes:
        sites: every layer with channels, each once, in the order of the graph. Tied ids are equal: the smallest
            stands for all.
        fixed: bool for each id; True if the channel reaches the model's input or output, or an unknown operation.
        groups: for each id a number, equal where channels of the same tensors are tied.
        unknown: names of the operations that are not understood.

    Raises:
        ValueError: the model is subclassed or not built.

    Example:
        >>> entry = keras.Input((8, 8, 3))
        >>> x = layers.Conv2D(4, 3, name="made")(entry)
        >>> graph = ChannelDependencies(keras.Model(entry, layers.Conv2D(2, 3, name="read")(layers.ReLU()(x))))
        >>> [(site.name, site.inputs.tolist(), site.outputs.tolist()) for site in graph.sites]
        [('made', [0, 1, 2], [3, 4, 5, 6]), ('read', [3, 4, 5, 6], [7, 8])]
        >>> np.flatnonzero(~graph.fixed).tolist()
        [3, 4, 5, 6]
    """

    def __init__(self, model: keras.Model) -> None:
        check_model(model.name, model)
        self._ties, self._blocks, self._fixed = _Forest(), _Forest(), set[int]()
        self._block: list[int] = []
        self._tensors: dict[int, Ids] = {}
        self._found: dict[int, Site] = {}
        self._names = {id(layer): name for name, layer in members(model)}
        self.unknown: list[str] = []
        incoming = [self._fix(self._fresh(_width(tensor))) for tensor in model.inputs]
        for outgoing in self._trace(model, incoming):
            self._fix(outgoing)

        roots = np.array([self._ties.root(one) for one in range(len(self._ties))])
        self._roots = roots
        self.fixed = np.zeros(len(roots), bool)
        self.fixed[roots[sorted(self._fixed)]] = True
        self.fixed = self.fixed[roots]
        for one, root in enumerate(roots):
            self._blocks.join(self._block[one], self._block[root])
        self.groups = np.array([self._blocks.root(block) for block in self._block])
        self.sites = [
            dataclasses.replace(site, inputs=roots[site.inputs], outputs=roots[site.outputs])
            for site in self._found.values()
        ]

    def of_tensor(self, tensor: keras.KerasTensor) -> Ids:
        """Return the ids of a symbolic tensor of the model or of a nested one."""
        return self._roots[self._tensors[id(tensor)]]

    def _trace(self, model: keras.Model, incoming: Sequence[Ids]) -> list[Ids]:
        """Follow the channels through a model called on `incoming`; a second call is tied to the first."""
        inside = keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model
        for tensor, ids in zip(inside.inputs, incoming, strict=True):
            self._meet(tensor, ids)
        for node in nodes(inside):
            given = [self._tensors[id(tensor)] for tensor in node.input_tensors]
            for tensor, ids in zip(node.outputs, self._visit(node, given), strict=True):
                self._meet(tensor, ids)
        return [self._tensors[id(tensor)] for tensor in inside.outputs]

    def _visit(self, node: Any, given: list[Ids]) -> list[Ids]:
        operation = node.operation
        if is_model(operation):
            return self._trace(operation, given)
        made = self._understand(node, operation, given)
        if made is not None:
            return [made]
        for ids in given:
            self._fix(ids)
        if operation.name not in self.unknown:
            self.unknown.append(operation.name)
        return [self._fix(self._fresh(_width(tensor))) for tensor in node.outputs]

    def _understand(self, node: Any, layer: Any, given: list[Ids]) -> Ids | None:
        """Return the channels of the one output, or None if this operation may do anything with them."""
        if not isinstance(layer, keras.layers.Layer):
            return self._operation(node, layer, given)
        kind = layer.stock if isinstance(layer, KernelHook) else type(layer)
        shapes = [tensor.shape for tensor in node.input_tensors]
        if kind in _MERGING:
            return self._merge(given, shapes)
        if kind is layers.Concatenate:
            return self._concatenate(layer.axis, given, shapes)
        if len(given) != 1:
            return None
        (ids,), (shape,), width = given, shapes, _width(node.outputs[0])
        if kind in (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense):
            return self._kernel(layer, kind, ids, width)
        if kind is layers.BatchNormalization:
            return self._site(layer, kind, ids, ids) if layer.axis in (-1, len(shape) - 1) else None
        if kind is layers.Rescaling:
            return ids if np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0 else None
        if kind is layers.Reshape:
            return self._site(layer, kind, ids, ids) if width == len(ids) else None
        if kind is layers.Flatten and _is_last(layer):
            return np.tile(ids, width // len(ids))  # (b, h, w, c) -> (b, h * w * c), channels fastest
        if kind is layers.Activation and layer.activation not in _ELEMENTWISE:
            return None
        return ids if kind in _PASSING and _is_last(layer) else None

    def _kernel(self, layer: Any, kind: type, ids: Ids, width: int) -> Ids | None:
        names = {weight.name for weight in layer.weights}
        if not (isinstance(layer, KernelHook) or names <= {"kernel", "bias"}) or not _is_last(layer):
            return None  # LoRA, Keras's own quantization, another layout
        if kind is layers.DepthwiseConv2D:
            outputs = np.repeat(ids, layer.depth_multiplier)
        elif kind is layers.Dense or layer.groups == 1:
            known = self._found.get(id(layer))
            outputs = self._fresh(width) if known is None else known.outputs
        else:
            return None
        if layer.activation not in _ELEMENTWISE:
            self._fix(outputs)  # softmax mixes channels
        return self._site(layer, kind, ids, outputs)

    def _operation(self, node: Any, operation: Any, given: list[Ids]) -> Ids | None:
        kind = type(operation)
        if not kind.__module__.startswith("keras.src."):
            return None
        if kind.__name__ == "Concatenate":
            return self._concatenate(operation.axis, given, [tensor.shape for tensor in node.input_tensors])
        arguments = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
        others = [item for item in arguments if not isinstance(item, keras.KerasTensor)]
        if any(np.ndim(item) for item in others):
            return None  # a constant with channels of its own
        if kind.__name__ in _MERGING_OPERATIONS:
            return self._merge(given, [tensor.shape for tensor in node.input_tensors])
        return given[0] if kind.__name__ in _PASSING_OPERATIONS and len(given) == 1 else None

    def _merge(self, given: list[Ids], shapes: Sequence[Any]) -> Ids | None:
        """Tie channel by channel; a single channel that is spread over many stays."""
        width = max(map(len, given))
        if len({len(shape) for shape in shapes}) > 1 or any(len(ids) not in (1, width) for ids in given):
            return None
        wide = [ids for ids in given if len(ids) == width]
        for ids in given:
            if len(ids) < width:
                self._fix(ids)
        for ids in wide[1:]:
            self._tie(wide[0], ids)
        return wide[0]

    def _concatenate(self, axis: int, given: list[Ids], shapes: Sequence[Any]) -> Ids | None:
        if axis in (-1, len(shapes[0]) - 1):
            return np.concatenate(given)
        return self._merge(given, shapes)

    def _site(self, layer: Any, kind: type, inputs: Ids, outputs: Ids) -> Ids:
        known = self._found.get(id(layer))
        if known is None:
            self._found[id(layer)] = Site(self._names[id(layer)], layer, kind, inputs, outputs)
        else:
            self._tie(known.inputs, inputs)
        return outputs

    def _meet(self, tensor: keras.KerasTensor, ids: Ids) -> None:
        self._tie(self._tensors.setdefault(id(tensor), ids), ids)

    def _fresh(self, count: int) -> Ids:
        block = self._blocks.add()
        self._block += [block] * count
        return np.array([self._ties.add() for _ in range(count)])

    def _fix(self, ids: Ids) -> Ids:
        self._fixed.update(ids.tolist())
        return ids

    def _tie(self, some: Ids, others: Ids) -> None:
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            self._ties.join(one, other)


class _Forest:
    """Union-find; the smallest member of a tree is its root."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def __len__(self) -> int:
        return len(self._parents)

    def add(self) -> int:
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def root(self, one: int) -> int:
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first


def _is_last(layer: keras.layers.Layer) -> bool:
    return layer.get_config().get("data_format", "channels_last") == "channels_last"


def _width(tensor: keras.KerasTensor) -> int:
    """Number of channels; 1 where it is unknown, for an operation that is not understood."""
    return (tensor.shape[-1] if len(tensor.shape) else None) or 1
