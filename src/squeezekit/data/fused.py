"""Training pictures at less cost: of a JPEG only what the random crop needs is decoded, and no finer than needed.

For sets that fit into no cache. The pixels are not those of `picture_source`: a large photo is shrunk to a half,
a quarter or an eighth while it is decoded (its DCT is evaluated at fewer points), and what remains to be shrunk,
by less than two, is plain bilinear. They follow from file and draws alone, whatever the number of cores.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.data.folder import Split
from squeezekit.data.pictures import as_written
from squeezekit.imaging import MAX_PIXELS, open_rgb, resized
from squeezekit.preprocess import Fit, Preprocess

__all__ = ["fused_source"]

# Words in files that Pillow decodes: what may turn a picture, and codings that not every libjpeg was built with
# (lossless, arithmetic). Found in the pixels by chance they cost time and nothing else.
_ODD = (b"Exif", b"tiff:Orientation", b"\xff\xc3", b"\xff\xc9", b"\xff\xca")
# What libjpeg can shrink by while it decodes.
_RATIOS = (1, 2, 4, 8)


def fused_source(split: Split, preprocess: Preprocess) -> Callable[[tf.Tensor, Any, Any], tf.Tensor]:
    """Make a function of (index, top, left): float32 (height, width, 3), about that cut of the resized picture.

    Plain JPEGs are decoded by `tf.image.decode_and_crop_jpeg`. All others, those with EXIF data (which may turn the
    picture) among them, go by way of Pillow and its resize, but a JPEG is shrunk while it is decoded.

    Args:
        split: the images.
        preprocess: size, resize and crop.
    """
    # As bytes: a name need not be Unicode.
    paths = tf.constant(np.array([os.fsencode(path) for path in split.paths], dtype=object))
    size = (preprocess.height, preprocess.width, 3)

    at_least = max(preprocess.resize_height, preprocess.resize_width)

    def pillow(path: bytes, top: int, left: int) -> np.ndarray:
        whole = resized(open_rgb(os.fsdecode(path), at_least), preprocess)
        cut = whole[top : top + preprocess.height, left : left + preprocess.width]
        return cut.astype(np.float32)

    @as_written
    def source(index: tf.Tensor, top: Any, left: Any) -> tf.Tensor:
        data = tf.io.read_file(paths[index])
        arguments = [paths[index], top, left]
        pixels = tf.cond(
            _plain(data),
            lambda: _native(data, top, left, preprocess),
            lambda: tf.reshape(tf.numpy_function(pillow, arguments, tf.float32, stateful=False), size),
        )
        return tf.reshape(pixels, size)

    return source


def _plain(data: tf.Tensor) -> tf.Tensor:
    """Whether a file is a whole JPEG in grey or colour, upright, of no more than `MAX_PIXELS`."""
    # Pillow knows which of those without their end marker are whole.
    looks = (_part(data, 0, 3) == b"\xff\xd8\xff") & (
        _part(data, tf.strings.length(data) - 2, 2) == b"\xff\xd9"
    )

    def nothing_odd() -> tf.Tensor:
        shape = tf.cast(tf.io.extract_jpeg_shape(data), tf.int64)
        # One piece where the word is not in it.
        pieces = [
            tf.size(tf.raw_ops.StringSplitV2(input=[data], sep=word, maxsplit=1).values) for word in _ODD
        ]
        return (tf.add_n(pieces) == len(_ODD)) & (shape[2] != 4) & (shape[0] * shape[1] <= MAX_PIXELS)

    return tf.cond(looks, nothing_odd, lambda: tf.constant(False))


def _part(data: tf.Tensor, place: Any, count: int) -> tf.Tensor:
    """Some bytes of a string, fewer of one that is too short."""
    return tf.strings.substr(data, tf.clip_by_value(place, 0, tf.strings.length(data)), count)


def _native(data: tf.Tensor, top: Any, left: Any, preprocess: Preprocess) -> tf.Tensor:
    """Decode what a cut needs of a JPEG and resize that: float32 (height, width, 3)."""
    shape = tf.io.extract_jpeg_shape(data)
    shrink = tf.minimum(shape[0] // preprocess.resize_height, shape[1] // preprocess.resize_width)

    def at(ratio: int) -> tf.Tensor:
        rows, columns = (shape[0] + ratio - 1) // ratio, (shape[1] + ratio - 1) // ratio
        box_top, box_left, box_rows, box_columns = _box(rows, columns, preprocess)
        begin, end = _span(top, preprocess.height, box_rows, preprocess.resize_height)
        first, last = _span(left, preprocess.width, box_columns, preprocess.resize_width)
        window = tf.stack([box_top + begin, box_left + first, end - begin, last - first])
        # Named, because what the default means is up to the build.
        pixels = tf.image.decode_and_crop_jpeg(data, window, 3, ratio=ratio, dct_method="INTEGER_FAST")
        return tf.image.resize(pixels, (preprocess.height, preprocess.width))

    finest = tf.reduce_sum(tf.cast(shrink >= _RATIOS[1:], tf.int32))
    return tf.switch_case(finest, [functools.partial(at, ratio) for ratio in _RATIOS])


def _span(begin: Any, count: int, source: tf.Tensor, target: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The whole pixels of a side of `source` that make `count` of the `target` that it is resized to."""
    return begin * source // target, ((begin + count) * source + target - 1) // target


def _box(rows: tf.Tensor, columns: tf.Tensor, preprocess: Preprocess) -> tuple[Any, Any, Any, Any]:
    """`Preprocess.source_box`, of tensors."""
    if preprocess.fit is Fit.SQUASH:
        return 0, 0, rows, columns
    height, width = preprocess.resize_height, preprocess.resize_width
    box_rows = tf.clip_by_value((columns * height + width // 2) // width, 1, rows)
    box_columns = tf.clip_by_value((rows * width + height // 2) // height, 1, columns)
    return (rows - box_rows) // 2, (columns - box_columns) // 2, box_rows, box_columns
