"""Which activations of an integer network have a grid of their own: those that LiteRT's kernels quantize.

LiteRT 8-bit quantization specification: the output of a fused activation is quantized, not its input; pooling and
reshaping keep their input's scale; all inputs of a concatenation have the scale of its output.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import activations, layers

from squeezekit.compress.graph.rewrite import Call, Graph, graph_of, rebuild
from squeezekit.compress.hooked_layers import HOOKED
from squeezekit.compress.transform import Inserted

__all__ = ["insert_grids"]

_LINEAR = (*HOOKED, layers.SeparableConv2D)

# Their output has the grid of their input: they choose or move values.
_KEEPING = tuple(
    getattr(layers, name)
    for name in (
        *("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D"),
        *("AveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "Reshape", "Flatten", "Permute"),
        *(
            "RepeatVector",
            "ZeroPadding1D",
            "ZeroPadding2D",
            "Cropping1D",
            "Cropping2D",
            "UpSampling2D",
            "Dropout",
        ),
        *(
            "SpatialDropout1D",
            "SpatialDropout2D",
            "GaussianNoise",
            "GaussianDropout",
            "ActivityRegularization",
        ),
        "Identity",
    )
)

# Operations of `keras.ops` have no public classes; they go by their names.
_KEEPING_OPERATIONS = {
    *("ExpandDims", "Flip", "GetItem", "Max", "MaxPool", "Pad", "AveragePool", "Reshape", "Squeeze"),
    "Transpose",
}
_FIXED_OPERATIONS = {"Softmax", "Sigmoid", "Tanh"}
_FUSED_OPERATIONS = {"Relu", "Relu6"}
_FUSING_OPERATIONS = {"Add", "Subtract", "Multiply"}

# LiteRT gives these outputs a fixed scale, 1/256 or 1/128.
_FIXED = (activations.softmax, activations.sigmoid, activations.tanh)
_FUSED = (activations.relu, activations.relu6)


def insert_grids(model: keras.Model, make: Callable[..., Inserted]) -> keras.Model:
    """Return a copy of a model with a grid after each tensor that an integer network quantizes.

    A dense layer or convolution whose activation LiteRT does not fuse (any but ReLU) becomes two layers, NAME and
    NAME_activation, with a grid between them.

    Args:
        model: a built functional or sequential model.
        make: `make(of, name=..., entry=...)` returns a grid for the outputs of the layers `of`; `entry` is True for
            an input of the model.
    """
    model = _split_activations(model)
    plan = _plan(graph_of(model))

    def replace(name: str, operation: Any, copy: Callable[..., Any]) -> Sequence[Any]:
        entry = isinstance(operation, layers.InputLayer)
        chain = [] if entry else [copy()]
        if id(operation) in plan:
            chain.append(make(plan[id(operation)], name=f"{operation.name}_grid", entry=entry))
        return chain

    return rebuild(model, replace)


def _split_activations(model: keras.Model) -> keras.Model:
    def replace(name: str, operation: Any, copy: Callable[..., Any]) -> Sequence[Any]:
        if isinstance(operation, layers.InputLayer):
            return []
        if not isinstance(operation, _LINEAR) or operation.activation in (activations.linear, *_FUSED):
            return [copy()]
        split = layers.Activation(operation.activation, name=f"{operation.name}_activation")
        split.dtype_policy = operation.dtype_policy
        return [copy(activation="linear"), split]

    return rebuild(model, replace)


def _plan(graph: Graph) -> dict[int, list[str]]:
    """{id of an operation: names of all layers whose outputs are on the grid after it}."""
    users: dict[int, list[Call]] = defaultdict(list)
    for call in graph.calls:
        for source in call.sources:
            users[source].append(call)

    def concat_after(call: Call) -> Call | None:
        """The only concatenation that reads what a call gives, if there is one."""
        (value,) = call.values
        found = set()
        for user in [] if value in graph.outputs else users[value]:
            found.add(user if _concatenates(user) else concat_after(user) if _keeps(user) else None)
        return found.pop() if len(found) == 1 else None

    plan: dict[int, list[str]] = {}
    branches: list[tuple[Call, Call]] = []
    pixels = set()  # values that are an affine map of the input's whole numbers, which no grid improves
    for call in graph.calls:
        if len(call.values) != 1 or not call.floating:
            continue
        (value,) = call.values
        entry = isinstance(call.operation, layers.InputLayer)
        if entry or (isinstance(call.operation, layers.Rescaling) and call.sources[0] in pixels):
            pixels.add(value)
        if (value in pixels and not entry) or _keeps(call) or _is_fixed(call):
            continue
        if value not in graph.outputs and len(users[value]) == 1 and _fuses(call, users[value][0]):
            continue
        concat = concat_after(call)
        if concat is not None and not entry:
            branches.append((call, concat))
        else:
            plan.setdefault(id(call.operation), [call.name])
    parents = {id(call): concat for call, concat in branches}
    for call, concat in branches:
        while id(concat) in parents:  # a concatenation that only enters another one
            concat = parents[id(concat)]
        names = plan[id(concat.operation)]
        if call.name not in names:
            names.append(call.name)
    return plan


def _concatenates(call: Call) -> bool:
    return isinstance(call.operation, layers.Concatenate) or type(call.operation).__name__ == "Concatenate"


def _keeps(call: Call) -> bool:
    operation = call.operation
    if isinstance(operation, layers.Activation):
        return operation.activation is activations.linear
    return isinstance(operation, (*_KEEPING, Inserted)) or _named(operation, _KEEPING_OPERATIONS)


def _is_fixed(call: Call) -> bool:
    operation = call.operation
    if isinstance(operation, layers.Activation):
        return operation.activation in _FIXED
    return isinstance(operation, layers.Softmax) or _named(operation, _FIXED_OPERATIONS)


def _fuses(call: Call, user: Call) -> bool:
    """Whether `user` becomes part of the kernel of `call`, so that nothing is stored between them."""
    before, after = call.operation, user.operation
    linear = isinstance(before, _LINEAR) and before.activation is activations.linear
    if isinstance(after, layers.BatchNormalization):
        return linear
    if isinstance(after, layers.ReLU):
        fused = after.negative_slope == 0 and after.threshold == 0 and after.max_value in (None, 6)
    elif isinstance(after, layers.Activation):
        fused = after.activation in _FUSED
    else:
        fused = _named(after, _FUSED_OPERATIONS)
    arithmetic = isinstance(
        before, layers.Add | layers.Subtract | layers.Multiply | layers.BatchNormalization
    )
    return fused and (linear or arithmetic or _named(before, _FUSING_OPERATIONS))


def _named(operation: Any, names: set[str]) -> bool:
    return not isinstance(operation, layers.Layer) and type(operation).__name__ in names
