"""What DATA means: a folder of images, or arrays and shards of them in files. No TensorFlow."""

from squeezekit.readers.arrays import WINDOW_BYTES, ArrayImages, open_arrays
from squeezekit.readers.data_argument import FETCHABLE, data_folder, find_files, find_folder, find_source
from squeezekit.readers.named_splits import PARTS, TEST, TRAIN, VALIDATION, ClassFolders, find_class_folders
from squeezekit.readers.npy import NpyArray, arrays_in
from squeezekit.readers.shards import ShardImages
from squeezekit.readers.split_files import Parts, open_parts

__all__ = [
    "FETCHABLE",
    "PARTS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "WINDOW_BYTES",
    "ArrayImages",
    "ClassFolders",
    "NpyArray",
    "Parts",
    "ShardImages",
    "arrays_in",
    "data_folder",
    "find_class_folders",
    "find_files",
    "find_folder",
    "find_source",
    "open_arrays",
    "open_parts",
]
