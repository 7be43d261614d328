"""The skeleton and what it is made of: outline, columns, names, scales, pool."""

import contextlib
import functools
import lzma
import struct
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synthetic_tflite import Tensor, golden_model, tflite

from squeezekit import codec
from squeezekit.codec import bits, blob, flatbuffer, names, outline, pool, scales, skeleton, sqz, walks, wide
from squeezekit.codec.coders import coders_named
from squeezekit.codec.container import Section, split
from squeezekit.codec.tensors import decode
from squeezekit.errors import FormatError

CODERS = coders_named("huffman")


@functools.cache
def packed_golden():
    return codec.pack(golden_model())


def built(tflite_bytes, coders=()):
    """Parts and skeleton section; stored uncompressed unless coders are given, which is much faster."""
    parts = skeleton.take_apart(tflite_bytes)
    return parts, skeleton.encode(tflite_bytes, parts, b"", coders)


# --- outline ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite"])
def test_the_converters_order_is_the_expected_one(name, request):
    model = request.getfixturevalue(name)
    found, tape, texts = walks.record(model)
    # Every object is the one expected, mostly where expected, and nothing but padding is left over.
    assert set(tape[outline.Stream.TURN]) == {outline.YOUNGEST}
    assert np.mean(np.array(tape[outline.Stream.GAP]) == 0) > 0.9
    assert not any(b"".join(model[start:stop] for start, stop in found.gaps))
    assert not found.odd
    assert b"serving_default" in texts


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite", "golden"])
def test_a_recorded_outline_plays_back(name, request):
    model = golden_model() if name == "golden" else request.getfixturevalue(name)
    recorded, tape, texts = walks.record(model)
    played, file = walks.play(len(model), tape, texts)
    assert played.columns == recorded.columns
    assert played.vectors == recorded.vectors
    assert (played.data, played.gaps, played.odd) == (recorded.data, recorded.gaps, recorded.odd)
    # Whatever it wrote is what stands there.
    assert all(byte in (0, model[at]) for at, byte in enumerate(file.getvalue()))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_tape_ends_in_an_outline_or_an_error(data):
    size = data.draw(st.sampled_from([8, 64, 9153]))
    numbers = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 2**40)), max_size=30)
    tape = [data.draw(numbers) for _ in outline.Stream]
    with contextlib.suppress(FormatError):
        _, file = walks.play(size, tape, [b"text"] * data.draw(st.integers(0, 3)))
        assert len(file.getvalue()) == size


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_tape_never_crashes(data):
    _, tape, texts = walks.record(golden_model())
    for _ in range(data.draw(st.integers(1, 4))):
        stream = tape[data.draw(st.sampled_from([s for s in outline.Stream if tape[s]]))]
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)))
    with contextlib.suppress(FormatError):
        walks.play(len(golden_model()), tape, texts)


def test_two_offsets_to_one_object_and_offsets_in_another_order():
    file = bytearray(tflite([Tensor(f"t{index}", "int8", (40,), bytes([index]) * 40) for index in range(4)]))
    flat = flatbuffer._Flat(file)
    first, count = flat.vector(flat.follow(0), 4, 4)  # buffers: an empty one and four
    assert count == 5
    # The last but one is made to lead where the second leads.
    struct.pack_into("<I", file, first + 12, flat.follow(first + 4) - (first + 12))
    _, tape, _ = walks.record(bytes(file))
    # The synthetic builder lays tables down first to last, so the oldest offset is the one to follow.
    assert 1 in tape[outline.Stream.RANK]
    assert outline.AGAIN in tape[outline.Stream.TURN]
    assert codec.unpack(codec.pack(bytes(file))) == bytes(file)


