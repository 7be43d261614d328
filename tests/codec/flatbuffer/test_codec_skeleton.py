"""The skeleton: all of a file but its tensors, and the digits and scales in it."""

import contextlib
import functools
import lzma
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tflite import golden_model

from squeezekit import codec
from squeezekit.codec.container import Section, split
from squeezekit.codec.entropy import bits, coders_named
from squeezekit.codec.flatbuffer import (
    digits,
    fields,
    generic_compression,
    scales,
    skeleton,
    tensors,
    varints,
)
from squeezekit.errors import FormatError

CODERS = coders_named("huffman")


@functools.cache
def packed_golden():
    return codec.pack(golden_model())


def built(tflite_bytes, coders=()):
    """Parts and skeleton section; stored uncompressed unless coders are given, which is much faster."""
    parts = skeleton.separate(tflite_bytes)
    return parts, skeleton.encode(tflite_bytes, parts, b"", coders)


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


def test_offsets_that_point_at_each_other():
    golden = golden_model()
    words = (b"\0\0\0\0", b"\4\0\0\0", b"\x10\1\0\0", b"\xf0\xff\xff\xff")
    for at in [0, *range(8, 1700, 8)]:
        file = golden[:at] + words[at // 8 % 4] + golden[at + 4 :]
        parts, section = built(file)
        assert skeleton.restores(section, file, parts)


def test_a_skeleton_that_fails_is_not_used():
    with mock.patch.object(skeleton, "restores", side_effect=[False, True]):
        packed = codec.pack(golden_model())
    assert codec.unpack(packed) == golden_model()
    assert {line.coder for line in codec.describe(packed).tensors} == {"skeleton"}


def parts_of(section):
    reader = bits.Reader(section)
    parts = []
    for _ in range(2):
        size = reader.varint()
        parts.append(generic_compression.expand(reader.take(reader.varint()), size))
    return *parts, bytes(reader.rest())


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
    values = varints.read_varints(numbers, 1 << 20)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(values) - 1))
        values[at] = data.draw(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)))
    size = data.draw(st.sampled_from([len(model), len(model) + 4096, 64]))
    with contextlib.suppress(FormatError):
        skeleton.decode(section_of(varints.varints(values), rest, payload), size)


def test_a_traversal_cannot_exceed_its_file():
    numbers = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2**63]  # one step, a gap of 2**62
    section = section_of(varints.varints(np.array(numbers, np.uint64)), b"", b"")
    with pytest.raises(FormatError):
        skeleton.decode(section, 1000)
    with pytest.raises(FormatError, match="too short"):
        skeleton.decode(section, 7)


# --- digits ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text("ab01239/", max_size=80).map(str.encode))
def test_digits_come_back(text):
    template, numbers = digits.split_digits(text)
    assert digits.join_digits(template, numbers) == text
    assert len(template) == len(text)
    assert not set(template) & set(b"123456789")


def test_names_of_layers_differ_only_in_their_digits():
    template, numbers = digits.split_digits(b"conv7_1/Relu conv7_2/Relu conv7_3/Relu")
    assert template == b"conv0_0/Relu conv0_0/Relu conv0_0/Relu"
    assert list(numbers) == [7, 1, 0, 1, 0, 1]


# --- scales ---------------------------------------------------------------------------------------------------

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
    parts = skeleton.separate(int8_tflite)
    spans = fields.float_spans(parts.regions)
    flags, payload = scales.write_scales(int8_tflite, parts.blank, spans, CODERS)
    assert len(flags) >= 3
    assert not any(flags)
    derived = sum(one.number for one in tensors.bias_scales(parts.blank))
    assert derived >= 64 + 16 + 6
    assert len(payload) <= 4 * (sum(count for _, count in spans) - derived) + 1


def test_a_scale_that_is_no_product_is_kept():
    golden = golden_model()
    parts = skeleton.separate(golden)
    flags, _ = scales.write_scales(golden, parts.blank, fields.float_spans(parts.regions), CODERS)
    assert flags == [0, 1]
    assert codec.unpack(codec.pack(golden)) == golden
