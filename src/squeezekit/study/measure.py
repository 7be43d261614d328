"""A file that ships, measured: bytes by the file system, accuracy and time by the device's runtime."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from squeezekit import compress, runtime
from squeezekit.data import Dataset, Images
from squeezekit.quiet import quiet_native
from squeezekit.training import Progress

__all__ = ["evaluate_split", "measure_file", "share_interval", "wilson_interval"]


def wilson_interval(right: int, images: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion.

    Args:
        right: successes, in [0, images].
        images: trials, at least 1.
        z: quantile of the normal distribution; 1.96 for 95 %.

    Returns:
        Lower and upper bound in [0, 1].

    Example:
        >>> low, high = wilson_interval(90, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)

    Paper: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share = right / images
    centre = share + z * z / (2 * images)
    spread = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    return (centre - spread) / scale, (centre + spread) / scale


def share_interval(share: float, images: int) -> list[float]:
    """`wilson_interval` of a share of images in [0, 1], as JSON has it.

    Example:
        >>> share_interval(0.9, 100) == list(wilson_interval(90, 100))
        True
    """
    return list(wilson_interval(round(share * images), images))


def evaluate_split(
    model: runtime.Model, split: Images, class_names: Sequence[str], what: str, progress: Progress
) -> runtime.Evaluation:
    """What the runtime makes of every image of a split.

    Args:
        model: from its file.
        split: the images.
        class_names: of the dataset that the split is of.
        what: is done, for the display.
        progress: where to show how far it is.
    """
    return runtime.evaluate_images(
        model,
        split.pictures(),
        [class_names[label] for label in split.labels],
        progress=lambda done, total: progress.update(what, done, total),
    )


def measure_file(
    path: Path, dataset: Dataset, *, name: str, network: str, plain: keras.Model, progress: Progress
) -> dict[str, Any]:
    """One row of the table: the file as the runtime runs it on every test image.

    Args:
        path: a `.tflite` or `.sqz`.
        dataset: its `test` images are classified.
        name: what the row is called.
        network: the catalogue's name of the network.
        plain: the Keras model that was exported, for its parameters.
        progress: where to show how far it is.

    Returns:
        Plain values for JSON; `times_smaller` is for the table to add.
    """
    with quiet_native():
        model = runtime.load(path)
    result = evaluate_split(model, dataset.test, dataset.class_names, f"test {path.name}", progress)
    worst = min(result.per_class, key=lambda label: result.per_class[label])
    figures = compress.measure(plain)
    return {
        "name": name,
        "model": network,
        "file": path.name,
        "parameters": figures.parameters,
        "nonzero_parameters": figures.nonzero,
        "macs": figures.macs,
        "file_bytes": path.stat().st_size,
        "images": result.images,
        "top1": result.top1,
        "top1_interval": share_interval(result.top1, result.images),
        "top5": result.top5,
        "macro_accuracy": result.macro_accuracy,
        "per_class": dict(result.per_class),
        "class_images": result.counts,
        "worst_class": {"label": worst, "recall": result.per_class[worst]},
        "latency_ms": runtime.latency_ms(model),
    }
