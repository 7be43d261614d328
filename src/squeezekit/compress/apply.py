"""Put techniques into a model, and take a plain model out again."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras

from squeezekit.compress.graph.clone import (
    block_copy,
    chain_copy,
    check_model,
    clone,
    hooked_layers,
    kernel_in_use,
    leaves,
    members,
    same,
)
from squeezekit.compress.graph.nested_layers import is_block, own_variables, parts, plain_block
from squeezekit.compress.hooked_layers import HOOKED, REMEDIES, KernelHook, hook_class
from squeezekit.compress.recipe_parser import parse
from squeezekit.compress.technique import Kernel, Recipe, Technique, fits
from squeezekit.compress.transform import END, Inserted, TrainingProgress, Transform

__all__ = [
    "advance",
    "applies",
    "apply",
    "finish",
    "hooked_layers",
    "invariant_violations",
    "kernel_layers",
    "leaves",
    "strip",
]


def apply(
    model: keras.Model, technique: Technique | Recipe | str, *, skip: Collection[str] = ()
) -> keras.Model:
    """Return a copy of `model` whose kernels pass through one more technique.

    The copy has transforms in its convolutions (plain, depthwise, transposed), Dense and EinsumDense layers, also
    inside nested models and blocks (layers of your own class that hold such layers). Compile and fit it like any
    Keras model, with `Schedule` among the callbacks if a technique has a schedule. Transforms that the model has
    already stay. The techniques of a recipe train together; to train one stage after another apply them one by one.

    Fold BatchNorm (`squeezekit.models.fold_batch_norm`) before sharing or quantizing: folding afterwards scales each
    channel and so breaks codebooks and grids.

    Args:
        model: a built functional or sequential model; not changed. Another goes into one:
            `keras.Sequential([keras.Input(shape), model])`.
        technique: what to apply; a string is parsed as a recipe.
        skip: names of layers, nested models and blocks to leave as they are, with `*` for any characters, such as
            `"head/fc"` in a nested model, `"fire2/squeeze"` or `"fire2/expand/0"` in a block's attributes.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: the model is subclassed or not built; a layer with a kernel is of a kind that cannot be
            transformed and is neither in `skip` nor out of `where`; `skip` matches no layer; a block cannot be made
            from its `get_config`; the technique would violate the invariant of an earlier one.

    Example:
        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(10, name="fc")])
        >>> pruned = apply(model, "prune(0.75, schedule='constant')")
        >>> int((strip(pruned).get_layer("fc").kernel.numpy() == 0).sum())
        240
    """
    recipe = parse(technique) if isinstance(technique, str) else Recipe(technique)
    check_model(model.name, model)
    if isinstance(skip, str):
        raise ValueError(f"Expected skip as several names: ({skip!r},). Received: skip={skip!r}.")
    _check_names("skip", skip, model)
    if not len(recipe):
        return clone(model, same)
    for step in recipe:
        model = _apply_one(model, step, skip)
    return model


def strip(model: keras.Model) -> keras.Model:
    """Return a plain model of stock Keras layers that hold the effective kernels.

    A schedule that has not ended is brought to its end first, in the copy, so that every invariant holds.

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
    extras: list[Transform | Inserted] = [*_transforms(model), *_inserted(model)]
    if any(extra.pending for extra in extras):
        model = clone(model, same)
        finish(model)
    plain = clone(model, _stock)
    kinds: dict[type[Transform | Inserted], None] = dict.fromkeys(map(type, extras))
    for kind in kinds:
        plain = kind.after_strip(plain)
    return plain


def finish(model: keras.Model) -> None:
    """Bring every schedule of `model` to its end now."""
    advance(model, END)


