"""One tensor in the fewest bytes: every form is weighed, the smallest is written, raw bytes if nothing helps.

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

from squeezekit.codec import bits, lists, masks
from squeezekit.codec.coders import (
    Coder,
    Job,
    decode_jobs,
    encode_stream,
    framed,
    parse_stream,
    stream_bytes,
)
from squeezekit.codec.forms import (
    Candidate,
    Palette,
    Plan,
    candidates,
    find_palette,
    histogram,
    parse_form,
    plane_histograms,
)
from squeezekit.errors import FormatError

__all__ = ["ITEM_BYTES", "Plan", "decode", "encode", "entropy_bound_bytes", "parse", "parser"]

ITEM_BYTES = (1, 2, 4, 8)
# First byte of a sparse payload; `forms` holds the others.
SPARSE = 4
# With fewer of one value than this share, masks cost more than they save.
_LEAST_SHARE = 0.2
# Values that repeat less are no codebook: their entropy would hide that each has to be written out.
_LEAST_REPEATS = 4
# Masks make several times fewer symbols of a tensor: where that saves a second, they may take a percent more.
_LARGE = 1 << 20
_SPARSE_WORTH = 0.99
# What decoding takes however small a network is; with tables and the like it shall stay below three times the network.
_FIXED_BYTES = 1 << 20
# Elements filled in at once: they stay in a core's cache.
_CHUNK = 1 << 17


def encode(
    data: bytes | memoryview, *, item_bytes: int, coders: Sequence[Coder], shape: Sequence[int] = ()
) -> bytes:
    """Code one tensor.

    Args:
        data: the tensor's bytes, little-endian, a multiple of `item_bytes`, at least one element.
        item_bytes: 1, 2, 4 or 8.
        coders: from `coders_named`.
        shape: a hint only: for a 4-D kernel (out, height, width, in) whole kernels are tried as masks.

    Returns:
        The payload, at most one byte longer than `data`.

    Raises:
        ValueError: `data` is empty or not a whole number of elements.

    Example:
        >>> from squeezekit.codec.coders import coders_named
        >>> len(encode(bytes(4000), item_bytes=4, coders=coders_named("huffman")))
        5
    """
    if item_bytes not in ITEM_BYTES or not len(data) or len(data) % item_bytes:
        received = f"{len(data)} bytes, item_bytes={item_bytes}"
        raise ValueError(f"Expected whole elements of 1, 2, 4 or 8 bytes. Received: {received}.")
    elements = np.frombuffer(data, f"<u{item_bytes}")
    palette = find_palette(elements) if coders else None
    forms = list(candidates(elements, palette, coders, shape))
    if coders:
        forms += _sparse(elements, palette, coders, shape)
    raw, best = forms[0], min(forms, key=lambda form: form.size_bytes)
    payload = best.write()
    return payload if len(payload) <= raw.size_bytes else raw.write()


def _sparse(
    elements: np.ndarray, palette: Palette | None, coders: Sequence[Coder], shape: Sequence[int]
) -> Iterator[Candidate]:
    # The most common element where that is cheap to know, else zero.
    if palette is not None:
        rank = int(palette.counts.argmax())
        flags = palette.indices != rank
        common = elements[np.argmin(flags)]
    else:
        rank = int(histogram(elements, 256).argmax()) if elements.itemsize == 1 else 0
        common = elements.dtype.type(rank)
        flags = elements != common
    rest_count = int(np.count_nonzero(flags))
    if not 0 < rest_count <= len(elements) * (1 - _LEAST_SHARE):
        return
    rest_palette = None if palette is None else palette.without(rank, flags)
    inner = min(candidates(elements[flags], rest_palette, coders), key=lambda form: form.size_bytes)
    groupings = [(8, 1)]
    if len(shape) == 4 and math.prod(shape) == len(elements) and 4 <= shape[1] * shape[2] <= masks.MAX_GROUP:
        groupings.append((shape[1] * shape[2], shape[3]))
    for group, stride in groupings:
        head = bytes([SPARSE]) + common.tobytes() + bytes([group])
        head += bits.varint(stride) + bits.varint(rest_count)
        candidate = _sparse_grouped(head, masks.pack(flags, group, stride), 1 << group, inner, coders)
        if len(elements) >= _LARGE:
            candidate = dataclasses.replace(candidate, size_bytes=int(candidate.size_bytes * _SPARSE_WORTH))
        yield candidate


def _sparse_grouped(
    head: bytes, places: np.ndarray, alphabet: int, inner: Candidate, coders: Sequence[Coder]
) -> Candidate:
    counts = histogram(places, alphabet)

    def write() -> bytes:
        return head + framed(encode_stream(places, counts, coders)) + inner.write()

    return Candidate(len(head) + 3 + stream_bytes(counts, coders) + inner.size_bytes, write)


def _parse_sparse(reader: bits.Reader, count: int, item_bytes: int) -> lists.Parser[Plan]:
    common = np.frombuffer(reader.take(item_bytes), f"<u{item_bytes}")[0]
    group, stride = reader.byte(), reader.varint(count)
    rest_count = reader.varint(count)
    whole = stride > 0 and 1 <= group <= masks.MAX_GROUP and count % (group * stride) == 0
    if rest_count == 0 or not (whole or (group, stride) == (8, 1)):
        raise FormatError("a sparse tensor whose masks do not fit it")
    places = parse_stream(reader, -(-count // group), 1 << group, last=False)
    places = dataclasses.replace(places, meanings=masks.in_order(group))
    # Only one level: the rest of a sparse tensor is never sparse itself.
    inner = yield from parse_form(reader.byte(), reader, rest_count, item_bytes)

    def fill(streams: Sequence[np.ndarray], out: np.ndarray) -> None:
        in_place = inner.direct and streams[1].flags.writeable
        rest = streams[1] if in_place else np.empty(rest_count, out.dtype)
        inner.fill(streams[1:], rest)
        block = group * stride
        size = block * max(1, _CHUNK // block)
        done = 0
        for first in range(0, count, size):
            part = out[first : first + size]
            flags = masks.unpack(
                streams[0][first // group : (first + size) // group], group, stride, len(part)
            )
            # Four times as fast as indexing by flags.
            places = np.flatnonzero(flags)
            if done + len(places) > rest_count:
                break
            part[...] = common
            part[places] = rest[done : done + len(places)]
            done += len(places)
        else:
            if done == rest_count:
                return
        raise FormatError("a sparse tensor whose masks do not count its elements")

    return Plan(f"sparse/{inner.label}", (places, *inner.jobs), fill, inner.plain_bytes)


def parse(payload: bytes | memoryview, size_bytes: int, item_bytes: int) -> Plan:
    """Read a payload up to its streams; see `parser`."""
    return lists.alone(parser(payload, size_bytes, item_bytes))


def parser(payload: bytes | memoryview, size_bytes: int, item_bytes: int) -> lists.Parser[Plan]:
    """Read a payload up to its streams, beside others.

    Args:
        payload: what `encode` returned.
        size_bytes: bytes of the tensor.
        item_bytes: as given to `encode`.

    Raises:
        FormatError: not a payload of such a tensor.
    """
    if item_bytes not in ITEM_BYTES or size_bytes < 1 or size_bytes % item_bytes:
        raise FormatError("a tensor that is not a whole number of elements")
    reader = bits.Reader(payload)
    form = reader.byte()
    count = size_bytes // item_bytes
    if form == SPARSE:
        return (yield from _parse_sparse(reader, count, item_bytes))
    return (yield from parse_form(form, reader, count, item_bytes))


def decode(plans: Sequence[Plan], outputs: Sequence[np.ndarray]) -> None:
    """Decode many tensors at once, which is much faster than one after the other.

    Args:
        plans: from `parse`.
        outputs: for each plan a little-endian unsigned array, shape (count,), that is filled.

    Raises:
        FormatError: a payload does not decode to its tensor.
    """
    jobs: list[Job] = []
    for plan, output in zip(plans, outputs, strict=True):
        if plan.direct and output.flags.c_contiguous:
            jobs.append(dataclasses.replace(plan.jobs[0], out=output))
        else:
            jobs += plan.jobs
    streams = decode_jobs(jobs, sum(output.nbytes for output in outputs) * 3 // 2 - _FIXED_BYTES)
    first = 0
    for plan, output in zip(plans, outputs, strict=True):
        last = first + len(plan.jobs)
        plan.fill(streams[first:last], output)
        first = last


def entropy_bound_bytes(data: bytes | memoryview, item_bytes: int) -> int:
    """Zero-order entropy of a tensor's symbols, in whole bytes; codebooks and tables not counted.

    Its symbols are the elements where each value occurs four times or more on average (and there are few, see
    `find_palette`), otherwise the bytes of each byte plane. A coder that uses context or structure may get
    below it; a plain one cannot.
    """
    elements = np.frombuffer(data, f"<u{item_bytes}")
    palette = find_palette(elements)
    if palette is not None and len(elements) >= _LEAST_REPEATS * len(palette.keys):
        return math.ceil(_entropy_bits(palette.counts) / 8)
    rotations = (False, True) if item_bytes > 1 else (False,)
    bounds = [sum(map(_entropy_bits, plane_histograms(elements, rotated))) for rotated in rotations]
    return math.ceil(min(bounds) / 8)


def _entropy_bits(counts: np.ndarray) -> float:
    used = counts[counts > 0].astype(np.float64)
    total = used.sum()
    return float((used * np.log2(total / used)).sum())
