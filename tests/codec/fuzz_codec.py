"""Feed the codec whatever a coverage-guided fuzzer invents; see CONTRIBUTING.md for how to run it.

Checksums would stop a fuzzer at once, so each kind of input goes to the reader behind them. Whatever happens,
only `FormatError` may come out, and what was packed must come back. The first byte of an input chooses:

    0 unpack, 1 a skeleton, 2 one tensor, 3 a pool, 4 any file packed and unpacked, 5 arrays, 6 a layout,
    7 a file of sections

`corpus/` holds inputs that reach far; `test_codec_fuzz.py` runs them without the fuzzer.
"""

import contextlib
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    import atheris  # no dependency of ours

    watched = atheris.instrument_imports(include=["squeezekit"])
else:
    watched = contextlib.nullcontext()

with watched:
    from squeezekit import codec
    from squeezekit.codec import layout_section
    from squeezekit.codec.container import Section, join, split
    from squeezekit.codec.entropy import bits, coders_named, headers
    from squeezekit.codec.flatbuffer import skeleton
    from squeezekit.codec.tensor import bias_pool, encoding
    from squeezekit.errors import FormatError
from synthetic_tflite import Tensor, golden_model, tflite

CORPUS = Path(__file__).with_name("corpus")
# No file below is longer, so that a run of the fuzzer finds what hangs and not what is merely long.
MAX_FILE_BYTES = 1 << 16


def fuzz_one_input(data: bytes) -> None:
    """Try one input; raises whatever is a fault of the codec."""
    if data:
        with contextlib.suppress(FormatError):
            _TARGETS[data[0] % len(_TARGETS)](data[1:])


def _numbers(data: bytes, count: int) -> tuple[list[int], bytes]:
    """Two-byte numbers in front of an input, and the rest of it."""
    data = data.ljust(2 * count, b"\0")
    return [int.from_bytes(data[2 * at : 2 * at + 2], "little") for at in range(count)], data[2 * count :]


def _skeleton(data: bytes) -> None:
    (size, first, payload_bytes), data = _numbers(data, 3)
    section = b""
    rest = data[first : max(first, len(data) - payload_bytes)]
    for part in (data[:first], rest):
        section += bits.varint(len(part)) + bits.varint(len(part) + 1) + b"\0" + part
    decoded = skeleton.decode(section + data[first + len(rest) :], size)
    assert len(decoded.file) == size


def _tensor(data: bytes) -> None:
    (count, item), data = _numbers(data, 2)
    item_bytes = 1 << item % 4
    count = count % 5000 + 1
    # Alone, or beside copies of itself: headers of many are read in another way than those of few.
    copies = 5 if item & 4 else 1
    outputs = [np.empty(count, f"<u{item_bytes}") for _ in range(copies)]
    parsers = [encoding.parse(data, count * item_bytes, item_bytes) for _ in outputs]
    encoding.decode(headers.run_together(parsers), outputs)
    if copies > 1:
        encoding.decode([encoding.read(data, count * item_bytes, item_bytes)], outputs[:1])
    assert all(output.tobytes() == outputs[-1].tobytes() for output in outputs)


def _pool(data: bytes) -> None:
    counts, data = _numbers(data, 3)
    counts = [count % 5000 + 1 for count in counts]
    encoding.decode([bias_pool.read(data, counts)], [np.empty(sum(counts), "<u4")])


def _file(data: bytes) -> None:
    file = data[:4] + b"TFL3" + data[8:MAX_FILE_BYTES]
    packed = codec.pack(file, coder="none")
    assert codec.unpack(packed) == file
    codec.describe(packed)


def _arrays(data: bytes) -> None:
    (first,), data = _numbers(data, 1)
    directory = data[:first]
    section = bits.varint(len(directory)) + b"\0" + directory
    codec.decode_tensors(join([(Section.TENSORS, [data[first:]]), (Section.ARRAYS, [section])]))


def _layout(data: bytes) -> None:
    (sqz_bytes, tensor_bytes), data = _numbers(data, 2)
    layout_section.read_layout(data, sqz_bytes=sqz_bytes, tensor_bytes=tensor_bytes)


def _sections(data: bytes) -> None:
    (first, second), data = _numbers(data, 2)
    parts = (data[:first], data[first : first + second], data[first + second :])
    kinds = (Section.LAYOUT, Section.SKELETON, Section.TENSORS)
    codec.unpack(join([(kind, [part]) for kind, part in zip(kinds, parts, strict=True)]))


_TARGETS = (codec.unpack, _skeleton, _tensor, _pool, _file, _arrays, _layout, _sections)


def seeds() -> dict[str, bytes]:
    """Inputs to begin with, made from the golden model."""

    def number(value: int) -> bytes:
        return value.to_bytes(2, "little")

    golden, stored = golden_model(), codec.pack(golden_model(), coder="none")
    small = tflite([Tensor("conv_1/bias", "int32", (9,), bytes(36), scales=(0.5,))])
    found = {"unpack": b"\0" + codec.pack(small), "file": b"\4" + small, "golden": b"\4" + golden}
    for name, file in (("skeleton", small), ("golden-skeleton", golden)):
        reader = bits.Reader(split(codec.pack(file, coder="none")).parts[Section.SKELETON])
        reader.varint()
        numbers = bytes(reader.take(reader.varint()))[1:]
        reader.varint()
        rest = bytes(reader.take(reader.varint()))[1:]
        payload = bytes(reader.rest())
        head = number(len(file)) + number(len(numbers)) + number(len(payload))
        found[name] = b"\1" + head + numbers + rest + payload
    values = np.round(np.linspace(-3, 3, 400) ** 3)
    for name, array in (
        ("floats", values.astype("<f4")),
        ("sparse", (values * (values % 3 == 0)).astype("i1")),
    ):
        for coder in sorted(codec.CODERS):
            item = array.itemsize.bit_length() - 1
            payload = encoding.encode(array.tobytes(), item_bytes=array.itemsize, coders=coders_named(coder))
            found[f"{name}-{coder}"] = b"\2" + number(399) + number(item) + payload
            found[f"{name}-{coder}-five"] = b"\2" + number(399) + number(item + 4) + payload
    lists = [np.arange(-20, 20) * 37, np.arange(9), np.arange(100) ** 2]
    found["pool"] = (
        b"\3" + number(39) + number(8) + number(99) + bias_pool.encode(lists, coders_named("huffman"))
    )
    given = {"w": np.ones((3, 4), np.float32), "n": np.zeros(0, np.int8)}
    parts = split(codec.encode_tensors(given, coder="none"), arrays=True).parts
    directory = bytes(parts[Section.ARRAYS])[2:]
    found["arrays"] = b"\5" + number(len(directory)) + directory + bytes(parts[Section.TENSORS])
    parts = split(stored).parts
    head = number(len(parts[Section.LAYOUT])) + number(len(parts[Section.SKELETON]))
    found["sections"] = b"\7" + head + b"".join(map(bytes, parts.values()))
    head = number(len(stored)) + number(len(parts[Section.TENSORS]))
    found["layout"] = b"\6" + head + bytes(parts[Section.LAYOUT])
    return found


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_one_input)
    atheris.Fuzz()
