"""Swap convolutions of a built network for depthwise-separable ones.

Chollet, "Xception: deep learning with depthwise separable convolutions", 2017; in SqueezeNet's fire
modules: Pal et al., "SegFast", 2018 (the spark module). The start is the best approximation of rank 1
for each input channel: Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers

from squeezekit.compress.graph.clone import check_model, members
from squeezekit.compress.graph.rewrite import rebuild
from squeezekit.compress.hooked_layers import KernelHook
from squeezekit.compress.setting_checks import expect_whole
from squeezekit.compress.technique import Kernel, Technique
from squeezekit.compress.transform import to_numpy

__all__ = ["Separable", "separated"]


def separated(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the depthwise (h, w, in, 1) and pointwise (1, 1, in, out) kernel with the product nearest to `kernel`.

    For each input channel c the matrix W_c of (height * width, out) weights becomes d_c p_c^T, the first term of its
    singular value decomposition, with the singular value shared evenly by both factors.

    Example:
        >>> depthwise, pointwise = separated(np.ones((3, 3, 2, 4)))
        >>> np.allclose(depthwise * pointwise, 1)
        True
    """
    height, width, inputs, outputs = kernel.shape
    matrices = kernel.astype(np.float64).transpose(2, 0, 1, 3).reshape(inputs, height * width, outputs)
    left, values, right = np.linalg.svd(matrices, full_matrices=False)
    depthwise, pointwise = left[:, :, 0], right[:, 0]  # (in, height * width), (in, out)
    # A decomposition leaves the sign open; here every depthwise filter has a sum that is not negative.
    root = np.sqrt(values[:, :1]) * np.where(depthwise.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    depthwise = (depthwise * root).T.reshape(height, width, inputs, 1)
    return depthwise.astype(np.float32), (pointwise * root)[None, None].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Separable(Technique):
    """Swap k x k convolutions for a depthwise k x k one and a 1x1 one, as near to the old as can be.

    `fire2_expand3x3` becomes `fire2_expand3x3_depthwise`, without a bias, and a 1x1 convolution that keeps the
    name, the bias and the activation; stride, padding and dilation go to the depthwise layer. A trained network
    loses most of its accuracy and must be trained again, longer than after other techniques: put it first. Those
    layers need some eight times fewer multiply-accumulates, but a depthwise layer moves as much memory, so time
    falls by less. Prune what is left less: it has fewer weights to spare.

    Args:
        channels: convolutions with no more input channels than this stay: the first layer has little to win
            and much to lose. Only where `where` names no layers.

    Raises:
        ValueError: `channels` is no whole number, at least 0.

    Example:
        >>> entry = keras.Input((8, 8, 16))
        >>> model = keras.Model(entry, layers.Conv2D(32, 3, name="conv")(entry))
        >>> [layer.name for layer in Separable().rewrite(model).layers[1:]]
        ['conv_depthwise', 'conv']
    """

    name: ClassVar[str] = "separable"
    noun: ClassVar[str] = "separable convolutions"
    takes: ClassVar[str] = "convolutions over 1x1 with more than channels= input channels"
    study_level: ClassVar[str] = "separable()"
    survives_folding: ClassVar[bool] = True

    channels: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_whole("channels", self.channels)

    def without_schedule(self) -> None:
        """Return None: a rewritten network stays rewritten."""

    def transform(self, kernel: Kernel, *, stage: int = 0) -> None:
        """Return None: layers are swapped, not kernels changed."""

    def rewrite(self, model: keras.Model) -> keras.Model:
        """Return the model with separable convolutions in place of those that it picks.

        Raises:
            ValueError: a picked convolution holds transforms, which were made for its kernel.
        """
        check_model(model.name, model)
        picked = {id(layer) for name, layer in members(model) if self._picks(name, layer)}
        if not picked:
            return model
        rows: list[tuple[layers.Layer, Sequence[Any]]] = []

        def replace(name: str, layer: Any, copy: Callable[..., Any]) -> Sequence[Any]:
            if isinstance(layer, layers.InputLayer):
                return []
            if id(layer) not in picked:
                return [copy()]
            rows.append((layer, _row(layer)))
            return rows[-1][1]

        swapped = rebuild(model, replace)
        for layer, row in rows:
            kernel, *bias = map(to_numpy, layer.weights)
            for part, values in zip(row, separated(kernel), strict=True):
                part.kernel.assign(values)
            for value in bias:
                row[-1].bias.assign(value)
        return swapped

    def _picks(self, name: str, layer: keras.layers.Layer) -> bool:
        hooked = isinstance(layer, KernelHook)
        if (layer.stock if hooked else type(layer)) is not layers.Conv2D:
            return False
        height, width, inputs, _ = shape = tuple(layer.kernel.shape)
        technique = self.for_kernel(Kernel(name, shape, (-1,)))
        large = (
            height * width >= 9 and inputs > technique.channels if isinstance(technique, Separable) else False
        )
        fits = large if self.where is None else height * width > 1
        if technique is None or not fits or layer.groups != 1 or layer.strides[0] != layer.strides[1]:
            return False  # stock depthwise layers have one stride
        if hooked:
            raise ValueError(
                f"Expected plain convolutions to swap: put {self.name} first. Received: transforms in {name}."
            )
        return True


def _row(layer: layers.Conv2D) -> tuple[layers.Layer, layers.Layer]:
    """The two layers that take the place of a convolution, not built."""
    config = layer.get_config()
    moved = ("strides", "padding", "dilation_rate", "data_format", "kernel_size", "trainable", "dtype")
    depthwise = layers.DepthwiseConv2D(
        **{name: config[name] for name in moved}, use_bias=False, name=f"{layer.name}_depthwise"
    )
    alone = {"kernel_size": 1, "strides": 1, "padding": "valid", "dilation_rate": 1}
    return depthwise, layers.Conv2D.from_config(config | alone)