def advance(model: keras.Model, progress: TrainingProgress, *, since: int | None = None) -> None:
    """Bring every schedule of `model` to `progress`; those that are further stay where they are.

    Args:
        model: with or without transforms; the transforms' state is changed in place.
        progress: how far the training is.
        since: step of the last update: only schedules due after it move. None moves all.
    """
    stages: dict[tuple[int, type[Transform]], list[tuple[Transform, KernelHook]]] = defaultdict(list)
    for _, layer in hooked_layers(model):
        for transform in layer.transforms:
            if (since is None or transform.due(progress, since)) and transform.pending:
                stages[transform.stage, type(transform)].append((transform, layer))
    for (_, kind), pairs in sorted(stages.items(), key=lambda item: item[0][0]):
        weights = [
            layer.effective_kernel() if kind.fits_result else layer.input_of(transform)
            for transform, layer in pairs
        ]
        kind.update([transform for transform, _ in pairs], weights, progress)
    for layer in _inserted(model):
        if layer.pending:
            layer.advance(progress)


def invariant_violations(model: keras.Model) -> list[str]:
    """Return one line for each transform whose invariant the kernel in use violates; [] is good.

    Example:
        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(10, name="fc")])
        >>> invariant_violations(apply(model, "prune(0.5) | share() | quantize()"))
        []
    """
    lines = []
    for name, layer in hooked_layers(model):
        kernel = layer.effective_kernel()
        reasons = (transform.invariant_violation(kernel) for transform in layer.transforms)
        lines += [f"{name}: {reason}" for reason in reasons if reason]
    return lines


def _transforms(model: keras.Model) -> list[Transform]:
    return [transform for _, layer in hooked_layers(model) for transform in layer.transforms]


def _inserted(model: keras.Model) -> list[Inserted]:
    return [layer for _, layer in leaves(model) if isinstance(layer, Inserted)]


def kernel_layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield (name, layer) for each layer whose kernel techniques can transform, with or without transforms.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="fc"), keras.layers.ReLU()])
        >>> [name for name, _ in kernel_layers(model)]
        ['fc']
    """
    for name, layer in leaves(model):
        if hook_class(layer) is not None:
            yield name, layer


def applies(model: keras.Model, technique: Technique) -> bool:
    """Return whether `apply` would change any layer; it refuses a technique that finds none.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> applies(model, parse("prune(0.5)")[0]), applies(model, parse("prune(0.5, smallest=32)")[0])
        (False, True)
    """
    bound = technique.bind(model)
    for name, layer in kernel_layers(model):
        kernel = Kernel.of(name, layer) if layer.built else None
        if kernel is not None and bound(kernel, 0) is not None:
            return True
    return technique.rewrite(model) is not model


def _apply_one(model: keras.Model, technique: Technique, skip: Collection[str]) -> keras.Model:
    _check_names("where", technique.patterns, model)
    _check_names("layers", [pattern for pattern, _ in technique.layers], model)
    passed_over = tuple((pattern, None) for pattern in skip)
    rewritten = dataclasses.replace(technique, layers=passed_over + technique.layers).rewrite(model)
    changed = rewritten is not model
    model = rewritten
    stage = 1 + max((transform.stage for transform in _transforms(model)), default=-1)
    bound = technique.bind(model)
    choice = _Choice(technique, bound, stage, tuple(skip))
    result = clone(model, lambda name, layer: _hooked(name, layer, choice))
    before = dict(leaves(model))
    fresh = 0
    for name, layer in hooked_layers(result):
        for transform in layer.transforms:
            if transform.stage == stage:
                transform.adapt(kernel_in_use(before[name]))
                fresh += 1
    if not fresh and not changed:
        raise ValueError(
            f"Expected a layer to which {technique} applies. Received: {model.name} with none; it takes "
            f"{technique.takes}: leave it out, or change its settings."
        )
    advance(result, TrainingProgress(0, 1))
    violations = invariant_violations(result)
    if violations:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise ValueError(
            f"Expected a technique that leaves earlier ones intact. Received: {technique}; "
            f"after it, {violations[0]}{more}."
        )
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class _Choice:
    """What `apply` was asked to do in one stage."""

    technique: Technique
    bound: Callable[[Kernel, int], Transform | None]
    stage: int
    skip: tuple[str, ...]

    def skips(self, name: str) -> bool:
        """Whether `skip` names this layer."""
        return any(fits(name, pattern) for pattern in self.skip)

    def leaves_alone(self, name: str) -> bool:
        """Whether the name alone leaves this layer out, whatever its kind."""
        if self.skips(name):
            return True
        patterns = self.technique.patterns
        if patterns and not any(fits(name, pattern) for pattern in patterns):
            return True
        own = [settings for pattern, settings in self.technique.layers if fits(name, pattern)]
        return bool(own) and own[0] is None


def _hooked(name: str, layer: keras.layers.Layer, choice: _Choice) -> keras.layers.Layer:
    """Return an unbuilt copy of `layer`, with the technique's transform for each kernel that it takes."""
    if is_block(layer):
        if not choice.leaves_alone(name):
            _refuse_kernels(name, layer, own_variables(layer))
        chains = {path: _chain(f"{name}/{path}", part, choice) for path, part in parts(layer)}
        return block_copy(name, layer, chains)
    chain = _chain(name, layer, choice)
    if not chain:
        return same(name, layer)
    if isinstance(layer, KernelHook):
        return type(layer).from_config(layer.stock_config() | {"transforms": chain})
    return HOOKED[type(layer)].from_config(layer.get_config() | {"transforms": chain})


