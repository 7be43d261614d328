"""Small TFLite flatbuffers written by hand, so that codec tests and the golden file need no converter."""

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np

__all__ = ["CODES", "Tensor", "golden_contexts_model", "golden_model", "smooth_kernel", "tflite"]

CODES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "int8": 9, "int4": 17}


@dataclasses.dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    outside: bool = False
    """Put the bytes behind the flatbuffer and point at them by offset and size, as files over 2 GB do."""
    scales: tuple[float, ...] = ()


class _Builder:
    """Writes front to back: every table is preceded by its vtable, every offset is patched once known."""

    def __init__(self) -> None:
        self.out = bytearray(b"\0\0\0\0TFL3")

    def align(self, size: int) -> None:
        self.out += bytes(-len(self.out) % size)

    def patch(self, slot: int) -> None:
        struct.pack_into("<I", self.out, slot, len(self.out) - slot)

    def table(self, fields: dict[int, tuple[str, int]]) -> dict[int, int]:
        """Append a table; returns where each field lies."""
        offsets, layout, position = {}, "", 4
        for index, (code, _) in sorted(fields.items(), key=lambda item: -struct.calcsize("<" + item[1][0])):
            offsets[index] = position
            position += struct.calcsize("<" + code)
            layout += code
        count = max(fields, default=-1) + 1
        self.align(4)
        vtable = len(self.out)
        self.out += struct.pack("<HH", 4 + 2 * count, position)
        self.out += b"".join(struct.pack("<H", offsets.get(index, 0)) for index in range(count))
        self.align(4)
        table = len(self.out)
        self.out += struct.pack("<i", table - vtable)
        for index, (code, value) in sorted(fields.items(), key=lambda item: offsets[item[0]]):
            self.out += struct.pack("<" + code, value)
            offsets[index] += table
        return {**offsets, -1: table}

    def vector(self, slot: int, data: bytes, count: int, alignment: int = 4) -> int:
        self.out += bytes((-len(self.out) - 4) % alignment)
        self.patch(slot)
        self.out += struct.pack("<I", count)
        start = len(self.out)
        self.out += data
        return start

    def tables(self, slot: int, count: int) -> list[int]:
        start = self.vector(slot, bytes(4 * count), count)
        return [start + 4 * index for index in range(count)]


def tflite(
    tensors: Sequence[Tensor], appended: bytes = b"", operators: Sequence[Sequence[int]] = ()
) -> bytes:
    """A model of one subgraph whose tensors have the given contents; of operators only inputs are given."""
    builder = _Builder()
    builder.patch(0)
    # The root must follow its own vtable, so the root offset is patched once the table is written.
    model = builder.table({0: ("I", 3), 2: ("I", 0), 3: ("I", 0), 4: ("I", 0)})
    struct.pack_into("<I", builder.out, 0, model[-1])
    builder.vector(model[3], b"squeezekit test model\0", 21)
    builder.align(4)
    (subgraph_slot,) = builder.tables(model[2], 1)
    buffer_slots = builder.tables(model[4], len(tensors) + 1)
    builder.align(4)
    slot = subgraph_slot
    subgraph = builder.table({0: ("I", 0), 3: ("I", 0), 4: ("I", 0)})
    struct.pack_into("<I", builder.out, slot, subgraph[-1] - slot)
    builder.vector(subgraph[4], b"main\0", 4)
    builder.align(4)
    for number, (tensor, slot) in enumerate(
        zip(tensors, builder.tables(subgraph[0], len(tensors)), strict=True)
    ):
        fields = {
            0: ("I", 0),
            1: ("b", CODES[tensor.dtype]),
            2: ("I", number + 1 if tensor.data else 0),
            3: ("I", 0),
        }
        if tensor.scales:
            fields[4] = ("I", 0)
        table = builder.table(fields)
        struct.pack_into("<I", builder.out, slot, table[-1] - slot)
        builder.vector(table[0], struct.pack(f"<{len(tensor.shape)}i", *tensor.shape), len(tensor.shape))
        name = tensor.name.encode()
        builder.vector(table[3], name + b"\0", len(name))
        builder.align(4)
        if tensor.scales:
            quantization = builder.table({2: ("I", 0), 3: ("I", 0)})
            struct.pack_into("<I", builder.out, table[4], quantization[-1] - table[4])
            count = len(tensor.scales)
            builder.vector(quantization[2], np.array(tensor.scales, "<f4").tobytes(), count)
            builder.vector(quantization[3], bytes(8 * count), count, alignment=8)
    for inputs, slot in zip(operators, builder.tables(subgraph[3], len(operators)), strict=True):
        builder.align(4)
        # Options of type 17 (reshape) have an offset, those of type 9 (softmax) a number.
        table = builder.table({0: ("I", 0), 1: ("I", 0), 3: ("B", 17 - 8 * (len(inputs) % 2)), 4: ("I", 0)})
        struct.pack_into("<I", builder.out, slot, table[-1] - slot)
        builder.vector(table[1], struct.pack(f"<{len(inputs)}i", *inputs), len(inputs))
        options = builder.table({0: ("I", 0)})
        struct.pack_into("<I", builder.out, table[4], options[-1] - table[4])
        builder.vector(options[0], struct.pack("<i", -1), 1)
    outside = []
    for slot, content in zip(buffer_slots, [None, *tensors], strict=True):
        builder.align(4)
        if content is None:
            table = builder.table({})
        elif content.outside:
            table = builder.table({1: ("Q", 0), 2: ("Q", len(content.data))})
            outside.append((table[1], content.data))
        else:
            table = builder.table({0: ("I", 0)})
            builder.vector(table[0], content.data, len(content.data), alignment=16)
        struct.pack_into("<I", builder.out, slot, table[-1] - slot)
    for position, data in outside:
        builder.align(16)
        struct.pack_into("<Q", builder.out, position, len(builder.out))
        builder.out += data
    return bytes(builder.out) + appended


