"""Recording a flatbuffer's outline and playing it back; `outline` explains both."""

import heapq
import io
import struct
from collections.abc import Iterable, Iterator, Sequence

from squeezekit.codec.outline import (
    AGAIN,
    ITEM_BYTES,
    MAX_LINKS,
    MAX_RANK,
    YOUNGEST,
    Outline,
    Stream,
    Walk,
)
from squeezekit.codec.schema import LINKS, Shape
from squeezekit.codec.vtables import VTable
from squeezekit.errors import FormatError

__all__ = ["Tape", "play", "record"]

Tape = list[list[int]]
"""The numbers of each `Stream`."""


class _Recorder(Walk):
    """Walks a whole file; what it writes is what stands there already."""

    def __init__(self, file: bytearray) -> None:
        self.tape: Tape = [[] for _ in Stream]
        self.texts: list[bytes] = []
        # Where the offsets that wait lead to: target, age (the youngest first), link, position.
        self._targets: list[tuple[int, int, int, int]] = []
        self._known: dict[int, int] = {}  # address of a vtable: its position in `vtables`
        self._find = file.find
        super().__init__(file)

    def number(self, stream: Stream, value: int) -> int:
        self.tape[stream].append(value)
        return value

    def text(self, start: int) -> bytes:
        text = bytes(self.file[start + 4 : start + 4 + self.peek(start, 4)])
        self.texts.append(text)
        return text

    def words(self, start: int) -> Sequence[int]:
        words = self._vtable(start)[1].words
        self.tape[Stream.LAYOUT] += (len(words), *words)
        return words

    def peek(self, start: int, size: int) -> int:
        return int.from_bytes(self.file[start : start + size], "little")

    def push(self, link: int, position: int) -> None:
        super().push(link, position)
        target = position + self.peek(position, 4)
        heapq.heappush(self._targets, (target, -self.count, link, position))

    def run(self) -> None:
        while self._targets:
            target, _, link, position = heapq.heappop(self._targets)
            rank = self._rank(link, position)
            if rank is None:
                continue
            if target == self.last:
                self.tape[Stream.TURN] += (AGAIN, 2 + link)
                self.tape[Stream.RANK].append(rank)
                self.again(self.take(link, rank))
                continue
            try:
                choice = self._examine(link, target)
            except (FormatError, struct.error):
                continue  # its bytes will be stored as they are
            if self.youngest()[1] == position:
                self.tape[Stream.TURN].append(YOUNGEST)
            else:
                self.tape[Stream.TURN].append(2 + link)
                self.tape[Stream.RANK].append(rank)
            self.place(link, self.take(link, rank), target, choice)
        self.close()

    def _rank(self, link: int, position: int) -> int | None:
        """Which of its link an offset is; None when too far from both ends."""
        queue = self.queues[link]
        for depth in range(min(len(queue), MAX_RANK // 2)):
            if queue[-1 - depth] == position:
                return 2 * depth
            if queue[depth] == position:
                return 2 * depth + 1
        return None

    def _examine(self, link: int, start: int) -> tuple[int, bool]:
        """See whether an object can be walked; for a table, which vtable it has and if that lies in front."""
        if start < self.cursor:
            raise FormatError("leads into another object")
        shape = LINKS[link].shape
        if shape is not Shape.TABLE:
            count = self.peek(start, 4)
            stop = start + 4 + count * ITEM_BYTES[shape]
            if stop + (shape is Shape.STRING) > len(self.file):
                raise FormatError("leads outside")
            if shape is Shape.TABLES and self.count + count > MAX_LINKS:
                raise FormatError("too many offsets")
            if shape is Shape.STRING and self._find(0, start + 4) != stop:
                raise FormatError("not a plain string")
            return 0, False
        address, vtable = self._vtable(start)
        if start + vtable.table_bytes > len(self.file) or self.count + len(vtable.words) > MAX_LINKS:
            raise FormatError("leads outside")
        index = self._known.setdefault(address, len(self.vtables))
        home = address + vtable.size_bytes == start and address >= self.cursor
        return index, home

    def _vtable(self, start: int) -> tuple[int, VTable]:
        address = start - struct.unpack_from("<i", self.file, start)[0]
        known = self._known.get(address)
        if known is not None and known < len(self.vtables):
            return address, self.vtables[known]
        size = self.peek(address, 2) if address >= 0 else 0
        if size < 4 or size % 2:
            raise FormatError("no vtable")
        return address, VTable(struct.unpack_from(f"<{size // 2 - 1}H", self.file, address + 2))


class _Player(Walk):
    """Lays an outline down in an empty file."""

    def __init__(self, size_bytes: int, tape: Tape, texts: Iterable[bytes]) -> None:
        self._numbers: list[Iterator[int]] = [iter(numbers) for numbers in tape]
        self._texts = iter(texts)
        # Gives its bytes away without a copy.
        self.buffer = io.BytesIO(bytes(size_bytes))
        super().__init__(self.buffer.getbuffer())

    def number(self, stream: Stream, value: int) -> int:
        return next(self._numbers[stream])

    def text(self, start: int) -> bytes:
        return next(self._texts)

    def words(self, start: int) -> Sequence[int]:
        vtable = self._numbers[Stream.LAYOUT]
        words = [next(vtable) for _ in range(min(next(vtable), 1 << 15))]
        if any(word > 0xFFFF for word in words):
            raise FormatError("an outline with an impossible vtable")
        return words

    def peek(self, start: int, size: int) -> int:
        return 0

    def run(self) -> None:
        turns = self._numbers[Stream.TURN]
        for turn in turns:
            if turn == YOUNGEST:
                link = self.youngest()[0]
                self.place(link, self.take(link, 0))
            elif turn == AGAIN and self.last > 0:
                self.again(self._chosen(next(turns))[1])
            else:
                self.place(*self._chosen(turn))
        if any(next(numbers, None) is not None for numbers in (*self._numbers, self._texts)):
            raise FormatError("an outline with something left over")
        self.close()

    def _chosen(self, turn: int) -> tuple[int, int]:
        link = turn - 2
        if not 0 <= link < len(LINKS):
            raise FormatError("an outline with an object that nothing leads to")
        return link, self.take(link, next(self._numbers[Stream.RANK]))


def record(file: bytes | memoryview) -> tuple[Outline, Tape, list[bytes]]:
    """Walk a flatbuffer.

    Args:
        file: any bytes, at least 8.

    Returns:
        What was found; the numbers and the strings from which `play` finds the same.
    """
    walk = _Recorder(bytearray(file))
    walk.run()
    return walk.outline, walk.tape, walk.texts


def play(size_bytes: int, tape: Tape, texts: Iterable[bytes]) -> tuple[Outline, io.BytesIO]:
    """Lay an outline down.

    Args:
        size_bytes: of the file; the caller has bounded it.
        tape: from `record`, or from a stranger's file.
        texts: from the same.

    Returns:
        What `record` found, and a file with all offsets, lengths, vtables and strings, zero elsewhere.

    Raises:
        FormatError: not the outline of such a file.
    """
    try:
        walk = _Player(size_bytes, tape, texts)
        walk.run()
    except StopIteration as error:
        raise FormatError("an outline cut short") from error
    return walk.outline, walk.buffer
