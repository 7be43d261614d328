"""A model's graph with its nested models written out, and copies of it with other layers."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from squeezekit.compress.graph.clone import check_model, copied, copy_weights
from squeezekit.compress.graph.nested_layers import is_model
from squeezekit.compress.transform import Inserted

__all__ = ["Call", "Graph", "graph_of", "nodes", "rebuild"]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One call of a layer, or of an operation of `keras.ops`.

    Args:
        name: of the layer, with the names of the models around it: `"head/fc"`. Copies of a model rename operations
            of `keras.ops`, so their name is made of what they read: `"add(conv1, conv2)"`.
        operation: the layer or operation; an input of the model is its InputLayer.
        sources: numbers of the values that it reads, in order.
        values: numbers of the values that it gives, which no other call gives.
        floating: whether these are of a float type.
    """

    name: str
    operation: Any
    sources: tuple[int, ...]
    values: tuple[int, ...]
    floating: bool


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """All calls of a model in an order in which they can run, inputs first, and the numbers of what it returns."""

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]


def graph_of(model: keras.Model) -> Graph:
    """Write out the graph of a built functional or sequential model.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.ReLU()])
        >>> [(call.sources, call.values) for call in graph_of(model).calls]
        [((), (0,)), ((0,), (1,)), ((1,), (2,))]
    """
    calls: list[Call] = []
    numbers = itertools.count()
    origins: dict[int, str] = {}  # of each value the name of what gave it

    def add(prefix: str, operation: Any, sources: Sequence[int], outputs: Sequence[Any]) -> list[int]:
        values = [next(numbers) for _ in outputs]
        read = [origins[source] for source in sources]
        if isinstance(operation, keras.layers.Layer):
            name = f"{prefix}{operation.name}"
        else:
            name = f"{type(operation).__name__.lower()}({', '.join(read)})"
        origins.update(dict.fromkeys(values, read[0] if isinstance(operation, Inserted) else name))
        floating = all("float" in tensor.dtype for tensor in outputs)
        calls.append(Call(name, operation, tuple(sources), tuple(values), floating))
        return values

    def follow(operation: Any, sources: list[int], outputs: Sequence[Any], prefix: str) -> list[int]:
        if is_model(operation):
            return walk(operation, sources, f"{prefix}{operation.name}/")
        return add(prefix, operation, sources, outputs)

    def walk(inside: keras.Model, arguments: list[int], prefix: str) -> list[int]:
        known = dict(zip(map(id, inside.inputs), arguments, strict=True))
        if isinstance(inside, keras.Sequential):
            values = arguments
            for layer in inside.layers:
                values = follow(layer, values, keras.tree.flatten(layer.output), prefix)
            return values
        for node in nodes(inside):
            if all(id(tensor) in known for tensor in node.input_tensors):
                sources = [known[id(tensor)] for tensor in node.input_tensors]
                values = follow(node.operation, sources, node.outputs, prefix)
                known.update(zip(map(id, node.outputs), values, strict=True))
        return [known[id(tensor)] for tensor in inside.outputs]

    entries = [
        value for tensor in model.inputs for value in add("", tensor._keras_history.operation, (), [tensor])
    ]
    outputs = walk(model, entries, "")
    return Graph(tuple(calls), tuple(outputs))


def nodes(model: keras.Model) -> Iterator[Any]:
    """Yield every call in the graph of a functional model itself, inputs before outputs."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


Replace = Callable[[str, Any, Callable[..., Any]], Sequence[Any]]
Width = Callable[[keras.KerasTensor], int | None]


def rebuild(model: keras.Model, replace: Replace, *, width: Width | None = None) -> keras.Model:
    """Return a copy of a model with a chain of operations in place of each operation.

    Args:
        model: a built functional or sequential model; not changed.
        replace: `replace(name, operation, copy)` returns the chain, in order; `[]` removes the operation.
            `copy(**changes)` is the operation with other settings and its weights; other layers bring their own
            weights. The chain of an input is put after it.
        width: number of channels of a tensor that enters a model, nested ones too; by default unchanged.

    Returns:
        The copy, not compiled. What is called in several places stays one layer or nested model.

    Raises:
        ValueError: the model, or one inside it, is subclassed or not built, or a block cannot be copied.
    """
    names: dict[int, str] = {}
    for step in graph_of(model).calls:
        names.setdefault(id(step.operation), step.name)
    chains: dict[int, list[Any]] = {}
    pairs: list[tuple[Any, Any]] = []

    def chain(operation: Any) -> list[Any]:
        def copy(**changes: Any) -> Any:
            if changes:
                made = type(operation).from_config(operation.get_config() | changes)
            else:
                made = copied(operation)
            if isinstance(operation, keras.layers.Layer):
                pairs.append((operation, made))
            return made

        if id(operation) not in chains:
            if is_model(operation):
                chains[id(operation)] = [part(operation)]
            else:
                chains[id(operation)] = list(replace(names[id(operation)], operation, copy))
        return chains[id(operation)]

    def first(tensor: keras.KerasTensor) -> keras.KerasTensor:
        shape = tensor.shape if width is None else (*tensor.shape[:-1], width(tensor))
        return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name)

    def part(inside: keras.Model) -> keras.Model:
        check_model(inside.name, inside)
        # Those of the outermost model; what enters a nested one was dealt with outside.
        entries = {
            tensor.name: chain(tensor._keras_history.operation)
            for tensor in inside.inputs
            if id(tensor._keras_history.operation) in names
        }
        if isinstance(inside, keras.Sequential):
            (entry,) = inside.inputs
            behind = [made for layer in inside.layers for made in chain(layer)]
            return keras.Sequential([first(entry), *entries.get(entry.name, []), *behind], name=inside.name)
        entered: dict[int, Any] = {}

        def enter(tensor: Any) -> Any:
            if not isinstance(tensor, keras.KerasTensor):
                return tensor
            if isinstance(tensor._keras_history.operation, keras.layers.InputLayer):
                if id(tensor) not in entered:
                    entered[id(tensor)] = _through(entries.get(tensor.name, []), tensor)
                return entered[id(tensor)]
            return tensor

        def call(layers: list[Any], *args: Any, **kwargs: Any) -> Any:
            args, kwargs = keras.tree.map_structure(enter, (args, kwargs))
            return _through(layers, *args, **kwargs)

        # Another model of the same tensors: `clone_model` would compile the copy of a compiled model too.
        bare = keras.Model(inside.input, inside.output, name=inside.name)
        inputs = keras.tree.map_structure(first, inside.input)
        return keras.models.clone_model(bare, input_tensors=inputs, clone_function=chain, call_function=call)

    result = part(model)
    for old, new in pairs:
        copy_weights(names[id(old)], old, new)
    return result


def _through(layers: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
    if not layers:
        return args[0]
    result = layers[0](*args, **kwargs)
    for layer in layers[1:]:
        result = layer(result)
    return result
