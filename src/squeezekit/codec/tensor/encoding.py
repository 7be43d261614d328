"""One tensor in the fewest bytes: of all forms the smallest is written, raw bytes if nothing helps.

Pruned tensors get a form of their own. A dense Huffman code spends at least one bit on every zero; the sparse
form codes which elements are non-zero as masks of eight neighbours (or of a whole 3x3 kernel), and then the
non-zero elements by whichever form suits *them*.

Song Han, Huizi Mao, William J. Dally, "Deep Compression", ICLR 2016, section 4, codes gaps between non-zero
weights; masks need no filler zeros and come closer to the entropy of the pattern.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from squeezekit.codec.entropy import Coder, bits, headers, masks, streams
from squeezekit.codec.entropy.coders import Job
from squeezekit.codec.tensor import forms
from squeezekit.codec.tensor.forms import Candidate, Palette, Plan
from squeezekit.errors import FormatError

__all__ = ["Batch", "decode", "encode", "entropy_bound_bytes", "parse", "read"]

_ITEM_BYTES = (1, 2, 4, 8)
# First byte of a sparse payload; `forms` holds the others.
SPARSE = 4
# With fewer of one value than this share, masks cost more than they save.
_LEAST_SHARE = 0.2
# Values that repeat less are no codebook: their entropy would hide that each has to be written out.
_LEAST_REPEATS = 4
# Masks make several times fewer symbols of a tensor: where that saves a second, they may take a percent more.
_LARGE = 1 << 20
_SPARSE_WORTH = 0.99
# Memory that decoding takes however small a network is; with tables it shall stay below three times the network.
_FIXED_BYTES = 1 << 20
# Elements filled in at once: they stay in a core's cache.
_CHUNK = 1 << 17


def encode(
    data: bytes | memoryview, *, item_bytes: int, coders: Sequence[Coder], shape: Sequence[int] = ()
) -> bytes:
    """Code one tensor: the payload, at most one byte longer than `data`.

    Args:
        data: the tensor's bytes, little-endian, a multiple of `item_bytes`, at least one element.
        item_bytes: 1, 2, 4 or 8.
        coders: from `coders_named`.
        shape: a hint only: for a 4-D kernel (out, height, width, in) whole kernels are tried as masks.

    Raises:
        ValueError: `data` is empty or not a whole number of elements.

    Example:
        >>> from squeezekit.codec.entropy import coders_named
        >>> len(encode(bytes(4000), item_bytes=4, coders=coders_named("huffman")))
        5
    """
    if item_bytes not in _ITEM_BYTES or not len(data) or len(data) % item_bytes:
        received = f"{len(data)} bytes, item_bytes={item_bytes}"
        raise ValueError(f"Expected whole elements of 1, 2, 4 or 8 bytes. Received: {received}.")
    elements = np.frombuffer(data, f"<u{item_bytes}")
    palette = forms.find_palette(elements) if coders else None
    found = list(forms.candidates(elements, palette, coders, shape))
    if coders:
        found += _sparse(elements, palette, coders, shape)
    raw, best = found[0], min(found, key=lambda form: form.size_bytes)
    payload = best.write()
    return payload if len(payload) <= raw.size_bytes else raw.write()


def _sparse(
    elements: np.ndarray, palette: Palette | None, coders: Sequence[Coder], shape: Sequence[int]
) -> Iterator[Candidate]:
    # The most common element where that is cheap to know, else zero.
    if palette is not None:
        index = int(palette.counts.argmax())
        flags = palette.indices != index
        common = elements[np.argmin(flags)]
    else:
        index = int(forms.histogram(elements, 256).argmax()) if elements.itemsize == 1 else 0
        common = elements.dtype.type(index)
        flags = elements != common
    rest_count = int(np.count_nonzero(flags))
    if not 0 < rest_count <= len(elements) * (1 - _LEAST_SHARE):
        return
    rest_palette = None if palette is None else palette.without(index, flags)
    inner = min(forms.candidates(elements[flags], rest_palette, coders), key=lambda form: form.size_bytes)
    groupings = [(8, 1)]
    is_kernel = len(shape) == 4 and math.prod(shape) == len(elements)
    if is_kernel and 4 <= shape[1] * shape[2] <= masks.MAX_GROUP:
        groupings.append((shape[1] * shape[2], shape[3]))
    for group, stride in groupings:
        head = bytes([SPARSE]) + common.tobytes() + bytes([group])
        head += bits.varint(stride) + bits.varint(rest_count)
        candidate = _sparse_grouped(head, masks.pack(flags, group, stride), 1 << group, inner, coders)
        if len(elements) >= _LARGE:
            candidate = dataclasses.replace(candidate, size_bytes=int(candidate.size_bytes * _SPARSE_WORTH))
        yield candidate


def _sparse_grouped(
    head: bytes, ranks: np.ndarray, alphabet: int, inner: Candidate, coders: Sequence[Coder]
) -> Candidate:
    counts = forms.histogram(ranks, alphabet)

    def write() -> bytes:
        return head + streams.framed(streams.encode(ranks, counts, coders)) + inner.write()

    return Candidate(len(head) + 3 + streams.size_bytes(counts, coders) + inner.size_bytes, write)


def _parse_sparse(reader: bits.Reader, count: int, item_bytes: int) -> headers.Parser[Plan]:
    common = np.frombuffer(reader.take(item_bytes), f"<u{item_bytes}")[0]
    group, stride = reader.byte(), reader.varint(count)
    rest_count = reader.varint(count)
    whole = stride > 0 and 1 <= group <= masks.MAX_GROUP and count % (group * stride) == 0
    if rest_count == 0 or not (whole or (group, stride) == (8, 1)):
        raise FormatError("a sparse tensor whose masks do not fit it")
    ranks = streams.read(reader, -(-count // group), 1 << group, last=False)
    ranks = dataclasses.replace(ranks, values=masks.by_rank(group))
    # Only one level: the rest of a sparse tensor is never sparse itself.
    inner = yield from forms.parse_form(reader.byte(), reader, rest_count, item_bytes)

    def fill(decoded: Sequence[np.ndarray], out: np.ndarray) -> None:
        in_place = inner.direct and decoded[1].flags.writeable
        rest = decoded[1] if in_place else np.empty(rest_count, out.dtype)
        inner.fill(decoded[1:], rest)
        block = group * stride
        size = block * max(1, _CHUNK // block)
        done = 0
        for first in range(0, count, size):
            part = out[first : first + size]
            own = decoded[0][first // group : (first + size) // group]
            # Four times as fast as indexing by flags.
            indices = np.flatnonzero(masks.unpack(own, group, stride, len(part)))
            if done + len(indices) > rest_count:
                break
            part[...] = common
            part[indices] = rest[done : done + len(indices)]
            done += len(indices)
        else:
            if done == rest_count:
                return
        raise FormatError("a sparse tensor whose masks do not count its elements")

    return Plan(f"sparse/{inner.label}", (ranks, *inner.jobs), fill, inner.plain_bytes)


def read(payload: bytes | memoryview, size_bytes: int, item_bytes: int) -> Plan:
    """Read a payload up to its streams; see `parse`."""
    return headers.run(parse(payload, size_bytes, item_bytes))


def parse(payload: bytes | memoryview, size_bytes: int, item_bytes: int) -> headers.Parser[Plan]:
    """Read the payload of a tensor of `size_bytes` up to its streams, beside others; `item_bytes` as for `encode`.

    Raises:
        FormatError: not a payload of such a tensor.
    """
    if item_bytes not in _ITEM_BYTES or size_bytes < 1 or size_bytes % item_bytes:
        raise FormatError("a tensor that is not a whole number of elements")
    reader = bits.Reader(payload)
    form = reader.byte()
    count = size_bytes // item_bytes
    if form == SPARSE:
        return (yield from _parse_sparse(reader, count, item_bytes))
    return (yield from forms.parse_form(form, reader, count, item_bytes))


def decode(plans: Sequence[Plan], outputs: Sequence[np.ndarray]) -> None:
    """Decode many tensors at once, which is much faster than one after the other.

    For each plan there is a little-endian unsigned array (count,), which is filled.

    Raises:
        FormatError: a payload does not decode to its tensor.
    """
    jobs: list[Job] = []
    for plan, output in zip(plans, outputs, strict=True):
        if plan.direct and output.flags.c_contiguous:
            jobs.append(dataclasses.replace(plan.jobs[0], out=output))
        else:
            jobs += plan.jobs
    decoded = streams.decode(jobs, sum(output.nbytes for output in outputs) * 3 // 2 - _FIXED_BYTES)
    first = 0
    for plan, output in zip(plans, outputs, strict=True):
        last = first + len(plan.jobs)
        plan.fill(decoded[first:last], output)
        first = last


class Batch:
    """Collects plans and decodes them together, some megabytes at a time.

    That is enough for full lanes, and bounded so that memory does not follow the network's size.
    """

    # Bytes of the outputs that are decoded together.
    SIZE_BYTES = 1 << 24

    def __init__(self) -> None:
        self._plans: list[Plan] = []
        self._outputs: list[np.ndarray] = []
        self._size_bytes = 0

    def add(self, plan: Plan, output: np.ndarray) -> bool:
        """Add a plan and the array to fill; True if all so far have been decoded."""
        self._plans.append(plan)
        self._outputs.append(output)
        self._size_bytes += output.nbytes
        if self._size_bytes < self.SIZE_BYTES:
            return False
        self.decode()
        return True

    def decode(self) -> None:
        """Decode what was added and not decoded yet."""
        decode(self._plans, self._outputs)
        self._plans, self._outputs, self._size_bytes = [], [], 0


def entropy_bound_bytes(data: bytes | memoryview, item_bytes: int) -> int:
    """Zero-order entropy of a tensor's symbols, in whole bytes; codebooks and tables not counted.

    Its symbols are the elements where each value occurs four times or more on average (and there are few, see
    `find_palette`), otherwise the bytes of each byte plane. A coder that uses context or structure may get
    below it; a plain one cannot.
    """
    elements = np.frombuffer(data, f"<u{item_bytes}")
    palette = forms.find_palette(elements)
    if palette is not None and len(elements) >= _LEAST_REPEATS * len(palette.keys):
        return math.ceil(_entropy_bits(palette.counts) / 8)
    rotations = (False, True) if item_bytes > 1 else (False,)
    bounds = [sum(map(_entropy_bits, forms.plane_histograms(elements, rotated))) for rotated in rotations]
    return math.ceil(min(bounds) / 8)


def _entropy_bits(counts: np.ndarray) -> float:
    used = counts[counts > 0].astype(np.float64)
    total = used.sum()
    return float((used * np.log2(total / used)).sum())
