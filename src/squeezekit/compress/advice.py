"""Say before any training where a recipe does not pay on a model, with the figure and the remedy.

Every figure is measured: techniques that change layers are applied, then kernels are transformed as `apply` would and
packed as in the file that ships.
"""

import bisect
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import keras

from squeezekit.codec import packed_bytes
from squeezekit.compress.apply import applies, apply, strip
from squeezekit.compress.preview import TrialKernel, trial_kernels
from squeezekit.compress.recipe_parser import parse
from squeezekit.compress.technique import AdviceContext, Recipe, Technique, ships_int8
from squeezekit.models import foldable_batch_norms

__all__ = ["advice"]

# A technique that costs accuracy and saves less than this share of the bytes does not pay.
_PAYS = 0.05

# Bytes are measured on samples of so many of the largest kernels.
_KERNELS = 6

# A kernel of at most so many weights for each value that a technique leaves is also measured alone, because tables may
# cost it more than the technique saves; without a limit of values, as for 64.
_WEIGHTS_A_VALUE, _VALUES = 16, 64


def advice(model: keras.Model, recipe: Recipe | str, *, int8: bool | None = None) -> list[str]:
    """Return one sentence, with figure and remedy, for each thing in a recipe that does not pay on `model`.

    Weights are taken as they are now, so ask before training. It takes some seconds.

    Args:
        model: functional or sequential, with the weights that the recipe starts from; not changed. Fold its
            BatchNorm first if it will be folded before sharing.
        recipe: techniques in order.
        int8: whether the file that ships holds integers; None: if the recipe quantizes.

    Returns:
        The sentences; [] is good. What is merely unusual is not in them.

    Raises:
        ValueError: `recipe` is no recipe line, or a technique in it that changes layers finds none.

    Example:
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(100, name="fc")])
        >>> advice(model, "prune(0.8) | share(bits=5) | quantize(8)")
        []
        >>> for line in advice(model, "share(bits=5) | quantize(4)"):
        ...     print(line.partition(":")[2])
         take quantize(bits=6) or more, or share(bits=3).
    """
    recipe = parse(recipe) if isinstance(recipe, str) else recipe
    left, reshaping = model, []
    for technique in recipe:
        if technique.without_schedule() is None:
            left = strip(apply(left, technique))
            reshaping.append(str(technique))
    before, layers = trial_kernels(model), trial_kernels(left)
    file = _File(recipe, tuple(layers), ships_int8(recipe) if int8 is None else int8)
    kernels = (tuple(layer.kernel for layer in each) for each in (before, layers))
    context = AdviceContext(recipe, " and ".join(reshaping), *kernels)

    lines = list(_undone_by_folding(model, recipe))
    violations = file.violations()
    violated = {pair[1] for pair in violations}
    for index, technique in enumerate(recipe):
        found = list(_without_layers(left, technique, context))
        found = found or [*_violating(index, violations, context), *technique.advice(context)]
        # Bytes are measured where nothing else explains them.
        lines += found or (file.wasted_bytes(technique) if index not in violated else ())
    return lines


def _undone_by_folding(model: keras.Model, recipe: Recipe) -> Iterator[str]:
    norms = foldable_batch_norms(model)
    undone = [str(technique) for technique in recipe if not technique.survives_folding]
    if norms and undone:
        yield (
            f"{' and '.join(undone)} would be undone when {AdviceContext.layers(norms)} of BatchNorm "
            f"{'is' if len(norms) == 1 else 'are'} folded for export: apply to models.fold_batch_norm(model) instead."
        )


def _without_layers(left: keras.Model, technique: Technique, context: AdviceContext) -> Iterator[str]:
    at_once = technique.without_schedule()
    if at_once is not None and not applies(left, at_once):
        largest = max((kernel.size for kernel in context.kernels), default=0)
        network = f"the network that {context.reshaping} leaves" if context.reshaping else "the network"
        yield (
            f"{technique} finds no layer in {network}, whose largest kernel has {largest:,} weights: it takes "
            f"{technique.takes}; leave it out, or change its settings."
        )


_Violations = Mapping[tuple[int, int], Sequence[tuple[TrialKernel, str]]]
"""{(places in the recipe of the technique that violates an invariant and of the one that has it): layers, reasons}."""


