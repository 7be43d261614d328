import contextlib
import dataclasses
import functools
import hashlib
import struct
import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_golden import FILES, FOLDER, GOLDEN, INFO
from synthetic_tflite import Tensor, golden_model, tflite

from squeezekit import codec
from squeezekit.codec import layout_section, sqz
from squeezekit.codec.container import Section, join, split
from squeezekit.codec.entropy import bits
from squeezekit.codec.flatbuffer import generic_compression, tensor_spans
from squeezekit.errors import FormatError

# --- round trips ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coder", list(codec.CODERS))
@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite"])
def test_real_models_come_back(name, coder, request):
    model = request.getfixturevalue(name)
    # What TFLite Metadata does: a zip behind the flatbuffer.
    for file in (model, model + b"PK\x03\x04 labels"):
        packed = codec.pack(file, coder=coder)
        assert codec.unpack(packed) == file
        assert codec.is_sqz(packed)
        if coder != "none":
            assert len(packed) < len(zlib.compress(file, 9))


dtypes = st.sampled_from(["float32", "float16", "int32", "uint8", "int64", "int8", "int4"])
contents = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.binary(min_size=1, max_size=12), st.integers(10, 300)).map(lambda pair: pair[0] * pair[1]),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(Tensor, st.text(max_size=8), dtypes, st.just((2, 3)), contents, st.booleans()), max_size=5
    ),
    st.binary(max_size=20),
)
def test_synthetic_models_come_back(tensors, appended):
    file = tflite(tensors, appended)
    assert codec.unpack(codec.pack(file)) == file
    # A file read back from a stream may be any bytes-like object.
    assert codec.pack(bytearray(file)) == codec.pack(file)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_models_come_back_or_are_refused(data):
    file = bytearray(golden_model())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.one_of(st.integers(8, 600), st.integers(8, len(file) - 1)))
        file[at] = data.draw(st.integers(0, 255))
    file = bytes(file[: data.draw(st.integers(8, len(file)))])
    try:
        packed = codec.pack(file, coder="none")
    except FormatError:
        return
    assert codec.unpack(packed) == file
    codec.describe(packed)


@pytest.mark.parametrize(
    "file", [b"", b"\0\0\0\0", b"GIF89a" * 9, b"\xff" * 100, b"\0\0\0\0TFL3", b"\x08\0\0\0TFL3"]
)
def test_other_files_are_refused(file):
    with pytest.raises(FormatError):
        codec.pack(file)


def test_offsets_and_lengths_beyond_the_file():
    golden, refused = golden_model(), 0
    for at in range(0, 700, 4):
        file = golden[:at] + b"\xff\xff\xff\x7f" + golden[at + 4 :]
        try:
            assert codec.unpack(codec.pack(file, coder="none")) == file
        except FormatError:
            refused += 1
    # The root, its vtable, the lists of subgraphs and buffers: without those nothing can be found.
    assert 5 <= refused <= 30


def test_too_large_a_file_is_refused():
    with mock.patch.object(sqz, "MAX_FILE_BYTES", 100), pytest.raises(FormatError, match="at most 100"):
        codec.pack(golden_model())


def test_progress_counts_up_to_the_file(float_tflite):
    calls = []
    packed = codec.pack(float_tflite, progress=lambda *call: calls.append(call))
    assert calls[-1] == (len(float_tflite), len(float_tflite))
    assert calls == sorted(calls)
    calls.clear()
    codec.unpack(packed, progress=lambda *call: calls.append(call))
    assert calls[-1] == (len(float_tflite), len(float_tflite))


# --- golden file ---------------------------------------------------------------------------------------------


