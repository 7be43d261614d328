"""Put techniques into a model, and take a plain model out again."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional  # the class of keras.Model(inputs, outputs), not exported

from squeezekit.compress.base import END, Kernel, Moment, Recipe, Technique, Transform, to_numpy
from squeezekit.compress.hooks import HOOKED, KernelHook
from squeezekit.compress.recipe import parse

__all__ = [
    "advance",
    "apply",
    "broken_promises",
    "finish",
    "hooked_layers",
    "kernel_layers",
    "leaves",
    "strip",
]


def apply(
    model: keras.Model, technique: Technique | Recipe | str, *, skip: Collection[str] = ()
) -> keras.Model:
    """Return a copy of `model` whose kernels pass through one more technique.

    The copy has the same layers, names, weights and outputs, with transforms in its Conv2D, Dense and
    DepthwiseConv2D layers, also inside nested models. Compile and fit it like any Keras model, with
    `Schedule` among the callbacks if a technique ramps. Applied to a model that has transforms already,
    the new ones join them: masks stay, codebooks stay. A recipe is applied as a whole, so its
    techniques train together; for one stage after another apply them one by one and train between.

    Fold BatchNorm first (`squeezekit.models.fold_batch_norm`) when sharing or quantizing: folding
    afterwards scales each channel and so breaks up codebooks and grids.

    Args:
        model: a built functional or sequential model; not changed.
        technique: what to apply; a string is parsed as a recipe.
        skip: names of layers to leave as they are, with `*` for any characters; a layer inside a nested
            model has the model's name in front: `"head/fc"`.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: the model is subclassed or not built; a layer with a kernel is of a kind that cannot
            be transformed and is not in `skip`; `skip` matches no layer; the technique would break what
            an earlier one promised.

    Example:
        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(10, name="fc")])
        >>> pruned = apply(model, "prune(0.75, ramp=None)")
        >>> int((strip(pruned).get_layer("fc").kernel.numpy() == 0).sum())
        240
    """
    recipe = parse(technique) if isinstance(technique, str) else Recipe(technique)
    _check_model(model.name, model)
    _check_skip(model, skip)
    if not len(recipe):
        return _clone(model, _same)
    for step in recipe:
        model = _apply_one(model, step, skip)
    return model


def strip(model: keras.Model) -> keras.Model:
    """Return a plain model of stock Keras layers that hold the effective kernels.

    A ramp that has not ended is brought to its end first, in the copy: what leaves keeps its promise.

    Args:
        model: with or without transforms; not changed.

    Returns:
        A copy without anything of squeezekit's, not compiled. Its outputs differ by float rounding only.

    Raises:
        ValueError: the model is subclassed or not built.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> [type(layer).__name__ for layer in strip(apply(model, "share(bits=3)")).layers]
        ['Dense']
    """
    transforms = [transform for _, layer in hooked_layers(model) for transform in layer.transforms]
    if any(transform.pending for transform in transforms):
        model = _clone(model, _same)
        finish(model)
    plain = _clone(model, _stock)
    kinds: dict[type[Transform], None] = dict.fromkeys(map(type, transforms))
    for kind in kinds:
        plain = kind.leave(plain)
    return plain


def finish(model: keras.Model) -> None:
    """Bring every ramp of `model` to its end now."""
    advance(model, END)


def advance(model: keras.Model, moment: Moment) -> None:
    """Bring every ramp of `model` to `moment`; those that are further stay where they are.

    Args:
        model: with or without transforms; the transforms' state is changed in place.
        moment: how far the training is.
    """
    stages: dict[tuple[int, type[Transform]], list[tuple[Transform, KernelHook]]] = defaultdict(list)
    for _, layer in hooked_layers(model):
        for transform in layer.transforms:
            if transform.pending:
                stages[transform.stage, type(transform)].append((transform, layer))
    for (_, kind), members in sorted(stages.items(), key=lambda item: item[0][0]):
        weights = [layer.input_of(transform) for transform, layer in members]
        kind.update([transform for transform, _ in members], weights, moment)


def broken_promises(model: keras.Model) -> list[str]:
    """Return one line for each transform whose promise the kernel in use does not keep; [] is good.

    Example:
        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(10, name="fc")])
        >>> broken_promises(apply(model, "prune(0.5) | share() | quantize()"))
        []
    """
    lines = []
    for name, layer in hooked_layers(model):
        kernel = layer.effective_kernel()
        for transform in layer.transforms:
            broken = transform.promise_broken(kernel)
            if broken:
                lines.append(f"{name}: {broken}")
    return lines


def hooked_layers(model: keras.Model) -> Iterator[tuple[str, KernelHook]]:
    """Yield (name, layer) for each hooked layer, also in nested models, each once."""
    for name, layer in leaves(model):
        if isinstance(layer, KernelHook):
            yield name, layer


def kernel_layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield (name, layer) for each layer whose kernel techniques can transform, with or without transforms.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="fc"), keras.layers.ReLU()])
        >>> [name for name, _ in kernel_layers(model)]
        ['fc']
    """
    for name, layer in leaves(model):
        if isinstance(layer, KernelHook) or type(layer) in HOOKED:
            yield name, layer