def test_too_many_offsets_are_left_alone():
    model = golden_model()
    with (
        mock.patch("squeezekit.codec.outline.MAX_LINKS", 30),
        mock.patch("squeezekit.codec.walks.MAX_LINKS", 30),
    ):
        assert codec.unpack(codec.pack(model)) == model
    packed = packed_golden()
    with mock.patch("squeezekit.codec.outline.MAX_LINKS", 5), pytest.raises(FormatError, match="offsets"):
        codec.unpack(packed)
    with mock.patch("squeezekit.codec.outline.MAX_FIELDS", 10):
        with pytest.raises(FormatError, match="fields"):
            codec.unpack(packed)
        # A file of too many objects is stored as one piece.
        assert {line.coder for line in codec.describe(codec.pack(model)).tensors} == {"skeleton"}


@pytest.mark.parametrize("position", ["front", "behind"])
def test_vtables_wherever_they_lie(position):
    # One table type, its vtable far from it: a builder may put it anywhere.
    file = bytearray(golden_model())
    root = struct.unpack_from("<I", file, 0)[0]
    vtable = root - struct.unpack_from("<i", file, root)[0]
    size = struct.unpack_from("<H", file, vtable)[0]
    words = bytes(file[vtable : vtable + size])
    moved = len(file) + (-len(file) % 2)
    file += bytes(moved - len(file)) + words
    struct.pack_into("<i", file, root, root - moved)
    if position == "behind":
        file += bytes(64)
    file = bytes(file)
    parts, section = built(file)
    assert parts.outline.astray
    assert skeleton.restores(section, file, parts)
    assert codec.unpack(codec.pack(file)) == file
    assert len(parts.contents) == len(skeleton.take_apart(golden_model()).contents)


# --- the whole skeleton ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gain"), [("float_tflite", 0.6), ("int8_tflite", 0.6)])
def test_a_skeleton_is_much_smaller_than_xz_makes_it(name, gain, request):
    model = request.getfixturevalue(name)
    parts, section = built(model, CODERS)
    bare = bytearray(model)
    for contents in parts.contents:
        bare[contents.start : contents.start + contents.size_bytes] = bytes(contents.size_bytes)
    assert len(section) < gain * len(lzma.compress(bytes(bare), preset=9))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_have_skeletons_too(data):
    file = bytearray(golden_model())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(8, 1600))
        file[at] = data.draw(st.integers(0, 255))
    file = bytes(file[: data.draw(st.sampled_from([9153, 1500, 700, 100, 8]))])
    parts, section = built(file)
    assert skeleton.restores(section, file, parts)


def test_words_that_point_at_each_other():
    golden = golden_model()
    words = (b"\0\0\0\0", b"\4\0\0\0", b"\x10\1\0\0", b"\xf0\xff\xff\xff")
    for at in [0, *range(8, 1700, 8)]:
        file = golden[:at] + words[at // 8 % 4] + golden[at + 4 :]
        parts, section = built(file)
        assert skeleton.restores(section, file, parts)


def test_a_skeleton_that_fails_is_not_used():
    with mock.patch("squeezekit.codec.skeleton.restores", side_effect=[False, True]):
        packed = codec.pack(golden_model())
    assert codec.unpack(packed) == golden_model()
    assert {line.coder for line in codec.describe(packed).tensors} == {"skeleton"}


def parts_of(section):
    reader = bits.Reader(section)
    blobs = []
    for _ in range(2):
        size = reader.varint()
        blobs.append(blob.expand(reader.take(reader.varint()), size))
    return *blobs, bytes(reader.rest())


def section_of(numbers, rest, payload):
    out = b""
    for part in (numbers, rest):
        out += bits.varint(len(part)) + bits.varint(len(part) + 1) + b"\0" + part
    return out + payload


@pytest.mark.parametrize("which", [0, 1, 2])
def test_no_byte_of_a_skeleton_can_do_harm(which):
    model = golden_model()
    parts, section = built(model)
    pieces = list(parts_of(section))
    assert skeleton.restores(section_of(*pieces), model, parts)
    for at in range(len(pieces[which])):
        damaged = list(pieces)
        damaged[which] = bytearray(pieces[which])
        damaged[which][at] ^= (0x01, 0x02, 0x80)[at % 3]
        with contextlib.suppress(FormatError):
            decoded = skeleton.decode(section_of(*map(bytes, damaged)), len(model))
            assert len(decoded.file) == len(model)
    for size in range(0, len(pieces[which]), 3):
        damaged = list(pieces)
        damaged[which] = pieces[which][:size]
        with contextlib.suppress(FormatError):
            skeleton.decode(section_of(*damaged), len(model))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_numbers_never_crash(data):
    model = golden_model()
    numbers, rest, payload = parts_of(split(packed_golden()).parts[Section.SKELETON])
    values = wide.read_varints(numbers, 1 << 20)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(values) - 1))
        values[at] = data.draw(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)))
    size = data.draw(st.sampled_from([len(model), len(model) + 4096, 64]))
    with contextlib.suppress(FormatError):
        skeleton.decode(section_of(wide.varints(values), rest, payload), size)


