"""The resized pictures of a split: kept in memory, in a file, or decoded each time they are asked for."""

import contextlib
import math
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.data.augment import Augment, changed, changing, cut_at, perhaps_flipped, reaches_beyond
from squeezekit.data.dataset import Images
from squeezekit.data.folder import changed_since
from squeezekit.data.threads import in_threads
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import all_resized, open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ArraySet, ShardSet

__all__ = ["CACHE_BYTES", "Cutter", "as_written", "cutter", "lost_images", "one_by_one", "tuned"]

# Decoded pictures are kept in memory when a whole split of them needs no more than this.
CACHE_BYTES = 1 << 30
# A file of them may take this share of the room that a disk has left.
_SHARE_OF_DISK = 0.5

# Batches of (places, tops, lefts, flips, draws, labels) to batches of (pixels, labels). Places are int64 (batch,),
# corners int32, flips bool, draws float32 (batch, `Augment.draws`); pixels are float32 (batch, height, width, 3): of
# the resized picture at each place what lies beyond its corner, mirrored or not, changed or not. Labels are handed on.
# The number is the size of the batches, of which the last may have fewer.
Cutter = Callable[[tf.data.Dataset, int], tf.data.Dataset]

# Pictures decoded at once on the way to where they are kept.
_BLOCK = 256

# What decodes a batch: twice the cores, for some always wait for Python's lock.
_THREADS = min(8, 2 * (os.cpu_count() or 1))
# Of a batch for each thread: pictures are of unequal size.
_SHARES = 4

# What TensorFlow's threads could not open, for `lost_images`.
_lost: list[str] = []

# No Python branch hangs on a tensor here; without this each stream costs a second of rewriting these functions.
as_written = tf.autograph.experimental.do_not_convert


class _InFile:
    """Pictures one after the other in a file without a name: it is gone with the process, however that ends."""

    def __init__(self, folder: str, shape: tuple[int, int, int], blocks: Iterator[np.ndarray]) -> None:
        self._shape, self._bytes = shape, math.prod(shape)
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".pictures-")  # noqa: SIM115, lives as long as self
        weakref.finalize(self, self._file.close)
        for block in blocks:
            self._file.write(block.data)
        self._file.flush()

    def __getitem__(self, place: int) -> np.ndarray:
        """One picture. Read, not mapped: what is mapped counts as the process's own memory."""
        with self._lock:
            self._file.seek(place * self._bytes)
            data = self._file.read(self._bytes)
        return np.frombuffer(data, np.uint8).reshape(self._shape)


# The pictures of each split that is still in use, at the last size asked for.
_cached: "weakref.WeakKeyDictionary[Images, tuple[Any, np.ndarray | _InFile]]" = weakref.WeakKeyDictionary()


def cutter(
    split: Images,
    preprocess: Preprocess,
    cache_bytes: int,
    cache_folder: str | os.PathLike[str] | None,
    augment: Augment | None,
) -> Cutter:
    """Choose where the resized pictures of a split come from; their pixels are the same wherever that is.

    Args:
        split: the images.
        preprocess: size, resize and crop.
        cache_bytes: largest memory for them; 0 keeps none there.
        cache_folder: where a file of them may lie that takes no more than half of the room left; None for none.
        augment: what may change; None for nothing.
    """
    size = (preprocess.height, preprocess.width, 3)
    kept = _kept(split, preprocess, cache_bytes, cache_folder)
    rows, columns = np.arange(preprocess.height), np.arange(preprocess.width)
    backwards = columns[::-1].copy()
    shifts = reaches_beyond(preprocess)
    picture = _decoding(split, preprocess) if kept is None else kept.__getitem__
    threads = ThreadPoolExecutor(_THREADS) if kept is None else None

    def cuts(
        places: np.ndarray, tops: np.ndarray, lefts: np.ndarray, flips: np.ndarray, draws: np.ndarray
    ) -> np.ndarray:
        pixels = np.empty((len(places), *size), np.float32)
        change = changing(draws, augment)
        chances = (chance.tolist() for chance in (places, tops, lefts, flips))
        chosen = list(enumerate(zip(*chances, strict=True)))

        def cut_some(chosen: Iterable[tuple[int, tuple[int, int, int, bool]]]) -> None:
            for number, (place, top, left, flip) in chosen:
                part = picture(place)
                if shifts:
                    # Places beyond the picture are those of its border.
                    part = part.take(rows + top, axis=0, mode="clip").take(
                        columns + left, axis=1, mode="clip"
                    )
                else:
                    part = part[top : top + preprocess.height, left : left + preprocess.width]
                # Twice as fast as a copy of the mirrored view.
                part = part.take(backwards, axis=1, mode="clip") if flip else part
                change(number, part, pixels[number])

        if threads is None:
            cut_some(chosen)
        else:
            shares = _THREADS * _SHARES
            # Read to the end, for the error of any of them.
            list(threads.map(cut_some, (chosen[share::shares] for share in range(shares))))
        return pixels

    @as_written
    def cut_all(
        places: tf.Tensor, tops: Any, lefts: Any, flips: Any, draws: Any, labels: Any
    ) -> tuple[tf.Tensor, Any]:
        pixels = tf.numpy_function(cuts, [places, tops, lefts, flips, draws], tf.float32, stateful=False)
        pixels.set_shape([*places.shape, *size])
        return pixels, labels

    # A batch at a time and all that is done to it in one call: TensorFlow takes longer to call anything for a picture
    # than to copy it, and as long again to call Python as Python takes to decode one. Python's lock lets no more than
    # one thread at it.
    return lambda stream, _: stream.map(cut_all, num_parallel_calls=1)


