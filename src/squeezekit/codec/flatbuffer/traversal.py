"""Traversal of a flatbuffer: the positions of its objects as a few small numbers, mostly zeros.

Offsets are what makes flatbuffers compress badly: every one differs from every other. But all of them point
forward, and builders write objects in an orderly way. So the traversal goes through the file from front to back
and records for each object only which of the offsets seen so far leads to it: nearly always the newest one. Its
start follows from the end of the object before. Then no offset has to be stored, nor any vtable's position; each
vtable is recorded once. One traversal both records a file and replays it, so the two cannot disagree.

Objects of unusual offsets (that lead outside or into another object) are left out: their bytes belong to no object
and are stored as they are. So every file has a traversal, even if it finds nothing.

FlatBuffers internals: https://flatbuffers.dev/internals/.
"""

import abc
import dataclasses
import enum
import struct
from collections import deque
from collections.abc import Iterable, Sequence

from squeezekit.codec.flatbuffer.schema import ELEMENTS, LINKS, OPTION_TYPES, ROOT, Table, Target
from squeezekit.codec.flatbuffer.vtables import TableGroup, VTable
from squeezekit.errors import FormatError

__all__ = ["FIRST_BYTE", "MAX_RANK", "NEWEST", "SAME_OBJECT", "Regions", "Series", "Traversal"]

# The traversal begins behind the root offset and the mark.
FIRST_BYTE = 8
# Offsets and fields in all. A graph of ten thousand operators has some eighty thousand offsets.
MAX_LINKS = 1 << 18
MAX_FIELDS = 1 << 20
# Only this many of the pending offsets of a link are considered: it bounds the work, and no builder needs more.
MAX_RANK = 64
# Steps below 2; the others are 2 + a link.
NEWEST, SAME_OBJECT = 0, 1
ITEM_BYTES = {
    Target.TABLES: 4, Target.INTEGERS: 4, Target.FLOATS: 4, Target.LONGS: 8, Target.BYTES: 1, Target.DATA: 1,
    Target.STRING: 1,
}  # fmt: skip


class Series(enum.IntEnum):
    """The meaning of a recorded number; the numbers of each meaning make a list of their own."""

    STEP = 0
    """Which offset leads to the next object: 0 the newest, 1 one that leads to the last object too (its own
    step follows), else 2 + its link."""
    RANK = 1
    """After 2 + link: which of them. 0 the newest, 1 the oldest, 2 the newest but one, ..."""
    VTABLE = 2
    """For a table: twice its vtable's choice, plus 1 if the vtable lies right in front of it. The choice is 0:
    as the last table of this link and these options; 1: a new one; 2: the newest; 3: the newest but one."""
    LENGTH = 3
    """Elements of a vector other than DATA."""
    DATA_LENGTH = 4
    """Bytes of DATA."""
    GAP = 5
    """Bytes from where an object is expected (the next whole word after the last one and its own vtable) to
    where it is; see `encode_gap`."""
    OPTION_TYPE = 6
    """Type of an operator's options."""
    LAYOUT = 7
    """A new vtable: how many entries follow; bytes of the table; each field's position in it, 0 for an absent one."""


