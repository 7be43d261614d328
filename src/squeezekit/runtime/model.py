"""A classifier opened from its file: from a photo to a label."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from squeezekit import files
from squeezekit.errors import FormatError
from squeezekit.imaging import fit, open_rgb, to_rgb
from squeezekit.preprocess import Preprocess
from squeezekit.runtime.contents import Contents, read_contents
from squeezekit.runtime.network import Network

__all__ = ["Model", "Prediction", "assemble", "load"]


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of a model for one image.

    Args:
        label: the most probable class.
        probability: its probability, in [0, 1].
        top: the most probable classes and their probabilities, in descending order; the first is `label`.

    Example:
        >>> Prediction("cat", 0.75, (("cat", 0.75), ("dog", 0.25))).label
        'cat'
    """

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A classifier, ready to run; `load` makes it. Do not use one from several threads at once.

    Args:
        path: its file.
        labels: one for each class, in the order of the output.
        preprocess: how a picture becomes the network's input.
        provenance: where the network comes from, if the file says so.
        network: the network itself.
    """

    path: Path
    labels: tuple[str, ...]
    preprocess: Preprocess
    provenance: dict[str, Any]
    network: Network = dataclasses.field(repr=False)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, height, width, 3)."""
        return self.network.input_shape

    def pixels(self, image: str | os.PathLike[str] | bytes | Image.Image | np.ndarray) -> np.ndarray:
        """Turn an image into the network's input, uint8 (height, width, 3). Arguments as for `predict`."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise ValueError(
                    "Expected uint8 RGB pixels of shape (height, width, 3). "
                    f"Received: {image.dtype} of shape {image.shape}."
                )
            picture = Image.fromarray(image)
        elif isinstance(image, Image.Image):
            picture = to_rgb(image)
        else:
            picture = open_rgb(image)
        return fit(picture, self.preprocess)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Run images of the network's input size; see `Network.probabilities`.

        Args:
            pixels: uint8 RGB, shape (images, height, width, 3).

        Returns:
            float32, shape (images, classes), in [0, 1].

        Raises:
            ValueError: pixels of another shape or type.
        """
        return self.network.probabilities(pixels)

    def predict(
        self, image: str | os.PathLike[str] | bytes | Image.Image | np.ndarray, *, top: int = 5
    ) -> Prediction:
        """Label an image.

        Args:
            image: a path, the bytes of an image file, a Pillow image, or uint8 RGB pixels of shape
                (height, width, 3) and any size.
            top: number of most probable classes to return, at least 1.

        Raises:
            ValueError: `top` is below 1, or an array of another shape or type.
            FormatError: the image is unreadable.
            OSError: the path cannot be opened.
        """
        ranked = self.rank(self.pixels(image), top=top)
        return Prediction(*ranked[0], top=ranked)

    def rank(self, pixels: np.ndarray, *, top: int) -> tuple[tuple[str, float], ...]:
        """The most probable classes of one image and their probabilities, in descending order.

        Args:
            pixels: uint8 RGB of the network's input size, shape (height, width, 3).
            top: number of classes to return, at least 1.
        """
        if top < 1:
            raise ValueError(f"Expected at least 1 class to name. Received: top={top}.")
        probabilities = self.probabilities(pixels[np.newaxis])[0]
        # Stable, so that of equal classes the first comes first, as with argmax.
        order = np.argsort(-probabilities, kind="stable")[:top]
        return tuple((self.labels[index], float(probabilities[index])) for index in order)


def load(path: str | os.PathLike[str], *, threads: int = 1) -> Model:
    """Open a `.sqz` or a `.tflite` that classifies images.

    If the file has no labels, the classes are "0", "1", ... If it has no image settings, images are squashed to the
    network's input. A float network must expect RGB in [0, 255]: one that expects another range gives wrong labels
    without an error.

    Args:
        path: the file.
        threads: CPU threads of an inference. One is best for small networks.

    Raises:
        ValueError: it is not an image classifier.
        FormatError: it is neither a `.sqz` nor a `.tflite`, or is damaged.
        OSError: it cannot be read, or is not a regular file.

    Example:
        >>> load("photo.tflite")
        Traceback (most recent call last):
            ...
        FileNotFoundError: [Errno 2] No such file or directory: 'photo.tflite'
    """
    source = Path(path)
    data = files.read_regular(source)
    try:
        return assemble(source, read_contents(data), threads=threads)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def assemble(path: Path, contents: Contents, *, threads: int = 1) -> Model:
    """Make a classifier from the contents of a file.

    Args:
        path: the file of the contents.
        contents: of `read_contents`.
        threads: CPU threads of an inference.

    Raises:
        ValueError: not an image classifier.
        FormatError: LiteRT cannot run it, or it does not fit its labels or image settings.
    """
    expected = contents.preprocess
    network = Network(
        contents.tflite, threads=threads, size=(expected.height, expected.width) if expected else None
    )
    if contents.labels and len(contents.labels) != network.classes:
        raise FormatError(f"{len(contents.labels)} labels for {network.classes} classes")
    _, height, width, _ = network.input_shape
    return Model(
        path=path,
        labels=contents.labels or tuple(map(str, range(network.classes))),
        preprocess=expected or Preprocess(height, width),
        provenance=contents.provenance,
        network=network,
    )
