"""Which fields of a `.tflite` lead to other objects, and to what: all that the outline needs of its schema.

Every field that is not listed here is a number of as many bytes as lie before the next field; a field that
is missing here (a newer schema, a rare kind of options) only costs size, because what it leads to is then
coded as bytes of no known meaning.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

import dataclasses
import enum
from typing import Any

__all__ = ["LINKS", "OPTION_TYPES", "ROOT", "Link", "Shape", "Table", "link_of"]


class Table(enum.IntEnum):
    """The tables of the schema that have fields of known meaning."""

    MODEL = 0
    OPERATOR_CODE = 1
    SUBGRAPH = 2
    TENSOR = 3
    QUANTIZATION = 4
    OPERATOR = 5
    BUFFER = 6
    METADATA = 7
    SIGNATURE = 8
    TENSOR_MAP = 9
    OPTIONS = 10
    """Options of an operator; of any kind, which the operator's own type field tells."""


class Shape(enum.Enum):
    """What an offset can lead to."""

    TABLE = enum.auto()
    TABLES = enum.auto()
    """A vector of offsets to tables."""
    STRING = enum.auto()
    INTEGERS = enum.auto()
    """A vector of int32."""
    FLOATS = enum.auto()
    """A vector of float32."""
    LONGS = enum.auto()
    """A vector of int64."""
    BYTES = enum.auto()
    """A vector of bytes that means something to an operator only."""
    DATA = enum.auto()
    """A vector of bytes that is a tensor's contents."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A kind of offset."""

    owner: Table | None
    """Where it lies; None for the file's first word and for elements of a vector of offsets."""
    field: int
    """For a field of options: 256 times their type, plus the field."""
    shape: Shape
    table: Table = Table.MODEL
    """For a table: which. For a vector of offsets: to which tables its elements lead. Else without meaning."""


def _links() -> tuple[Link, ...]:
    fields: tuple[tuple[Any, ...], ...] = (
        (Table.MODEL, 1, Shape.TABLES, Table.OPERATOR_CODE),
        (Table.MODEL, 2, Shape.TABLES, Table.SUBGRAPH),
        (Table.MODEL, 3, Shape.STRING),
        (Table.MODEL, 4, Shape.TABLES, Table.BUFFER),
        (Table.MODEL, 5, Shape.INTEGERS),
        (Table.MODEL, 6, Shape.TABLES, Table.METADATA),
        (Table.MODEL, 7, Shape.TABLES, Table.SIGNATURE),
        (Table.OPERATOR_CODE, 1, Shape.STRING),
        (Table.SUBGRAPH, 0, Shape.TABLES, Table.TENSOR),
        (Table.SUBGRAPH, 1, Shape.INTEGERS),
        (Table.SUBGRAPH, 2, Shape.INTEGERS),
        (Table.SUBGRAPH, 3, Shape.TABLES, Table.OPERATOR),
        (Table.SUBGRAPH, 4, Shape.STRING),
        (Table.TENSOR, 0, Shape.INTEGERS),
        (Table.TENSOR, 3, Shape.STRING),
        (Table.TENSOR, 4, Shape.TABLE, Table.QUANTIZATION),
        (Table.TENSOR, 7, Shape.INTEGERS),
        (Table.QUANTIZATION, 0, Shape.FLOATS),
        (Table.QUANTIZATION, 1, Shape.FLOATS),
        (Table.QUANTIZATION, 2, Shape.FLOATS),
        (Table.QUANTIZATION, 3, Shape.LONGS),
        (Table.OPERATOR, 1, Shape.INTEGERS),
        (Table.OPERATOR, 2, Shape.INTEGERS),
        (Table.OPERATOR, 4, Shape.TABLE, Table.OPTIONS),
        (Table.OPERATOR, 5, Shape.BYTES),
        (Table.OPERATOR, 8, Shape.INTEGERS),
        (Table.OPERATOR, 12, Shape.TABLE, Table.OPTIONS),
        (Table.BUFFER, 0, Shape.DATA),
        (Table.METADATA, 0, Shape.STRING),
        (Table.SIGNATURE, 0, Shape.TABLES, Table.TENSOR_MAP),
        (Table.SIGNATURE, 1, Shape.TABLES, Table.TENSOR_MAP),
        (Table.SIGNATURE, 2, Shape.STRING),
        (Table.TENSOR_MAP, 0, Shape.STRING),
        (Table.OPTIONS, 256 * 17 + 0, Shape.INTEGERS),  # reshape: new_shape
        (Table.OPTIONS, 256 * 30 + 0, Shape.INTEGERS),  # squeeze: squeeze_dims
    )
    root = Link(None, 0, Shape.TABLE, Table.MODEL)
    elements = (
        Link(None, 0, Shape.TABLE, table)
        for table in (
            Table.OPERATOR_CODE, Table.SUBGRAPH, Table.TENSOR, Table.OPERATOR, Table.BUFFER, Table.METADATA,
            Table.SIGNATURE, Table.TENSOR_MAP,
        )
    )  # fmt: skip
    return (root, *elements, *(Link(*field) for field in fields))


LINKS = _links()
"""Every kind of offset; its position here is its number in the file format."""

ROOT = 0
_BY_FIELD = {(link.owner, link.field): number for number, link in enumerate(LINKS) if link.owner is not None}
ELEMENTS = {link.table: number for number, link in enumerate(LINKS) if link.owner is None and number != ROOT}
"""Number of the link that an element of a vector of offsets is, by the table it leads to."""

OPTION_TYPES = {4: 3, 12: 11}
"""Fields of an operator that lead to options, and the fields that hold those options' type."""


def link_of(table: Table, option_type: int, field: int) -> int | None:
    """Number of the link that a table's field is; None for a number."""
    return _BY_FIELD.get((table, 256 * option_type + field if table is Table.OPTIONS else field))
