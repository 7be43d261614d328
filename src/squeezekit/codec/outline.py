"""The outline of a flatbuffer: where its objects lie, told in few small numbers, mostly zeros.

Offsets are what makes flatbuffers compress badly: every one differs from every other. But all of them point
forward, and builders lay objects down in an orderly way. So the outline walks the file from front to back and
says at each object only which of the offsets seen so far leads to it: nearly always the youngest one. Where
it begins follows from where the last object ended. Then no offset has to be stored, nor any vtable's place;
each vtable is told once. One walk serves to record a file and to play it back, so the two cannot disagree.

Whatever is odd (an offset that leads outside or into another object) is not walked: its bytes belong to no
object and are stored as they are. So every file has an outline, if only an empty one.

FlatBuffers internals: https://flatbuffers.dev/internals/.
"""

import abc
import dataclasses
import enum
import struct
from collections import deque
from collections.abc import Iterable, Sequence

from squeezekit.codec.schema import ELEMENTS, LINKS, OPTION_TYPES, ROOT, Shape, Table
from squeezekit.codec.vtables import Kind, VTable
from squeezekit.errors import FormatError

__all__ = ["AGAIN", "FIRST_BYTE", "MAX_RANK", "YOUNGEST", "Outline", "Stream", "Walk"]

# The walk begins behind the root offset and the mark.
FIRST_BYTE = 8
# Offsets and fields in all. A graph of ten thousand operators has some eighty thousand offsets.
MAX_LINKS = 1 << 18
MAX_FIELDS = 1 << 20
# Deeper among the offsets of its kind none is looked for: it bounds the work, and no builder needs it.
MAX_RANK = 64
# Turns below 2; the others are 2 + a link.
YOUNGEST, AGAIN = 0, 1
ITEM_BYTES = {
    Shape.TABLES: 4, Shape.INTEGERS: 4, Shape.FLOATS: 4, Shape.LONGS: 8, Shape.BYTES: 1, Shape.DATA: 1,
    Shape.STRING: 1,
}  # fmt: skip


class Stream(enum.IntEnum):
    """What a number of the outline is about; each kind makes a list of its own."""

    TURN = 0
    """Which offset leads to the next object: 0 the youngest, 1 one that leads to the last object too (its own
    turn follows), else 2 + its link."""
    RANK = 1
    """After 2 + link: which of them. 0 the youngest, 1 the oldest, 2 the youngest but one, ..."""
    VTABLE = 2
    """For a table: twice its vtable's choice, plus 1 if the vtable lies right in front of it. The choice is 0:
    as the last table of this link and these options; 1: a new one; 2: the youngest; 3: the youngest but one."""
    LENGTH = 3
    """Elements of a vector other than DATA."""
    DATA_LENGTH = 4
    """Bytes of DATA."""
    GAP = 5
    """Bytes from where an object is expected (the next whole word after the last one and its own vtable) to
    where it is; see `fold`."""
    OPTION_TYPE = 6
    """Type of an operator's options."""
    LAYOUT = 7
    """A new vtable: how many words follow; bytes of the table; each field's place in it, 0 for an absent one."""


