"""Structured pruning: whole channels are removed, and the network that is left is smaller and faster.

Li et al., "Pruning filters for efficient ConvNets", 2017: L1 norms as the criterion, section 3.1; tied
channels of residual networks, section 3.3.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import layers

from squeezekit.compress.graph.dependencies import ChannelDependencies, Site
from squeezekit.compress.graph.shrink import shrink
from squeezekit.compress.setting_checks import expect_choice, expect_point, expect_share
from squeezekit.compress.technique import Kernel, Technique
from squeezekit.compress.techniques.magnitude import ramp_sparsity
from squeezekit.compress.techniques.prune import ScheduledMask
from squeezekit.compress.transform import TrainingProgress, Weights, to_numpy

__all__ = ["ChannelMask", "Group", "PruneChannels"]

SCOPES = ("layer", "global")

STAYS = -1
"""Number of a channel that cannot be removed."""

MULTIPLES = (1, 4, 8, 16, 32)


class Group(NamedTuple):
    """Channels of one layer, or of all layers that additions tie to it.

    Args:
        first: number of the first channel that may be removed; the others follow.
        free: how many may be removed.
        fixed: how many others are tied to them that may not.
        kernels: how many kernels have such channels; all must be masked, or none is removed.
        share: share of `free + fixed` that is removed at the end, in [0, 1).
        multiple_of: the number that stays is a multiple of this.
    """

    first: int
    free: int
    fixed: int
    kernels: int
    share: float
    multiple_of: int

    def bounded(self, going: int) -> int:
        """Return how many of `going` channels may be removed: the rest is a multiple, and not zero."""
        size = self.free + self.fixed
        staying = max(1, math.ceil((size - going) / self.multiple_of) * self.multiple_of)
        return max(0, min(going, size - staying))


@keras.saving.register_keras_serializable(package="squeezekit")
class ChannelMask(ScheduledMask):
    """w -> w, but 0 in the channels that are removed.

    While the share grows, only the slices that read a channel are masked: the filters that make it go on learning,
    and it may come back. At the end its filters are masked too, so that no codebook, scale or ranking counts them.

    Args:
        reads: (first, count) pairs that number the channels on the axis before the last; first is -1
            for channels that stay.
        makes: the same for the last axis.
        passes: the same for the axis before the last of a depthwise kernel.
        groups: the groups of these channels.
        start, end, scope: as for `PruneChannels`.
    """

    def __init__(
        self,
        *,
        reads: Sequence[Sequence[int]],
        makes: Sequence[Sequence[int]],
        passes: Sequence[Sequence[int]],
        groups: Sequence[Sequence[Any]],
        start: int | float,
        end: int | float,
        scope: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.numbers = {"reads": _expand(reads), "makes": _expand(makes), "passes": _expand(passes)}
        self.groups = [Group(*group) for group in groups]
        self.start, self.end, self.scope = start, end, scope

    @classmethod
    def update(cls, transforms: Sequence[Any], weights: Weights, progress: TrainingProgress) -> None:
        """Rank the channels again and mask as many as are due."""
        pairs = zip(transforms, weights, strict=True)
        due = [(mask, weight) for mask, weight in pairs if mask.may_move(progress)]
        if not due:
            return
        first = due[0][0]
        start, end = progress.share_of(first.start), progress.share_of(first.end)
        final = progress.done >= end
        done = ramp_sparsity(progress.done, 1.0, start, end) if start < end else float(final)
        going = _going(due, done, together=first.scope == "global")
        for mask, weight in due:
            mask.move(mask._mask(going, weight.shape, final=final), progress, final=final)

    def _mask(self, going: np.ndarray, shape: tuple[int, ...], *, final: bool) -> np.ndarray:
        """True for the weights that are kept, `shape`."""
        keep = np.ones(shape[-2:], bool)
        for name, numbers in self.numbers.items():
            gone = (numbers != STAYS) & going[numbers]
            if final and name == "makes":
                keep[:, gone] = False
            elif final or name == "reads":
                keep[gone] = False
        return np.broadcast_to(keep, shape)

    def invariant_violation(self, weight: np.ndarray) -> str:
        """Nothing is left of the removed channels."""
        alive = 0 if self.pending else np.count_nonzero(weight[~to_numpy(self.keep)])
        return f"{alive} weights of channels that were pruned are not zero" if alive else ""

    @classmethod
    def after_strip(cls, plain: keras.Model) -> keras.Model:
        """Take the channels out of the network."""
        return shrink(plain)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this mask, without its state."""
        numbers = {name: _runs(numbers) for name, numbers in self.numbers.items()}
        schedule = {"start": self.start, "end": self.end, "scope": self.scope}
        return super().get_config() | numbers | schedule | {"groups": [list(group) for group in self.groups]}