def _apply_one(model: keras.Model, technique: Technique, skip: Collection[str]) -> keras.Model:
    _check_names("where", technique.patterns, model)
    _check_names("layers", [pattern for pattern, _ in technique.layers], model)
    rewritten = technique.rewrite(model)
    changed = rewritten is not model
    model = rewritten
    stages = [transform.stage for _, layer in hooked_layers(model) for transform in layer.transforms]
    stage = 1 + max(stages, default=-1)
    bound = technique.bind(model)
    result = _clone(model, lambda name, layer: _hooked(name, layer, bound, stage, skip))
    before = dict(leaves(model))
    fresh = 0
    for name, layer in hooked_layers(result):
        for transform in layer.transforms:
            if transform.stage == stage:
                transform.adapt(_kernel_in_use(before[name]))
                fresh += 1
    if not fresh and not changed:
        raise ValueError(f"Expected a layer to which {technique} applies. Received: {model.name} with none.")
    advance(result, Moment(0, 1))
    broken = broken_promises(result)
    if broken:
        raise ValueError(
            f"Expected a technique that leaves earlier ones intact. Received: {technique}; "
            f"after it, {broken[0]}" + (f" (and {len(broken) - 1} more)." if len(broken) > 1 else ".")
        )
    return result


Convert = Callable[[str, keras.layers.Layer], keras.layers.Layer]


Bound = Callable[[Kernel, int], Transform | None]


def _hooked(
    name: str, layer: keras.layers.Layer, bound: Bound, stage: int, skip: Collection[str]
) -> keras.layers.Layer:
    """Return an unbuilt copy of `layer`, with the technique's transform if it takes one."""
    if any(fnmatchcase(name, pattern) for pattern in skip):
        return _same(name, layer)
    if isinstance(layer, KernelHook):
        kind, config = type(layer), layer.stock_config()
        chain = [type(item).from_config(item.get_config()) for item in layer.transforms]
    elif type(layer) in HOOKED:
        _refuse_rewritten(name, layer)
        kind, config, chain = HOOKED[type(layer)], layer.get_config(), []
    else:
        _refuse_kernels(name, layer)
        return _same(name, layer)
    shape = tuple(layer.kernel.shape)
    added = bound(Kernel(name, shape, kind.channel_axes), stage)
    if added is None:
        return _same(name, layer)
    # Stable: of two in one slot the later acts later.
    chain = sorted([*chain, added], key=lambda item: item.slot)
    # What acts before a transform that ignores its input would never be seen again.
    first = max((i for i, item in enumerate(chain) if item.ignores_input), default=0)
    return kind.from_config(config | {"transforms": chain[first:]})


def _same(name: str, layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config())


def _stock(name: str, layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, KernelHook):
        return layer.stock.from_config(layer.stock_config())
    return _same(name, layer)


def _clone(model: keras.Model, convert: Convert) -> keras.Model:
    """Clone with every leaf layer converted, then copy the weights, through NumPy."""
    models = list(_models(model))
    for name, inside in models:
        _check_model(name, inside)
    names = {id(layer): name for name, layer in leaves(model)}
    pairs = []

    def clone_leaf(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):  # an operation of keras.ops in the graph: no state
            return type(layer).from_config(layer.get_config())
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
        _copy_state(layer, copy)
    return result


