"""The targets by name: one file and one line each."""

import os
import tempfile
from pathlib import Path

import keras

from squeezekit.export.litert import litert
from squeezekit.export.target import ExportOptions, Start, Target

__all__ = ["TARGETS", "target", "write"]


def _write_tflite(model: keras.Model, path: str | os.PathLike[str], options: ExportOptions) -> None:
    litert(model, path, **vars(options))


TARGETS: dict[str, Target] = {
    each.name: each
    for each in (
        Target("tflite", ".tflite", "LiteRT, float32.", _write_tflite, integer=False),
        Target("tflite-int8", ".tflite", "LiteRT, integers throughout.", _write_tflite, integer=True),
    )
}
"""The targets by name; a program may add its own: `TARGETS["c"] = Target("c", ".c", "C sources.", write)`."""


def target(name: str) -> Target:
    """The target of that name; a `ValueError` lists the names if there is none.

    Example:
        >>> target("tflite-int8").integer
        True
    """
    if name not in TARGETS:
        raise ValueError(f"Expected a target of {', '.join(TARGETS)}. Received: {name!r}.")
    return TARGETS[name]


def write(
    name: str, network: keras.Model | bytes, path: str | os.PathLike[str], options: ExportOptions
) -> None:
    """Write a network by a target, through a `.tflite` where the target starts from one.

    Args:
        name: one of `TARGETS`.
        network: a plain Keras model, or the bytes of a `.tflite`.
        path: the file to write; it is replaced as a whole.
        options: the contract; of a `.tflite` the labels and the preprocess are inside.

    Raises:
        ValueError: an unknown target, one that does not start from such a network, calibration images for a float
            file or none for a full-integer one; and what the target itself refuses.
        OSError: the path cannot be written.
    """
    chosen = target(name)
    if chosen.integer is not None and chosen.integer != (options.calibration is not None):
        wanted = "calibration images" if chosen.integer else "no calibration images"
        raise ValueError(f"Expected {wanted} with the target {name}.")
    if chosen.start is Start.TFLITE and not isinstance(network, bytes):
        with tempfile.TemporaryDirectory() as folder:
            between = Path(folder, "network.tflite")
            _write_tflite(network, between, options)
            network = between.read_bytes()
    elif chosen.start is Start.KERAS and isinstance(network, bytes):
        raise ValueError(f"Expected a Keras network for the target {name}. Received: a .tflite.")
    chosen.write(network, path, options)
