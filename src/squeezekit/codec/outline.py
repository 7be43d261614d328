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
from collections.abc import Sequence

from squeezekit.codec.schema import ELEMENTS, LINKS, OPTION_TYPES, ROOT, Shape, Table, link_of
from squeezekit.errors import FormatError

__all__ = ["AGAIN", "FIRST_BYTE", "MAX_RANK", "YOUNGEST", "Layout", "Outline", "Stream", "Walk"]

# The walk begins behind the root offset and the mark.
FIRST_BYTE = 8
# Offsets and fields in all. A graph of ten thousand operators has some eighty thousand offsets.
MAX_LINKS = 1 << 18
MAX_FIELDS = 1 << 21
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
    """Words that should lead somewhere but do not."""


class Layout:
    """A vtable."""

    def __init__(self, words: Sequence[int]) -> None:
        if not words or words[0] < 4:
            raise FormatError("a table without room for its own vtable's place")
        self.words = tuple(words)
        self.table_bytes = words[0]
        self.size_bytes = 2 + 2 * len(words)
        self.address: int | None = None
        """Where it lies; unknown until the table in front of which it lies is reached."""
        self.waiting: list[int] = []
        """Tables that use it and were reached before."""
        used = sorted((offset, field) for field, offset in enumerate(words[1:]) if offset)
        stops = [*(offset for offset, _ in used), self.table_bytes]
        if any(stop <= start for start, stop in zip([3, *stops], stops[:-1], strict=False)) or (
            used and used[-1][0] >= self.table_bytes
        ):
            raise FormatError("a table whose fields overlap or lie outside it")
        self.fields = [
            (field, offset, stop - offset) for (offset, field), stop in zip(used, stops[1:], strict=True)
        ]
        """(field, place, bytes up to the next), by place; field -1 for what lies in front of the first."""
        if stops[0] > 4:
            self.fields.insert(0, (-1, 4, stops[0] - 4))


class _Kind:
    """All tables of one kind and one vtable."""

    def __init__(self, table: Table, option_type: int, layout: Layout) -> None:
        self.starts: list[int] = []
        self.links: list[tuple[int, int, int]] = []  # field, its place, link
        self.types: dict[int, int] = {}  # field with a type of options: its place
        self.parts: list[tuple[tuple[int, ...], int]] = []  # key of a column, place
        for field, place, size in layout.fields:
            link = link_of(table, option_type, field) if size >= 4 else None
            if link is not None:
                self.links.append((field, place, link))
                field, place, size = -1, place + 4, size - 4
            elif table is Table.OPERATOR and field in OPTION_TYPES.values():
                self.types[field] = place
                place, size = place + 1, size - 1
            part = 0
            while size:
                width = min(8, 1 << (size.bit_length() - 1))
                self.parts.append(((table, option_type, field, part, width), place))
                place, size, part = place + width, size - width, part + 1
        self.links.sort()
        self.size = len(self.parts)


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

    def __init__(self, file: bytearray) -> None:
        self.file = file
        self.outline = Outline()
        self.cursor = FIRST_BYTE
        """End of the last object."""
        self.last = -1
        """Its start."""
        self.layouts: list[Layout] = []
        self.count = 0
        """Offsets seen so far."""
        self._fields = 0
        self._latest: dict[tuple[int, int], int] = {}  # link, type of options: position in `layouts`
        self._kinds: dict[tuple[int, int, int], _Kind] = {}  # table, type of options, position in `layouts`
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
        index = rank // 2 if rank % 2 else len(queue) - 1 - rank // 2
        position = queue[index]
        del queue[index]
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
            choice: when recording a table: its vtable's position in `layouts`, and whether it lies in front.
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
        index, home = self._choose_layout(link, option_type, start, choice)
        layout = self.layouts[index]
        start = self._begin(start, layout.size_bytes if home else 0, layout.table_bytes)
        if home:
            self._settle(layout, start - layout.size_bytes)
        if layout.address is None:
            layout.waiting.append(start)
        else:
            self.word(start, start - layout.address)
        table = LINKS[link].table
        key = (table, option_type, index)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(table, option_type, layout)
        kind.starts.append(start)
        self._fields += kind.size
        if self.count + len(kind.links) > MAX_LINKS or self._fields > MAX_FIELDS:
            raise FormatError("an outline of more fields than any network has")
        types = {}
        for field, place in kind.types.items():
            types[field] = self.file[start + place] = self.number(
                Stream.OPTION_TYPE, self.peek(start + place, 1)
            )
        for field, place, target in kind.links:
            self.push(target, start + place)
            if table is Table.OPERATOR and field in OPTION_TYPES:
                self._options[start + place] = types.get(OPTION_TYPES[field], 0)
        return start

    def _choose_layout(
        self, link: int, option_type: int, start: int, known: tuple[int, bool]
    ) -> tuple[int, bool]:
        """Position in `layouts`, and whether the vtable lies right in front of its table."""
        layouts, key = self.layouts, (link, option_type)
        index, home = known
        if index == len(layouts):
            choice = 1
        else:
            choice = 0 if index == self._latest.get(key) else len(layouts) + 1 - index
        number = self.number(Stream.VTABLE, 2 * choice + home)
        choice, home = number >> 1, bool(number & 1)
        if choice == 1:
            layouts.append(Layout(self.words(start)))
            index = len(layouts) - 1
        else:
            index = self._latest.get(key, -1) if choice == 0 else len(layouts) + 1 - choice
        if not 0 <= index < len(layouts) or (home and layouts[index].address is not None):
            raise FormatError("an outline with a vtable that does not exist")
        self._latest[key] = index
        return index, home

    def _settle(self, layout: Layout, address: int) -> None:
        layout.address = address
        size = layout.size_bytes
        self.file[address : address + size] = struct.pack(f"<{size // 2}H", size, *layout.words)
        for table in layout.waiting:
            self.word(table, table - address)
        layout.waiting.clear()

    def close(self) -> None:
        """Complete the outline."""
        outline = self.outline
        for kind in self._kinds.values():
            for key, place in kind.parts:
                outline.columns.setdefault(key, []).extend([start + place for start in kind.starts])
        for positions in outline.columns.values():
            positions.sort()
        outline.odd = sorted(self._alive)
        outline.odd += [table for layout in self.layouts for table in layout.waiting]
        if self.cursor < len(self.file):
            outline.gaps.append((self.cursor, len(self.file)))
