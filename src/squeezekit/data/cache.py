"""The cached images of a part: resized and kept in memory, in a file, or decoded each time they are needed."""

import contextlib
import math
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.data.augment import Augment, choose_cuts, cut_batch
from squeezekit.data.labelled_images import Images, changed_since
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import all_resized, open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.readers import ArrayImages, ShardImages
from squeezekit.thread_map import in_threads

__all__ = ["CACHE_BYTES", "Cutter", "as_written", "cutter", "kept_bytes", "lost_images", "tuned"]

# Resized images are cached in memory when all of a part need no more than this.
CACHE_BYTES = 1 << 30
# A file of them may take this share of the free space.
_SHARE_OF_DISK = 0.5

# Batches of (places, draws, labels) to batches of (pixels, labels). Places are int64 (batch,), draws float32 (batch,
# `Augment.draws`), pixels float32 (batch, height, width, 3): a cut of the resized image at each place, changed or not.
Cutter = Callable[[tf.data.Dataset], tf.data.Dataset]

# Images decoded at once on the way to the cache.
_BLOCK = 256

# Threads that decode a batch: twice the cores, because some always wait for Python's lock.
_THREADS = min(8, 2 * (os.cpu_count() or 1))
# Errors of images that TensorFlow's threads could not open, for `lost_images`.
_lost: list[str] = []

# No Python branch depends on a tensor here; without this each stream costs a second of rewriting these functions.
as_written = tf.autograph.experimental.do_not_convert


class _InFile:
    """Images in a file without a name: it is gone with the process, however that ends."""

    def __init__(self, folder: str, shape: tuple[int, int, int], blocks: Iterator[np.ndarray]) -> None:
        self._shape, self._bytes = shape, math.prod(shape)
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".pictures-")  # noqa: SIM115, lives as long as self
        weakref.finalize(self, self._file.close)
        for block in blocks:
            self._file.write(block.data)
        self._file.flush()

    def __getitem__(self, place: int) -> np.ndarray:
        """One image. Read, not mapped: what is mapped counts as the process's own memory."""
        with self._lock:
            self._file.seek(place * self._bytes)
            data = self._file.read(self._bytes)
        return np.frombuffer(data, np.uint8).reshape(self._shape)


# The cached images of each part that is still in use, at the last size asked for.
_cached: "weakref.WeakKeyDictionary[Images, tuple[Any, np.ndarray | _InFile]]" = weakref.WeakKeyDictionary()


def cutter(
    images: Images,
    preprocess: Preprocess,
    cache_bytes: int,
    cache_folder: str | os.PathLike[str] | None,
    augment: Augment | None,
) -> Cutter:
    """Choose where the resized images come from, as `batches` says; None for `augment` changes nothing."""
    kept = _kept(images, preprocess, cache_bytes, cache_folder)
    picture = _decoding(images, preprocess) if kept is None else kept.__getitem__
    threads = ThreadPoolExecutor(_THREADS) if kept is None else None

    def cut(draws: np.ndarray, *chosen: np.ndarray) -> np.ndarray:
        return cut_batch(picture, chosen, draws, preprocess, augment, threads)

    @as_written
    def cut_all(places: tf.Tensor, draws: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = (places, *choose_cuts(draws, preprocess, augment))
        pixels = tf.numpy_function(cut, [draws, *chosen], tf.float32, stateful=False)
        pixels.set_shape([*places.shape, preprocess.height, preprocess.width, 3])
        return pixels, labels

    # All that is done to a batch in one call: TensorFlow takes longer to call anything for an image than to copy it,
    # and as long to call Python as Python takes to decode one. Python's lock admits one thread only.
    return lambda stream: stream.map(cut_all, num_parallel_calls=1)


@contextlib.contextmanager
def lost_images() -> Iterator[None]:
    """Turn TensorFlow's error of an image that is gone, in batches read within this context, into one line.

    Raises:
        DataError: an image is gone or was changed since `open_dataset` checked it.
    """
    _lost.clear()
    try:
        yield
    except tf.errors.OpError as error:
        if not _lost:
            raise
        raise DataError(_lost[0]) from error


def tuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """Set the options of every stream here: a fixed order, one thread an image, two batches ahead."""
    options = tf.data.Options()
    options.deterministic = True
    # Each image or batch on one thread: the sums do not depend on the number of cores, and splitting costs.
    options.threading.max_intra_op_parallelism = 1
    return stream.prefetch(2).with_options(options)


def kept_bytes(images: Images, preprocess: Preprocess) -> int:
    """The memory that all resized images of a part need."""
    return len(images) * preprocess.resize_height * preprocess.resize_width * 3


def _kept(
    images: Images, preprocess: Preprocess, cache_bytes: int, cache_folder: str | os.PathLike[str] | None
) -> "np.ndarray | _InFile | None":
    """Decode a whole part once, into memory if it fits, else into a file if there is room; None if neither."""
    needed_bytes = kept_bytes(images, preprocess)
    in_memory = 0 < needed_bytes <= cache_bytes
    if not needed_bytes:
        return None
    shape = (preprocess.resize_height, preprocess.resize_width, 3)
    key = (in_memory, *shape, preprocess.fit)
    if images in _cached and _cached[images][0] == key:
        return _cached[images][1]
    if in_memory:
        # Not both at once: one may fit where two do not.
        _cached.pop(images, None)
        pixels = np.empty((len(images), *shape), np.uint8)
        done = 0
        for block in _blocks(images, preprocess):
            pixels[done : done + len(block)] = block
            done += len(block)
        _cached[images] = (key, pixels)
        return pixels
    if cache_folder is None:
        return None
    try:
        if needed_bytes > _SHARE_OF_DISK * shutil.disk_usage(cache_folder).free:
            return None
        in_file = _InFile(os.fspath(cache_folder), shape, _blocks(images, preprocess))
    except OSError:
        # The disk is full, or the folder is read-only: without a file it is slower, not wrong.
        return None
    _cached[images] = (key, in_file)
    return in_file


def _blocks(images: Images, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """All resized images in order, some at a time: uint8 (some, resize_height, resize_width, 3)."""
    if isinstance(images, ArrayImages):
        for pixels, _ in images.blocks():
            yield all_resized(pixels, preprocess)
    elif isinstance(images, ShardImages):
        for _, data in images.pictures():
            yield resized(open_rgb(data), preprocess)[np.newaxis]
    else:
        paths = images.files()
        for start in range(0, len(paths), _BLOCK):
            # Not through TensorFlow, whose calls of Python take as long as decoding.
            yield np.stack(in_threads(lambda path: _decoded(path, preprocess), paths[start : start + _BLOCK]))


def _decoded(path: str, preprocess: Preprocess) -> np.ndarray:
    """Decode and resize an image that could be read when the dataset was opened."""
    try:
        return resized(open_rgb(path), preprocess)
    except (FormatError, OSError) as error:
        raise changed_since(path, error) from error


def _decoding(images: Images, preprocess: Preprocess) -> Callable[[int], np.ndarray]:
    """Make a function of a place that decodes and resizes: uint8 (resize_height, resize_width, 3)."""
    paths = images.files()

    def picture(place: int) -> np.ndarray:
        try:
            return _decoded(paths[place], preprocess)
        except DataError as error:
            _lost.append(str(error))
            raise

    return picture
