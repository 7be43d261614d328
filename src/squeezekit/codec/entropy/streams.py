"""Streams of symbols, each coded with the smallest of the coders allowed; the first byte of a stream names its coder.

A tensor form (`squeezekit.codec.tensor`) turns a tensor into streams.
"""

from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import bits, context_fit
from squeezekit.codec.entropy.coders import BY_TAG, CONTEXTS, PLAIN, RANS, Coder, HistogramCoder, Job
from squeezekit.errors import FormatError

__all__ = ["decode", "encode", "encode_kernels", "framed", "read", "size_bytes"]

# Symbols looked up at once.
_CHUNK = 1 << 16


def _smallest(histogram: np.ndarray, coders: Sequence[Coder]) -> tuple[int, HistogramCoder]:
    able = [coder for coder in coders if isinstance(coder, HistogramCoder)]
    return min(((coder.size_bytes(histogram), coder) for coder in able), key=lambda pair: pair[0])


def size_bytes(histogram: np.ndarray, coders: Sequence[Coder]) -> int:
    """Return the size of the smallest stream for symbols of this histogram, to within a few bytes."""
    return 1 + _smallest(histogram, coders)[0]


def encode(symbols: np.ndarray, histogram: np.ndarray, coders: Sequence[Coder]) -> bytes:
    """Code symbols with the coder that needs fewest bytes; the first byte names it."""
    _, coder = _smallest(histogram, coders)
    return bytes([coder.tag]) + coder.encode(symbols, histogram)


def encode_kernels(
    symbols: np.ndarray, histogram: np.ndarray, coders: Sequence[Coder], shape: Sequence[int]
) -> bytes | None:
    """Code a tensor of this shape by neighbours in the kernel; None where contexts are not allowed or do not suit."""
    kernels = context_fit.kernels_of(tuple(shape), len(symbols))
    if kernels is None or not context_fit.suits(histogram) or CONTEXTS not in coders:
        return None
    stream = context_fit.encode(symbols, histogram, kernels)
    return None if stream is None else bytes([CONTEXTS.tag]) + stream


def framed(stream: bytes) -> bytes:
    """A stream that others follow: with its size, unless that is known from the number of its symbols."""
    return stream if stream[0] == PLAIN.tag else stream[:1] + bits.varint(len(stream) - 1) + stream[1:]


def read(reader: bits.Reader, count: int, alphabet: int, *, last: bool) -> Job:
    """Read which coder a stream of `count` symbols in [0, alphabet) needs; `decode` decodes it.

    The reader moves to behind the stream. `last`: nothing follows it; otherwise it is `framed`.
    """
    tag = reader.byte()
    if tag not in BY_TAG:
        raise FormatError(f"stream coder {tag} is unknown to this squeezekit")
    if last:
        payload = reader.rest()
    else:
        payload = reader.take(PLAIN.bytes_for(count, alphabet) if tag == PLAIN.tag else reader.varint())
    return Job(BY_TAG[tag], payload, count, alphabet)


def _looked_up(symbols: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.empty(len(symbols), values.dtype)
    # Piece by piece, because NumPy makes 64-bit indices of symbols.
    for first in range(0, len(out), _CHUNK):
        values.take(symbols[first : first + _CHUNK], out=out[first : first + _CHUNK], mode="clip")
    return out


def decode(jobs: Sequence[Job], scratch_bytes: int = 0) -> list[np.ndarray]:
    """Decode streams, those of one coder together, and return them in the order of `jobs`.

    `scratch_bytes` is memory that decoding may take beside its outputs, roughly; there is a least and a most.
    """
    outputs: dict[int, np.ndarray] = {}
    kinds = {coder.decode_with: coder for coder in BY_TAG.values()}
    for kind, coder in kinds.items():
        own = [index for index, job in enumerate(jobs) if job.coder.decode_with == kind]
        outputs.update(zip(own, coder.decode([jobs[index] for index in own], scratch_bytes), strict=True))
    for index, job in enumerate(jobs):
        if job.values is not None and job.coder is not RANS:  # whose tables hold them already
            outputs[index] = _looked_up(outputs[index], job.values)
    return [outputs[index] for index in range(len(jobs))]
