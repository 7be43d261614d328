"""Headers of many streams read side by side: a few NumPy calls read what all of them need next.

A *parser* is a generator. It yields a request, a function that answers many requests at once and what to read,
and is sent the answer; `run_together` runs any number of parsers and groups their requests by function. A header
of four lists costs some hundred NumPy calls when it is read alone, however short the lists.

Functions whose names begin with `parse` return a parser; those that begin with `read` read at once.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from squeezekit.codec.entropy import bits
from squeezekit.codec.entropy.bits import Reader
from squeezekit.errors import FormatError

__all__ = ["Parser", "Segments", "read_bits", "read_numbers", "run", "run_together"]

T = TypeVar("T")
_Request = tuple[Callable[[list[Any]], list[Any]], Any]
"""A function that answers many requests at once, and what one of them asks."""
Parser = Generator[_Request, Any, T]

# Numbers read at once, some hundred bytes each; beyond it one list more costs nothing next to its numbers.
_CHUNK = 1 << 16
# This few lists are read one after the other.
_FEW = 4


def run_together(parsers: Sequence[Parser[T]]) -> list[T]:
    """Run parsers step by step; what each returns, in order.

    Example:
        >>> def first_two(data):
        ...     reader = Reader(data)
        ...     values = yield read_numbers, (reader, 2)
        ...     return values.tolist()
        >>> run_together([first_two(bits.numbers(np.array(pair))) for pair in ((5, 6), (300, 0))])
        [[5, 6], [300, 0]]
    """
    results: dict[int, T] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(parsers)))
    while answers:
        asked: dict[Callable[[list[Any]], list[Any]], list[tuple[int, Any]]] = {}
        for number, answer in answers.items():
            try:
                function, request = parsers[number].send(answer)
            except StopIteration as stop:
                results[number] = stop.value
            else:
                asked.setdefault(function, []).append((number, request))
        answers = {}
        for function, requests in asked.items():
            found = function([request for _, request in requests])
            answers.update(zip((number for number, _ in requests), found, strict=True))
    return [results[number] for number in range(len(parsers))]


def run(parser: Parser[T]) -> T:
    """Run one parser."""
    return run_together([parser])[0]


class Segments:
    """Lists of given sizes that follow each other in one array; none but for `split` is empty."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = np.array(sizes, np.intp)
        self.firsts = np.cumsum(self.sizes) - self.sizes
        self.owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        """The list of each element."""

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Each list on its own; much faster than `np.split`."""
        starts = self.firsts.tolist()
        return [values[start:stop] for start, stop in zip(starts, [*starts[1:], len(values)], strict=True)]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Cumulative sums within each list."""
        sums = np.cumsum(values)
        return sums - (sums - values)[self.firsts][self.owner]


def read_numbers(requests: list[tuple[Reader, int]]) -> list[np.ndarray]:
    """Read `Reader.numbers(count)` from many readers, all different: int64 (count,) each.

    Raises:
        FormatError: not lists of so many numbers.
    """
    if len(requests) < _FEW:
        return [reader.numbers(count) for reader, count in requests]
    out: list[np.ndarray] = []
    for chunk in _chunks(requests, [count for _, count in requests]):
        out += _read_numbers(chunk)
    return out


def _chunks(requests: list[T], counts: list[int]) -> Iterator[list[T]]:
    first = total = 0
    for index, count in enumerate(counts):
        if total and total + count > _CHUNK:
            yield requests[first:index]
            first, total = index, 0
        total += count
    if first < len(requests):
        yield requests[first:]


def _read_numbers(requests: list[tuple[Reader, int]]) -> list[np.ndarray]:
    out = [np.zeros(count, np.int64) for _, count in requests]
    plain: list[tuple[int, Reader, int, int]] = []
    by_length: list[tuple[int, Reader, int, int]] = []
    for index, (reader, count) in enumerate(requests):
        if count:
            k = reader.byte()
            if k == bits.BY_LENGTH:
                by_length.append((index, reader, reader.byte(), count))
            else:
                plain.append((index, reader, k, count))
    read = _golomb([(reader, k, count) for _, reader, k, count in plain + by_length])
    for (index, *_), values in zip(plain, read, strict=False):
        out[index] = values
    if by_length:
        lists = Segments([count for *_, count in by_length])
        lengths = lists.sums(bits.unzigzag(np.concatenate(read[len(plain) :])))
        if lengths.min() < 0 or lengths.max() > 32:
            raise FormatError("a number of more than 32 bits")
        widths = np.maximum(lengths - 1, 0)
        low = read_bits([(one[1], part) for one, part in zip(by_length, lists.split(widths), strict=True)])
        values = np.concatenate(low).astype(np.int64) + (lengths > 0) * (np.int64(1) << widths)
        for (index, *_), part in zip(by_length, lists.split(values), strict=True):
            out[index] = part
    return out


