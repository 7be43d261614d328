"""From class folders, arrays and shards of images to streams of batches."""

from squeezekit.data.augment import Augment
from squeezekit.data.balance import class_weights, oversampled
from squeezekit.data.cache import lost_images
from squeezekit.data.dataset import Dataset, open_dataset
from squeezekit.data.labelled_images import Images, Split
from squeezekit.data.pipeline import batches, steps_per_epoch
from squeezekit.readers import ArrayImages, data_folder, find_folder, open_arrays

__all__ = [
    "ArrayImages",
    "Augment",
    "Dataset",
    "Images",
    "Split",
    "batches",
    "class_weights",
    "data_folder",
    "find_folder",
    "lost_images",
    "open_arrays",
    "open_dataset",
    "oversampled",
    "steps_per_epoch",
]
