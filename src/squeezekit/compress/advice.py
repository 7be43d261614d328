"""What a recipe cannot pay back on a model, said before any training: the figure and the remedy.

Techniques never depend on each other; whether two of them together are worth their accuracy depends on the file
that ships. So every figure here is measured: kernels are transformed as `apply` would, and packed with the coder that
`codec.pack` takes unless told. What a technique that changes layers leaves is measured too: it is done first.
"""

import bisect
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeVar

import keras
import numpy as np

from squeezekit.codec.coders import DEFAULT_CODER, coders_named
from squeezekit.codec.tensors import encode
from squeezekit.compress.apply import applies, apply, kernel_layers, strip
from squeezekit.compress.base import Kernel, Recipe, Technique
from squeezekit.compress.hooks import HOOKED, KernelHook
from squeezekit.compress.prune import Prune
from squeezekit.compress.quantize import Grid, Quantize
from squeezekit.compress.recipe import parse
from squeezekit.compress.share import Codebook, ShareWeights
from squeezekit.compress.transforms import END, Transform, to_numpy
from squeezekit.models import foldable_batch_norms

__all__ = ["advice"]

# A technique that costs accuracy and saves less than this share of the bytes is not worth it.
_PAYS = 0.05

# Bytes are measured on so many of the largest kernels, on whole output channels of about so many weights.
_KERNELS, _WEIGHTS = 6, 8192

# A codebook can only be too dear for a kernel of fewer weights than this for each of its values.
_WEIGHTS_A_VALUE = 16

_NAMED = 3