def _golomb(requests: list[tuple[Reader, int, int]]) -> list[np.ndarray]:
    """Lists whose parameter was read: prefixes of all of them, then suffixes of all of them."""
    # A byte a number holds the prefixes of all but odd lists.
    windows = [reader.peek(count) for reader, _, count in requests]
    sizes = np.array([len(window) for window in windows], np.intp)
    starts = 8 * (np.cumsum(sizes) - sizes)
    ones = np.flatnonzero(np.unpackbits(np.frombuffer(b"".join(windows), np.uint8)))
    first_ones = np.searchsorted(ones, starts)
    found = np.searchsorted(ones, starts + 8 * sizes) - first_ones
    out: dict[int, np.ndarray] = {}
    usual = [at for at, (_, k, count) in enumerate(requests) if k < bits.ALL_ZERO and found[at] >= count]
    if usual:
        lists = Segments([requests[index][2] for index in usual])
        ranks = (first_ones[usual] - lists.firsts)[lists.owner] + np.arange(len(lists.owner))
        at = ones[ranks] - starts[usual][lists.owner]
        values = _suffixes([requests[index] for index in usual], at, lists)
        out.update(zip(usual, lists.split(values), strict=True))
    for index, (reader, k, count) in enumerate(requests):
        if index not in out:
            out[index] = reader.golomb(k, count)
    return [out[index] for index in range(len(requests))]


def _suffixes(requests: list[tuple[Reader, int, int]], at: np.ndarray, lists: Segments) -> np.ndarray:
    """Values whose prefixes end at the bits `at` of their readers."""
    ks = np.array([k for _, k, _ in requests], np.int64)
    widths = at + (ks - 1)[lists.owner]
    widths[1:] -= at[:-1]
    widths[lists.firsts] = at[lists.firsts] + ks
    if widths.max() > 32:
        raise FormatError("a number of more than 32 bits")
    heads = at[lists.firsts + lists.sizes - 1] + 1
    readers = [reader for reader, _, _ in requests]
    values = _read_bits(readers, heads.tolist(), widths, lists).astype(np.int64)
    values += np.int64(1) << widths
    values -= (np.int64(1) << ks)[lists.owner]
    if values.max() > bits.MAX_NUMBER:
        raise FormatError("a number of more than 32 bits")
    return values


def read_bits(requests: list[tuple[Reader, np.ndarray]]) -> list[np.ndarray]:
    """Read values of given widths (int64, in [0, 32]), and up to a whole byte, from many readers: uint64 each.

    Raises:
        FormatError: cut short.
    """
    out: list[np.ndarray] = []
    for chunk in _chunks(requests, [len(widths) for _, widths in requests]):
        lists = Segments([len(widths) for _, widths in chunk])
        widths = np.concatenate([widths for _, widths in chunk])
        out += lists.split(_read_bits([reader for reader, _ in chunk], [0] * len(chunk), widths, lists))
    return out


def _read_bits(readers: list[Reader], heads: list[int], widths: np.ndarray, lists: Segments) -> np.ndarray:
    """Values of all readers, each of which has so many bits in front of them; uint64."""
    before = np.cumsum(widths) - widths
    totals = np.add.reduceat(widths, lists.firsts).tolist()
    sizes = [(head + total + 7) // 8 for head, total in zip(heads, totals, strict=True)]
    parts = [reader.take(size) for reader, size in zip(readers, sizes, strict=True)]
    # Eight bytes more: each value is read from the eight bytes that begin where it begins.
    data = np.frombuffer(b"".join([*parts, bytes(8)]), np.uint8)
    bytes_before = np.cumsum([0, *sizes[:-1]])
    starts = before + (8 * bytes_before + heads - before[lists.firsts])[lists.owner]
    return bits.bits_at(data, starts, widths)
