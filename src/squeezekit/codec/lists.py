"""Headers of many streams read side by side: what all of them want at the same turn takes a few NumPy calls together.

A *parser* is a generator. It yields what it wants next, a reader of many and what to read, and is sent the answer;
`together` runs any number of parsers and lets each reader answer all that want it at once. A header of four lists
costs some hundred NumPy calls when it is read alone, however short the lists.

When not to use it: for a single header, `Reader.numbers` is as fast.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from squeezekit.codec import bits
from squeezekit.codec.bits import Reader
from squeezekit.errors import FormatError

__all__ = ["Parser", "Want", "alone", "cut", "fields", "numbers", "running", "segments", "together"]

T = TypeVar("T")
Want = tuple[Callable[[list[Any]], list[Any]], Any]
"""A function that answers many questions at once, and one of them."""
Parser = Generator[Want, Any, T]

# Numbers read at once, some hundred bytes each; beyond it one list more costs nothing next to its numbers.
_CHUNK = 1 << 16
# So few lists are read one after the other.
_FEW = 4


def together(parsers: Sequence[Parser[T]]) -> list[T]:
    """Run parsers turn by turn; what each returns, in order.

    Example:
        >>> def first_two(data):
        ...     reader = Reader(data)
        ...     values = yield numbers, (reader, 2)
        ...     return values.tolist()
        >>> together([first_two(bits.numbers(np.array(pair))) for pair in ((5, 6), (300, 0))])
        [[5, 6], [300, 0]]
    """
    results: dict[int, T] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(parsers)))
    while answers:
        asked: dict[Callable[[list[Any]], list[Any]], list[tuple[int, Any]]] = {}
        for number, answer in answers.items():
            try:
                ask, question = parsers[number].send(answer)
            except StopIteration as stop:
                results[number] = stop.value
            else:
                asked.setdefault(ask, []).append((number, question))
        answers = {}
        for ask, questions in asked.items():
            found = ask([question for _, question in questions])
            answers.update(zip((number for number, _ in questions), found, strict=True))
    return [results[number] for number in range(len(parsers))]


def alone(parser: Parser[T]) -> T:
    """Run one parser."""
    return together([parser])[0]


def segments(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of lists that lie one after the other: where each begins, how long each is, and in which one each element is.

    Args:
        counts: elements of each list, not 0.
    """
    sizes = np.array(counts, np.intp)
    return np.cumsum(sizes) - sizes, sizes, np.repeat(np.arange(len(sizes)), sizes)


def cut(values: np.ndarray, firsts: np.ndarray) -> list[np.ndarray]:
    """Lists that lie one after the other, each for itself; much faster than `np.split`."""
    starts = firsts.tolist()
    return [values[start:stop] for start, stop in zip(starts, [*starts[1:], len(values)], strict=True)]


