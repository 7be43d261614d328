"""Training: settings that work from scratch on small sets, exact resume, recipes stage by stage."""

from squeezekit.training.fitting import History, evaluate, fit
from squeezekit.training.networks import settings_for, train_network
from squeezekit.training.precision import bfloat16_is_fast, precision
from squeezekit.training.progress import Progress
from squeezekit.training.settings import Optimizer, Precision, Settings
from squeezekit.training.stages import Compressed, compress_in_stages

__all__ = [
    "Compressed",
    "History",
    "Optimizer",
    "Precision",
    "Progress",
    "Settings",
    "bfloat16_is_fast",
    "compress_in_stages",
    "evaluate",
    "fit",
    "precision",
    "settings_for",
    "train_network",
]
