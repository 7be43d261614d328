"""The published Deep Compression SqueezeNet, a `.net` file of 660 KB with ImageNet's 1,000 classes, as a Keras model.

Papers: Han et al., "Deep Compression", 2016 (codebooks of 256 values, positions as 4-bit gaps);
Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016 (the network, version 1.0).

The file is little-endian and has no magic. It begins with a uint32 for each of the 26 convolutions, in the network's
order: how many of its weights are stored. Then each convolution has: float32 codebook[256], whose first value is 0;
float32 bias[out]; a uint8 codebook index for each stored weight; and for each a 4-bit gap, the number of zeros before
it, two in a byte with the low half first. A gap over 15 is bridged by a stored zero. Weights are in the order out, in,
row, column.
"""

import os
from collections.abc import Sequence

import keras
import numpy as np

from squeezekit.errors import FormatError
from squeezekit.models.blocks import PIXEL_SCALING
from squeezekit.models.squeezenet import Head, squeezenet
from squeezekit.preprocess import Preprocess

__all__ = ["PREPROCESS", "load_net", "published_weights"]

PREPROCESS = Preprocess(227, 227, 256, 256)
"""What the published network expects: the whole picture squashed to 256x256, then its centre."""

_LAYERS = (
    "conv1",
    *(f"fire{index}_{part}" for index in range(2, 10) for part in ("squeeze1x1", "expand1x1", "expand3x3")),
    "conv10",
)
_CODEBOOK = 256
# The size of a .net of this network with every weight stored; a longer file is something else.
_MAX_BYTES = 1_909_304
# Far above any trained weight. Nearly every float of random bits is larger, or not a number.
_MAX_VALUE = 1e6

# ImageNet's mean in RGB, which the published network subtracts from its pixels.
_MEAN = np.array([123.0, 117.0, 104.0])
# Our networks scale pixels themselves, by `pixel / 64 - 2`; dividing by a power of two is exact.
_SCALE = 1 / PIXEL_SCALING[0]
_CENTRE = -PIXEL_SCALING[1] * _SCALE

# Weights of a convolution in Keras' layout: kernel (row, column, in, out), bias (out,).
_Weights = tuple[np.ndarray, np.ndarray]


def load_net(path: str | os.PathLike[str]) -> keras.Model:
    """Load the published `compressed_SqueezeNet.net` as a SqueezeNet 1.0 that takes RGB pixels in [0, 255].

    The published network takes BGR pixels minus a mean, y = w * (pixel - mean) + b. Here the first convolution
    gets pixel / 64 - 2, so its kernel is 64 w with the channels reversed, which is exact. Its bias is
    b + sum(w (128 - mean)), exact but for rounding because that convolution has no padding. Export undoes the 64, so
    that a float `.tflite` holds the published weights bit for bit.

    Args:
        path: the file. It is read up to the largest possible size, and all of it is checked.

    Returns:
        A model of 227x227 pixels and 1,000 classes in ILSVRC's order; `PREPROCESS` prepares its images.

    Raises:
        FormatError: another kind of file, or a damaged one.
        OSError: the file cannot be opened.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "cut.net")
        >>> _ = path.write_bytes(bytes(100))
        >>> load_net(path)
        Traceback (most recent call last):
        squeezekit.errors.FormatError: .../cut.net: not a Deep Compression SqueezeNet (ends in its counts)

    Paper: Han et al., "Deep Compression", 2016, sections 2 and 3.
    """
    model = squeezenet(version="1.0", head=Head.PUBLISHED)
    weights = published_weights(path, model)
    weights["conv1"] = _for_our_pixels(*weights["conv1"])
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    return model


def published_weights(
    path: str | os.PathLike[str], model: keras.Model | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The file's weights as published, for BGR pixels minus a mean; arguments and errors as for `load_net`.

    Returns:
        Kernel (row, column, in, out) and bias (out,) by layer, in the network's order; `model` has the shapes.
    """
    model = model or squeezenet(version="1.0", head=Head.PUBLISHED)
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    shapes = [tuple(model.get_layer(name).kernel.shape) for name in _LAYERS]
    try:
        return dict(zip(_LAYERS, _parse(data, shapes), strict=True))
    except FormatError as error:
        raise FormatError(f"{path}: not a Deep Compression SqueezeNet ({error})") from None


def _for_our_pixels(kernel: np.ndarray, bias: np.ndarray) -> _Weights:
    """The first convolution for RGB pixels that were scaled to pixel / 64 - 2, instead of BGR minus the mean."""
    kernel = kernel[:, :, ::-1, :]
    shift = np.einsum("hwio,i->o", kernel.astype(np.float64), _CENTRE - _MEAN)
    return kernel * np.float32(_SCALE), (bias + shift).astype(np.float32)


def _parse(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[_Weights]:
    """The weights of convolutions of these shapes (row, column, in, out), which must fill the file."""
    position = 0

    def take(dtype: str, count: int, what: str) -> np.ndarray:
        nonlocal position
        start, position = position, position + np.dtype(dtype).itemsize * count
        if position > len(data):
            raise FormatError(f"ends in {what}")
        return np.frombuffer(data, dtype, count, start)

    counts = [int(count) for count in take("<u4", len(shapes), "its counts")]
    for count, shape in zip(counts, shapes, strict=True):
        if count > np.prod(shape):
            raise FormatError(f"{count:,} weights stored for a layer of {np.prod(shape):,}")
    weights = []
    for count, shape in zip(counts, shapes, strict=True):
        codebook, bias = take("<f4", _CODEBOOK, "a codebook"), take("<f4", shape[3], "a bias")
        indices, pairs = take("u1", count, "codebook indices"), take("u1", (count + 1) // 2, "gaps")
        # Written so that a NaN fails too.
        if not ((np.abs(codebook) <= _MAX_VALUE).all() and (np.abs(bias) <= _MAX_VALUE).all()):
            raise FormatError("values that are no weights")
        if codebook[0] != 0:
            raise FormatError("a codebook that does not begin with 0")
        gaps = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count]
        weights.append((_kernel(codebook[indices], gaps, shape), bias.astype(np.float32)))
    if position < len(data):
        raise FormatError("goes on after its last layer")
    return weights


def _kernel(stored: np.ndarray, gaps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The kernel (row, column, in, out) of stored weights and the number of zeros before each."""
    rows, columns, inputs, outputs = shape
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    flat = np.zeros(rows * columns * inputs * outputs, np.float32)
    if positions.size and positions[-1] >= flat.size:
        raise FormatError("gaps that lead past the end of a layer")
    flat[positions] = stored
    # (out, in, row, column) -> (row, column, in, out)
    return flat.reshape(outputs, inputs, rows, columns).transpose(2, 3, 1, 0)
