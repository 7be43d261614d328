"""A slow decoder in plain Python, written from docs/format.md alone; it must agree with the real one."""

import math
import re
import zlib

import numpy as np
import pytest
from make_golden import FILES, FOLDER
from reference_skeleton import PAGE, blob, skeleton, unzigzag
from reference_streams import Bits, Reader, mask_order, running, stream, unfold
from synthetic_tflite import Tensor, tflite

from squeezekit import codec

TYPES = {
    int(code): name
    for code, name in re.findall(r"(\d+) (\w+)[, )]", PAGE.split("byte: type (")[1].split("·")[0])
}


def payload(source, count, item):
    (form,) = source.take(1)
    if form == 0:
        return [int.from_bytes(source.take(item), "little") for _ in range(count)]
    if form == 1:
        return [int.from_bytes(source.take(item), "little")] * count
    width = 8 * item
    if form == 2:
        (rotated,) = source.take(1)
        planes = [stream(source, count, 256, row == item - 1) for row in range(item)]
        elements = [
            sum(byte << 8 * row for row, byte in enumerate(column)) for column in zip(*planes, strict=True)
        ]
        if rotated == 2:
            return [value ^ 128 for value in elements]
        return [value >> 1 | (value & 1) << width - 1 for value in elements] if rotated else elements
    if form == 3:
        size = source.varint()
        keys = running(source.numbers(size), -1, 1)
        top = 1 << width - 1
        values = [key - top if key & top else key ^ (1 << width) - 1 for key in keys]
        return [values[index] for index in stream(source, count, size, True)]
    assert form == 4
    common = int.from_bytes(source.take(item), "little")
    (group,) = source.take(1)
    stride, left = source.varint(), source.varint()
    order = mask_order(group)
    masks = [order[place] for place in stream(source, -(-count // group), 1 << group)]
    rest = iter(payload(source, left, item))
    return [next(rest) if flag else common for flag in unfold(masks, group, stride)[:count]]


def unpack(sqz):
    source = Reader(sqz)
    assert source.take(5) == b"\x89SQZ\x01"
    (count,) = source.take(1)
    entries = [
        (source.take(1)[0], int.from_bytes(source.take(4), "little"), source.take(4)) for _ in range(count)
    ]
    assert source.take(4) == zlib.crc32(sqz[: source.at - 4]).to_bytes(4, "little")
    parts = {kind: source.take(size) for kind, size, _ in entries}
    assert all(zlib.crc32(parts[kind]).to_bytes(4, "little") == crc for kind, _, crc in entries)
    assert source.rest() == zlib.crc32(sqz[:-4]).to_bytes(4, "little")

    if 5 in parts:
        return arrays(parts)
    layout, tensors = Reader(parts[2]), Reader(parts[4])
    size, crc, count = layout.varint(), layout.take(4), layout.varint()
    pool_bytes, *sizes = layout.numbers(count + 1)
    file, contents, small = skeleton(parts[3], size, lambda data, n: payload(Reader(data), n, 4) if n else [])
    pooled = [place for place, bytes_ in zip(contents, sizes, strict=True) if bytes_ == 1 and place[2] == 4]
    values = pool(Reader(tensors.take(pool_bytes)), [length // 4 for _, length, _ in pooled])
    for (start, length, item), bytes_ in zip(contents, sizes, strict=True):
        if bytes_ == 0:
            file[start : start + length] = small.take(length)
        elif bytes_ == 1:
            file[start : start + length] = little(next(values), 4)
        else:
            elements = payload(Reader(tensors.take(bytes_)), length // item, item)
            file[start : start + length] = little(elements, item)
    assert not small.rest()
    assert not tensors.rest()
    assert zlib.crc32(file).to_bytes(4, "little") == crc
    return bytes(file)


def little(values, item):
    return b"".join((value % 256**item).to_bytes(item, "little") for value in values)


def pool(source, counts):
    if not counts:
        return
    alphabet, widths = source.varint(), source.numbers(len(counts))
    upper = iter(stream(source, sum(counts), alphabet))
    low = Bits(source.rest())
    for count, width in zip(counts, widths, strict=True):
        yield [(unzigzag(next(upper)) << width) + low.take(width) for _ in range(count)]


def arrays(parts):
    section, tensors = Reader(parts[5]), Reader(parts[4])
    size = section.varint()
    directory, found = Reader(blob(section.rest(), size)), {}
    for _ in range(directory.varint()):
        name = directory.take(directory.varint()).decode()
        code, rank = directory.take(2)
        shape = [directory.varint() for _ in range(rank)]
        data, dtype = tensors.take(directory.varint()), np.dtype(TYPES[code]).newbyteorder("<")
        halves = 2 if dtype.kind == "c" else 1
        item, count = dtype.itemsize // halves, math.prod(shape) * halves
        values = payload(Reader(data), count, item) if count else []
        found[name] = np.frombuffer(little(values, item), dtype).reshape(shape)
    assert not directory.rest()
    assert not tensors.rest()
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_page_describes_the_golden_files(name):
    assert unpack((FOLDER / f"{name}.sqz").read_bytes()) == FILES[name][0]()


def kernel(shape, sparsity):
    generator = np.random.default_rng(0)
    scale = 30 * generator.gamma(4, 0.25, (shape[0], 1, 1, 1)) * generator.gamma(4, 0.25, shape[3])
    return np.round(generator.normal(0, 1, shape).cumsum(axis=2) * scale / 2) * (
        generator.random(shape) >= sparsity
    )


@pytest.mark.parametrize("coder", ["huffman", "rans"])
@pytest.mark.parametrize("sparsity", [0, 0.9])
def test_the_page_describes_lanes_and_masks(sparsity, coder):
    generator = np.random.default_rng(0)
    shape = (24, 3, 3, 40)
    weights = kernel(shape, sparsity)
    tensors = [
        Tensor("float", "float32", shape, (weights / 64 + 0.0).astype("<f4").tobytes()),
        Tensor("half", "float16", shape, (weights + generator.random(shape)).astype("<f2").tobytes()),
        Tensor("int8", "int8", shape, weights.clip(-127, 127).astype(np.int8).tobytes()),
        Tensor("int32", "int32", (500,), (generator.normal(0, 300, 500)).astype("<i4").tobytes()),
    ]
    file = tflite(tensors, b"appended")
    assert unpack(codec.pack(file, coder=coder)) == file


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite"])
def test_the_page_describes_real_models(name, request):
    model = request.getfixturevalue(name)
    assert unpack(codec.pack(model)) == model


def test_the_page_describes_arrays():
    generator = np.random.default_rng(0)
    given = {
        "": np.zeros((0, 3), np.float16),
        "kernel": np.round(generator.normal(0, 3, (8, 3, 3, 4))).astype(np.float32),
        "naïve/bias": generator.normal(0, 3, 50),
        "pairs": (generator.normal(0, 3, 20) + 1j).astype(np.complex64),
        "flags": generator.random(70) < 0.2,
        "step": np.int64(-7).reshape(()),
    }
    found = unpack(codec.encode_tensors(given))
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("shape", [(32, 3, 3, 48), (8, 5, 5, 48)])
@pytest.mark.parametrize("sparsity", [0, 0.4])
def test_the_page_describes_contexts(sparsity, shape):
    generator = np.random.default_rng(0)
    weights = np.round(generator.normal(0, 15, shape).cumsum(axis=1).cumsum(axis=2))
    weights *= generator.random(shape) >= sparsity
    file = tflite([Tensor("int8", "int8", shape, weights.clip(-127, 127).astype(np.int8).tobytes())])
    packed = codec.pack(file, coder="small")
    assert codec.describe(packed).tensors[0].coder == "planes/contexts"
    assert unpack(packed) == file
