"""From a plain Keras classifier to a float or full-integer `.tflite` that others' tools can run too."""

from squeezekit.export.audit import Audit, Operation, Tensor, audit
from squeezekit.export.calibration import calibration_batches
from squeezekit.export.litert import litert

__all__ = ["Audit", "Operation", "Tensor", "audit", "calibration_batches", "litert"]