def test_an_outline_cannot_ask_for_more_than_its_file():
    numbers = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2**63]  # one turn, a gap of 2**62
    section = section_of(wide.varints(np.array(numbers, np.uint64)), b"", b"")
    with pytest.raises(FormatError):
        skeleton.decode(section, 1000)
    with pytest.raises(FormatError, match="too short"):
        skeleton.decode(section, 7)


# --- names -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text("ab01239/", max_size=80).map(str.encode))
def test_digits_come_back(text):
    template, digits = names.split_digits(text)
    assert names.join_digits(template, digits) == text
    assert len(template) == len(text)
    assert not set(template) & set(b"123456789")


def test_layers_that_differ_by_a_number_look_alike():
    template, digits = names.split_digits(b"conv7_1/Relu conv7_2/Relu conv7_3/Relu")
    assert template == b"conv0_0/Relu conv0_0/Relu conv0_0/Relu"
    assert list(digits) == [7, 1, 0, 1, 0, 1]


# --- scales ----------------------------------------------------------------------------------------------------

floats = st.floats(width=32, allow_nan=True) | st.sampled_from([0.0, -0.0, 1.0, 2.0**-126, 2.0**-149, 3e38])


@settings(max_examples=300, deadline=None)
@given(floats, floats)
def test_products_are_those_of_the_processor(left, right):
    a, b = np.float32([left]), np.float32([right])
    product = scales.multiply(a.view(np.uint32), b.view(np.uint32))
    with np.errstate(all="ignore"):
        expected = a * b
    tiny = np.finfo(np.float32).tiny
    if all(np.isfinite(value) and value >= tiny for value in (*a, *b, *expected)):
        assert product.view(np.float32)[0] == expected[0]
    else:
        # Rounding up to the smallest normal number is the one case that is not told apart.
        assert product[0] == 0 or expected[0] == tiny


def test_products_of_many_scales():
    generator = np.random.default_rng(0)
    left = (generator.random(100_000) * 2.0 ** generator.integers(-50, 50, 100_000)).astype(np.float32)
    right = (generator.random(100_000) * 2.0 ** generator.integers(-50, 50, 100_000)).astype(np.float32)
    assert np.array_equal(scales.multiply(left.view("<u4"), right.view("<u4")), (left * right).view("<u4"))


def test_scales_of_biases_are_derived(int8_tflite):
    found, _, _ = walks.record(int8_tflite)
    spans = skeleton.columns.float_spans(found)
    parts = skeleton.take_apart(int8_tflite)
    flags, payload = scales.write_scales(int8_tflite, parts.blank, spans, CODERS)
    assert len(flags) >= 3
    assert not any(flags)
    derived = sum(entry[1] for entry in scales.bias_scales(parts.blank))
    assert derived >= 64 + 16 + 6
    assert len(payload) <= 4 * (sum(count for _, count in spans) - derived) + 1


