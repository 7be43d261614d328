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

# A message has no more names than these.
_MAX_NAMED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Initial:
    """Trained weights for another network to start from; `read_initial` makes one.

    Args:
        file: the file's name, for the record.
        sha256: of the file's content.
        network: what the file holds, without hooks.
        model: its name in `models.MODELS`.
    """

    file: str
    sha256: str
    network: keras.Model
    model: str

    @property
    def norm(self) -> models.Norm:
        """Where the file's network has BatchNorm; its weights fit a network that has it in the same places."""
        weighted = [layer for layer in self.network.layers if layer.weights]
        norms = [isinstance(layer, keras.layers.BatchNormalization) for layer in weighted]
        if not any(norms):
            return models.Norm.NONE
        return models.Norm.ALL if norms[1] else models.Norm.SQUEEZE

    def require(self, name: str) -> None:
        """Raise a `ValueError` unless `name` is of the family of the file's network."""
        if models.entry(name).family != models.entry(self.model).family:
            raise ValueError(f"Expected a model that {self.file} fits: {self.model}. Received: {name}.")

    def fitting(self, network: keras.Model) -> tuple[list[str], list[str]]:
        """Names of the layers of `network` with weights: those whose name and shapes the file has, and the others."""
        known = {layer.name: _shapes(layer) for layer in self.network.layers}
        weighted = [layer for layer in network.layers if layer.weights]
        taken = [layer.name for layer in weighted if known.get(layer.name) == _shapes(layer)]
        return taken, [layer.name for layer in weighted if layer.name not in taken]

    def give(self, network: keras.Model) -> str:
        """Copy every weight that fits into `network`; a classifier that does not fit starts at zero.

        A random classifier on top of trained features starts with large errors, and its gradient would spoil them.
        One of zeros sends no gradient back before it has learned something itself.

        Returns:
            A line for people: how many layers were taken, and which were not.

        Raises:
            ValueError: the first layer does not fit; the layers above it would get noise.
        """
        taken, new = self.fitting(network)
        weighted = [layer.name for layer in network.layers if layer.weights]
        first, last = weighted[0], weighted[-1]
        if first not in taken:
            raise ValueError(
                f"Expected a network whose first layer {self.file} fits: {self.model} with the --width and "
                f"--norm of that file. Received: {network.name}, where {first} has other shapes."
            )
        for name in taken:
            network.get_layer(name).set_weights(self.network.get_layer(name).get_weights())
        if last in new:
            classifier = network.get_layer(last)
            classifier.set_weights([np.zeros(shape, np.float32) for shape in _shapes(classifier)])
        more = f" and {len(new) - _MAX_NAMED} more" if new[_MAX_NAMED:] else ""
        named = ", ".join(new[:_MAX_NAMED]) + more
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
        ValueError: another kind of file, or a network that is not in `models.MODELS`.
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
    """Inside the `with` block the layers whose names match a pattern keep their weights in training.

    Args:
        network: compiled and trained inside the block.
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
    frozen = [layers[name] for name in chosen if layers[name].trainable]
    try:
        for layer in frozen:
            layer.trainable = False
        yield
    finally:
        # One by one: setting it on the network does not reach them.
        for layer in frozen:
            layer.trainable = True


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
