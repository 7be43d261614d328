"""The networks: AlexNet, the SqueezeNet family, a catalogue by name, BatchNorm folding, and a published one."""

from squeezekit.models.alexnet import alexnet
from squeezekit.models.blocks import SMALLEST_SIDE
from squeezekit.models.catalogue import MODELS, Entry, build, entry, name_of, title
from squeezekit.models.folding import fold_batch_norm, foldable_batch_norms
from squeezekit.models.loading import load
from squeezekit.models.published_net import PREPROCESS as NET_PREPROCESS
from squeezekit.models.published_net import load_net
from squeezekit.models.squeezenet import TINY_SIDE, Bypass, Fire, Head, Norm, squeezenet

__all__ = [
    "MODELS",
    "NET_PREPROCESS",
    "SMALLEST_SIDE",
    "TINY_SIDE",
    "Bypass",
    "Entry",
    "Fire",
    "Head",
    "Norm",
    "alexnet",
    "build",
    "entry",
    "fold_batch_norm",
    "foldable_batch_norms",
    "load",
    "load_net",
    "name_of",
    "squeezenet",
    "title",
]
