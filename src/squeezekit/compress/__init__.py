"""Compression techniques that compose: prune, share, quantize, in any order, on any Keras 3 backend."""

from squeezekit.compress.activations import activation_ranges
from squeezekit.compress.advice import advice
from squeezekit.compress.apply import advance, apply, broken_promises, finish, kernel_layers, strip
from squeezekit.compress.base import Kernel, Recipe, Technique
from squeezekit.compress.channels import PruneChannels
from squeezekit.compress.measures import LayerMeasure, Measures, measure
from squeezekit.compress.prune import Prune
from squeezekit.compress.quantize import Quantize
from squeezekit.compress.recipe import TECHNIQUES, parse
from squeezekit.compress.schedule import Schedule
from squeezekit.compress.separable import Separable
from squeezekit.compress.share import ShareWeights
from squeezekit.compress.shrink import shrink
from squeezekit.compress.transforms import Inserted, Moment, Transform

__all__ = [
    "TECHNIQUES",
    "Inserted",
    "Kernel",
    "LayerMeasure",
    "Measures",
    "Moment",
    "Prune",
    "PruneChannels",
    "Quantize",
    "Recipe",
    "Schedule",
    "Separable",
    "ShareWeights",
    "Technique",
    "Transform",
    "activation_ranges",
    "advance",
    "advice",
    "apply",
    "broken_promises",
    "finish",
    "kernel_layers",
    "measure",
    "parse",
    "shrink",
    "strip",
]