def one_by_one(
    picture: Callable[[tf.Tensor, Any, Any], tf.Tensor], preprocess: Preprocess, augment: Augment
) -> Cutter:
    """Cut in as many threads as there are, where each picture takes long.

    Args:
        picture: (place, top, left) to the pixels (height, width, 3) of a cut within the resized picture.
        preprocess: size, resize and crop.
        augment: what may change.
    """
    shifts = reaches_beyond(preprocess)

    @as_written
    def cut(place: tf.Tensor, top: Any, left: Any, flip: Any, draws: Any, label: Any) -> tuple[Any, ...]:
        if not shifts:
            return perhaps_flipped(picture(place, top, left), flip), draws, label
        # What is decoded lies within the picture.
        within = [
            tf.clip_by_value(begin, 0, whole - side)
            for begin, side, whole in (
                (top, preprocess.height, preprocess.resize_height),
                (left, preprocess.width, preprocess.resize_width),
            )
        ]
        pixels = cut_at(picture(place, *within), top - within[0], left - within[1], preprocess)
        return perhaps_flipped(pixels, flip), draws, label

    @as_written
    def change(pixels: tf.Tensor, draws: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return changed(pixels, draws, augment), labels

    def cut_all(stream: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        whole = tf.nest.flatten(stream.element_spec)[0].shape[0] is not None
        stream = stream.unbatch().map(cut, num_parallel_calls=tf.data.AUTOTUNE)
        stream = stream.batch(batch_size, drop_remainder=whole)
        return stream.map(change, num_parallel_calls=tf.data.AUTOTUNE)

    return cut_all


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
        raise DataError(_lost[0]) from error


def tuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """Set what every stream here has in common: a fixed order, one thread an image, two batches ahead."""
    options = tf.data.Options()
    options.deterministic = True
    # Each picture or batch on one thread: the sums do not depend on the number of cores, and splitting costs.
    options.threading.max_intra_op_parallelism = 1
    return stream.prefetch(2).with_options(options)


def _kept(
    split: Images, preprocess: Preprocess, cache_bytes: int, cache_folder: str | os.PathLike[str] | None
) -> "np.ndarray | _InFile | None":
    """Decode a whole split, once for as long as it lives, to where there is room: memory, else a file, else nowhere."""
    needed_bytes = len(split) * preprocess.resize_height * preprocess.resize_width * 3
    in_memory = 0 < needed_bytes <= cache_bytes
    if not needed_bytes:
        return None
    shape = (preprocess.resize_height, preprocess.resize_width, 3)
    key = (in_memory, *shape, preprocess.fit)
    if split in _cached and _cached[split][0] == key:
        return _cached[split][1]
    if in_memory:
        # Not both at once: one may fit where two do not.
        _cached.pop(split, None)
        pixels = np.empty((len(split), *shape), np.uint8)
        done = 0
        for block in _blocks(split, preprocess):
            pixels[done : done + len(block)] = block
            done += len(block)
        _cached[split] = (key, pixels)
        return pixels
    if cache_folder is None:
        return None
    try:
        if needed_bytes > _SHARE_OF_DISK * shutil.disk_usage(cache_folder).free:
            return None
        in_file = _InFile(os.fspath(cache_folder), shape, _blocks(split, preprocess))
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
        names = split.files()
        for start in range(0, len(names), _BLOCK):
            # Not by way of TensorFlow, whose calls of Python take as long again as what is called.
            yield np.stack(in_threads(lambda path: _look(path, preprocess), names[start : start + _BLOCK]))


def _look(path: str, preprocess: Preprocess) -> np.ndarray:
    """Decode and resize a picture that was fine when the set was opened.

    Raises:
        DataError: it is gone or was changed since.
    """
    try:
        return resized(open_rgb(path), preprocess)
    except (FormatError, OSError) as error:
        raise changed_since(path, error) from error


def _decoding(split: Images, preprocess: Preprocess) -> Callable[[int], np.ndarray]:
    """Make a function of a place that decodes and resizes: uint8 (resize_height, resize_width, 3)."""
    names = split.files()

    def picture(place: int) -> np.ndarray:
        try:
            return _look(names[place], preprocess)
        except DataError as error:
            _lost.append(str(error))
            raise

    return picture
