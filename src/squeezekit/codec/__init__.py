"""Lossless packing of any `.tflite`, or any arrays, into a small `.sqz`. NumPy and the standard library only."""

from squeezekit.codec.arrays import decode_tensors, encode_tensors, packed_bytes
from squeezekit.codec.container import is_sqz
from squeezekit.codec.entropy import CODERS, DEFAULT_CODER
from squeezekit.codec.info import Description, TensorLine, describe
from squeezekit.codec.sqz import pack, read_info, unpack

__all__ = [
    "CODERS",
    "DEFAULT_CODER",
    "Description",
    "TensorLine",
    "decode_tensors",
    "describe",
    "encode_tensors",
    "is_sqz",
    "pack",
    "packed_bytes",
    "read_info",
    "unpack",
]
