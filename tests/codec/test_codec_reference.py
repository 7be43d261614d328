"""A slow decoder in plain Python, written from docs/format.md alone; it must agree with the real one."""

import math
import re
import zlib

import numpy as np
import pytest
from make_golden import GOLDEN
from reference_skeleton import PAGE, Source, blob, skeleton, unzigzag
from synthetic_tflite import Tensor, golden_model, tflite

from squeezekit import codec

TYPES = {
    int(code): name
    for code, name in re.findall(r"(\d+) (\w+)[, )]", PAGE.split("byte: type (")[1].split("·")[0])
}


class Bits:
    def __init__(self, data):
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def take(self, width):
        self.at += width
        return int(self.text[self.at - width : self.at] or "0", 2)


class Reader(Source):
    def numbers(self, count):
        if not count:
            return []
        (k,) = self.take(1)
        if k == 32:
            return [0] * count
        bits, zeros = Bits(self.data[self.at :]), []
        for _ in range(count):
            zeros.append(bits.text.index("1", bits.at) - bits.at)
            bits.at += zeros[-1] + 1
        values = [(1 << (zero + k) | bits.take(zero + k)) - (1 << k) for zero in zeros]
        self.take((bits.at + 7) // 8)
        return values


def running(values, start, plus=0):
    out = []
    for value in values:
        start += value + plus
        out.append(start)
    return out


def stream(data, count, alphabet):
    source = Reader(data)
    (coder,) = source.take(1)
    if coder == 0:
        bits = Bits(source.rest())
        return [bits.take((alphabet - 1).bit_length()) for _ in range(count)]
    used = source.varint()
    symbols = running(source.numbers(used), -1, 1)
    lengths = running(map(unzigzag, source.numbers(used)), 0)
    if used == 1:
        return symbols * count
    codes, code, before = {}, 0, 0
    for length, symbol in sorted(zip(lengths, symbols, strict=True)):
        code <<= length - before
        codes[f"{code:0{length}b}"] = symbol
        code, before = code + 1, length
    lanes = source.varint()
    sizes = [0]
    if lanes > 1:
        mean = source.varint()
        sizes = [unzigzag(value) + mean for value in source.numbers(lanes)]
    text, start, steps = Bits(source.rest()).text, 0, -(-count // lanes)
    out = [0] * (steps * lanes)
    for lane in range(lanes):
        at = start
        for step in range(steps):
            end = at + 1
            while text[at:end] not in codes:
                end += 1
            out[step * lanes + lane], at = codes[text[at:end]], end
        start += sizes[lane]
        assert lanes == 1 or at == start
    return out[:count]


def payload(source, count, item):
    (form,) = source.take(1)
    if form == 0:
        return [int.from_bytes(source.take(item), "little") for _ in range(count)]
    if form == 1:
        return [int.from_bytes(source.take(item), "little")] * count
    width = 8 * item
    if form == 2:
        (rotated,) = source.take(1)
        planes = [stream(source.take(source.varint()), count, 256) for _ in range(item)]
        elements = [
            sum(byte << 8 * row for row, byte in enumerate(column)) for column in zip(*planes, strict=True)
        ]
        return [value >> 1 | (value & 1) << width - 1 for value in elements] if rotated else elements
    if form == 3:
        size = source.varint()
        keys = running(source.numbers(size), -1, 1)
        top = 1 << width - 1
        values = [key - top if key & top else key ^ (1 << width) - 1 for key in keys]
        return [values[index] for index in stream(source.rest(), count, size)]
    assert form == 4
    common = int.from_bytes(source.take(item), "little")
    (group,) = source.take(1)
    stride, left = source.varint(), source.varint()
    masks = stream(source.take(source.varint()), -(-count // group), 1 << group)
    rest = iter(payload(source, left, item))
    flags = [0] * (len(masks) * group)
    for number, mask in enumerate(masks):
        block, column = divmod(number, stride)
        for bit in range(group):
            flags[block * group * stride + bit * stride + column] = mask >> group - 1 - bit & 1
    return [next(rest) if flag else common for flag in flags[:count]]


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
    upper = iter(stream(source.take(source.varint()), sum(counts), alphabet))
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


def test_the_page_describes_the_golden_file():
    assert unpack(GOLDEN.read_bytes()) == golden_model()


@pytest.mark.parametrize("sparsity", [0, 0.9])
def test_the_page_describes_lanes_and_masks(sparsity):
    generator = np.random.default_rng(0)
    shape = (24, 3, 3, 40)
    kernel = np.round(generator.normal(0, 30, shape)) * (generator.random(shape) >= sparsity)
    tensors = [
        Tensor("float", "float32", shape, (kernel / 64 + 0.0).astype("<f4").tobytes()),
        Tensor("half", "float16", shape, (kernel + generator.random(shape)).astype("<f2").tobytes()),
        Tensor("int8", "int8", shape, kernel.clip(-127, 127).astype(np.int8).tobytes()),
        Tensor("int32", "int32", (500,), (generator.normal(0, 300, 500)).astype("<i4").tobytes()),
    ]
    file = tflite(tensors, b"appended")
    assert unpack(codec.pack(file)) == file


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
