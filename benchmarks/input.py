"""Images a second from files to batches, side by side: ours, Keras's two ways, and a bare decode loop as the limit.

    python benchmarks/input.py ../shared/data/intel --images 1000 --size 96
    python benchmarks/input.py ../shared/data/imagenet-sample/images --images 500 --size 128
    python benchmarks/input.py ../shared/data/imagenet-sample/images --images 500 --size 112
    python benchmarks/input.py ../shared/data/intel --memory

Every way resizes to the same size and makes float32 batches of 32; ours and the generator mirror half of the images
and shift their brightness too. All but the first two decode each image anew in every epoch; these decode it once,
that once included, for all epochs of a `squeezekit squeeze` (20 of the float network, 6 of each technique; `--epochs`
for another number), and keep it in memory or in a file. The limit is
`tf.io.decode_jpeg` alone, in `tf.data`, with nothing of a picture handed on. What decodes anew is built before the
clock starts. The ways take turns, so that whatever else the machine does hits them alike; figures are medians of
the rounds, by the clock and by the processor time of all threads. On a machine that does other things too only the
latter say something.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from squeezekit.data import Split, batches
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


def ours(split: Split, size: int, epochs: int = 1, **options: Any) -> Iterable:
    margin = round(size * 8 / 7) if options.get("training", True) else size
    preprocess = Preprocess(size, size, margin, margin)
    # A split of its own, because what is kept of one is kept as long as it lives.
    fresh = Split(split.paths, split.labels)
    options = {"training": True, "cache_bytes": 0, **options}
    return batches(fresh, preprocess, batch_size=BATCH, epochs=epochs, **options)


def dataset_from_directory(folder: Path, size: int) -> Iterable:
    with contextlib.redirect_stdout(io.StringIO()):
        made = keras.utils.image_dataset_from_directory(
            folder, image_size=(size, size), batch_size=BATCH, follow_links=True
        )
    return made.prefetch(2)


def generator(folder: Path, size: int) -> Iterable:
    made = ImageDataGenerator(horizontal_flip=True, brightness_range=(0.9, 1.1))
    with contextlib.redirect_stdout(io.StringIO()):
        stream = made.flow_from_directory(
            folder, target_size=(size, size), batch_size=BATCH, class_mode="sparse", follow_links=True
        )
    return (stream[place] for place in range(len(stream)))


def bare(split: Split) -> Iterable:
    stream = tf.data.Dataset.from_tensor_slices(split.paths)
    stream = stream.map(
        lambda path: tf.io.decode_jpeg(tf.io.read_file(path), channels=3), num_parallel_calls=tf.data.AUTOTUNE
    )
    return stream.map(lambda pixels: pixels[0, 0, 0]).batch(BATCH).prefetch(2)


# What is run; what keeps pictures for so many epochs, the rest for one.
WAYS: dict[str, Callable[[Split, Path, int, int], Iterable]] = {
    "ours, kept in memory": lambda s, _, size, epochs: ours(s, size, epochs, cache_bytes=1 << 30),
    "ours, kept in a file": lambda s, folder, size, epochs: ours(s, size, epochs, cache_folder=folder.parent),
    "ours, decoded anew": lambda s, _, size, __: ours(s, size),
    "ours, in order": lambda s, _, size, __: ours(s, size, training=False),
    "image_dataset_from_directory": lambda _, folder, size, __: dataset_from_directory(folder, size),
    "ImageDataGenerator": lambda _, folder, size, __: generator(folder, size),
    "decode_jpeg alone": lambda s, *_: bare(s),
}
KEPT = {name for name in WAYS if "kept" in name}
PEERS = list(WAYS)[-3:]
ANEW = set(WAYS) - KEPT - {"ImageDataGenerator"}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def print_memory(split: Split, folder: Path, size: int) -> None:
    """The process's largest memory while it streams more and more images."""
    preprocess = Preprocess(size, size, round(size * 8 / 7), round(size * 8 / 7))
    for name, options in {
        "decoded anew": {},
        "in a file": {"cache_folder": folder},
    }.items():
        for times in (1, 1, 2, 4, 8):
            many = Split(split.paths * times, np.tile(split.labels, times))
            peak = 0
            for _ in batches(many, preprocess, batch_size=BATCH, training=True, cache_bytes=0, **options):
                peak = max(peak, resident_bytes())
            print(f"{name:14}{len(many):8,} images {peak / 1e6:8,.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=38, help="of what keeps pictures")
    parser.add_argument("--memory", action="store_true", help="memory against the number of images instead")
    options = parser.parse_args()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "images"
        folder.mkdir()
        split = sample(options.source, options.images, folder)
        if options.memory:
            print_memory(split, Path(root), options.size)
            return
        # What keeps decoded pictures does its work as it is built; the generator gives each batch once.
        built = {name: WAYS[name](split, folder, options.size, 1) for name in ANEW}
        for number in range(options.rounds + 1):
            for name, way in WAYS.items():
                epochs = options.epochs if name in KEPT else 1
                clock, processor = time.perf_counter(), time.process_time()
                for _ in built.get(name) or way(split, folder, options.size, epochs):
                    pass
                # The first round warms the disk's cache and TensorFlow up.
                if number:
                    spent = time.perf_counter() - clock, time.process_time() - processor
                    seconds[name].append((spent[0] / epochs / len(split), spent[1] / epochs / len(split)))
    print(f"{options.images} images of {options.source.name} at {options.size} pixels")
    print(
        f"{'images a second':34}{'clock':>8}{'processor':>12}   times {', '.join(PEERS)} (by the processor)"
    )
    for name, spent in seconds.items():
        by_clock, by_processor = (1 / statistics.median(column) for column in zip(*spent, strict=True))
        ratios = [
            statistics.median(theirs[1] / own[1] for own, theirs in zip(spent, seconds[peer], strict=True))
            for peer in PEERS
        ]
        print(
            f"{name:34}{by_clock:8,.0f}{by_processor:12,.0f}   "
            + "".join(f"{ratio:8.2f}" for ratio in ratios)
        )


if __name__ == "__main__":
    main()
