"""Forms of a tensor as streams of small symbols: raw, constant, byte planes, palette.

Each form has an encoding side, a `Candidate` that knows its size before any work is done, and a decoding
side, a `Plan` that names the streams it waits for and then fills the tensor. Elements are unsigned integers
of the element's width throughout: no float is ever interpreted, so NaN payloads and -0.0 stay what they are.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from squeezekit.codec.entropy import Coder, bits, headers, streams
from squeezekit.codec.entropy.coders import Job
from squeezekit.errors import FormatError

__all__ = [
    "Candidate", "Palette", "Plan", "candidates", "find_palette", "histogram", "parse_form", "plane_histograms"
]  # fmt: skip

# First byte of a tensor's payload; part of the file format.
RAW, CONSTANT, PLANES, PALETTE = range(4)
# How byte planes are made: as they are (0), rotated left by one bit (1), of bytes with the top bit flipped (2).
_SIGNED = 2
# A codebook entry costs two to three bytes: far beyond this many values, byte planes are as good and faster.
MAX_PALETTE = 4096
# A payload coded by contexts must be smaller than any other by one part in this.
_WORTH = 100
# Where values repeat this often a codebook is smaller than byte planes, and those need not be tried.
_MANY_REPEATS = 16
_CHUNK = 1 << 20
# Indices looked up at once, which NumPy makes 64-bit ones of: they stay in a core's cache.
_INDICES = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A possible payload: its size, and how to write it should it be the smallest."""

    size_bytes: int
    write: Callable[[], bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A payload that has been read and checked up to its streams."""

    label: str
    jobs: tuple[Job, ...]
    fill: Callable[[Sequence[np.ndarray], np.ndarray], None]
    """Takes the decoded streams, in the order of `jobs`, and writes the elements into the given array."""
    plain_bytes: int = 0
    """Elements that are in no stream but stored as they are."""
    direct: bool = False
    """Whether the only stream is decoded into the array that is to be filled, and changed in place."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the payload that stand for elements; codebooks, code tables and headers are the others."""
        return self.plain_bytes + sum(job.coder.code_bytes(job) for job in self.jobs)


def histogram(symbols: np.ndarray, alphabet: int) -> np.ndarray:
    """Count unsigned symbols without a large temporary; int64 (alphabet,)."""
    counts = np.zeros(alphabet, np.int64)
    for first in range(0, len(symbols), _CHUNK):
        counts += bits.count(symbols[first : first + _CHUNK], minlength=alphabet)
    return counts


def candidates(
    elements: np.ndarray, palette: "Palette | None", coders: Sequence[Coder], shape: Sequence[int] = ()
) -> Iterator[Candidate]:
    """Every form of this module that fits the elements, unsigned (n,), n >= 1; the raw one first.

    No coders leave only the raw form. `shape` is the tensor's, where the elements are all of a tensor.
    """
    yield Candidate(1 + elements.nbytes, lambda: bytes([RAW]) + elements.tobytes())
    if not coders:
        return
    if (elements == elements[0]).all():
        yield Candidate(1 + elements.itemsize, lambda: bytes([CONSTANT]) + elements[:1].tobytes())
        return
    if palette is not None:
        head = bytes([PALETTE]) + bits.varint(len(palette.keys))
        head += bits.numbers(np.diff(palette.keys, prepend=-1) - 1)
        yield from _of_stream(head, palette.indices, palette.counts, coders, shape)
    if palette is None or len(elements) < _MANY_REPEATS * len(palette.keys):
        yield _planes(elements, coders)
    if elements.itemsize == 1:
        # One plane of int8 with its top bit flipped, so that neighbours in value are neighbours as symbols.
        symbols = elements ^ np.uint8(128)
        yield from _of_stream(bytes([PLANES, _SIGNED]), symbols, histogram(symbols, 256), coders, shape)


def _of_stream(
    head: bytes, symbols: np.ndarray, counts: np.ndarray, coders: Sequence[Coder], shape: Sequence[int]
) -> Iterator[Candidate]:
    """A payload of a head and one stream: coded by its histogram, and by contexts where they suit it."""
    size_bytes = len(head) + streams.size_bytes(counts, coders)
    yield Candidate(size_bytes, lambda: head + streams.encode(symbols, counts, coders))
    stream = streams.encode_kernels(symbols, counts, coders, shape)
    if stream is not None:
        payload = head + stream
        # It takes longer to decode than others, so it must be worth it.
        yield Candidate(len(payload) + len(payload) // _WORTH, lambda: payload)


def parse_form(form: int, reader: bits.Reader, count: int, item_bytes: int) -> headers.Parser[Plan]:
    """Read the rest of a payload of `count` elements whose first byte was `form`, beside others.

    Raises:
        FormatError: not a payload of such elements.
    """
    if form in (RAW, CONSTANT):
        payload = reader.take(item_bytes * (count if form == RAW else 1))
        reader.finish()
        label = "raw" if form == RAW else "constant"
        return Plan(label, (), functools.partial(_fill_raw, payload), len(payload))
    if form == PLANES:
        return _read_planes(reader, count, item_bytes)
    if form == PALETTE:
        return (yield from _parse_palette(reader, count, item_bytes))
    raise FormatError(f"tensor form {form} is unknown to this squeezekit")


def _fill_raw(payload: memoryview, decoded: Sequence[np.ndarray], out: np.ndarray) -> None:
    out[...] = np.frombuffer(payload, out.dtype)


def _coder_label(form: str, jobs: Sequence[Job]) -> str:
    names = dict.fromkeys(job.coder.name for job in jobs if job.coder.name != "plain")
    return "/".join((form, *names))


def _rotated(elements: np.ndarray, left: int) -> np.ndarray:
    """Each element's bits rotated left by so many."""
    width, dtype = 8 * elements.itemsize, elements.dtype.type
    return (elements << dtype(left)) | (elements >> dtype(width - left))


def _chunk_planes(elements: np.ndarray, rotated: bool) -> np.ndarray:
    """uint8 (n, item_bytes), least significant byte first."""
    part = _rotated(elements, 1) if rotated else np.ascontiguousarray(elements)
    return part.astype(part.dtype.newbyteorder("<"), copy=False).view(np.uint8).reshape(-1, elements.itemsize)


def plane_histograms(elements: np.ndarray, rotated: bool) -> np.ndarray:
    """Count byte values: int64 (item_bytes, 256), one row per byte of an element, lowest first.

    `rotated` rotates each element left by one bit first. The sign of an IEEE float then leaves the top byte, which
    in a float32 holds the exponent and nothing else.
    """
    counts = np.zeros((elements.itemsize, 256), np.int64)
    for first in range(0, len(elements), _CHUNK):
        planes = _chunk_planes(elements[first : first + _CHUNK], rotated)
        for row in range(elements.itemsize):
            counts[row] += bits.count(planes[:, row], minlength=256)
    return counts


def _planes(elements: np.ndarray, coders: Sequence[Coder]) -> Candidate:
    # A rotated byte is the same bits in another order: nothing to gain.
    rotations = (False, True) if elements.itemsize > 1 else (False,)
    counts = {rotated: plane_histograms(elements, rotated) for rotated in rotations}
    sizes = {
        rotated: sum(2 + streams.size_bytes(row, coders) for row in counts[rotated]) for rotated in rotations
    }
    rotated = min(sizes, key=lambda rotated: sizes[rotated])

    def write() -> bytes:
        parts = [bytes([PLANES, rotated])]
        for row in range(elements.itemsize):
            plane = np.empty(len(elements), np.uint8)
            for first in range(0, len(elements), _CHUNK):
                chunk = _chunk_planes(elements[first : first + _CHUNK], rotated)
                plane[first : first + _CHUNK] = chunk[:, row]
            stream = streams.encode(plane, counts[rotated][row], coders)
            parts.append(stream if row == elements.itemsize - 1 else streams.framed(stream))
        return b"".join(parts)

    return Candidate(2 + sizes[rotated], write)


def _read_planes(reader: bits.Reader, count: int, item_bytes: int) -> Plan:
    rotated = reader.byte()
    if rotated > _SIGNED or (rotated == _SIGNED and item_bytes != 1):
        raise FormatError("byte planes of an unknown kind")
    jobs = tuple(streams.read(reader, count, 256, last=row == item_bytes - 1) for row in range(item_bytes))

    def fill(decoded: Sequence[np.ndarray], out: np.ndarray) -> None:
        planes = out.view(np.uint8).reshape(-1, item_bytes)
        for row, stream in enumerate(decoded):
            if stream is not out:
                planes[:, row] = stream
        if rotated == _SIGNED:
            np.bitwise_xor(out, 128, out=out)
        elif rotated:
            for first in range(0, count, _CHUNK):
                out[first : first + _CHUNK] = _rotated(out[first : first + _CHUNK], 8 * item_bytes - 1)

    return Plan(_coder_label("planes", jobs), jobs, fill, direct=item_bytes == 1)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """A tensor of few different values."""

    keys: np.ndarray
    """int64 (m,), ascending: the values, mapped by `_to_keys`."""
    indices: np.ndarray
    """uint16 (n,): which key each element is."""
    counts: np.ndarray
    """int64 (m,), all at least 1."""

    def without(self, index: int, flags: np.ndarray) -> "Palette":
        """The palette of the elements that are not value number `index`; `flags` (n,) marks them."""
        indices = self.indices[flags]
        indices -= (indices > index).astype(np.uint16)
        return Palette(np.delete(self.keys, index), indices, np.delete(self.counts, index))


def _to_keys(elements: np.ndarray) -> np.ndarray:
    """Order-preserving map from IEEE bits to unsigned integers: neighbours in value stay neighbours."""
    top = elements.dtype.type(1 << (8 * elements.itemsize - 1))
    return np.where(elements & top, ~elements, elements | top)


def _from_keys(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    top = dtype.type(1 << (8 * dtype.itemsize - 1))
    keys = keys.astype(dtype)
    return np.where(keys & top, keys ^ top, ~keys)


def find_palette(elements: np.ndarray) -> Palette | None:
    """Find the different values of a tensor when there are at most `MAX_PALETTE` of them.

    Only 2- and 4-byte elements are tried: a byte plane is a palette already, and networks have no 8-byte weights.
    """
    if elements.itemsize not in (2, 4):
        return None
    known = np.zeros(0, elements.dtype)
    for first in range(0, len(elements), _CHUNK):
        chunk = elements[first : first + _CHUNK]
        if len(known):
            chunk = chunk[known.take(np.searchsorted(known, chunk), mode="clip") != chunk]
        elif len(np.unique(chunk[: 4 * MAX_PALETTE])) > MAX_PALETTE:
            return None  # the first few thousand show floats that share no values
        if len(chunk):
            known = np.union1d(known, chunk)
        if len(known) > MAX_PALETTE:
            return None
    order = np.argsort(_to_keys(known))
    key_of = np.empty(len(known), np.uint16)
    key_of[order] = np.arange(len(known), dtype=np.uint16)
    indices = np.empty(len(elements), np.uint16)
    for first in range(0, len(elements), _CHUNK):
        indices[first : first + _CHUNK] = key_of[np.searchsorted(known, elements[first : first + _CHUNK])]
    keys = _to_keys(known)[order].astype(np.int64)
    return Palette(keys, indices, histogram(indices, len(known)))


def _parse_palette(reader: bits.Reader, count: int, item_bytes: int) -> headers.Parser[Plan]:
    size = reader.varint(min(count, MAX_PALETTE))
    gaps = yield headers.read_numbers, (reader, size)
    keys = np.cumsum(gaps + 1) - 1
    if item_bytes not in (2, 4) or size == 0 or int(keys[-1]) >= 1 << (8 * item_bytes):
        raise FormatError("a codebook of values that the tensor cannot hold")
    job = streams.read(reader, count, size, last=True)

    def fill(decoded: Sequence[np.ndarray], out: np.ndarray) -> None:
        values = _from_keys(keys, out.dtype)
        for first in range(0, count, _INDICES):
            # Symbols lie below the alphabet already; clipping only spares NumPy a copy.
            values.take(decoded[0][first : first + _INDICES], out=out[first : first + _INDICES], mode="clip")

    return Plan(_coder_label("palette", (job,)), (job,), fill)