def sums():
    lines = GOLDEN.with_name("SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


@pytest.mark.parametrize("name", FILES)
def test_golden_files_decode(name):
    golden, (model, _) = (FOLDER / f"{name}.sqz").read_bytes(), FILES[name]
    assert len(golden) < 3072
    assert hashlib.sha256(golden).hexdigest() == sums()[f"{name}.sqz"]
    assert hashlib.sha256(codec.unpack(golden)).hexdigest() == sums()[f"{name}.tflite"]
    assert codec.unpack(golden) == model()
    assert codec.read_info(golden) == INFO


def test_golden_files_use_every_form_and_coder():
    lines = [line for name in FILES for line in codec.describe((FOLDER / f"{name}.sqz").read_bytes()).tensors]
    forms = {part for line in lines for part in line.coder.split("/")}
    assert forms == {
        "raw", "constant", "planes", "palette", "sparse", "huffman", "rans", "contexts", "skeleton",
        "pool",
    }  # fmt: skip


# How contexts are fitted may differ in a last digit between processors; what a file decodes to may not.
@pytest.mark.parametrize("name", ["v1", "v1-rans"])
def test_golden_files_encode_to_the_same_bytes(name):
    golden, (model, coder) = (FOLDER / f"{name}.sqz").read_bytes(), FILES[name]
    packed = codec.pack(model(), info=INFO, coder=coder)
    new, old = split(packed).parts, split(golden).parts
    assert new[Section.LAYOUT] == old[Section.LAYOUT]
    assert new[Section.TENSORS] == old[Section.TENSORS]
    assert packed == golden, "skeleton or info: another release of zlib or liblzma packs differently"


# --- damage ----------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_noticed():
    golden = GOLDEN.read_bytes()
    for at in range(len(golden)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(golden)
            damaged[at] ^= change
            with pytest.raises(FormatError):
                codec.unpack(bytes(damaged))


def test_every_truncation_and_appendix_is_noticed():
    golden = GOLDEN.read_bytes()
    damaged = [golden[:size] for size in range(len(golden))] + [
        golden + b"\0",
        golden + golden,
        b"\0" + golden,
    ]
    for file in damaged:
        for read in (codec.unpack, codec.read_info):
            with pytest.raises(FormatError):
                read(file)


def test_a_later_version_is_named():
    golden = bytearray(GOLDEN.read_bytes())
    golden[4] = 7
    with pytest.raises(FormatError, match="version 7 is newer than this squeezekit reads"):
        codec.unpack(bytes(golden))
    golden[4] = 0
    with pytest.raises(FormatError, match="version 0 does not exist"):
        codec.unpack(bytes(golden))


@functools.cache
def golden_parts():
    return {kind: bytes(part) for kind, part in split(GOLDEN.read_bytes()).parts.items()}


def rebuilt(**changes):
    """The golden file with sections replaced (None: left out) and all checksums right."""
    parts = {kind.name.lower(): part for kind, part in golden_parts().items()} | changes
    return join(
        [(kind, [parts[kind.name.lower()]]) for kind in Section if parts.get(kind.name.lower()) is not None]
    )


def test_rebuilding_changes_nothing():
    assert rebuilt() == GOLDEN.read_bytes()


def layout_with(**changes):
    section = layout_section.read_layout(
        golden_parts()[Section.LAYOUT], sqz_bytes=10**6, tensor_bytes=len(golden_parts()[Section.TENSORS])
    )
    return layout_section.write_layout(dataclasses.replace(section, **changes))


def with_a_form(form):
    """The tensors, the first payload behind the pool of another form."""
    section = bytearray(golden_parts()[Section.TENSORS])
    at = sqz.layout_of(split(GOLDEN.read_bytes())).pool_bytes
    section[at] = form
    return bytes(section)


def skeleton_of(numbers):
    """A skeleton section that claims 20 bytes of numbers."""
    return bits.varint(20) + bits.varint(len(numbers)) + numbers + b"\0\1\0"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layout": None}, "layout is missing"),
        ({"skeleton": None}, "skeleton is missing"),
        ({"tensors": None}, "tensors is missing"),
        ({"layout": b"\xff\xff\xff\xff\x0f" + golden_parts()[Section.LAYOUT][2:]}, "too large to be true"),
        ({"layout": golden_parts()[Section.LAYOUT] + b"\0"}, "too many"),
        (
            {"layout": golden_parts()[Section.LAYOUT][:2] + b"1234" + golden_parts()[Section.LAYOUT][6:]},
            "checksum",
        ),
        ({"layout": b"\x05" + golden_parts()[Section.LAYOUT][2:]}, "more|most|outside|short"),
        ({"layout": layout_with(payload_bytes=(0, 1), pool_bytes=0), "tensors": b""}, "pool"),
        ({"layout": layout_with(payload_bytes=(0,), pool_bytes=3), "tensors": b"abc"}, "pool"),
        ({"layout": layout_with(payload_bytes=(0,), pool_bytes=0), "tensors": b""}, "other tensors"),
        ({"layout": layout_with(payload_bytes=(1,) * 9, pool_bytes=3), "tensors": b"abc"}, "four-byte"),
        ({"skeleton": b""}, "cut short"),
        ({"skeleton": skeleton_of(b"")}, "method"),
        ({"skeleton": skeleton_of(b"\x09abc")}, "method"),
        ({"skeleton": skeleton_of(b"\x00abc")}, "do not expand"),
        ({"skeleton": skeleton_of(b"\x01\xff\xff")}, "decompress"),
        ({"skeleton": skeleton_of(b"\x02\xffabc")}, "decompress"),
        ({"skeleton": skeleton_of(b"\x02")}, "method"),
        ({"skeleton": skeleton_of(generic_compression.compress(bytes(10**6)))}, "do not expand"),
        ({"skeleton": skeleton_of(b"\x00" + bytes(20))}, "too few|left over|cut short"),
        ({"tensors": golden_parts()[Section.TENSORS] + b"\0"}, "fill"),
        ({"tensors": with_a_form(9)}, "form 9"),
        ({"info": b"\xff\xff\xff\xff\x00{}"}, "info"),
        ({"info": b"\x02\x00\x00\x00\x00[]"}, "object"),
        ({"info": b"\x02\x00\x00\x00\x00{]"}, "JSON"),
        ({"info": b"\x02\x00\x00\x00\x00\xff\xff"}, "JSON"),
        ({"info": b"\x40\x0d\x03\x00" + generic_compression.compress(b"[" * 200_000)}, "JSON"),
    ],
)
def test_lies_behind_right_checksums(changes, reason):
    file = rebuilt(**changes)
    with pytest.raises(FormatError, match=reason):
        codec.read_info(file) if "info" in changes else codec.unpack(file)


