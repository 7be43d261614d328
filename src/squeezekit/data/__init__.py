"""From folders of images, real or generated, to streams of batches."""

from squeezekit.data.aside import aside_folder, finish_moves, make_moves, plan_moves, undo_moves
from squeezekit.data.audit import Audit, audit_folder
from squeezekit.data.audit_page import render_audit
from squeezekit.data.folder import Dataset, Split, find_folder, open_dataset
from squeezekit.data.pipeline import Augment, batches, steps_per_epoch
from squeezekit.data.shapes import SHAPE_CLASSES, write_shapes

__all__ = [
    "SHAPE_CLASSES",
    "Audit",
    "Augment",
    "Dataset",
    "Split",
    "aside_folder",
    "audit_folder",
    "batches",
    "find_folder",
    "finish_moves",
    "make_moves",
    "open_dataset",
    "plan_moves",
    "render_audit",
    "steps_per_epoch",
    "undo_moves",
    "write_shapes",
]