def running(values: np.ndarray, firsts: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """Cumulative sums within each list; `firsts` and `lists` as from `segments`."""
    sums = np.cumsum(values)
    return sums - (sums - values)[firsts][lists]


def numbers(wants: list[tuple[Reader, int]]) -> list[np.ndarray]:
    """Read `Reader.numbers(count)` from many readers: int64 (count,) each.

    Args:
        wants: readers, all different, and counts, which the caller has bounded.

    Raises:
        FormatError: not lists of so many numbers.
    """
    if len(wants) < _FEW:
        return [reader.numbers(count) for reader, count in wants]
    out: list[np.ndarray] = []
    for chunk in _chunks(wants, [count for _, count in wants]):
        out += _numbers(chunk)
    return out


def _chunks(wants: list[T], counts: list[int]) -> Iterator[list[T]]:
    first = total = 0
    for place, count in enumerate(counts):
        if total and total + count > _CHUNK:
            yield wants[first:place]
            first, total = place, 0
        total += count
    if first < len(wants):
        yield wants[first:]


def _numbers(wants: list[tuple[Reader, int]]) -> list[np.ndarray]:
    out = [np.zeros(count, np.int64) for _, count in wants]
    lists: list[tuple[int, Reader, int, int]] = []
    lengths: list[tuple[int, Reader, int, int]] = []
    for place, (reader, count) in enumerate(wants):
        if count:
            k = reader.byte()
            if k == bits.BY_LENGTH:
                lengths.append((place, reader, reader.byte(), count))
            else:
                lists.append((place, reader, k, count))
    read = _golomb([(reader, k, count) for _, reader, k, count in lists + lengths])
    for (place, *_), values in zip(lists, read, strict=False):
        out[place] = values
    if lengths:
        firsts, _, owner = segments([count for *_, count in lengths])
        steps = bits.unzigzag(np.concatenate(read[len(lists) :]))
        widths = running(steps, firsts, owner)
        if widths.min() < 0 or widths.max() > 32:
            raise FormatError("a number of more than 32 bits")
        below = np.maximum(widths - 1, 0)
        low = fields([(one[1], part) for one, part in zip(lengths, cut(below, firsts), strict=True)])
        values = np.concatenate(low).astype(np.int64) + (widths > 0) * (np.int64(1) << below)
        for (place, *_), part in zip(lengths, cut(values, firsts), strict=True):
            out[place] = part
    return out


def _golomb(wants: list[tuple[Reader, int, int]]) -> list[np.ndarray]:
    """Lists whose parameter was read: prefixes of all of them, then suffixes of all of them."""
    out: list[np.ndarray | None] = [None] * len(wants)
    # A byte a number holds the prefixes of all but odd lists.
    windows = [reader.peek(count) for reader, _, count in wants]
    sizes = np.array([len(window) for window in windows], np.intp)
    starts = 8 * (np.cumsum(sizes) - sizes)
    ones = np.flatnonzero(np.unpackbits(np.frombuffer(b"".join(windows), np.uint8)))
    first_ones = np.searchsorted(ones, starts)
    found = np.searchsorted(ones, starts + 8 * sizes) - first_ones
    usual = []
    for place, (reader, k, count) in enumerate(wants):
        if k < bits.ALL_ZERO and found[place] >= count:
            usual.append(place)
        else:
            out[place] = reader.golomb(k, count)
    if usual:
        for place, values in zip(usual, _usual(wants, usual, ones, first_ones, starts), strict=True):
            out[place] = values
    return [values for values in out if values is not None]


def _usual(
    wants: list[tuple[Reader, int, int]],
    usual: list[int],
    ones: np.ndarray,
    first_ones: np.ndarray,
    starts: np.ndarray,
) -> list[np.ndarray]:
    readers = [wants[place][0] for place in usual]
    ks = np.array([wants[place][1] for place in usual], np.int64)
    firsts, sizes, owner = segments([wants[place][2] for place in usual])
    at = ones[(first_ones[usual] - firsts)[owner] + np.arange(len(owner))] - starts[usual][owner]
    widths = at + (ks - 1)[owner]
    widths[1:] -= at[:-1]
    widths[firsts] = at[firsts] + ks
    if widths.max() > 32:
        raise FormatError("a number of more than 32 bits")
    heads = at[firsts + sizes - 1] + 1
    values = _fields(readers, heads.tolist(), widths, firsts, owner).astype(np.int64)
    values += np.int64(1) << widths
    values -= (np.int64(1) << ks)[owner]
    if values.max() > bits.MAX_NUMBER:
        raise FormatError("a number of more than 32 bits")
    return cut(values, firsts)


def fields(wants: list[tuple[Reader, np.ndarray]]) -> list[np.ndarray]:
    """Read values of given widths, and up to a whole byte, from many readers: uint64 each.

    Args:
        wants: readers, all different, and widths in [0, 32], int64, at least one each.

    Raises:
        FormatError: cut short.
    """
    out: list[np.ndarray] = []
    for chunk in _chunks(wants, [len(widths) for _, widths in wants]):
        firsts, _, owner = segments([len(widths) for _, widths in chunk])
        widths = np.concatenate([widths for _, widths in chunk])
        values = _fields([reader for reader, _ in chunk], [0] * len(chunk), widths, firsts, owner)
        out += cut(values, firsts)
    return out


def _fields(
    readers: Sequence[Reader], heads: list[int], widths: np.ndarray, firsts: np.ndarray, owner: np.ndarray
) -> np.ndarray:
    """Values of all readers, which lie behind so many bits of each; uint64."""
    before = np.cumsum(widths) - widths
    totals = np.add.reduceat(widths, firsts).tolist()
    parts = [
        reader.take((head + total + 7) // 8)
        for reader, head, total in zip(readers, heads, totals, strict=True)
    ]
    # Eight bytes more: each value is looked for in the eight bytes from where it begins.
    data = np.frombuffer(b"".join([*parts, bytes(8)]), np.uint8)
    bytes_before = np.cumsum([0, *(len(part) for part in parts[:-1])])
    starts = before + (8 * bytes_before + heads - before[firsts])[owner]
    return bits.at_places(data, starts, widths)