def test_sections_out_of_order_or_unknown():
    parts = [(kind, [part]) for kind, part in golden_parts().items()]
    for wrong in (parts[::-1], [*parts, parts[-1]], [*parts, (9, [b""])]):
        with pytest.raises(FormatError, match="unknown or out of order"):
            codec.unpack(join(wrong))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hostile_sections_never_crash(data):
    name = data.draw(st.sampled_from(["layout", "tensors", "skeleton"]))
    part = bytearray(golden_parts()[Section[name.upper()]])
    for _ in range(data.draw(st.integers(1, 3))):
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        assert codec.unpack(rebuilt(**{name: bytes(part)})) == golden_model()


def test_a_bomb_is_refused_before_it_is_unpacked():
    zeros = layout_section.Layout(1 << 29, 0, 0, (5,))
    file = rebuilt(layout=layout_section.write_layout(zeros), skeleton=b"\0", tensors=b"\x01\0\0\0\0")
    with pytest.raises(FormatError, match="too large to be true"):
        codec.unpack(file)


def test_a_network_of_constants_still_comes_back():
    file = tflite([Tensor("zeros", "float32", (20_000,), bytes(80_000))])
    with mock.patch.multiple(layout_section, FREE_BYTES=0, MAX_RATIO=4):
        packed = codec.pack(file)
        assert len(packed) > len(file) / 4
        assert codec.unpack(packed) == file


# --- info and description --------------------------------------------------------------------------------------


def test_info_comes_back():
    info = {"labels": ["cat", "naïve"], "preprocess": {"height": 96}, "nested": [1, None, 2.5]}
    assert codec.read_info(codec.pack(golden_model(), info=info)) == info
    assert codec.read_info(codec.pack(golden_model())) == {}


@pytest.mark.parametrize(
    "info", [["labels"], {"a": float("nan")}, {"a": b"bytes"}, "labels", {"a": "\ud800"}]
)
def test_info_that_is_not_json(info):
    with pytest.raises(ValueError, match="JSON object"):
        codec.pack(golden_model(), info=info)


def test_unknown_coder():
    with pytest.raises(ValueError, match=r"one of auto, huffman, none, rans, small\. Received: coder='zstd'"):
        codec.pack(golden_model(), coder="zstd")


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite"])
def test_description_adds_up(name, request):
    model = request.getfixturevalue(name)
    plain, packed = codec.describe(model), codec.describe(codec.pack(model, info={"labels": ["a"]}))
    for description in (plain, packed):
        assert description.bytes == sum(description.sections.values())
        assert description.sections["tensors"] == sum(line.bytes for line in description.tensors)
    assert packed.info == {"labels": ["a"]}
    assert [line.name for line in plain.tensors] == [line.name for line in packed.tensors]
    assert {line.coder for line in plain.tensors} <= {"raw", "shared"}
    assert sum(packed.skeleton.values()) == packed.sections["skeleton"]
    assert plain.skeleton == {}
    largest = max(packed.tensors, key=lambda line: np.prod(line.shape))
    assert largest.shape == (64, 3, 3, 16)
    assert largest.dtype == ("float32" if name == "float_tflite" else "int8")
    assert largest.coder.split("/")[0] in ("sparse", "palette", "planes")
    assert 0.9 * largest.entropy_bound_bytes < largest.bytes < 1.2 * largest.entropy_bound_bytes + 64


def test_shared_buffers_are_counted_once():
    file = bytearray(
        tflite([Tensor("a", "int8", (300,), bytes(range(150)) * 2), Tensor("b", "int8", (1,), b"x")])
    )
    # Let the second tensor name the first one's buffer: its table is (soffset, shape, buffer, name, type).
    at = file.index(struct.pack("<I", 2), file.index(b"main"))
    while len(tensor_spans(bytes(file[:at] + b"\1" + file[at + 1 :]))) < 2 or file[at] != 2:
        at += 1
    spans = []
    while len({span.start for span in spans}) != 1:
        at = file.index(struct.pack("<I", 2), at)
        changed = bytes(file[:at] + b"\1" + file[at + 1 :])
        spans, at = tensor_spans(changed), at + 1
    lines = codec.describe(codec.pack(changed)).tensors
    assert [line.coder for line in lines][1] == "shared"
    assert codec.unpack(codec.pack(changed)) == changed


def test_description_of_other_files():
    with pytest.raises(FormatError):
        codec.describe(b"GIF89a")
