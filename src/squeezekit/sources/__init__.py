"""What a verb's DATA means: a folder of images, or arrays of them in files, read a few at a time. NumPy alone."""

from squeezekit.sources.find import data_folder, find_source
from squeezekit.sources.parts import Parts, find_arrays, open_parts
from squeezekit.sources.rows import Rows, arrays_in
from squeezekit.sources.sets import WINDOW_BYTES, ArraySet, open_arrays

__all__ = [
    "WINDOW_BYTES",
    "ArraySet",
    "Parts",
    "Rows",
    "arrays_in",
    "data_folder",
    "find_arrays",
    "find_source",
    "open_arrays",
    "open_parts",
]
