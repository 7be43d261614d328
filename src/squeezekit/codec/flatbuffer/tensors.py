"""Find the weights in a `.tflite` with `struct` alone: read-only, with every read bounded.

Only the few fields that lead from the root to the tensors' buffers are read. A broken part (a tensor whose buffer
does not exist, a buffer that runs over the end) is skipped, never guessed at: its bytes are not reported.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs; encoding: the FlatBuffers internals page.
"""

import dataclasses
import struct
from typing import NamedTuple

from squeezekit.errors import FormatError

__all__ = ["IDENTIFIER", "BiasScales", "TensorSpan", "bias_scales", "is_tflite", "tensor_spans"]

IDENTIFIER = b"TFL3"
# TensorType: name and bytes per element. Types below one byte or of variable size count as bytes.
_TYPES = {
    0: ("float32", 4), 1: ("float16", 2), 2: ("int32", 4), 3: ("uint8", 1), 4: ("int64", 8), 5: ("string", 1),
    6: ("bool", 1), 7: ("int16", 2), 8: ("complex64", 4), 9: ("int8", 1), 10: ("float64", 8),
    11: ("complex128", 8), 12: ("uint64", 8), 13: ("resource", 1), 14: ("variant", 1), 15: ("uint32", 4),
    16: ("uint16", 2), 17: ("int4", 1), 18: ("bfloat16", 2),
}  # fmt: skip
# Field numbers of the schema's tables.
_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_OPERATOR_INPUTS = 1
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = range(5)
_QUANTIZATION_SCALE = 2
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = range(3)
_READERS = {layout: struct.Struct(layout) for layout in ("<i", "<I", "<H", "<b", "<Q")}
_MAX_TABLES = 1 << 20
_MAX_RANK = 16
_MAX_NAME_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpan:
    """A tensor with constant contents, and where in the file its bytes lie."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    item_bytes: int
    """1, 2, 4 or 8; divides `size_bytes`."""
    start: int
    size_bytes: int
    """At least 1; `start + size_bytes` lies within the file."""

    @property
    def stop(self) -> int:
        """Position after the last byte."""
        return self.start + self.size_bytes


class _Flat:
    """Bounds-checked reads from a flatbuffer."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = memoryview(data)
        self.size = len(data)
        # A file that lists nothing twice can list no more tables.
        self._tables_left = min(len(data) // 4, _MAX_TABLES)

    def number(self, position: int, layout: str) -> int:
        reader = _READERS[layout]
        if position < 0 or position + reader.size > self.size:
            raise FormatError("a flatbuffer that points outside its file")
        return reader.unpack_from(self.data, position)[0]

    def follow(self, position: int) -> int:
        """Where the offset stored at `position` points."""
        return position + self.number(position, "<I")

    def field(self, table: int, index: int) -> int:
        """Position of a table's field; 0 when it is absent."""
        vtable = table - self.number(table, "<i")
        size = self.number(vtable, "<H")
        slot = 4 + 2 * index
        offset = self.number(vtable + slot, "<H") if slot + 2 <= size else 0
        return table + offset if offset else 0

    def scalar(self, table: int, index: int, layout: str) -> int:
        position = self.field(table, index)
        return self.number(position, layout) if position else 0

    def vector(self, table: int, index: int, item_bytes: int) -> tuple[int, int]:
        """Position of the first element and their number; (0, 0) when the field is absent."""
        position = self.field(table, index)
        if not position:
            return 0, 0
        start = self.follow(position)
        length = self.number(start, "<I")
        if start + 4 + length * item_bytes > len(self.data):
            raise FormatError("a flatbuffer whose vector runs over the end of the file")
        return start + 4, length

    def tables(self, table: int, index: int) -> list[int]:
        """Positions of the tables in a vector of tables."""
        start, length = self.vector(table, index, 4)
        self._tables_left -= length
        if self._tables_left < 0:
            raise FormatError("a flatbuffer that lists its tables again and again")
        return [self.follow(start + 4 * item) for item in range(length)]


def is_tflite(data: bytes | bytearray | memoryview) -> bool:
    """Whether the bytes claim to be a TFLite flatbuffer."""
    return bytes(data[4:8]) == IDENTIFIER


def tensor_spans(data: bytes | bytearray | memoryview) -> list[TensorSpan]:
    """All tensors that have contents in a whole `.tflite`, subgraph by subgraph, in the file's order.

    Tensors that share a buffer are all listed, with the same span.

    Raises:
        FormatError: no TFLite flatbuffer, or one whose lists of subgraphs and buffers cannot be read.

    Example:
        >>> tensor_spans(b"not a model")
        Traceback (most recent call last):
            ...
        squeezekit.errors.FormatError: not a .tflite file (no TFL3 mark)
    """
    if not is_tflite(data):
        raise FormatError("not a .tflite file (no TFL3 mark)")
    flat = _Flat(data)
    model = flat.follow(0)
    if model < 8:  # would lie within the root offset and the mark
        raise FormatError("a flatbuffer without a root")
    buffers = flat.tables(model, _MODEL_BUFFERS)
    spans = []
    for subgraph in flat.tables(model, _MODEL_SUBGRAPHS):
        try:
            tensors = flat.tables(subgraph, _SUBGRAPH_TENSORS)
        except FormatError:
            continue
        for tensor in tensors:
            span = _tensor_span(flat, tensor, buffers)
            if span is not None:
                spans.append(span)
    return spans


def _tensor_span(flat: _Flat, tensor: int, buffers: list[int]) -> TensorSpan | None:
    try:
        number = flat.scalar(tensor, _TENSOR_BUFFER, "<I")
        if number >= len(buffers):
            return None
        start, size = _buffer_span(flat, buffers[number])
        if size == 0:
            return None
        shape_start, rank = flat.vector(tensor, _TENSOR_SHAPE, 4)
        shape = tuple(flat.number(shape_start + 4 * axis, "<i") for axis in range(min(rank, _MAX_RANK)))
        code = flat.scalar(tensor, _TENSOR_TYPE, "<b")
        name_start, name_size = flat.vector(tensor, _TENSOR_NAME, 1)
    except FormatError:
        return None
    dtype, item_bytes = _TYPES.get(code, (f"type{code}", 1))
    if size % item_bytes:
        item_bytes = 1
    name = bytes(flat.data[name_start : name_start + min(name_size, _MAX_NAME_BYTES)])
    return TensorSpan(name.decode("utf-8", "replace"), shape, dtype, item_bytes, start, size)


def _buffer_span(flat: _Flat, buffer: int) -> tuple[int, int]:
    """Start and size of a buffer's bytes: inside the flatbuffer, or, in files over 2 GB, behind it."""
    start, size = flat.vector(buffer, _BUFFER_DATA, 1)
    if size:
        return start, size
    start = flat.scalar(buffer, _BUFFER_OFFSET, "<Q")
    size = flat.scalar(buffer, _BUFFER_SIZE, "<Q")
    # Offsets 0 and 1 mean "none" in the schema.
    if start <= 1 or start + size > len(flat.data):
        return 0, 0
    return start, size


class BiasScales(NamedTuple):
    """Positions of scales: of a bias, whose scales are likely products, and of the factors."""

    start: int
    number: int
    image: int
    """Of the input's one scale."""
    weight: int
    """Of the weights' scales, as many as the bias has."""


def bias_scales(data: bytes | bytearray | memoryview) -> list[BiasScales]:
    """Find the scales of operators' third inputs, the biases: ascending, each bias once.

    The scales themselves need not be filled in yet.
    """
    found: dict[int, BiasScales] = {}
    try:
        flat = _Flat(data)
        for subgraph in flat.tables(flat.follow(0), _MODEL_SUBGRAPHS):
            tensors = flat.tables(subgraph, _SUBGRAPH_TENSORS)
            for operator in flat.tables(subgraph, _SUBGRAPH_OPERATORS):
                start, length = flat.vector(operator, _OPERATOR_INPUTS, 4)
                inputs = [flat.number(start + 4 * index, "<I") for index in range(3)] if length == 3 else []
                if inputs and max(inputs) < len(tensors):
                    image, weight, bias = (_scales(flat, tensors[index]) for index in inputs)
                    if image[1] and weight[1] == bias[1] > 0:
                        found.setdefault(bias[0], BiasScales(*bias, image[0], weight[0]))
    except FormatError:
        return []
    return [found[start] for start in sorted(found)]


def _scales(flat: _Flat, tensor: int) -> tuple[int, int]:
    position = flat.field(tensor, _TENSOR_QUANTIZATION)
    return flat.vector(flat.follow(position), _QUANTIZATION_SCALE, 4) if position else (0, 0)
