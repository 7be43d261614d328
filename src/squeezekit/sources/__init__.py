"""What a verb's DATA means: a folder of images, or arrays and shards of them in files. No TensorFlow."""

from squeezekit.sources.find import data_folder, find_source
from squeezekit.sources.parts import Parts, find_files, open_parts
from squeezekit.sources.rows import Rows, arrays_in
from squeezekit.sources.sets import WINDOW_BYTES, ArraySet, open_arrays
from squeezekit.sources.shards import ShardSet

__all__ = [
    "WINDOW_BYTES",
    "ArraySet",
    "Parts",
    "Rows",
    "ShardSet",
    "arrays_in",
    "data_folder",
    "find_files",
    "find_source",
    "open_arrays",
    "open_parts",
]
