"""Which fields of a `.tflite` are offsets, and what they lead to: all that the traversal needs of its schema.

Every field that is not listed here is a number that reaches to the next field. A field that is missing here (a
newer schema, a rare kind of options) only costs size, because what it leads to is then coded as unknown bytes.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

import dataclasses
import enum
from typing import Any

__all__ = ["LINKS", "OPTION_TYPES", "ROOT", "Link", "Table", "Target", "link_of"]


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
    """Options of an operator, of the kind that the operator's own type field names."""


class Target(enum.Enum):
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
    """A vector of bytes that only an operator understands."""
    DATA = enum.auto()
    """A vector of bytes that is a tensor's contents."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A kind of offset."""

    owner: Table | None
    """Where it lies; None for the file's first word and for elements of a vector of offsets."""
    field: int
    """For a field of options: 256 times their type, plus the field."""
    target: Target
    table: Table = Table.MODEL
    """For TABLE: which. For TABLES: the tables that its elements lead to. Else without meaning."""


# Of each table the fields that are offsets: number, target and, for tables, which; ascending.
_T, _N, _S = (Target.TABLES,), (Target.INTEGERS,), (Target.STRING,)
_FIELDS: dict[Table, dict[int, tuple[Any, ...]]] = {
    Table.MODEL: {
        1: (*_T, Table.OPERATOR_CODE), 2: (*_T, Table.SUBGRAPH), 3: _S, 4: (*_T, Table.BUFFER), 5: _N,
        6: (*_T, Table.METADATA), 7: (*_T, Table.SIGNATURE),
    },
    Table.OPERATOR_CODE: {1: _S},
    Table.SUBGRAPH: {0: (*_T, Table.TENSOR), 1: _N, 2: _N, 3: (*_T, Table.OPERATOR), 4: _S},
    Table.TENSOR: {0: _N, 3: _S, 4: (Target.TABLE, Table.QUANTIZATION), 7: _N},
    Table.QUANTIZATION: {0: (Target.FLOATS,), 1: (Target.FLOATS,), 2: (Target.FLOATS,), 3: (Target.LONGS,)},
    Table.OPERATOR: {
        1: _N, 2: _N, 4: (Target.TABLE, Table.OPTIONS), 5: (Target.BYTES,), 8: _N, 12: (Target.TABLE, Table.OPTIONS),
    },
    Table.BUFFER: {0: (Target.DATA,)},
    Table.METADATA: {0: _S},
    Table.SIGNATURE: {0: (*_T, Table.TENSOR_MAP), 1: (*_T, Table.TENSOR_MAP), 2: _S},
    Table.TENSOR_MAP: {0: _S},
    Table.OPTIONS: {256 * 17 + 0: _N, 256 * 30 + 0: _N},  # reshape: new_shape; squeeze: squeeze_dims
}  # fmt: skip
# Tables that elements of vectors lead to.
_ELEMENTS = (
    Table.OPERATOR_CODE, Table.SUBGRAPH, Table.TENSOR, Table.OPERATOR, Table.BUFFER, Table.METADATA, Table.SIGNATURE,
    Table.TENSOR_MAP,
)  # fmt: skip
LINKS = (
    Link(None, 0, Target.TABLE, Table.MODEL),
    *(Link(None, 0, Target.TABLE, table) for table in _ELEMENTS),
    *(Link(owner, field, *to) for owner, fields in _FIELDS.items() for field, to in fields.items()),
)
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