@dataclasses.dataclass(frozen=True)
class PruneChannels(Technique):
    """Remove filters: what `strip` returns has fewer channels, weights and multiply-accumulates.

    While the network trains, the slices of the kernels that read a channel are masked, more of them along
    Zhu and Gupta's equation 1; `strip` then removes the channels exactly, with their filters, biases,
    BatchNorms and depthwise kernels (see `shrink`). It saves time on every device and bytes in every file, and
    costs more accuracy than as many scattered zeros. Put it before other techniques: they then rank, share or
    round the smaller network.

    A channel's score is the product of L1 norms, each relative to the mean of its kernel so that layers compare:
    of the filters that make it (Li et al., 2017; summed where additions tie several), of the depthwise kernels
    that it passes, and of the slices that read it (summed). Scaling a channel up and its readers down changes
    no ReLU network, and does not change this product either.

    Channels that reach the output or a layer that is not understood stay. Channels that additions tie go
    together.

    Args:
        share: share of channels to remove from each layer, or each group of tied layers, in [0, 1); exactly
            round(share * channels) if the limits below allow it. At least one stays.
        start: when the first channels go: a share of the stage's training, or a whole number of steps.
        end: when the share is reached, in the same way; at or before `start` all go at once.
        scope: `"layer"`, or `"global"` to rank the channels of all layers together.
        multiple_of: 1, 4, 8, 16 or 32: the number of channels that stay is rounded up to a multiple, for kernels
            that compute so many at once.
        where: the layers that may lose filters, as for any technique.
        layers: other shares for some layers; of tied layers the smallest counts.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> print(PruneChannels(0.3))
        prune_channels(0.3)
        >>> print(PruneChannels(0.5, end=0.8, multiple_of=8))
        prune_channels(0.5, end=0.8, multiple_of=8)
    """

    name: ClassVar[str] = "prune_channels"
    noun: ClassVar[str] = "pruning channels"
    takes: ClassVar[str] = "channels that do not reach the output, between layers that it understands"
    study_level: ClassVar[str] = "prune_channels(0.3)"
    survives_folding: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    share: float
    start: int | float = 0.0
    end: int | float = 0.5
    scope: str = "layer"
    multiple_of: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_share("share", self.share, below_one=True)
        expect_point("start", self.start)
        expect_point("end", self.end)
        expect_choice("scope", self.scope, SCOPES)
        expect_choice("multiple_of", self.multiple_of, MULTIPLES)

    def without_schedule(self) -> None:
        """Return None: a stripped model has no such channels any more."""

    def transform(self, kernel: Kernel, *, stage: int = 0) -> None:
        """Return None: channels are known from the whole model only; see `bind`."""

    def bind(self, model: keras.Model) -> Callable[[Kernel, int], ChannelMask | None]:
        """Return what makes the mask of a kernel, from the channels of the whole model."""
        graph = ChannelDependencies(model)
        numbers, groups = self._groups(graph)
        owners = _owners(groups)
        sites = {site.name: site for site in graph.sites if _has_kernel(site.kind)}

        def make(kernel: Kernel, stage: int) -> ChannelMask | None:
            site = sites.get(kernel.layer)
            touched = [] if site is None else _touched(site, numbers, owners)
            if site is None or not touched:
                return None
            inputs, outputs = _runs(numbers[site.inputs]), _runs(numbers[site.outputs])
            return ChannelMask(
                reads=inputs if site.makes else [],
                makes=outputs if site.makes else [],
                passes=[] if site.makes else inputs,
                groups=[groups[index] for index in touched],
                start=self.start,
                end=self.end,
                scope=self.scope,
                stage=stage,
            )

        return make

    def _groups(self, graph: ChannelDependencies) -> tuple[np.ndarray, list[Group]]:
        """Number the channels that may be removed: (for each id its number or STAYS, the groups)."""
        stays = graph.fixed.copy()
        settings: dict[int, list[PruneChannels]] = {}
        sites = [site for site in graph.sites if _has_kernel(site.kind)]
        for site in sites:
            if not site.makes:
                continue
            technique = self.for_kernel(Kernel(site.name, tuple(site.layer.kernel.shape), (-1,)))
            if isinstance(technique, PruneChannels):
                settings.setdefault(int(graph.groups[site.outputs[0]]), []).append(technique)
            else:
                stays[site.outputs] = True

        used = np.unique(np.concatenate([ids for site in sites for ids in (site.inputs, site.outputs)]))
        numbers = np.full(len(stays), STAYS)
        groups: list[Group] = []
        first = 0
        for owner, techniques in settings.items():
            members = used[graph.groups[used] == owner]
            free = members[~stays[members]]
            if free.size:
                numbers[free] = np.arange(first, first + free.size)
                share = min(technique.share for technique in techniques)
                multiple = max(technique.multiple_of for technique in techniques)
                groups.append(Group(first, free.size, members.size - free.size, 0, share, multiple))
                first += free.size
        owners = _owners(groups)
        kernels = Counter(owner for site in sites for owner in _touched(site, numbers, owners))
        return numbers, [group._replace(kernels=kernels[index]) for index, group in enumerate(groups)]


