"""A training's whole state in one file: every variable, the epoch, the curves. Written whole or not at all."""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from squeezekit import files
from squeezekit.errors import FormatError

__all__ = ["Checkpoint", "weights_digest"]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a training after some epochs.

    Args:
        identity: what must be equal for a resume to be the same training (settings, data, network).
        epoch: epochs done.
        curves: one dict of figures an epoch.
        values: every variable of the model, then, unless the training is finished, of its optimizer.
    """

    identity: Mapping[str, Any]
    epoch: int
    curves: list[dict[str, float]]
    values: list[np.ndarray]

    def restore(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Put the state back into a model and an optimizer that were built the same way, or raise a `FormatError`."""
        variables = [*model.variables, *optimizer.variables]
        # A finished training left no optimizer.
        if len(self.values) == len(model.variables):
            variables = model.variables
        if [tuple(variable.shape) for variable in variables] != [value.shape for value in self.values]:
            raise FormatError(
                "the checkpoint's variables are not those of this network; start in a fresh folder"
            )
        for variable, value in zip(variables, self.values, strict=True):
            variable.assign(value)

    def save(self, path: Path) -> None:
        """Replace the file `path` once the new one is complete."""
        head = json.dumps(
            {"identity": self.identity, "epoch": self.epoch, "curves": self.curves}, sort_keys=True
        )
        arrays = {f"v{index}": value for index, value in enumerate(self.values)}
        with files.replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, head=np.frombuffer(head.encode(), np.uint8), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Checkpoint":
        """Read what `save` wrote; a `FormatError` if the file is damaged or no checkpoint."""
        try:
            # NumPy does not close a damaged file that it opened itself.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                head = json.loads(stored["head"].tobytes())
                values = [stored[f"v{index}"] for index in range(len(stored.files) - 1)]
            return cls(head["identity"], head["epoch"], head["curves"], values)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise FormatError(
                f"{path}: not a readable checkpoint ({error}); delete it to start over"
            ) from error


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of all weights."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
