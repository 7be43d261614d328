"""Quantization scales. A bias's is the product of its weight's and its input's in every integer network, so it
is derived; the others are coded together like one tensor.

Products of float32 are rounded here in integer arithmetic, so that every processor gets the same bits.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 2.4 (S_bias = S1 S2).
"""

from collections.abc import Sequence

import numpy as np

from squeezekit.codec import tensor
from squeezekit.codec.entropy import Coder
from squeezekit.codec.flatbuffer import varints
from squeezekit.codec.flatbuffer.tensors import BiasScales, bias_scales

__all__ = ["fill_scales", "multiply", "write_scales"]

Spans = list[tuple[int, int]]
"""Where vectors of scales lie: first byte and number of float32 each; ascending, not overlapping."""


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply float32 given and returned as their bits (uint32): to nearest, ties to even.

    0 where a factor or the product is not a positive normal number.

    Example:
        >>> a, b = np.float32([0.1]), np.float32([0.3])
        >>> multiply(a.view(np.uint32), b.view(np.uint32)).view(np.float32) == a * b
        array([ True])
    """
    left, right = np.broadcast_arrays(left.astype(np.int64), right.astype(np.int64))
    product = ((left & 0x7FFFFF) | 0x800000) * ((right & 0x7FFFFF) | 0x800000)  # 2**46 to 2**48
    shift = 23 + (product >> 47)
    rest = product & ((np.int64(1) << shift) - 1)
    half = np.int64(1) << (shift - 1)
    mantissa = product >> shift
    mantissa += (rest > half) | ((rest == half) & (mantissa & 1 == 1))
    # A mantissa rounded up to 2**24 has no bits below: only the exponent grows. A sign makes exponents too large.
    factors = (left >> 23, right >> 23)
    exponent = factors[0] + factors[1] - 127 + (shift - 23) + (mantissa >> 24)
    normal = [(number >= 1) & (number <= 254) for number in (exponent, *factors)]
    found = np.where(np.logical_and.reduce(normal), (exponent << 23) | (mantissa & 0x7FFFFF), 0)
    return found.astype(np.uint32)


def _products(file: bytearray | memoryview, spans: Spans) -> list[BiasScales]:
    """Of `bias_scales` those that are among `spans` and no factor of another."""
    sizes = dict(spans)
    found = [
        one
        for one in bias_scales(file)
        if sizes.get(one.start) == one.number
        and sizes.get(one.image, 0)
        and sizes.get(one.weight) == one.number
    ]
    products = {one.start for one in found}
    return [one for one in found if one.image not in products and one.weight not in products]


def _product(file: np.ndarray, one: BiasScales) -> np.ndarray:
    weight = file[one.weight : one.weight + 4 * one.number]
    return multiply(file[one.image : one.image + 4].view("<u4"), weight.view("<u4"))


def write_scales(
    file: bytes, blank: bytearray, spans: Spans, coders: Sequence[Coder]
) -> tuple[list[int], bytes]:
    """Code the scales of a file, which lie in `spans`; `blank` is the file without scales and contents.

    Returns:
        For each scale that could be derived: 0 if it is, 1 if it is not. The payload of all others.
    """
    data = np.frombuffer(file, np.uint8)
    flags, derived = [], set()
    for one in _products(blank, spans):
        equal = np.array_equal(_product(data, one), data[one.start : one.start + 4 * one.number].view("<u4"))
        flags.append(int(not equal))
        if equal:
            derived.add(one.start)
    stored = b"".join(file[start : start + 4 * count] for start, count in spans if start not in derived)
    return flags, tensor.encode(stored, item_bytes=4, coders=coders) if stored else b""


def fill_scales(
    file: bytearray | memoryview, spans: Spans, numbers: varints.Numbers, payload: memoryview
) -> None:
    """Put the scales into a file that lacks them, and contents of tensors.

    Raises:
        FormatError: not the scales of such a file.
    """
    data = np.frombuffer(file, np.uint8)
    products = _products(file, spans)
    flags = numbers.take(len(products), limit=1).tolist()
    products = [one for one, flag in zip(products, flags, strict=True) if not flag]
    derived = {one.start for one in products}
    spans = [(start, count) for start, count in spans if start not in derived]
    total = sum(count for _, count in spans)
    if total or len(payload):
        stored = np.empty(total, "<u4")
        tensor.decode([tensor.read(payload, 4 * total, 4)], [stored])
        first = 0
        for start, count in spans:
            data[start : start + 4 * count] = stored[first : first + count].view(np.uint8)
            first += count
    for one in products:
        data[one.start : one.start + 4 * one.number] = _product(data, one).view(np.uint8)