def advice(model: keras.Model, recipe: Recipe | str, *, int8: bool | None = None) -> list[str]:
    """Say where a recipe cannot pay on `model`: one sentence each, with the figure and the remedy; [] is good.

    Weights are taken as they are now, so ask before training. It takes some seconds.

    Args:
        model: functional or sequential, with the weights that the recipe starts from; not changed. Give it with
            BatchNorm folded if it will be folded before sharing.
        recipe: techniques in order.
        int8: whether the file that ships holds integers; None takes it from whether the recipe quantizes.

    Returns:
        One sentence for each combination that cannot pay; nothing about what is merely unusual.

    Raises:
        ValueError: `recipe` is no recipe line, or `prune_channels` or `separable` in it finds nothing to do.

    Example:
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(100, name="fc")])
        >>> advice(model, "prune(0.8) | share(bits=5) | quantize(8)")
        []
        >>> for line in advice(model, "share(bits=5) | quantize(4)"):
        ...     print(line.partition(":")[2])
         take quantize(bits=6) or more, or share(bits=3).
    """
    recipe = parse(recipe) if isinstance(recipe, str) else recipe
    left = _reshaped(model, recipe)
    kernels = list(_kernels(left))
    if int8 is None:
        int8 = any(isinstance(technique, Quantize) for technique in recipe)
    return [
        *_batch_norm(model, recipe),
        *(_without_layers(left, recipe) if left is not model else ()),
        *(_now_too_small(list(_kernels(model)), kernels, recipe) if left is not model else ()),
        *_broken_codebooks(kernels, recipe),
        *_coarse_grids(kernels, recipe),
        *_idle_sparsity(kernels, recipe, int8),
        *_dear_codebooks(kernels, recipe, int8),
    ]


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A kernel and its weights."""

    kernel: Kernel
    weight: np.ndarray

    def techniques(self, recipe: Recipe) -> list[tuple[Technique, Transform]]:
        """The recipe's techniques with their settings for this kernel, and their unbuilt transforms."""
        found = []
        for stage, technique in enumerate(recipe):
            settled = technique.settled()
            here = None if settled is None else settled.for_kernel(self.kernel)
            transform = None if here is None else here.transform(self.kernel, stage=stage)
            if here is not None and transform is not None:
                found.append((here, transform))
        return found

    def sample(self) -> "_Layer":
        """The first output channels, about `_WEIGHTS` weights of them; the kernel is told as it is."""
        axis = self.kernel.channel_axes[-1]
        channels = self.weight.shape[axis]
        kept = max(1, min(channels, _WEIGHTS * channels // max(1, self.weight.size)))
        return _Layer(self.kernel, np.take(self.weight, np.arange(kept), axis=axis))


def _reshaped(model: keras.Model, recipe: Recipe) -> keras.Model:
    """The model as the recipe's techniques that swap layers or take channels leave it; itself without such."""
    for technique in recipe:
        if technique.settled() is None:
            model = strip(apply(model, technique))
    return model


def _kernels(model: keras.Model) -> Iterator[_Layer]:
    for name, layer in kernel_layers(model):
        kind = type(layer) if isinstance(layer, KernelHook) else HOOKED[type(layer)]
        weight = layer.effective_kernel() if isinstance(layer, KernelHook) else to_numpy(layer.kernel)
        yield _Layer(Kernel(name, weight.shape, kind.axes_of(layer)), weight)


def _transformed(layer: _Layer, recipe: Recipe) -> np.ndarray:
    """What the techniques make of a kernel before any training, in the order in which they act."""
    chain: list[Transform] = []

    def through() -> np.ndarray:
        weight = keras.ops.convert_to_tensor(layer.weight)
        for transform in chain:
            weight = transform(weight)
        return to_numpy(weight)

    for _, transform in layer.techniques(recipe):
        weight = through()
        transform.build(weight.shape)
        transform.adapt(weight)
        type(transform).update([transform], [weight], END)
        chain = sorted([*chain, transform], key=lambda item: item.slot)
    return through()


def _packed_bytes(layer: _Layer, recipe: Recipe, int8: bool) -> int:
    """Bytes of the transformed kernel in the file that ships."""
    weight = _transformed(layer, recipe)
    # Output channels first, as in a `.tflite`.
    weight = np.moveaxis(weight, layer.kernel.channel_axes[-1], 0)
    if int8:
        peak = np.abs(weight).max()
        weight = np.rint(weight * (127 / peak if peak else 0)).astype(np.int8)
    else:
        weight = (weight + np.float32(0)).astype("<f4")
    return len(
        encode(
            weight.tobytes(),
            item_bytes=weight.itemsize,
            coders=coders_named(DEFAULT_CODER),
            shape=weight.shape,
        )
    )


def _batch_norm(model: keras.Model, recipe: Recipe) -> Iterator[str]:
    norms = foldable_batch_norms(model)
    breaking = [str(technique) for technique in recipe if not technique.survives_folding]
    if norms and breaking:
        yield (
            f"{' and '.join(breaking)} would be undone when {_layers(norms)} of BatchNorm "
            f"{'is' if len(norms) == 1 else 'are'} folded for export: apply to models.fold_batch_norm(model) instead."
        )


def _changing(recipe: Recipe) -> str:
    """The recipe's techniques after which kernels have other shapes."""
    return " and ".join(str(technique) for technique in recipe if technique.settled() is None)


def _without_layers(left: keras.Model, recipe: Recipe) -> Iterator[str]:
    changing = _changing(recipe)
    for technique in recipe:
        settled = technique.settled()
        if settled is not None and not applies(left, settled):
            largest = max((layer.weight.size for layer in _kernels(left)), default=0)
            yield (
                f"{technique} finds no layer in the network that {changing} leaves, whose largest kernel has "
                f"{largest:,} weights: leave it out, or look at its settings (prune passes over fewer than smallest=)."
            )


def _now_too_small(before: Sequence[_Layer], left: Sequence[_Layer], recipe: Recipe) -> Iterator[str]:
    """Kernels that lose their zeros, or never get any, because other techniques make them smaller."""
    for technique in recipe:
        if not isinstance(technique, Prune):
            continue
        had = {layer.kernel.layer for layer in before if _takes(technique, layer)}
        lost = [layer for layer in left if layer.kernel.layer in had and not _takes(technique, layer)]
        if not lost or not any(_takes(technique, layer) for layer in left):
            continue  # of a technique that finds no layer at all is told already
        least = min(layer.weight.size for layer in lost)
        # A pattern may not fit the channels that are left, however small a kernel may be.
        sizes = all(_takes(technique.everywhere(smallest=least), layer) for layer in lost)
        remedy = f"smallest={least}" if sizes else "multiple_of= of the pattern's groups where channels go"
        dense = sum(layer.weight.size for layer in lost)
        total = sum(layer.weight.size for layer in left)
        yield (
            f"{_name(technique)} has no zeros in {_layers([layer.kernel.layer for layer in lost])}, which "
            f"{_changing(recipe)} makes too small for it: {dense:,} of {total:,} weights stay dense; take {remedy}."
        )


def _takes(technique: Technique, layer: _Layer) -> bool:
    """Whether a technique transforms this kernel."""
    here = technique.for_kernel(layer.kernel)
    return here is not None and here.transform(layer.kernel) is not None


def _broken_codebooks(layers: Sequence[_Layer], recipe: Recipe) -> Iterator[str]:
    broken: dict[tuple[str, str, int], list[tuple[int, str]]] = {}
    for layer in layers:
        shared, grid = _last(layer, recipe, Codebook), _last(layer, recipe, Grid)
        if shared and grid and grid[1].axes is not None:
            distinct = np.unique(_transformed(layer.sample(), recipe)).size
            if distinct > 2 ** shared[1].settings.bits:
                key = (_name(grid[0]), _name(shared[0]), 2 ** shared[1].settings.bits)
                broken.setdefault(key, []).append((distinct, layer.kernel.layer))
    for (grid_name, share_name, entries), found in broken.items():
        distinct, worst = max(found)
        yield (
            f"{grid_name} gives each channel a scale of its own and breaks up the codebooks of {share_name} in "
            f"{_layers([name for _, name in found])}: {worst} would hold {distinct:,} distinct values or more "
            f"instead of {entries}; take per_channel=False."
        )


def _coarse_grids(layers: Sequence[_Layer], recipe: Recipe) -> Iterator[str]:
    coarse: dict[tuple[str, str, int, int], list[str]] = {}
    for layer in layers:
        shared, grid = _last(layer, recipe, Codebook), _last(layer, recipe, Grid)
        if shared and grid and _is_coarse(shared[1], grid[1]):
            key = (_name(grid[0]), _name(shared[0]), grid[1].bits, shared[1].settings.bits)
            coarse.setdefault(key, []).append(layer.kernel.layer)
    for (grid_name, share_name, grid_bits, share_bits), names in coarse.items():
        finer = f"quantize(bits={share_bits + 1}) or more, or " if share_bits < 8 else ""
        yield (
            f"{grid_name} has {2**grid_bits - 1} values, fewer than the {2**share_bits} of {share_name}, in "
            f"{_layers(names)}: take {finer}share(bits={grid_bits - 1})."
        )


def _is_coarse(codebook: Codebook, grid: Grid) -> bool:
    """Whether the grid has fewer values than the codebook."""
    return 2 * grid.levels + 1 < 2**codebook.settings.bits


def _idle_sparsity(layers: Sequence[_Layer], recipe: Recipe, int8: bool) -> Iterator[str]:
    pruned = [layer for layer in layers if any(isinstance(t, Prune) for t, _ in layer.techniques(recipe))]
    if not pruned:
        return
    total = sum(layer.weight.size for layer in pruned)
    largest = sorted(pruned, key=lambda layer: layer.weight.size, reverse=True)[:_KERNELS]
    samples = [layer.sample() for layer in largest]
    scale = total / sum(sample.weight.size for sample in samples)

    def packed(recipe: Recipe) -> float:
        return scale * sum(_packed_bytes(sample, recipe, int8) for sample in samples)

    prunes = [technique for technique in recipe if isinstance(technique, Prune)]
    others = Recipe(*(technique for technique in recipe if not isinstance(technique, Prune)))
    with_zeros, without = packed(recipe), packed(others)
    if with_zeros <= (1 - _PAYS) * without:
        return
    highest = max(technique.sparsity for technique in prunes)

    def due(sparsity: float) -> float:
        stronger = dataclasses.replace(prunes[-1], sparsity=sparsity, layers=())
        # In its place: which of two techniques was first decides what the other is fitted to.
        return packed(Recipe(*(stronger if technique is prunes[-1] else technique for technique in recipe)))

    remedy = "leave it out"
    higher = [sparsity for sparsity in np.arange(0.1, 0.96, 0.05).round(2).tolist() if sparsity > highest]
    # More zeros take fewer bytes.
    first = bisect.bisect_left(higher, True, key=lambda sparsity: due(sparsity) <= (1 - _PAYS) * without)
    if first < len(higher):
        enough = higher[first]
        remedy = f"from a sparsity of {enough:g} on it pays ({_about(due(enough))} bytes); else leave it out"
    beside = f" beside {others}" if len(others) else ""
    yield (
        f"{' and '.join(map(str, prunes))} saves next to nothing{beside}: {_about(with_zeros)} bytes of packed kernels "
        f"with it, {_about(without)} without; {remedy}."
    )


def _dear_codebooks(layers: Sequence[_Layer], recipe: Recipe, int8: bool) -> Iterator[str]:
    dear, before, after = [], 0, 0
    others = Recipe(*(technique for technique in recipe if not isinstance(technique, ShareWeights)))
    shares = []
    for layer in layers:
        shared, grid = _last(layer, recipe, Codebook), _last(layer, recipe, Grid)
        if not shared or layer.weight.size > _WEIGHTS_A_VALUE * 2 ** shared[1].settings.bits:
            continue
        if grid and _is_coarse(shared[1], grid[1]):
            continue  # that is told already
        plain, coded = (_packed_bytes(layer, each, int8) for each in (others, recipe))
        if coded >= plain:
            dear.append(layer.kernel.layer)
            shares.append(_name(shared[0]))
            before, after = before + plain, after + coded
    if dear:
        remedy = ", ".join(f"{name!r}: None" for name in dear)
        yield (
            f"{' and '.join(dict.fromkeys(shares))} saves nothing in {_layers(dear)} of few weights: {after:,} bytes "
            f"packed with it, {before:,} without; add layers={{{remedy}}}."
        )


_Kind = TypeVar("_Kind", bound=Transform)


def _last(layer: _Layer, recipe: Recipe, kind: type[_Kind]) -> tuple[Technique, _Kind] | None:
    """The last of the recipe's techniques that puts a transform of this kind before the kernel."""
    found = [(made_by, made) for made_by, made in layer.techniques(recipe) if isinstance(made, kind)]
    return found[-1] if found else None


def _name(technique: Technique) -> str:
    """The technique as in a recipe, without which layers it is for."""
    return str(dataclasses.replace(technique, where=None, layers=()))


def _layers(names: Sequence[str]) -> str:
    """How many layers and the first of them by name: "26 layers (conv1, fire2, fire3, ...)"."""
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} layer{'' if len(names) == 1 else 's'} ({shown})"


def _about(size_bytes: float) -> str:
    """Bytes in three digits, for they come from samples."""
    return f"{float(f'{size_bytes:.3g}'):,.0f}"
