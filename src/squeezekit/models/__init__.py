"""The networks: AlexNet, the SqueezeNet family, BatchNorm folding, and a catalogue by name."""

from squeezekit.models.alexnet import alexnet
from squeezekit.models.catalogue import MODELS, build
from squeezekit.models.folding import fold_batch_norm, foldable_batch_norms
from squeezekit.models.loading import load
from squeezekit.models.squeezenet import Bypass, Fire, Norm, squeezenet

__all__ = [
    "MODELS",
    "Bypass",
    "Fire",
    "Norm",
    "alexnet",
    "build",
    "fold_batch_norm",
    "foldable_batch_norms",
    "load",
    "squeezenet",
]
