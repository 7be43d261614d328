"""Compression techniques that compose: prune, share, quantize, in any order, on any Keras 3 backend."""

from squeezekit.compress.advice import advice
from squeezekit.compress.apply import advance, apply, finish, invariant_violations, kernel_layers, strip
from squeezekit.compress.cost import LayerMeasure, Measures, measure
from squeezekit.compress.graph.shrink import shrink
from squeezekit.compress.recipe_parser import TECHNIQUES, parse
from squeezekit.compress.schedule_callback import Schedule
from squeezekit.compress.technique import Kernel, Recipe, Sweep, Technique, ships_int8
from squeezekit.compress.techniques.activations import activation_ranges
from squeezekit.compress.techniques.prune import Prune
from squeezekit.compress.techniques.prune_channels import PruneChannels
from squeezekit.compress.techniques.quantize import Quantize
from squeezekit.compress.techniques.separable import Separable
from squeezekit.compress.techniques.share import ShareWeights
from squeezekit.compress.transform import Inserted, Slot, TrainingProgress, Transform

__all__ = [
    "TECHNIQUES",
    "Inserted",
    "Kernel",
    "LayerMeasure",
    "Measures",
    "Prune",
    "PruneChannels",
    "Quantize",
    "Recipe",
    "Schedule",
    "Separable",
    "ShareWeights",
    "Slot",
    "Sweep",
    "Technique",
    "TrainingProgress",
    "Transform",
    "activation_ranges",
    "advance",
    "advice",
    "apply",
    "finish",
    "invariant_violations",
    "kernel_layers",
    "measure",
    "parse",
    "ships_int8",
    "shrink",
    "strip",
]
