"""Vtables: which fields the tables of a flatbuffer have, and where in a table each lies."""

import struct
from collections.abc import Sequence

from squeezekit.codec.flatbuffer.schema import OPTION_TYPES, Table, link_of
from squeezekit.errors import FormatError

__all__ = ["TableGroup", "VTable"]


class VTable:
    """A vtable; `entries` are the bytes of its table and each field's offset in it, 0 for an absent one."""

    def __init__(self, entries: Sequence[int]) -> None:
        if not entries or entries[0] < 4:
            raise FormatError("a table too short for the distance from its vtable")
        self.entries = tuple(entries)
        self.table_bytes = entries[0]
        self.size_bytes = 2 + 2 * len(entries)
        self.address: int | None = None
        """Its position; unknown until the table behind it is reached."""
        self.waiting: list[int] = []
        """Tables that use it and were reached before."""
        used = sorted((offset, field) for field, offset in enumerate(entries[1:]) if offset)
        stops = [*(offset for offset, _ in used), self.table_bytes]
        if any(stop <= start for start, stop in zip([3, *stops], stops[:-1], strict=False)) or (
            used and used[-1][0] >= self.table_bytes
        ):
            raise FormatError("a table whose fields overlap or lie outside it")
        self.fields = [
            (field, offset, stop - offset) for (offset, field), stop in zip(used, stops[1:], strict=True)
        ]
        """(field, offset, bytes up to the next), by offset; field -1 for what lies in front of the first."""
        if stops[0] > 4:
            self.fields.insert(0, (-1, 4, stops[0] - 4))

    def write(self, file: bytearray | memoryview, address: int) -> None:
        """Write it to its position."""
        struct.pack_into(f"<{1 + len(self.entries)}H", file, address, self.size_bytes, *self.entries)


class TableGroup:
    """All tables of one kind and one vtable."""

    def __init__(self, table: Table, option_type: int, vtable: VTable) -> None:
        self.starts: list[int] = []
        self.links: list[tuple[int, int, int]] = []  # field, its offset, link
        self.types: dict[int, int] = {}  # field with a type of options: its offset
        self.parts: list[tuple[tuple[int, ...], int]] = []  # key in `Regions.fields`, offset
        for field, offset, size in vtable.fields:
            link = link_of(table, option_type, field) if size >= 4 else None
            if link is not None:
                self.links.append((field, offset, link))
                field, offset, size = -1, offset + 4, size - 4
            elif table is Table.OPERATOR and field in OPTION_TYPES.values():
                self.types[field] = offset
                offset, size = offset + 1, size - 1
            part = 0
            while size:
                width = min(8, 1 << (size.bit_length() - 1))
                self.parts.append(((table, option_type, field, part, width), offset))
                offset, size, part = offset + width, size - width, part + 1
        self.links.sort()
        self.size = len(self.parts)