def golden_model(operators: Sequence[Sequence[int]] = ((0, 1, 7), (2, 3), (0, 1, 8))) -> bytes:
    """Every tensor form in one small model; integer arithmetic only, so it is the same everywhere.

    Its operators are none that LiteRT knows.
    """
    noise = np.cumsum(np.arange(1, 2049, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(7))
    noise = (noise >> np.uint64(13)).astype(np.uint32)
    bell = (noise % 16 + noise // 16 % 16 + noise // 256 % 16).astype(np.uint8)
    exponents = np.uint32(0x3D000000) + (noise[:200] % 3 << np.uint32(23))
    mantissas = noise[:200] << np.uint32(8) & np.uint32(0x807FFF00)
    values = np.array([0.0, -0.5, 0.25, 0.75], "<f4")
    kernel = values[np.where(noise[:1152] % 32 < 28, 0, noise[:1152] % 4)]
    product = (float(np.float32(0.3)) / 128,)
    tensors = [
        Tensor("image", "uint8", (1, 8, 8, 3), b"", scales=(0.0078125,)),
        Tensor("dense_1", "int8", (600,), (bell[:600] - np.uint8(24)).tobytes(), scales=(0.3,)),
        Tensor("pruned", "float32", (16, 3, 3, 8), kernel.tobytes()),
        Tensor("shared", "float32", (200,), values[noise[300:500] % 3].tobytes()),
        Tensor("bias", "float32", (200,), (exponents | mantissas).astype("<u4").tobytes()),
        Tensor("zeros", "int32", (64,), bytes(256)),
        Tensor("noise", "uint8", (150,), (noise[:150] >> np.uint32(5)).astype(np.uint8).tobytes()),
    ]
    spread = bell.astype("<i4") * 64 + (noise % 64).astype("<i4") - 1440
    biases = (("", 600, 1, product), ("_2", 640, 50, (0.5,)))
    for end, at, step, scales in biases:
        data = (spread[at : at + 40] * step).astype("<i4").tobytes()
        tensors.append(Tensor(f"dense_1/bias{end}", "int32", (40,), data, scales=scales))
    tensors.append(Tensor("small", "int64", (2,), np.array([1, 10], "<i8").tobytes()))
    return tflite(tensors, b"PK appended bytes", operators)


def smooth_kernel() -> bytes:
    """A pruned int8 kernel (8, 3, 3, 64) whose weights resemble their neighbours; integer arithmetic only."""
    noise = np.arange(8 * 9 * 64, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)
    noise = (noise * noise >> np.uint64(17)).astype(np.int64).reshape(8, 3, 3, 64)
    middle = (noise[:, :1, :1] >> 3) % 81 - 40
    weights = middle + noise % 5 - 2
    weights[noise % 23 < 7] = 0
    return weights.astype(np.int8).tobytes()


def golden_contexts_model() -> bytes:
    """One tensor that is worth coding by contexts."""
    return tflite([Tensor("smooth", "int8", (8, 3, 3, 64), smooth_kernel())])
