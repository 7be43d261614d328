"""From folders of images, real or generated, to streams of batches."""

from squeezekit.data.array_batches import array_batches
from squeezekit.data.aside import aside_folder, finish_moves, make_moves, plan_moves, undo_moves
from squeezekit.data.audit import Audit, audit_folder
from squeezekit.data.audit_page import render_audit
from squeezekit.data.augment import Augment
from squeezekit.data.balance import class_weights, oversampled
from squeezekit.data.catalogue import CATALOGUE, Entry, fetch, is_fetched
from squeezekit.data.dataset import Dataset, Images
from squeezekit.data.folder import Split, find_folder, open_dataset
from squeezekit.data.ingest import unpack_images
from squeezekit.data.pictures import lost_images
from squeezekit.data.pipeline import steps_per_epoch
from squeezekit.data.shapes import SHAPE_CLASSES, write_shapes
from squeezekit.data.streams import batches
from squeezekit.sources import ArraySet, data_folder, open_arrays

__all__ = [
    "CATALOGUE",
    "SHAPE_CLASSES",
    "ArraySet",
    "Audit",
    "Augment",
    "Dataset",
    "Entry",
    "Images",
    "Split",
    "array_batches",
    "aside_folder",
    "audit_folder",
    "batches",
    "class_weights",
    "data_folder",
    "fetch",
    "find_folder",
    "finish_moves",
    "is_fetched",
    "lost_images",
    "make_moves",
    "open_arrays",
    "open_dataset",
    "oversampled",
    "plan_moves",
    "render_audit",
    "steps_per_epoch",
    "undo_moves",
    "unpack_images",
    "write_shapes",
]