def _owners(groups: Sequence[Group]) -> np.ndarray:
    """For each channel the index of its group."""
    return np.repeat(np.arange(len(groups)), [group.free for group in groups])


def _touched(site: Site, numbers: np.ndarray, owners: np.ndarray) -> list[int]:
    """The groups of which a kernel has channels."""
    mine = np.concatenate([numbers[site.inputs], numbers[site.outputs]])
    return np.unique(owners[mine[mine != STAYS]]).tolist()


def _has_kernel(kind: type) -> bool:
    return kind in (layers.Conv2D, layers.Dense, layers.DepthwiseConv2D)


def _going(due: Sequence[tuple[ChannelMask, np.ndarray]], done: float, *, together: bool) -> np.ndarray:
    """Choose the channels to mask when `done` of the final share is due: bool, (channels,)."""
    present = Counter(group for mask, _ in due for group in mask.groups)
    groups = sorted(group for group, kernels in present.items() if kernels == group.kernels)
    size = max(group.first + group.free for group in present)
    order = _ranked(due, size)
    rows = [order[(order >= group.first) & (order < group.first + group.free)] for group in groups]
    shares = [done * group.share * (group.free + group.fixed) for group in groups]
    if together:
        everyone = order[np.isin(order, np.concatenate([[], *rows]))]
        lowest = everyone[: math.floor(sum(shares) + 0.5)]
        counts = [int(np.isin(row, lowest).sum()) for row in rows]
    else:
        counts = [min(len(row), math.floor(share + 0.5)) for row, share in zip(rows, shares, strict=True)]
    makers = [mask.numbers["makes"] for mask, _ in due]
    going = np.zeros(size, bool)
    for group, row, count in zip(groups, rows, counts, strict=True):
        mine = [maker for maker in makers if np.isin(maker, row).any()]
        for channel in _lowest(row, group.bounded(count), mine):
            going[channel] = True
    return going


def _ranked(due: Sequence[tuple[ChannelMask, np.ndarray]], size: int) -> np.ndarray:
    """All channels, the one with the lowest score first."""
    made, read, passed = np.zeros(size), np.zeros(size), np.ones(size)
    for mask, weight in due:
        magnitudes = np.abs(weight.astype(np.float64))
        for name, numbers in mask.numbers.items():
            kept = numbers != STAYS
            if not kept.any():
                continue
            axis = weight.ndim - (1 if name == "makes" else 2)
            norms = magnitudes.sum(axis=tuple(other for other in range(weight.ndim) if other != axis))
            norms /= norms.mean() or 1.0
            if name == "passes":
                np.multiply.at(passed, numbers[kept], norms[kept])
            else:
                np.add.at(made if name == "makes" else read, numbers[kept], norms[kept])
    # Channels that nothing reads come first, then those that nothing makes: they are constant.
    return np.lexsort((np.arange(size), read, made * passed * read))


def _lowest(row: np.ndarray, count: int, makers: Sequence[np.ndarray]) -> Iterator[int]:
    """Yield the first `count` of `row` that leave a channel to each of the layers that make them."""
    left = [len(maker) for maker in makers]
    sets = [set(maker.tolist()) for maker in makers]
    for channel in row.tolist():
        holders = [index for index, members in enumerate(sets) if channel in members]
        if count and all(left[index] > 1 for index in holders):
            count -= 1
            for index in holders:
                left[index] -= 1
            yield channel


def _runs(numbers: np.ndarray) -> list[list[int]]:
    """Write channel numbers as (first, count) pairs, short in a saved model."""
    runs: list[list[int]] = []
    for number in np.asarray(numbers).tolist():
        last = runs[-1] if runs else [STAYS - 1, 0]
        following = STAYS if last[0] == STAYS else last[0] + last[1]
        if runs and number == following:
            last[1] += 1
        else:
            runs.append([number, 1])
    return runs


def _expand(runs: Sequence[Sequence[int]]) -> np.ndarray:
    """The opposite of `_runs`."""
    parts = [np.full(n, STAYS) if first == STAYS else np.arange(first, first + n) for first, n in runs]
    return np.concatenate([np.zeros(0, int), *parts])
