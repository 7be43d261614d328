"""Vtables: which fields the tables of a flatbuffer have, and where in a table each lies."""

import struct
from collections.abc import Sequence

from squeezekit.codec.schema import OPTION_TYPES, Table, link_of
from squeezekit.errors import FormatError

__all__ = ["Kind", "VTable"]


class VTable:
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

    def write(self, file: bytearray | memoryview, address: int) -> None:
        """Write it to where it lies."""
        file[address : address + self.size_bytes] = struct.pack(
            f"<{1 + len(self.words)}H", self.size_bytes, *self.words
        )


class Kind:
    """All tables of one kind and one vtable."""

    def __init__(self, table: Table, option_type: int, vtable: VTable) -> None:
        self.starts: list[int] = []
        self.links: list[tuple[int, int, int]] = []  # field, its place, link
        self.types: dict[int, int] = {}  # field with a type of options: its place
        self.parts: list[tuple[tuple[int, ...], int]] = []  # key of a column, place
        for field, place, size in vtable.fields:
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
