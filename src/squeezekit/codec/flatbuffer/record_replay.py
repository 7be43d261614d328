"""Recording the traversal of a flatbuffer and replaying it; `traversal` explains both."""

import heapq
import io
import struct
from collections.abc import Iterable, Iterator, Sequence

from squeezekit.codec.flatbuffer.schema import LINKS, Target
from squeezekit.codec.flatbuffer.traversal import (
    ITEM_BYTES,
    MAX_LINKS,
    MAX_RANK,
    NEWEST,
    SAME_OBJECT,
    Regions,
    Series,
    Traversal,
)
from squeezekit.codec.flatbuffer.vtables import VTable
from squeezekit.errors import FormatError

__all__ = ["Recording", "record", "replay"]

Recording = list[list[int]]
"""The numbers of each `Series`."""


class _Recorder(Traversal):
    """Traverses a whole file; what it writes is what stands there already."""

    def __init__(self, file: bytearray) -> None:
        self.recording: Recording = [[] for _ in Series]
        self.texts: list[bytes] = []
        # Where the pending offsets lead to: target, age (the newest first), link, position.
        self._targets: list[tuple[int, int, int, int]] = []
        self._known: dict[int, int] = {}  # address of a vtable: its index in `vtables`
        self._find = file.find
        super().__init__(file)

    def number(self, series: Series, value: int) -> int:
        self.recording[series].append(value)
        return value

    def text(self, start: int) -> bytes:
        text = bytes(self.file[start + 4 : start + 4 + self.peek(start, 4)])
        self.texts.append(text)
        return text

    def entries(self, start: int) -> Sequence[int]:
        entries = self._vtable(start)[1].entries
        self.recording[Series.LAYOUT] += (len(entries), *entries)
        return entries

    def peek(self, start: int, size: int) -> int:
        return int.from_bytes(self.file[start : start + size], "little")

    def push(self, link: int, position: int) -> None:
        super().push(link, position)
        target = position + self.peek(position, 4)
        heapq.heappush(self._targets, (target, -self.count, link, position))

    def run(self) -> None:
        while self._targets:
            start, _, link, position = heapq.heappop(self._targets)
            rank = self._rank(link, position)
            if rank is None:
                continue
            if start == self.last:
                self.recording[Series.STEP] += (SAME_OBJECT, 2 + link)
                self.recording[Series.RANK].append(rank)
                self.write_word(self.take(link, rank), start - position)
                continue
            try:
                choice = self._examine(link, start)
            except (FormatError, struct.error):
                continue  # its bytes will be stored as they are
            if self.newest()[1] == position:
                self.recording[Series.STEP].append(NEWEST)
            else:
                self.recording[Series.STEP].append(2 + link)
                self.recording[Series.RANK].append(rank)
            self.visit(link, self.take(link, rank), start, choice)
        self.finish()

    def _rank(self, link: int, position: int) -> int | None:
        """Which of its link's pending offsets it is; None when too far from both ends."""
        queue = self.queues[link]
        for depth in range(min(len(queue), MAX_RANK // 2)):
            if queue[-1 - depth] == position:
                return 2 * depth
            if queue[depth] == position:
                return 2 * depth + 1
        return None

    def _examine(self, link: int, start: int) -> tuple[int, bool]:
        """Refuse an object that cannot be visited; for a table, which vtable it has and if that lies in front."""
        if start < self.cursor:
            raise FormatError("leads into another object")
        target = LINKS[link].target
        if target is not Target.TABLE:
            count = self.peek(start, 4)
            stop = start + 4 + count * ITEM_BYTES[target]
            if stop + (target is Target.STRING) > len(self.file):
                raise FormatError("leads outside")
            if target is Target.TABLES and self.count + count > MAX_LINKS:
                raise FormatError("too many offsets")
            if target is Target.STRING and self._find(0, start + 4) != stop:
                raise FormatError("not a plain string")
            return 0, False
        address, vtable = self._vtable(start)
        if start + vtable.table_bytes > len(self.file) or self.count + len(vtable.entries) > MAX_LINKS:
            raise FormatError("leads outside")
        index = self._known.setdefault(address, len(self.vtables))
        return index, address + vtable.size_bytes == start and address >= self.cursor

    def _vtable(self, start: int) -> tuple[int, VTable]:
        address = start - struct.unpack_from("<i", self.file, start)[0]
        known = self._known.get(address)
        if known is not None and known < len(self.vtables):
            return address, self.vtables[known]
        size = self.peek(address, 2) if address >= 0 else 0
        if size < 4 or size % 2:
            raise FormatError("no vtable")
        return address, VTable(struct.unpack_from(f"<{size // 2 - 1}H", self.file, address + 2))


class _Replayer(Traversal):
    """Rebuilds the recorded objects in an empty file."""

    def __init__(self, size_bytes: int, recording: Recording, texts: Iterable[bytes]) -> None:
        self._numbers: list[Iterator[int]] = [iter(numbers) for numbers in recording]
        self._texts = iter(texts)
        # Gives its bytes away without a copy.
        self.buffer = io.BytesIO(bytes(size_bytes))
        super().__init__(self.buffer.getbuffer())

    def number(self, series: Series, value: int) -> int:
        return next(self._numbers[series])

    def text(self, start: int) -> bytes:
        return next(self._texts)

    def entries(self, start: int) -> Sequence[int]:
        numbers = self._numbers[Series.LAYOUT]
        entries = [next(numbers) for _ in range(min(next(numbers), 1 << 15))]
        if any(entry > 0xFFFF for entry in entries):
            raise FormatError("an impossible vtable")
        return entries

    def peek(self, start: int, size: int) -> int:
        return 0

    def run(self) -> None:
        steps = self._numbers[Series.STEP]
        for step in steps:
            if step == NEWEST:
                link = self.newest()[0]
                self.visit(link, self.take(link, 0))
            elif step == SAME_OBJECT and self.last > 0:
                position = self._chosen(next(steps))[1]
                self.write_word(position, self.last - position)
            else:
                self.visit(*self._chosen(step))
        if any(next(numbers, None) is not None for numbers in (*self._numbers, self._texts)):
            raise FormatError("a traversal with something left over")
        self.finish()

    def _chosen(self, step: int) -> tuple[int, int]:
        link = step - 2
        if not 0 <= link < len(LINKS):
            raise FormatError("an object that no offset leads to")
        return link, self.take(link, next(self._numbers[Series.RANK]))


def record(file: bytes | memoryview) -> tuple[Regions, Recording, list[bytes]]:
    """Traverse a flatbuffer of any bytes, at least 8: what it found, and the numbers and strings for `replay`."""
    traversal = _Recorder(bytearray(file))
    traversal.run()
    return traversal.regions, traversal.recording, traversal.texts


def replay(size_bytes: int, recording: Recording, texts: Iterable[bytes]) -> tuple[Regions, io.BytesIO]:
    """Rebuild the objects of a flatbuffer of `size_bytes`, which the caller has bounded.

    Returns:
        What `record` found, and a file with all offsets, lengths, vtables and strings, zero elsewhere.

    Raises:
        FormatError: not the recording of such a file.
    """
    try:
        traversal = _Replayer(size_bytes, recording, texts)
        traversal.run()
    except StopIteration as error:
        raise FormatError("a traversal cut short") from error
    return traversal.regions, traversal.buffer
