"""The published Deep Compression SqueezeNet, a `.net` file of 660 KB with ImageNet's 1,000 classes, as a Keras model.

Papers: Han et al., "Deep Compression", 2016 (codebooks of 256 values, positions as 4-bit gaps);
Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016 (the network, version 1.0).

The file, little-endian, has no magic. It begins with a uint32 for each of the 26 convolutions, in the network's order:
how many of its weights are stored. Then a convolution after another: float32 codebook[256], whose first value is 0;
float32 bias[out]; a uint8 place in the codebook for each stored weight; and, two in a byte and the low half first,
a 4-bit gap for each: the zeros skipped before it. Where over 15 are to be skipped, a zero is stored. Weights
count in the order out, in, row, column.
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
# A .net of this network with every weight stored has 1,909,304 bytes: what is longer is something else.
_MAX_BYTES = 1_909_304
# No trained weight comes near it; a float of random bits nearly always lies outside, or is none.
_MAX_VALUE = 1e6

# ImageNet's mean in RGB, which the published network's pixels are without.
_MEAN = np.array([123.0, 117.0, 104.0])
# Our networks scale pixels themselves, by `pixel / 64 - 2`; dividing by a power of two is exact.
_SCALE = 1 / PIXEL_SCALING[0]
_CENTRE = -PIXEL_SCALING[1] * _SCALE

# Weights of a convolution in Keras' layout: kernel (row, column, in, out), bias (out,).
_Weights = tuple[np.ndarray, np.ndarray]


def load_net(path: str | os.PathLike[str]) -> keras.Model:
    """Load the published `compressed_SqueezeNet.net` as a SqueezeNet 1.0 that takes RGB pixels in [0, 255].

    The published network takes BGR pixels minus a mean, y = w * (pixel - mean) + b. Here the first convolution
    sees pixel / 64 - 2, so its kernel is 64 w with the channels turned round, which is exact, and its bias
    b + sum(w (128 - mean)), which is too but for rounding: no pixel lies outside, for the convolution has no
    padding. Export undoes the 64, so that a float `.tflite` holds the published weights bit for bit.

    Args:
        path: the file. Nothing in it is trusted: it is read up to its largest possible size, then checked.

    Returns:
        A model of 227x227 pixels and 1,000 classes in ILSVRC's order, to be fed by `PREPROCESS`.

    Raises:
        FormatError: the file is not such a file, or is damaged.
        OSError: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "cut.net")
        >>> with open(path, "wb") as file:
        ...     _ = file.write(bytes(100))
        >>> load_net(path)
        Traceback (most recent call last):
        squeezekit.errors.FormatError: .../cut.net: not a Deep Compression SqueezeNet (ends in its counts)

    Paper: Han et al., "Deep Compression", 2016, sections 2 and 3.
    """
    model = squeezenet(version="1.0", head=Head.PUBLISHED)
    weights = _published(path, model)
    weights["conv1"] = _for_our_pixels(*weights["conv1"])
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    return model


def published_weights(path: str | os.PathLike[str]) -> dict[str, _Weights]:
    """The file's weights as they are: of BGR pixels minus a mean.

    Args:
        path: as for `load_net`.

    Returns:
        Kernel (row, column, in, out) and bias (out,) by layer, in the network's order.

    Raises:
        FormatError: as for `load_net`.
        OSError: the file cannot be opened.
    """
    return _published(path, squeezenet(version="1.0", head=Head.PUBLISHED))


def _published(path: str | os.PathLike[str], model: keras.Model) -> dict[str, _Weights]:
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
    """The weights of convolutions of these shapes (row, column, in, out), from a file that must have no byte more."""
    reader = _Reader(data)
    counts = reader.take("<u4", len(shapes), "its counts")
    for count, shape in zip(counts, shapes, strict=True):
        if count > np.prod(shape):
            raise FormatError(f"{count:,} weights stored for a layer of {np.prod(shape):,}")
    weights = [_layer(reader, int(count), shape) for count, shape in zip(counts, shapes, strict=True)]
    if reader.left:
        raise FormatError("goes on after its last layer")
    return weights


def _layer(reader: "_Reader", count: int, shape: tuple[int, ...]) -> _Weights:
    """One convolution, `count` of whose weights are stored; no more than there are."""
    rows, columns, inputs, outputs = shape
    codebook = reader.take("<f4", _CODEBOOK, "a codebook")
    bias = reader.take("<f4", outputs, "a bias")
    places = reader.take("u1", count, "codebook indices")
    pairs = reader.take("u1", (count + 1) // 2, "gaps")
    # Written so that a NaN fails too.
    if not ((np.abs(codebook) <= _MAX_VALUE).all() and (np.abs(bias) <= _MAX_VALUE).all()):
        raise FormatError("values that are no weights")
    if codebook[0] != 0:
        raise FormatError("a codebook that does not begin with 0")
    gaps = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count]
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    flat = np.zeros(rows * columns * inputs * outputs, np.float32)
    if count and positions[-1] >= flat.size:
        raise FormatError("gaps that lead past the end of a layer")
    flat[positions] = codebook[places]
    # (out, in, row, column) -> (row, column, in, out)
    return flat.reshape(outputs, inputs, rows, columns).transpose(2, 3, 1, 0), bias.astype(np.float32)


class _Reader:
    """Takes arrays from bytes, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._data) - self._position

    def take(self, dtype: str, count: int, what: str) -> np.ndarray:
        """The next `count` values; a `FormatError` that names them when the bytes end before."""
        size = np.dtype(dtype).itemsize * count
        if size > self.left:
            raise FormatError(f"ends in {what}")
        values = np.frombuffer(self._data, dtype, count, self._position)
        self._position += size
        return values
