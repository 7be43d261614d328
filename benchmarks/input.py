"""Images a second from files to batches, side by side: ours, Keras's two ways, and a bare decode loop as the limit.

    python benchmarks/input.py ../shared/data/intel --images 1000 --size 96
    python benchmarks/input.py ../shared/data/imagenet-sample/images --images 500 --size 128

Every way decodes each image anew (nothing is cached), resizes it to the same size and makes float32 batches of 32;
ours and the generator mirror half of the images and shift their brightness too. The ways take turns, so that
whatever else the machine does hits them alike; the figure is the median of the rounds. The limit is
`tf.io.decode_jpeg` alone, in `tf.data`.

Not measured yet: it wants a quiet machine.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from squeezekit.data import batches
from squeezekit.data.folder import Split
from squeezekit.preprocess import Preprocess

BATCH = 32


def sample(source: Path, images: int, target: Path) -> Split:
    """Link some images of every class folder into two class folders of a new one."""
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    found = [found[place] for place in np.linspace(0, len(found) - 1, min(images, len(found))).astype(int)]
    paths, labels = [], []
    for number, path in enumerate(found):
        link = target / "ab"[number % 2] / f"{number:05d}.jpg"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(path.resolve())
        paths.append(str(link))
        labels.append(number % 2)
    return Split(paths, np.array(labels, np.int32))


def ours(split: Split, folder: Path, size: int, training: bool) -> Iterable:
    margin = round(size * 8 / 7) if training else size
    preprocess = Preprocess(size, size, margin, margin)
    return batches(split, preprocess, batch_size=BATCH, training=training, cache_bytes=0)


def dataset_from_directory(split: Split, folder: Path, size: int) -> Iterable:
    with contextlib.redirect_stdout(io.StringIO()):
        made = keras.utils.image_dataset_from_directory(
            folder, image_size=(size, size), batch_size=BATCH, follow_links=True
        )
    return made.prefetch(2)


def generator(split: Split, folder: Path, size: int) -> Iterable:
    made = ImageDataGenerator(horizontal_flip=True, brightness_range=(0.9, 1.1))
    with contextlib.redirect_stdout(io.StringIO()):
        stream = made.flow_from_directory(
            folder, target_size=(size, size), batch_size=BATCH, class_mode="sparse", follow_links=True
        )
    return (stream[place] for place in range(len(stream)))


def bare(split: Split, folder: Path, size: int) -> Iterable:
    stream = tf.data.Dataset.from_tensor_slices(split.paths)
    return stream.map(
        lambda path: tf.io.decode_jpeg(tf.io.read_file(path), channels=3), num_parallel_calls=tf.data.AUTOTUNE
    ).prefetch(2)


WAYS: dict[str, Callable[[Split, Path, int], Iterable]] = {
    "ours, training": lambda *words: ours(*words, training=True),
    "ours, in order": lambda *words: ours(*words, training=False),
    "image_dataset_from_directory": dataset_from_directory,
    "ImageDataGenerator": generator,
    "decode_jpeg alone": bare,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        split = sample(options.source, options.images, Path(folder))
        for number in range(options.rounds + 1):
            for name, way in WAYS.items():
                start = time.perf_counter()
                for _ in way(split, Path(folder), options.size):
                    pass
                # The first round warms the disk's cache and TensorFlow up.
                if number:
                    rates[name].append(len(split) / (time.perf_counter() - start))
    median = {name: statistics.median(found) for name, found in rates.items()}
    for name, found in rates.items():
        print(f"{name:30}{median[name]:8,.0f} images/s  ({min(found):,.0f} to {max(found):,.0f})")
    for name in list(WAYS)[2:]:
        ratio = statistics.median(
            one / other for one, other in zip(rates["ours, training"], rates[name], strict=True)
        )
        print(f"ours, training: {ratio:.2f} times {name}")


if __name__ == "__main__":
    main()
