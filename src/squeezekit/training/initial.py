"""Start a training from a file's weights instead of from noise (fine-tuning)."""

import contextlib
import dataclasses
import fnmatch
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from squeezekit import compress, models

__all__ = ["Initial", "frozen_layers", "read_initial"]

# More names than these make no line that anyone reads.
_MAX_NAMED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Initial:
    """Trained weights for another network to start from; `read_initial` makes one.

    Args:
        file: the file's name, for the record.
        sha256: of the file's content.
        network: what the file holds, plain. Its pixels are scaled as in every network of `models`.
        model: the name in `models.MODELS` whose layers fit.
    """

    file: str
    sha256: str
    network: keras.Model
    model: str

    @property
    def norm(self) -> models.Norm:
        """Where the file's network has BatchNorm: weights that were trained or folded without fit only without."""
        names = {layer.name for layer in self.network.layers}
        if "conv1_norm" in names:
            return models.Norm.ALL
        return models.Norm.SQUEEZE if "fire2_squeeze1x1_norm" in names else models.Norm.NONE

    def require(self, name: str) -> None:
        """Raise a `ValueError` unless `name` is of the family and version that the weights are of."""
        if name.split("-")[:2] != self.model.split("-")[:2]:
            raise ValueError(f"Expected a model that {self.file} fits: {self.model}. Received: {name}.")

    def fitting(self, network: keras.Model) -> tuple[list[str], list[str]]:
        """The layers of `network` that find weights of their name and shapes in the file, and those that do not.

        Args:
            network: of `models`.

        Returns:
            Names of layers that have weights, in the network's order: (taken, new).
        """
        shapes = {layer.name: _shapes(layer) for layer in self.network.layers}
        taken: list[str] = []
        new: list[str] = []
        for layer in network.layers:
            if layer.weights:
                (taken if shapes.get(layer.name) == _shapes(layer) else new).append(layer.name)
        return taken, new

    def give(self, network: keras.Model) -> str:
        """Copy every weight that fits into `network`; a classifier that does not fit begins at zero.

        Trained features are large: a classifier of noise would be surely wrong about them at first, and its gradient
        would spoil them. From zero it sends none back until it has learned something itself.

        Args:
            network: of `models`, as it was built.

        Returns:
            A line for people: how many layers were taken, and which were not.

        Raises:
            ValueError: the first layer does not fit; what lies above it would be noise.
        """
        taken, new = self.fitting(network)
        first = next(layer.name for layer in network.layers if layer.weights)
        if first not in taken:
            raise ValueError(
                f"Expected a network whose first layer {self.file} fits: {self.model} with the --width and "
                f"--norm of that file. Received: {network.name}, where {first} has other shapes."
            )
        for name in taken:
            network.get_layer(name).set_weights(self.network.get_layer(name).get_weights())
        last = [layer.name for layer in network.layers if layer.weights][-1]
        if last in new:
            classifier = network.get_layer(last)
            classifier.set_weights([np.zeros(shape, np.float32) for shape in _shapes(classifier)])
        named = ", ".join(new[:_MAX_NAMED]) + (
            f" and {len(new) - _MAX_NAMED} more" if new[_MAX_NAMED:] else ""
        )
        return f"{len(taken)} of {len(taken) + len(new)} layers from {self.file}; new: {named or 'none'}"

    def to_dict(self, network: keras.Model) -> dict[str, Any]:
        """Plain values for JSON: the file, and what `network` took of it."""
        taken, new = self.fitting(network)
        return {"file": self.file, "sha256": self.sha256, "model": self.model, "taken": taken, "new": new}


def read_initial(path: Path) -> Initial:
    """Read weights to start from.

    Args:
        path: a `.keras` of ours, or the published Deep Compression `.net` (`models.load_net`).

    Raises:
        ValueError: another kind of file, or a network that is none of ours.
        FormatError: the file is damaged.
        OSError: the file cannot be opened.
    """
    if path.suffix not in (".keras", ".net"):
        raise ValueError(f"Expected weights to start from in a .keras or .net file. Received: {path}.")
    network = models.load_net(path) if path.suffix == ".net" else compress.strip(models.load(path))
    model = models.name_of(network)
    if not model:
        raise ValueError(
            f"Expected a network of squeezekit to start from ({', '.join(sorted(models.MODELS))}), "
            f"with its scaling of pixels. Received: {path}."
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Initial(path.name, digest, network, model)


@contextlib.contextmanager
def frozen_layers(network: keras.Model, patterns: Sequence[str]) -> Iterator[None]:
    """Within it, the layers whose names match a pattern keep their weights while the network trains.

    Args:
        network: what is compiled and trained within.
        patterns: as in a shell, such as "conv1" and "fire[2-4]*".

    Raises:
        ValueError: a pattern matches no layer with weights, or nothing would be left to train.

    Example:
        >>> network = models.squeezenet((64, 64, 3), 4)
        >>> with frozen_layers(network, ["conv1", "fire[2-4]*"]):
        ...     [network.get_layer(name).trainable for name in ("fire4_expand3x3", "conv10")]
        [False, True]
    """
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    chosen: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(layers, pattern)
        if not matched:
            raise ValueError(
                f"Expected a pattern of layers to freeze, of {', '.join(layers)}. Received: {pattern!r}."
            )
        chosen.update(matched)
    if len(chosen) == len(layers):
        raise ValueError("Expected a layer that is left to train. Received: patterns that freeze all.")
    thawed = [layers[name] for name in chosen if layers[name].trainable]
    try:
        for layer in thawed:
            layer.trainable = False
        yield
    finally:
        # One by one: setting it on the network does not reach them.
        for layer in thawed:
            layer.trainable = True


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
