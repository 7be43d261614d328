"""From a plain Keras classifier to the file of a target: a float or full-integer `.tflite` for any tool."""

from squeezekit.export.audit import Audit, Operation, Tensor, audit
from squeezekit.export.calibration import calibration_batches
from squeezekit.export.litert import litert
from squeezekit.export.target import ExportOptions, Start, Target
from squeezekit.export.targets import TARGETS, target, write

__all__ = [
    "TARGETS",
    "Audit",
    "ExportOptions",
    "Operation",
    "Start",
    "Target",
    "Tensor",
    "audit",
    "calibration_batches",
    "litert",
    "target",
    "write",
]