def _copy_state(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    if not isinstance(layer, KernelHook) and not isinstance(copy, KernelHook):
        _copy_variables(layer.variables, copy.variables)
        return
    if layer.bias is not None:
        _copy_variables([layer.bias], [copy.bias])
    if not isinstance(copy, KernelHook):
        # A product with a mask of zeros, or rounding, can leave -0: adding 0 makes one zero of both.
        copy.kernel.assign(layer.effective_kernel() + np.float32(0))
        return
    if not isinstance(layer, KernelHook):
        copy.stored_kernel.assign(_kernel_in_use(layer))
        return
    _copy_variables([layer.stored_kernel], [copy.stored_kernel])
    kept = {(item.stage, type(item)): item for item in copy.transforms}
    for item in layer.transforms:
        if (item.stage, type(item)) in kept:
            _copy_variables(item.variables, kept[item.stage, type(item)].variables)


def _kernel_in_use(layer: keras.layers.Layer) -> np.ndarray:
    return layer.effective_kernel() if isinstance(layer, KernelHook) else to_numpy(layer.kernel)


def _copy_variables(sources: list[Any], targets: list[Any]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.assign(to_numpy(source))


def leaves(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield (name, layer) for every layer that is no functional or sequential model, each once."""
    seen = set()

    def walk(inside: keras.Model, prefix: str) -> Iterator[tuple[str, keras.layers.Layer]]:
        for layer in inside.layers:
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if isinstance(layer, Functional | keras.Sequential):
                yield from walk(layer, f"{prefix}{layer.name}/")
            else:
                yield f"{prefix}{layer.name}", layer

    yield from walk(model, "")


def _models(model: keras.Model, name: str = "") -> Iterator[tuple[str, keras.Model]]:
    """Yield (name, model) for the model and every functional or sequential model in it."""
    yield name or model.name, model
    for layer in model.layers:
        if isinstance(layer, Functional | keras.Sequential):
            yield from _models(layer, f"{name}/{layer.name}" if name else layer.name)


def _check_model(name: str, model: keras.Model) -> None:
    """Refuse a model whose graph is not known: a copy of it would be something else."""
    kind = next((kind for kind in (keras.Sequential, Functional) if isinstance(model, kind)), None)
    if kind is None or type(model).call is not kind.call:
        raise ValueError(
            "Expected a functional or sequential model of plain layers. "
            f"Received: {name}, which is of the class {type(model).__name__} with a call of its own."
        )
    if not model.built:
        raise ValueError(f"Expected a built model: give it an Input. Received: {name}, not built.")


def _check_skip(model: keras.Model, skip: Collection[str]) -> None:
    if isinstance(skip, str):
        raise ValueError(f"Expected skip as several names: ({skip!r},). Received: skip={skip!r}.")
    _check_names("skip", skip, model)


def _check_names(setting: str, patterns: Collection[str], model: keras.Model) -> None:
    """Refuse a pattern that fits no layer: whoever wrote it meant one."""
    names = [name for name, _ in leaves(model)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"Expected {setting} to name layers of {model.name}. Received: {pattern!r}.")


def _refuse_rewritten(name: str, layer: keras.layers.Layer) -> None:
    lora = layer.get_config().get("lora_rank")
    if lora or layer.quantization_mode is not None:
        how = "LoRA enabled" if lora else f"Keras's own {layer.quantization_mode} quantization"
        raise ValueError(f"Expected plain kernels. Received: {name} with {how}.")


def _refuse_kernels(name: str, layer: keras.layers.Layer) -> None:
    """Refuse to pass over weights in silence; vectors (biases, BatchNorm) need no technique."""
    if any(len(weight.shape) > 1 for weight in layer.weights):
        kinds = ", ".join(kind.__name__ for kind in HOOKED)
        raise ValueError(
            f"Expected kernels in layers of the kinds {kinds}, in functional or sequential models. "
            f"Received: {name} of the kind {type(layer).__name__}; name it in skip to leave it as it is."
        )
