"""One tensor, or a pool of short ones, as streams for the entropy coders. Knows arrays, no files."""

from squeezekit.codec.tensor.encoding import Batch, decode, encode, entropy_bound_bytes, parse, read
from squeezekit.codec.tensor.forms import Plan

__all__ = ["Batch", "Plan", "decode", "encode", "entropy_bound_bytes", "parse", "read"]