def _chain(name: str, layer: keras.layers.Layer, choice: _Choice) -> list[Transform]:
    """Return copies of the transforms of `layer`, with the technique's if it takes the kernel."""
    chain = chain_copy(layer) if isinstance(layer, KernelHook) else []
    if choice.skips(name) or not layer.built:  # one that is never called has no kernel
        return chain
    if not isinstance(layer, KernelHook) and not choice.leaves_alone(name):
        (_refuse_rewritten if type(layer) in HOOKED else _refuse_kernels)(name, layer, layer.weights)
    # Asked also where `where` excludes the layer: it may read filters that are removed elsewhere.
    kernel = Kernel.of(name, layer)
    added = None if kernel is None else choice.bound(kernel, choice.stage)
    if added is None:
        return chain
    # Stable: of two in one slot the later acts later.
    chain = sorted([*chain, added], key=lambda item: item.slot)
    # Nothing sees the result of what acts before a transform that ignores its input.
    first = max((i for i, item in enumerate(chain) if item.ignores_input), default=0)
    return chain[first:]


def _stock(name: str, layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, KernelHook):
        return layer.stock.from_config(layer.stock_config())
    if is_block(layer):
        return plain_block(name, layer)
    return same(name, layer)


def _check_names(setting: str, patterns: Collection[str], model: keras.Model) -> None:
    """Refuse a pattern that fits no layer."""
    names = {name for name, _ in leaves(model)} | {name for name, _ in members(model)}
    for pattern in patterns:
        if not any(fits(name, pattern) for name in names):
            raise ValueError(f"Expected {setting} to name layers of {model.name}. Received: {pattern!r}.")


def _refuse_rewritten(name: str, layer: keras.layers.Layer, weights: Sequence[Any]) -> None:
    lora = layer.get_config().get("lora_rank")
    if lora or layer.quantization_mode is not None:
        how = "LoRA enabled" if lora else f"Keras's own {layer.quantization_mode} quantization"
        raise ValueError(f"Expected plain kernels. Received: {name} with {how}.")


def _refuse_kernels(name: str, layer: keras.layers.Layer, weights: Sequence[Any]) -> None:
    """Refuse to leave out matrices silently; vectors (biases, BatchNorm) need no technique."""
    if any(len(weight.shape) > 1 for weight in weights):
        kinds = ", ".join(kind.__name__ for kind in HOOKED)
        remedies = [*REMEDIES.get(type(layer), ()), "name it in skip to leave it as it is"]
        raise ValueError(
            f"Expected kernels in layers of the kinds {kinds}. "
            f"Received: {name} of the kind {type(layer).__name__}; {' or '.join(remedies)}."
        )