@dataclasses.dataclass(slots=True)
class Outline:
    """What the walk found, as positions in the file."""

    columns: dict[tuple[int, ...], list[int]] = dataclasses.field(default_factory=dict)
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
    odd: list[int] = dataclasses.field(default_factory=list)
    """Words that should lead somewhere but do not, and one word for each of `astray`."""
    astray: list[VTable] = dataclasses.field(default_factory=list)
    """Vtables that lie in front of no table that uses them."""

    def carve(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take spans out of the gaps; returns those that lay within one, ascending."""
        carved = []
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
                carved.append((start, stop))
        self.gaps += gaps
        return carved

    def settle(self, file: bytearray | memoryview) -> None:
        """Write the vtables that lie astray, and where they lie, once the odd words are known."""
        places: dict[tuple[int, int], VTable] = {}
        for vtable in self.astray:
            address = vtable.waiting[0] - struct.unpack_from("<i", file, vtable.waiting[0])[0]
            for table in vtable.waiting:
                if not -(1 << 31) <= table - address < 1 << 31:
                    raise FormatError("an outline with a vtable outside its file")
                struct.pack_into("<i", file, table, table - address)
            places.setdefault((address, address + vtable.size_bytes), vtable)
        for place in self.carve(places):
            places[place].write(file, place[0])


def fold(gap: int) -> int:
    """Whole words as 0, 2, 4, ... (twice their zigzag), all other gaps as odd numbers."""
    value = gap // 4 if gap % 4 == 0 else gap
    return 2 * (2 * value if value >= 0 else -2 * value - 1) + (gap % 4 != 0)


def unfold(number: int) -> int:
    """Undo `fold`."""
    value = number >> 1
    value = (value >> 1) ^ -(value & 1)
    return value if number & 1 else 4 * value


class Walk(abc.ABC):
    """The walk over a file, object by object; see `Recorder` and `Player`.

    Args:
        file: what is walked; offsets, lengths and vtables are written to it as they become known.
    """

    def __init__(self, file: bytearray | memoryview) -> None:
        self.file = file
        self.outline = Outline()
        self.cursor = FIRST_BYTE
        """End of the last object."""
        self.last = -1
        """Its start."""
        self.vtables: list[VTable] = []
        self.count = 0
        """Offsets seen so far."""
        self._fields = 0
        self._latest: dict[tuple[int, int], int] = {}  # link, type of options: position in `vtables`
        self._kinds: dict[tuple[int, int, int], Kind] = {}  # table, type of options, position in `vtables`
        # The offsets that wait for their object: all together, where some may be done already, and by link.
        self._stack: list[tuple[int, int]] = []
        self.queues: list[deque[int]] = [deque() for _ in LINKS]
        self._alive: set[int] = set()
        self._options: dict[int, int] = {}  # offsets that lead to options: their type
        self.push(ROOT, 0)

    @abc.abstractmethod
    def number(self, stream: Stream, value: int) -> int:
        """Record a number of a stream, or return the one recorded."""

    @abc.abstractmethod
    def text(self, start: int) -> bytes:
        """Record the string at `start`, or return the one recorded."""

    @abc.abstractmethod
    def words(self, start: int) -> Sequence[int]:
        """Record the vtable of the table at `start`, or return the one recorded."""

    @abc.abstractmethod
    def peek(self, start: int, size: int) -> int:
        """When recording, the number that stands in the file."""

    def push(self, link: int, position: int) -> None:
        """An offset lies at `position`."""
        self._stack.append((link, position))
        self.queues[link].append(position)
        self._alive.add(position)
        self.count += 1

    def youngest(self) -> tuple[int, int]:
        """Link and position of the youngest offset that waits."""
        stack = self._stack
        while stack and stack[-1][1] not in self._alive:
            stack.pop()
        if not stack:
            raise FormatError("an outline with an object that nothing leads to")
        return stack[-1]

    def take(self, link: int, rank: int) -> int:
        """Remove an offset from those that wait; returns its position."""
        queue = self.queues[link]
        if rank >= min(len(queue), MAX_RANK):
            raise FormatError("an outline with an object that nothing leads to")
        if rank:
            index = rank // 2 if rank % 2 else len(queue) - 1 - rank // 2
            position = queue[index]
            del queue[index]
        else:
            position = queue.pop()
        self._alive.remove(position)
        return position

    def again(self, position: int) -> None:
        """The offset at `position` leads to the last object too."""
        self.word(position, self.last - position)

    def place(self, link: int, position: int, start: int = -1, choice: tuple[int, bool] = (0, False)) -> None:
        """Walk the object that the offset at `position` leads to.

        Args:
            link: the offset's link.
            position: where it lies.
            start: when recording: where the object begins.
            choice: when recording a table: its vtable's position in `vtables`, and whether it lies in front.
        """
        shape = LINKS[link].shape
        if shape is Shape.TABLE:
            start = self._place_table(link, self._options.pop(position, 0), start, choice)
        elif shape is Shape.STRING:
            text = self.text(start)
            start = self._begin(start, 0, 5 + len(text))
            self.word(start, len(text))
            self.file[start + 4 : start + 4 + len(text)] = text
        else:
            start = self._place_vector(link, shape, start)
        self.word(position, start - position)

    def word(self, position: int, value: int) -> None:
        """Write an offset or a length."""
        struct.pack_into("<i", self.file, position, value)

    def _begin(self, start: int, in_front: int, size: int) -> int:
        """Settle where an object of `size` bytes begins that has a vtable of `in_front` bytes in front."""
        expected = (self.cursor + in_front + 3) // 4 * 4
        start = expected + unfold(self.number(Stream.GAP, fold(start - expected)))
        if start - in_front < self.cursor or start + size > len(self.file):
            raise FormatError("an outline that leaves its file")
        if start - in_front > self.cursor:
            self.outline.gaps.append((self.cursor, start - in_front))
        self.last, self.cursor = start, start + size
        return start

    def _place_vector(self, link: int, shape: Shape, start: int) -> int:
        stream = Stream.DATA_LENGTH if shape is Shape.DATA else Stream.LENGTH
        count = self.number(stream, self.peek(start, 4))
        if shape is Shape.TABLES and self.count + count > MAX_LINKS:
            raise FormatError("an outline of more offsets than any network has")
        size = count * ITEM_BYTES[shape]
        start = self._begin(start, 0, 4 + size)
        self.word(start, count)
        first, stop = start + 4, start + 4 + size
        if shape is Shape.TABLES:
            element = ELEMENTS[LINKS[link].table]
            for at in range(first, stop, 4):
                self.push(element, at)
        elif count and shape is Shape.DATA:
            self.outline.data.append((first, stop))
        elif count and shape is Shape.BYTES:
            self.outline.blocks.append((first, stop))
        elif count:
            self.outline.vectors.setdefault((link, count), []).append(first)
        return start

    def _place_table(self, link: int, option_type: int, start: int, choice: tuple[int, bool]) -> int:
        index, home = self._choose_vtable(link, option_type, start, choice)
        vtable = self.vtables[index]
        start = self._begin(start, vtable.size_bytes if home else 0, vtable.table_bytes)
        if home:
            self._settle(vtable, start - vtable.size_bytes)
        if vtable.address is None:
            vtable.waiting.append(start)
        else:
            self.word(start, start - vtable.address)
        table = LINKS[link].table
        key = (table, option_type, index)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(table, option_type, vtable)
        kind.starts.append(start)
        self._fields += kind.size
        if self.count + len(kind.links) > MAX_LINKS or self._fields > MAX_FIELDS:
            raise FormatError("an outline of more fields than any network has")
        types = {}
        for field, place in kind.types.items():
            types[field] = self.number(Stream.OPTION_TYPE, self.peek(start + place, 1))
            if types[field] > 0xFF:
                raise FormatError("an outline with options of no possible type")
            self.file[start + place] = types[field]
        for field, place, target in kind.links:
            self.push(target, start + place)
            if table is Table.OPERATOR and field in OPTION_TYPES:
                self._options[start + place] = types.get(OPTION_TYPES[field], 0)
        return start

    def _choose_vtable(
        self, link: int, option_type: int, start: int, known: tuple[int, bool]
    ) -> tuple[int, bool]:
        """Position in `vtables`, and whether the vtable lies right in front of its table."""
        vtables, key = self.vtables, (link, option_type)
        index, home = known
        if index == len(vtables):
            choice = 1
        else:
            choice = 0 if index == self._latest.get(key) else len(vtables) + 1 - index
        number = self.number(Stream.VTABLE, 2 * choice + home)
        choice, home = number >> 1, bool(number & 1)
        if choice == 1:
            vtables.append(VTable(self.words(start)))
            index = len(vtables) - 1
        else:
            index = self._latest.get(key, -1) if choice == 0 else len(vtables) + 1 - choice
        if not 0 <= index < len(vtables) or (home and vtables[index].address is not None):
            raise FormatError("an outline with a vtable that does not exist")
        self._latest[key] = index
        return index, home

    def _settle(self, vtable: VTable, address: int) -> None:
        vtable.address = address
        vtable.write(self.file, address)
        for table in vtable.waiting:
            self.word(table, table - address)
        vtable.waiting.clear()

    def close(self) -> None:
        """Complete the outline."""
        outline = self.outline
        for kind in self._kinds.values():
            for key, place in kind.parts:
                outline.columns.setdefault(key, []).extend([start + place for start in kind.starts])
        for positions in outline.columns.values():
            positions.sort()
        outline.astray = [vtable for vtable in self.vtables if vtable.waiting]
        outline.odd = sorted(self._alive) + [vtable.waiting[0] for vtable in outline.astray]
        if self.cursor < len(self.file):
            outline.gaps.append((self.cursor, len(self.file)))