@dataclasses.dataclass(slots=True)
class Regions:
    """What the traversal found, as positions in the file."""

    fields: dict[tuple[int, ...], list[int]] = dataclasses.field(default_factory=dict)
    """Fields that are numbers, by (table, type of options, field, part, bytes of 1, 2, 4 or 8): ascending
    positions. Field -1 is what lies in front of the first one or behind an offset."""
    vectors: dict[tuple[int, int], list[int]] = dataclasses.field(default_factory=dict)
    """INTEGERS, FLOATS and LONGS by (link, elements, at least 1): positions of the first elements."""
    blocks: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Contents of BYTES: start and stop."""
    data: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Contents of DATA, where there are any: start and stop, ascending."""
    gaps: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """What belongs to no object: start and stop, ascending."""
    unresolved: list[int] = dataclasses.field(default_factory=list)
    """Offsets that lead to no object, and one word for each of `detached`."""
    detached: list[VTable] = dataclasses.field(default_factory=list)
    """Vtables that lie in front of no table that uses them."""

    def cut_from_gaps(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take spans out of the gaps; returns those that lay within one, ascending."""
        found = []
        gaps, self.gaps = deque(self.gaps), []
        for start, stop in sorted(spans):
            while gaps and gaps[0][1] <= start:
                self.gaps.append(gaps.popleft())
            if gaps and gaps[0][0] <= start and stop <= gaps[0][1]:
                first, last = gaps.popleft()
                if first < start:
                    self.gaps.append((first, start))
                if stop < last:
                    gaps.appendleft((stop, last))
                found.append((start, stop))
        self.gaps += gaps
        return found

    def write_detached(self, file: bytearray | memoryview) -> None:
        """Write the detached vtables, and their distances, once the unresolved words are known."""
        vtables: dict[tuple[int, int], VTable] = {}
        for vtable in self.detached:
            address = vtable.waiting[0] - struct.unpack_from("<i", file, vtable.waiting[0])[0]
            for table in vtable.waiting:
                if not -(1 << 31) <= table - address < 1 << 31:
                    raise FormatError("a vtable outside its file")
                struct.pack_into("<i", file, table, table - address)
            vtables.setdefault((address, address + vtable.size_bytes), vtable)
        for span in self.cut_from_gaps(vtables):
            vtables[span].write(file, span[0])


def encode_gap(gap: int) -> int:
    """Whole words as 0, 2, 4, ... (twice their zigzag), all other gaps as odd numbers."""
    value = gap // 4 if gap % 4 == 0 else gap
    return 2 * (2 * value if value >= 0 else -2 * value - 1) + (gap % 4 != 0)


def decode_gap(number: int) -> int:
    """Undo `encode_gap`."""
    value = number >> 1
    value = (value >> 1) ^ -(value & 1)
    return value if number & 1 else 4 * value


class Traversal(abc.ABC):
    """The traversal of a file, object by object; `record_replay` has the two kinds.

    Offsets, lengths and vtables are written to the file as they become known.
    """

    def __init__(self, file: bytearray | memoryview) -> None:
        self.file = file
        self.regions = Regions()
        self.cursor = FIRST_BYTE
        """End of the last object."""
        self.last = -1
        """Its start."""
        self.vtables: list[VTable] = []
        self.count = 0
        """Offsets seen so far."""
        self._fields = 0
        self._latest: dict[tuple[int, int], int] = {}  # link, type of options: index in `vtables`
        self._groups: dict[
            tuple[int, int, int], TableGroup
        ] = {}  # table, type of options, index in `vtables`
        # The pending offsets, whose object was not reached yet: all together, some of them done already, and by link.
        self._stack: list[tuple[int, int]] = []
        self.queues: list[deque[int]] = [deque() for _ in LINKS]
        self._pending: set[int] = set()
        self._options: dict[int, int] = {}  # offsets that lead to options: their type
        self.push(ROOT, 0)

    @abc.abstractmethod
    def number(self, series: Series, value: int) -> int:
        """Record a number of a series, or return the one recorded."""

    @abc.abstractmethod
    def text(self, start: int) -> bytes:
        """Record the string at `start`, or return the one recorded."""

    @abc.abstractmethod
    def entries(self, start: int) -> Sequence[int]:
        """Record the vtable of the table at `start`, or return the one recorded."""

    @abc.abstractmethod
    def peek(self, start: int, size: int) -> int:
        """When recording, the number that stands in the file."""

    def push(self, link: int, position: int) -> None:
        """Add the offset at `position`."""
        self._stack.append((link, position))
        self.queues[link].append(position)
        self._pending.add(position)
        self.count += 1

    def newest(self) -> tuple[int, int]:
        """Link and position of the newest pending offset."""
        stack = self._stack
        while stack and stack[-1][1] not in self._pending:
            stack.pop()
        if not stack:
            raise FormatError("an object that no offset leads to")
        return stack[-1]

    def take(self, link: int, rank: int) -> int:
        """Remove a pending offset; returns its position."""
        queue = self.queues[link]
        if rank >= min(len(queue), MAX_RANK):
            raise FormatError("an object that no offset leads to")
        if rank:
            index = rank // 2 if rank % 2 else len(queue) - 1 - rank // 2
            position = queue[index]
            del queue[index]
        else:
            position = queue.pop()
        self._pending.remove(position)
        return position

    def write_word(self, position: int, value: int) -> None:
        """Write an offset or a length."""
        struct.pack_into("<i", self.file, position, value)

    def visit(self, link: int, position: int, start: int = -1, choice: tuple[int, bool] = (0, False)) -> None:
        """Go through the object that the offset at `position` leads to.

        When recording it begins at `start`; `choice` is a table's vtable, by its index in `vtables`, and whether that
        lies in front.
        """
        target = LINKS[link].target
        if target is Target.TABLE:
            start = self._visit_table(link, self._options.pop(position, 0), start, choice)
        elif target is Target.STRING:
            text = self.text(start)
            start = self._begin(start, 0, 5 + len(text))
            self.write_word(start, len(text))
            self.file[start + 4 : start + 4 + len(text)] = text
        else:
            start = self._visit_vector(link, target, start)
        self.write_word(position, start - position)

    def _begin(self, start: int, in_front: int, size: int) -> int:
        """The start of an object of `size` bytes that has a vtable of `in_front` bytes in front."""
        expected = (self.cursor + in_front + 3) // 4 * 4
        start = expected + decode_gap(self.number(Series.GAP, encode_gap(start - expected)))
        if start - in_front < self.cursor or start + size > len(self.file):
            raise FormatError("an object outside its file or inside another object")
        if start - in_front > self.cursor:
            self.regions.gaps.append((self.cursor, start - in_front))
        self.last, self.cursor = start, start + size
        return start

    def _visit_vector(self, link: int, target: Target, start: int) -> int:
        series = Series.DATA_LENGTH if target is Target.DATA else Series.LENGTH
        count = self.number(series, self.peek(start, 4))
        if target is Target.TABLES and self.count + count > MAX_LINKS:
            raise FormatError("more offsets than any network has")
        size = count * ITEM_BYTES[target]
        start = self._begin(start, 0, 4 + size)
        self.write_word(start, count)
        first, stop = start + 4, start + 4 + size
        if target is Target.TABLES:
            element = ELEMENTS[LINKS[link].table]
            for at in range(first, stop, 4):
                self.push(element, at)
        elif count and target is Target.DATA:
            self.regions.data.append((first, stop))
        elif count and target is Target.BYTES:
            self.regions.blocks.append((first, stop))
        elif count:
            self.regions.vectors.setdefault((link, count), []).append(first)
        return start

    def _visit_table(self, link: int, option_type: int, start: int, choice: tuple[int, bool]) -> int:
        index, in_front = self._choose_vtable(link, option_type, start, choice)
        vtable = self.vtables[index]
        start = self._begin(start, vtable.size_bytes if in_front else 0, vtable.table_bytes)
        if in_front:
            vtable.address = start - vtable.size_bytes
            vtable.write(self.file, vtable.address)
            for other in vtable.waiting:
                self.write_word(other, other - vtable.address)
            vtable.waiting.clear()
        if vtable.address is None:
            vtable.waiting.append(start)
        else:
            self.write_word(start, start - vtable.address)
        table = LINKS[link].table
        key = (table, option_type, index)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = TableGroup(table, option_type, vtable)
        group.starts.append(start)
        self._fields += group.size
        if self.count + len(group.links) > MAX_LINKS or self._fields > MAX_FIELDS:
            raise FormatError("more fields than any network has")
        types = {}
        for field, offset in group.types.items():
            types[field] = self.number(Series.OPTION_TYPE, self.peek(start + offset, 1))
            if types[field] > 0xFF:
                raise FormatError("options of an impossible type")
            self.file[start + offset] = types[field]
        for field, offset, target in group.links:
            self.push(target, start + offset)
            if table is Table.OPERATOR and field in OPTION_TYPES:
                self._options[start + offset] = types.get(OPTION_TYPES[field], 0)
        return start

    def _choose_vtable(
        self, link: int, option_type: int, start: int, known: tuple[int, bool]
    ) -> tuple[int, bool]:
        """Index in `vtables`, and whether the vtable lies right in front of its table."""
        vtables, key = self.vtables, (link, option_type)
        index, in_front = known
        if index == len(vtables):
            choice = 1
        else:
            choice = 0 if index == self._latest.get(key) else len(vtables) + 1 - index
        number = self.number(Series.VTABLE, 2 * choice + in_front)
        choice, in_front = number >> 1, bool(number & 1)
        if choice == 1:
            vtables.append(VTable(self.entries(start)))
            index = len(vtables) - 1
        else:
            index = self._latest.get(key, -1) if choice == 0 else len(vtables) + 1 - choice
        if not 0 <= index < len(vtables) or (in_front and vtables[index].address is not None):
            raise FormatError("a vtable that does not exist")
        self._latest[key] = index
        return index, in_front

    def finish(self) -> None:
        """Complete the regions."""
        regions = self.regions
        for group in self._groups.values():
            for key, offset in group.parts:
                regions.fields.setdefault(key, []).extend([start + offset for start in group.starts])
        for positions in regions.fields.values():
            positions.sort()
        regions.detached = [vtable for vtable in self.vtables if vtable.waiting]
        regions.unresolved = sorted(self._pending) + [vtable.waiting[0] for vtable in regions.detached]
        if self.cursor < len(self.file):
            regions.gaps.append((self.cursor, len(self.file)))
