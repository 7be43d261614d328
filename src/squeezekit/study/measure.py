"""A file that ships, measured: bytes by the file system, accuracy and time by the device's runtime."""

import math
from pathlib import Path
from typing import Any

import keras

from squeezekit import compress, runtime
from squeezekit.data import Dataset
from squeezekit.quiet import quiet_native
from squeezekit.training import Progress

__all__ = ["measure_file", "wilson_interval"]


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
    truth = [dataset.class_names[label] for label in dataset.test.labels]
    result = runtime.evaluate_files(
        model,
        dataset.test.paths,
        truth,
        progress=lambda done, total: progress.update(f"test {path.name}", done, total),
    )
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
        "top1_interval": list(wilson_interval(round(result.top1 * result.images), result.images)),
        "top5": result.top5,
        "per_class": dict(result.per_class),
        "worst_class": {"label": worst, "recall": result.per_class[worst]},
        "latency_ms": runtime.latency_ms(model),
    }
