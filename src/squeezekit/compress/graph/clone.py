"""The layers of a model by name, and copies of a model with other layers in their place."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional  # the class of keras.Model(inputs, outputs), not exported

from squeezekit.compress.graph.nested_layers import (
    HookedBlock,
    is_block,
    is_model,
    own_variables,
    parts,
    plain_block,
)
from squeezekit.compress.hooked_layers import KernelHook
from squeezekit.compress.transform import Transform, to_numpy

__all__ = [
    "block_copy",
    "chain_copy",
    "check_model",
    "clone",
    "copied",
    "copy_weights",
    "hooked_layers",
    "kernel_in_use",
    "leaves",
    "members",
    "same",
]

Convert = Callable[[str, keras.layers.Layer], keras.layers.Layer]
"""Makes an unbuilt copy of a layer, given its name: the same, another, or with transforms."""


def hooked_layers(model: keras.Model) -> Iterator[tuple[str, KernelHook]]:
    """Yield (name, layer) for each hooked layer, also in nested models and blocks, each once."""
    for name, layer in leaves(model):
        if isinstance(layer, KernelHook):
            yield name, layer


def leaves(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield (name, layer) for every layer that is no functional or sequential model and no block, each once."""
    seen = set()
    for name, layer in members(model):
        found = (
            [(f"{name}/{path}", part) for path, part in parts(layer)] if is_block(layer) else [(name, layer)]
        )
        for path, part in found:
            if id(part) not in seen:
                seen.add(id(part))
                yield path, part


