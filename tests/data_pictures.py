"""Pictures, folders and readings of streams that the data tests share."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image


def picture(height: int, width: int, number: int = 0) -> np.ndarray:
    """A smooth coloured field with edges and grain, uint8 (height, width, 3): what JPEG and resizing find hard."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x * a + y * b) / 9.0) for a, b in random.uniform(-2, 2, (3, 2))]
    field = 128 + 70 * np.stack(waves, axis=-1) + random.normal(0, 12, (height, width, 3))
    field[height // 3 : height // 2, width // 4 : width // 2] = random.integers(0, 256, 3)
    return np.clip(field, 0, 255).astype(np.uint8)


def save(path: Path, height: int = 20, width: int = 24, number: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(height, width, number)).save(path, **options)
    return path


def make_classes(root: Path, counts: dict[str, int], suffix: str = ".jpg") -> Path:
    """Class folders of small distinct images."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            save(root / name / f"{number:03d}{suffix}", number=1000 * label + number)
    return root


def read(dataset: tf.data.Dataset) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pixels and labels of every batch."""
    pairs = list(dataset.as_numpy_iterator())
    return [pixels for pixels, _ in pairs], [labels for _, labels in pairs]


def assert_same(first: tuple[list[np.ndarray], ...], second: tuple[list[np.ndarray], ...]) -> None:
    """Two readings hold the same batches, bit for bit."""
    assert len(first[0]) == len(second[0])
    for ours, theirs in zip(first, second, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