def test_a_scale_that_is_no_product_is_kept():
    golden = golden_model()
    parts = skeleton.take_apart(golden)
    flags, _ = scales.write_scales(golden, parts.blank, skeleton.columns.float_spans(parts.outline), CODERS)
    assert flags == [0, 1]
    assert codec.unpack(codec.pack(golden)) == golden


# --- pool ------------------------------------------------------------------------------------------------------


def decode_pool(payload, counts):
    joined = np.empty(sum(counts), "<u4")
    decode([pool.parse(payload, counts)], [joined])
    return joined


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=30),
        min_size=1,
        max_size=5,
    )
)
def test_pools_come_back(lists):
    tensors = [np.array(values, np.int64) for values in lists]
    payload = pool.encode(tensors, CODERS)
    assert np.array_equal(decode_pool(payload, list(map(len, lists))).view(np.int32), np.concatenate(tensors))


def test_a_pool_comes_near_the_entropy_of_its_values():
    generator = np.random.default_rng(1)
    spreads = [50, 300, 2000, 9000] * 4
    tensors = [np.round(generator.normal(0, spread, 128)).astype(np.int64) for spread in spreads]
    ideal = sum(128 * (np.log2(spread) + np.log2(2 * np.pi * np.e) / 2) for spread in spreads) / 8
    payload = pool.encode(tensors, CODERS)
    assert ideal < len(payload) < 1.04 * ideal + 40
    estimate = sum(map(pool.estimate_bytes, tensors))
    assert 0.9 * len(payload) < estimate < 1.15 * len(payload)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pools_never_crash(data):
    tensors = [np.arange(-20, 20) * 37, np.arange(9)]
    payload = bytearray(pool.encode(tensors, CODERS))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    counts = data.draw(st.sampled_from([[40, 9], [40], [1, 1], [400, 9]]))
    with contextlib.suppress(FormatError):
        decode_pool(bytes(payload), counts)


def test_biases_go_to_the_pool(int8_tflite):
    lines = codec.describe(codec.pack(int8_tflite)).tensors
    pooled = [line for line in lines if line.coder == "pool"]
    assert {line.dtype for line in pooled} == {"int32"}
    assert max(line.shape for line in pooled) == (64,)
    assert all(0 < line.bytes < line.raw_bytes for line in pooled)


# --- wide varints ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**64 - 1)), max_size=40))
def test_wide_varints_come_back(values):
    data = wide.varints(np.array(values, np.uint64))
    assert wide.read_varints(data, 40).tolist() == values
    reader = bits.Reader(data + b"next")
    assert wide.read_some(reader, len(values)) == values
    assert bytes(reader.rest()) == b"next"
    if all(value < 2**32 for value in values):
        assert data == b"".join(map(bits.varint, values))


@pytest.mark.parametrize("data", [b"\x80", b"\x80" * 10 + b"\1", b"\xff" * 9 + b"\2", b"\0\0\0\0"])
def test_bad_wide_varints_are_refused(data):
    with pytest.raises(FormatError):
        wide.read_varints(data, 3)


def test_files_with_and_without_a_skeleton_are_told_apart():
    assume_arrays = codec.encode_tensors({"a": np.zeros(3)})
    with pytest.raises(FormatError, match="arrays, no network"):
        codec.unpack(assume_arrays)
    assert sqz.read_info(assume_arrays) == {}


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 64))
def test_random_skeletons_never_crash(section, size):
    assume(section)
    with contextlib.suppress(FormatError):
        skeleton.decode(section, size)


def test_only_so_many_tables_are_read():
    model = golden_model()
    assert len(flatbuffer.tensor_spans(model)) == 9
    # 11 buffers and a subgraph; then its 10 tensors are too many.
    with mock.patch("squeezekit.codec.flatbuffer._MAX_TABLES", 15):
        assert flatbuffer.tensor_spans(model) == []
        assert codec.unpack(codec.pack(model)) == model
    with mock.patch("squeezekit.codec.flatbuffer._MAX_TABLES", 5), pytest.raises(FormatError, match="again"):
        flatbuffer.tensor_spans(model)
