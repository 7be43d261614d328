"""The resized pictures of a split: kept in memory, in a file, or decoded each time they are asked for."""

import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.data.dataset import Images
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import all_resized, open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ArraySet, ShardSet

__all__ = ["CACHE_BYTES", "PictureSource", "as_written", "lost_images", "picture_source", "tuned"]

# Decoded pictures are kept in memory when a whole split of them needs no more than this.
CACHE_BYTES = 1 << 30
# A file of them may take this share of the room that a disk has left.
_SHARE_OF_DISK = 0.5

# (index, top, left) to a uint8 (height, width, 3) cut of a resized picture.
PictureSource = Callable[[tf.Tensor, Any, Any], tf.Tensor]

# What TensorFlow's threads could not open, for `lost_images`.
_lost: list[str] = []

# No Python branch hangs on a tensor here; without this each stream costs a second of rewriting these functions.
as_written = tf.autograph.experimental.do_not_convert


class _InFile:
    """Pictures one after the other in a file without a name: it is gone with the process, however that ends."""

    def __init__(self, folder: str, picture_bytes: int, blocks: Iterator[np.ndarray]) -> None:
        self._bytes = picture_bytes
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".pictures-")  # noqa: SIM115, lives as long as self
        weakref.finalize(self, self._file.close)
        for block in blocks:
            self._file.write(block.data)
        self._file.flush()

    def read(self, index: int) -> np.ndarray:
        """One picture, flat. Read, not mapped: what is mapped counts as the process's own memory."""
        with self._lock:
            self._file.seek(int(index) * self._bytes)
            return np.frombuffer(self._file.read(self._bytes), np.uint8)


# The pictures of each split that is still in use, at the last size asked for.
_cached: "weakref.WeakKeyDictionary[Images, tuple[Any, tf.Tensor | _InFile]]" = weakref.WeakKeyDictionary()


def picture_source(
    split: Images, preprocess: Preprocess, cache_bytes: int, cache_folder: str | os.PathLike[str] | None
) -> PictureSource:
    """Choose where the resized pictures of a split come from; their pixels are the same wherever that is.

    Args:
        split: the images.
        preprocess: size, resize and crop.
        cache_bytes: largest memory for them; 0 keeps none there.
        cache_folder: where a file of them may lie that takes no more than half of the room left; None for none.
    """
    size = (preprocess.height, preprocess.width, 3)
    whole = (preprocess.resize_height, preprocess.resize_width, 3)
    kept = _kept(split, preprocess, cache_bytes, cache_folder)
    if isinstance(kept, tf.Tensor):

        def from_memory(index: tf.Tensor, top: Any, left: Any) -> tf.Tensor:
            begin = tf.stack([tf.cast(index, tf.int32), top, left, 0])
            return tf.reshape(tf.slice(kept, begin, [1, *size]), size)

        return from_memory

    source = _decoding(split, preprocess)

    def cut(index: tf.Tensor, top: Any, left: Any) -> tf.Tensor:
        if kept is None:
            pixels = source(index)
        else:
            pixels = tf.reshape(tf.numpy_function(kept.read, [index], tf.uint8, stateful=False), whole)
        return tf.slice(pixels, tf.stack([top, left, 0]), size)

    return cut


@contextlib.contextmanager
def lost_images() -> Iterator[None]:
    """Within it batches are taken: an image that is gone by then is said in a line, not in TensorFlow's hundred.

    Raises:
        DataError: an image is gone or was changed since `open_dataset` looked at it.
    """
    _lost.clear()
    try:
        yield
    except tf.errors.OpError as error:
        if not _lost:
            raise
        raise DataError(f"{_lost[0]}; run it again on the images as they are") from error


def tuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """Set what every stream here has in common: a fixed order, one thread an image, two batches ahead."""
    options = tf.data.Options()
    options.deterministic = True
    # Each picture or batch on one thread: the sums do not depend on the number of cores, and splitting costs.
    options.threading.max_intra_op_parallelism = 1
    return stream.prefetch(2).with_options(options)


def _kept(
    split: Images, preprocess: Preprocess, cache_bytes: int, cache_folder: str | os.PathLike[str] | None
) -> "tf.Tensor | _InFile | None":
    """Decode a whole split, once for as long as it lives, to where there is room: memory, else a file, else nowhere."""
    picture_bytes = preprocess.resize_height * preprocess.resize_width * 3
    needed_bytes = len(split) * picture_bytes
    in_memory = 0 < needed_bytes <= cache_bytes
    if not needed_bytes:
        return None
    key = (in_memory, preprocess.resize_height, preprocess.resize_width, preprocess.fit)
    if split in _cached and _cached[split][0] == key:
        return _cached[split][1]
    if in_memory:
        # Not both at once: one may fit where two do not.
        _cached.pop(split, None)
        pixels = np.empty((len(split), preprocess.resize_height, preprocess.resize_width, 3), np.uint8)
        done = 0
        for block in _blocks(split, preprocess):
            pixels[done : done + len(block)] = block
            done += len(block)
        _cached[split] = (key, tf.convert_to_tensor(pixels))
        return _cached[split][1]
    if cache_folder is None:
        return None
    try:
        if needed_bytes > _SHARE_OF_DISK * shutil.disk_usage(cache_folder).free:
            return None
        in_file = _InFile(os.fspath(cache_folder), picture_bytes, _blocks(split, preprocess))
    except OSError:
        # The disk filled up, or the folder takes no files: slower without, but as right.
        return None
    _cached[split] = (key, in_file)
    return in_file


def _blocks(split: Images, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """All pictures of a split in their order, some at a time: uint8 (some, resize_height, resize_width, 3)."""
    if isinstance(split, ArraySet):
        for pixels, _ in split.blocks():
            yield all_resized(pixels, preprocess)
    elif isinstance(split, ShardSet):
        for _, data in split.pictures():
            yield resized(open_rgb(data), preprocess)[np.newaxis]
    else:
        stream = tf.data.Dataset.range(len(split))
        stream = stream.map(_decoding(split, preprocess), num_parallel_calls=tf.data.AUTOTUNE)
        with lost_images():
            yield from tuned(stream.batch(64)).as_numpy_iterator()


def _decoding(split: Images, preprocess: Preprocess) -> Any:
    """Make a function of an index that decodes and resizes: uint8 (resize_height, resize_width, 3)."""
    # As bytes: a name need not be Unicode.
    paths = tf.constant(np.array([os.fsencode(path) for path in split.files()], dtype=object))

    def look(path: bytes) -> np.ndarray:
        try:
            return resized(open_rgb(os.fsdecode(path)), preprocess)
        except (FormatError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            _lost.append(f"{os.fsdecode(path)}: gone or changed since it was checked ({reason})")
            raise

    @as_written
    def source(index: tf.Tensor) -> tf.Tensor:
        pixels = tf.numpy_function(look, [paths[index]], tf.uint8, stateful=False)
        pixels.set_shape([preprocess.resize_height, preprocess.resize_width, 3])
        return pixels

    return source
