"""From folders of images, real or generated, to streams of batches."""

from squeezekit.data.folder import Dataset, Split, open_dataset
from squeezekit.data.pipeline import Augment, batches, steps_per_epoch
from squeezekit.data.shapes import SHAPE_CLASSES, write_shapes

__all__ = [
    "SHAPE_CLASSES",
    "Augment",
    "Dataset",
    "Split",
    "batches",
    "open_dataset",
    "steps_per_epoch",
    "write_shapes",
]
