"""From folders of images to streams of batches."""

from squeezekit.data.folder import Dataset, Split, open_dataset
from squeezekit.data.pipeline import Augment, batches, steps_per_epoch

__all__ = ["Augment", "Dataset", "Split", "batches", "open_dataset", "steps_per_epoch"]
