"""Lossless packing of any `.tflite` into a small `.sqz`. NumPy and the standard library only."""

from squeezekit.codec.coders import CODERS, DEFAULT_CODER
from squeezekit.codec.container import is_sqz
from squeezekit.codec.description import Description, TensorLine, describe
from squeezekit.codec.sqz import pack, read_info, unpack

__all__ = [
    "CODERS",
    "DEFAULT_CODER",
    "Description",
    "TensorLine",
    "describe",
    "is_sqz",
    "pack",
    "read_info",
    "unpack",
]
