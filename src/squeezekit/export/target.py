"""What a target is, and the contract of the file that it writes."""

import dataclasses
import enum
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from squeezekit.preprocess import Preprocess

__all__ = ["ExportOptions", "Start", "Target"]


@dataclasses.dataclass(frozen=True, eq=False)
class ExportOptions:
    """What a file must hold besides the network: the arguments of `export.litert`, which explains them."""

    calibration: Iterable[np.ndarray] | None = None
    labels: Sequence[str] = ()
    preprocess: Preprocess | None = None
    provenance: Mapping[str, Any] | None = None
    per_channel: bool = False
    ranges: Mapping[str, tuple[float, float]] | None = None


class Start(enum.Enum):
    """What a target starts from."""

    KERAS = "keras"
    """A plain Keras model."""

    TFLITE = "tflite"
    """The bytes of a `.tflite`, which has labels and preprocess inside; needs neither Keras nor TensorFlow."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of file that a network is exported to.

    Args:
        name: as `--target` takes it.
        suffix: of the file, such as ".tflite".
        help: one line for `--help`.
        write: (network, path, options); the network is what `start` says. Replaces the file as a whole.
        start: what it starts from.
        integer: whether the file is full-integer and so needs calibration images; None if that is as the caller
            wants it, or as the `.tflite` is.
    """

    name: str
    suffix: str
    help: str
    write: Callable[[Any, str | os.PathLike[str], ExportOptions], None]
    start: Start = Start.KERAS
    integer: bool | None = None
