"""Training: settings that work from scratch on small sets, exact resume, recipes stage by stage."""

from squeezekit.training.checkpoint import weights_digest
from squeezekit.training.distil import Distil, SelfDistil
from squeezekit.training.fitting import History, evaluate, fit
from squeezekit.training.initial import Initial, read_initial
from squeezekit.training.precision import bfloat16_is_fast, precision
from squeezekit.training.progress import Progress
from squeezekit.training.settings import FINE_TUNING_RATE, Balance, Optimizer, Precision, Settings
from squeezekit.training.train_network import settings_for, train_network
from squeezekit.training.train_recipe import Compressed, Stage, compress_in_stages

__all__ = [
    "FINE_TUNING_RATE",
    "Balance",
    "Compressed",
    "Distil",
    "History",
    "Initial",
    "Optimizer",
    "Precision",
    "Progress",
    "SelfDistil",
    "Settings",
    "Stage",
    "bfloat16_is_fast",
    "compress_in_stages",
    "evaluate",
    "fit",
    "precision",
    "read_initial",
    "settings_for",
    "train_network",
    "weights_digest",
]