def _violating(index: int, violations: _Violations, context: AdviceContext) -> Iterator[str]:
    for (violating, violated), found in violations.items():
        if violating == index:
            worst, reason = max(found, key=lambda item: item[0].weight.size)
            names = [layer.kernel.layer for layer, _ in found]
            yield (
                f"{_name(context.recipe[index], worst)} violates the invariant of "
                f"{_name(context.recipe[violated], worst)} in {context.layers(names)}, such as "
                f"{worst.kernel.layer}: {reason}; {context.recipe[index].remedy}."
            )


@dataclasses.dataclass(frozen=True)
class _File:
    """The kernels of the file that a recipe leads to."""

    recipe: Recipe
    layers: tuple[TrialKernel, ...]
    int8: bool

    def violations(self) -> _Violations:
        """What the techniques do to each other's invariants."""
        found: dict[tuple[int, int], list[tuple[TrialKernel, str]]] = {}
        for layer in self.layers if len(self.recipe) > 1 else ():
            # A small sample shows violations, a larger one their extent.
            if layer.sample(1024).transformed(self.recipe)[1]:
                for pair, reason in layer.sample().transformed(self.recipe)[1].items():
                    found.setdefault(pair, []).append((layer, reason))
        return found

    def wasted_bytes(self, technique: Technique) -> Iterator[str]:
        """Say where the file gets no smaller by a technique; of one in several steps only the whole counts."""
        steps = [each for each in self.recipe if each.name == technique.name]
        taken = [layer for layer in self.layers if any(each.takes_kernel(layer.kernel) for each in steps)]
        # What makes a file of integers is not there to save bytes beside that.
        if technique.integer or technique is not steps[-1] or not taken:
            return
        others = Recipe(*(each for each in self.recipe if each.name != technique.name))
        largest = sorted(taken, key=lambda layer: layer.weight.size, reverse=True)[:_KERNELS]
        samples = [layer.sample() for layer in largest]
        scale = sum(layer.weight.size for layer in taken) / sum(sample.weight.size for sample in samples)

        def packed(recipe: Recipe) -> float:
            return scale * sum(packed_bytes(sample.in_file(recipe, self.int8)) for sample in samples)

        def packed_with(stronger: Technique) -> float:
            # In its place: each technique is fitted to what the ones before it leave.
            return packed(Recipe(*(stronger if each is technique else each for each in self.recipe)))

        with_it, without = packed(self.recipe), packed(others)
        if with_it <= (1 - _PAYS) * without:
            yield from self._wasted_alone(taken, steps, others)
            return
        remedy, stronger = "leave it out", technique.stronger()
        enough = (1 - _PAYS) * without
        # Stronger settings take fewer bytes.
        first = bisect.bisect_left(stronger, True, key=lambda each: packed_with(each) <= enough)
        if first < len(stronger) and technique.sweep is not None:
            setting = technique.sweep.setting
            remedy = (
                f"it pays from {setting}={getattr(stronger[first], setting):g} on "
                f"({_about(packed_with(stronger[first]))} bytes); else leave it out"
            )
        beside = f" beside {others}" if len(others) else ""
        yield (
            f"{' and '.join(map(str, steps))} saves next to nothing{beside}: {_about(with_it)} bytes of packed kernels "
            f"with it, {_about(without)} without; {remedy}."
        )

    def _wasted_alone(
        self, taken: Sequence[TrialKernel], steps: Sequence[Technique], others: Recipe
    ) -> Iterator[str]:
        wasted, with_it, without = [], 0, 0
        for layer in taken:
            values = max((each.for_kernel(layer.kernel) or each).values or _VALUES for each in steps)
            if layer.weight.size <= _WEIGHTS_A_VALUE * values:
                files = (layer.in_file(each, self.int8) for each in (self.recipe, others))
                coded, plain = map(packed_bytes, files)
                if coded >= plain:
                    wasted.append(layer)
                    with_it, without = with_it + coded, without + plain
        if wasted:
            names = [layer.kernel.layer for layer in wasted]
            techniques = dict.fromkeys(_name(each, layer) for each in steps for layer in wasted)
            yield (
                f"{' and '.join(techniques)} saves nothing in {AdviceContext.layers(names)} of few weights: "
                f"{with_it:,} bytes packed with it, {without:,} without; add layers={dict.fromkeys(names)}."
            )


def _name(technique: Technique, layer: TrialKernel) -> str:
    """The technique with its settings for a layer, as in a recipe."""
    return str((technique.for_kernel(layer.kernel) or technique).everywhere_alike())


def _about(size_bytes: float) -> str:
    """Bytes in three digits, because they come from samples."""
    return f"{float(f'{size_bytes:.3g}'):,.0f}"
