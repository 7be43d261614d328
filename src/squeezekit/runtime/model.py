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
    """What a model says of one image.

    Args:
        label: the likeliest class.
        probability: its probability, in [0, 1].
        top: the likeliest classes and their probabilities, falling; the first is `label`.

    Example:
        >>> Prediction("cat", 0.75, (("cat", 0.75), ("dog", 0.25))).label
        'cat'
    """

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A classifier, ready to run; `load` makes it. Not for use by several threads at a time.

    Args:
        path: the file that it comes from.
        labels: one a class, in the output's order.
        preprocess: how a picture becomes the network's input.
        provenance: where the network comes from, as far as its file says.
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
        """Bring an image to the network's input, uint8, shape (height, width, 3). Arguments as for `predict`."""
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
        """Run images of the network's own size; see `Network.probabilities`.

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
        """Say what is in an image.

        Args:
            image: a path, the bytes of an image file, a Pillow image, or uint8 RGB pixels of shape
                (height, width, 3) and any size.
            top: how many of the likeliest classes to name, at least 1.

        Raises:
            ValueError: `top` is below 1, or an array of another shape or type.
            FormatError: the image is unreadable.
            OSError: the path cannot be opened.
        """
        ranked = self.rank(self.pixels(image), top=top)
        return Prediction(*ranked[0], top=ranked)

    def rank(self, pixels: np.ndarray, *, top: int) -> tuple[tuple[str, float], ...]:
        """The likeliest classes of one image and their probabilities, falling.

        Args:
            pixels: uint8 RGB of the network's own size, shape (height, width, 3).
            top: how many classes to name, at least 1.
        """
        if top < 1:
            raise ValueError(f"Expected at least 1 class to name. Received: top={top}.")
        probabilities = self.probabilities(pixels[np.newaxis])[0]
        # Stable, so that of equals the first class comes first, as argmax has it.
        order = np.argsort(-probabilities, kind="stable")[:top]
        return tuple((self.labels[index], float(probabilities[index])) for index in order)


def load(path: str | os.PathLike[str], *, threads: int = 1) -> Model:
    """Open a `.sqz` or a `.tflite` that classifies images.

    Where the file does not name its classes they are "0", "1", ...; where it does not say what it expects of
    an image, the image is squashed to the network's input. A float network is taken to expect RGB in
    [0, 255]: one that wants its pixels scaled to another range gives wrong labels, not an error.

    Args:
        path: the file.
        threads: how many CPU threads an inference may use. One is best for networks this small.

    Raises:
        ValueError: not an image classifier.
        FormatError: neither a `.sqz` nor a `.tflite`, or damaged.
        OSError: it cannot be read, or is no regular file.

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
    """Make a classifier of what a file holds.

    Args:
        path: the file that it comes from, for the record.
        contents: of `read_contents`.
        threads: how many CPU threads an inference may use.

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
