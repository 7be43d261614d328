"""Remove the channels that nothing reads from a network: the same function in smaller layers."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from squeezekit.compress.graph.clone import members
from squeezekit.compress.graph.dependencies import ChannelDependencies, Site
from squeezekit.compress.graph.rewrite import rebuild
from squeezekit.compress.hooked_layers import KernelHook
from squeezekit.compress.transform import to_numpy

__all__ = ["shrink"]


def shrink(model: keras.Model) -> keras.Model:
    """Return a smaller plain model with the same outputs, without the channels that nothing reads.

    A channel is removed if the slices of all kernels that read it are exactly zero, directly or through activations,
    BatchNorm, pooling, depthwise convolutions, concatenations and additions: then its filters, bias and statistics
    have no effect. Channels that only removed ones read are removed too. How the zeros came about does not matter.
    At least one channel of every layer stays, and so do channels that reach the model's inputs or outputs or a layer
    that is not understood (grouped convolutions, channels first, other mixtures of channels).

    Args:
        model: a built functional or sequential model of plain layers, also nested; not changed.

    Returns:
        A new model of layers of the same names and kinds, not compiled. Its outputs differ by float rounding only.

    Raises:
        ValueError: the model is subclassed, not built, or holds transforms.

    Example:
        >>> entry = keras.Input((8, 8, 3))
        >>> x = layers.Conv2D(4, 3, activation="relu", name="made")(entry)
        >>> model = keras.Model(entry, layers.Conv2D(2, 3, name="read")(x))
        >>> kernel = np.ones((3, 3, 4, 2), "float32")
        >>> kernel[:, :, 1] = 0
        >>> model.get_layer("read").set_weights([kernel, np.zeros(2)])
        >>> [tuple(layer.kernel.shape) for layer in shrink(model).layers[1:]]
        [(3, 3, 3, 3), (3, 3, 3, 2)]
    """
    graph = ChannelDependencies(model)
    hooked = next((name for name, layer in members(model) if isinstance(layer, KernelHook)), None)
    if hooked is not None:
        raise ValueError(f"Expected a plain model: strip it first. Received: transforms in {hooked}.")
    alive = _alive(graph)
    sites = {id(site.layer): site for site in graph.sites}
    pairs: list[tuple[Site, keras.layers.Layer]] = []

    def replace(name: str, layer: Any, copy: Callable[..., Any]) -> Sequence[Any]:
        if isinstance(layer, layers.InputLayer):
            return []
        if id(layer) not in sites:
            return [copy()]
        site = sites[id(layer)]
        pairs.append((site, type(layer).from_config(layer.get_config() | _smaller(site, alive))))
        return [pairs[-1][1]]

    smaller = rebuild(model, replace, width=lambda tensor: _count(tensor, graph, alive))
    for site, made in pairs:
        cut = _sliced(site, alive)
        for variable, value in zip(made.variables, site.layer.variables, strict=True):
            variable.assign(cut(to_numpy(value)))
    return smaller


def _alive(graph: ChannelDependencies) -> np.ndarray:
    """True for each id that stays, (ids,): what the outputs read, then what that reads, and so on."""
    alive = graph.fixed.copy()
    links = [(site, _links(site)) for site in graph.sites if site.makes]
    while True:
        before = np.count_nonzero(alive)
        for site, link in reversed(links):
            alive[site.inputs[link[:, alive[site.outputs]].any(axis=1)]] = True
        if np.count_nonzero(alive) > before:
            continue
        emptied = next((site for site, _ in links if not alive[site.outputs].any()), None)
        if emptied is None:
            return alive
        alive[emptied.outputs[0]] = True


def _links(site: Site) -> np.ndarray:
    """(in, out), True where an output channel of a convolution or product depends on an input channel."""
    kernel = to_numpy(site.layer.kernel)
    return (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))


def _smaller(site: Site, alive: np.ndarray) -> dict[str, Any]:
    """What changes in the layer's config."""
    count = int(np.count_nonzero(alive[site.outputs]))
    if site.kind is layers.Conv2D:
        return {"filters": count}
    if site.kind is layers.Dense:
        return {"units": count}
    if site.kind is layers.Reshape:
        return {"target_shape": (*site.layer.target_shape[:-1], count)}
    return {}


def _sliced(site: Site, alive: np.ndarray) -> Any:
    """Return what takes from a weight of the layer the channels that stay."""
    inputs, outputs = alive[site.inputs], alive[site.outputs]

    def cut(weight: np.ndarray) -> np.ndarray:
        if weight.ndim == 1:  # a bias, or BatchNorm's
            return weight[outputs]
        if site.kind is layers.DepthwiseConv2D:  # (height, width, in, multiplier)
            return weight[:, :, inputs]
        return weight[..., inputs, :][..., outputs]

    return cut


def _count(tensor: keras.KerasTensor, graph: ChannelDependencies, alive: np.ndarray) -> int | None:
    """Number of channels that a tensor keeps, or None where it was unknown."""
    return None if tensor.shape[-1] is None else int(np.count_nonzero(alive[graph.of_tensor(tensor)]))