def members(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield (name, layer) for every layer and block in the graph of `model` and of the models in it, each once."""
    seen = set()

    def walk(inside: keras.Model, prefix: str) -> Iterator[tuple[str, keras.layers.Layer]]:
        for layer in inside.layers:
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if is_model(layer):
                yield from walk(layer, f"{prefix}{layer.name}/")
            else:
                yield f"{prefix}{layer.name}", layer

    yield from walk(model, "")


def clone(model: keras.Model, convert: Convert) -> keras.Model:
    """Clone with every leaf layer and block converted, then copy the weights, through NumPy."""
    models = list(_models(model))
    for name, inside in models:
        check_model(name, inside)
    _check_blocks(model)
    names = {id(layer): name for name, layer in members(model)}
    pairs = []

    def clone_leaf(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return copied(layer)
        copy = convert(names.get(id(layer), layer.name), layer)
        pairs.append((layer, copy))
        return copy

    compiled = [inside for _, inside in models if inside.compiled]
    for inside in compiled:  # clone_model would compile the copy too, and fail for a loss that has no name
        inside.compiled = False
    try:
        result = keras.models.clone_model(model, clone_function=clone_leaf, recursive=True)
    finally:
        for inside in compiled:
            inside.compiled = True
    for layer, copy in pairs:
        copy_weights(names.get(id(layer), layer.name), layer, copy)
    return result


def copy_weights(name: str, layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Give a built copy of a layer or block the weights of the original, and the state of its transforms."""
    if is_block(layer):
        _copy_block(name, layer, copy)
    else:
        _copy_state(layer, copy)


def _copy_block(name: str, block: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    sources, targets = dict(parts(block)), dict(parts(copy))
    own, own_copy = own_variables(block), own_variables(copy)
    if _shapes(sources, own) != _shapes(targets, own_copy):
        raise ValueError(
            "Expected a block that its get_config() rebuilds. "
            f"Received: {name}, whose copy has other layers or weights."
        )
    for path, part in sources.items():
        targets[path].trainable = part.trainable
        _copy_state(part, targets[path])
    _copy_variables(own, own_copy)


def _shapes(found: Mapping[str, keras.layers.Layer], own: Sequence[Any]) -> list[tuple[str, Any]]:
    """What a block and its copy have in common, transforms or not."""
    shapes: list[tuple[str, Any]] = [("", tuple(variable.shape)) for variable in own]
    for path, part in found.items():
        weights = part.stock_weights if isinstance(part, KernelHook) else part.variables
        shapes.append((path, sorted(tuple(weight.shape) for weight in weights)))
    return shapes


def _copy_state(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    if not isinstance(layer, KernelHook) and not isinstance(copy, KernelHook):
        _copy_variables(layer.variables, copy.variables)
        # Some layers compute more from what they load: Normalization.
        store: dict[str, Any] = {}
        layer.save_own_variables(store)
        copy.load_own_variables({name: to_numpy(value) for name, value in store.items()})
        return
    if layer.bias is not None:
        _copy_variables([layer.bias], [copy.bias])
    if not isinstance(copy, KernelHook):
        # Rounding can leave -0, a second zero to a coder; adding 0 makes it +0.
        copy.kernel.assign(layer.effective_kernel() + np.float32(0))
        return
    if not isinstance(layer, KernelHook):
        copy.stored_kernel.assign(kernel_in_use(layer))
        return
    _copy_variables([layer.stored_kernel], [copy.stored_kernel])
    kept = {(item.stage, type(item)): item for item in copy.transforms}
    for item in layer.transforms:
        if (item.stage, type(item)) in kept:
            _copy_variables(item.variables, kept[item.stage, type(item)].variables)


def same(name: str, layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return an unbuilt copy of a layer or block, with the transforms that it has."""
    if is_block(layer):
        hooks = {path: part for path, part in parts(layer) if isinstance(part, KernelHook)}
        return block_copy(name, layer, {path: chain_copy(hook) for path, hook in hooks.items()})
    return type(layer).from_config(layer.get_config())


def copied(operation: Any) -> Any:
    """Return an unbuilt copy of anything in a model's graph: a layer, a block, or an operation of `keras.ops`."""
    if isinstance(operation, keras.layers.Layer):
        return same(operation.name, operation)
    return type(operation).from_config(operation.get_config())


def block_copy(name: str, block: keras.layers.Layer, chains: Mapping[str, list[Transform]]) -> Any:
    """Return an unbuilt copy of a block with these transforms in it: {path of a layer: transforms}."""
    chains = {path: chain for path, chain in chains.items() if chain}
    plain = plain_block(name, block)
    return HookedBlock(plain, chains) if chains else plain


def chain_copy(layer: KernelHook) -> list[Transform]:
    """Return unbuilt copies of the transforms of a layer."""
    return [type(item).from_config(item.get_config()) for item in layer.transforms]


def _copy_variables(sources: list[Any], targets: list[Any]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.assign(to_numpy(source))


def kernel_in_use(layer: keras.layers.Layer) -> np.ndarray:
    """Return the kernel that a stock or hooked layer multiplies by, float32."""
    return layer.effective_kernel() if isinstance(layer, KernelHook) else to_numpy(layer.kernel)


def _models(model: keras.Model, name: str = "") -> Iterator[tuple[str, keras.Model]]:
    """Yield (name, model) for the model and every functional or sequential model in it."""
    yield name or model.name, model
    for layer in model.layers:
        if is_model(layer):
            yield from _models(layer, f"{name}/{layer.name}" if name else layer.name)


def check_model(name: str, model: keras.Model) -> None:
    """Refuse a model whose graph is not known: a copy of it would be something else."""
    kind = next((kind for kind in (keras.Sequential, Functional) if isinstance(model, kind)), None)
    if kind is None or type(model).call is not kind.call:
        raise ValueError(
            "Expected a functional or sequential model; a model of another class goes into one: "
            "keras.Sequential([keras.Input(shape), model]). "
            f"Received: {name}, which is of the class {type(model).__name__} with a call of its own."
        )
    if not model.built:
        raise ValueError(f"Expected a built model: give it an Input. Received: {name}, not built.")


def _check_blocks(model: keras.Model) -> None:
    """Refuse what a copy of each block by itself would not reproduce."""
    owners: dict[int, str] = {}
    for name, layer in members(model):
        inside = [part for _, part in parts(layer)] if is_block(layer) else [layer]
        for part in inside:
            if owners.setdefault(id(part), name) != name:
                raise ValueError(
                    "Expected blocks that share no layer with others. "
                    f"Received: {part.name} in both {owners[id(part)]} and {name}."
                )
            if isinstance(part, KernelHook) and is_block(layer) and not isinstance(layer, HookedBlock):
                raise ValueError(
                    "Expected a block of plain layers: strip them before they go into it. "
                    f"Received: {part.name} with transforms in {name}."
                )
