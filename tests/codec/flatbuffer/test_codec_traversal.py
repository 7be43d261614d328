"""Traversal of a flatbuffer, recorded and replayed."""

import contextlib
import struct
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tflite import Tensor, golden_model, tflite

from squeezekit import codec
from squeezekit.codec.flatbuffer import record_replay, skeleton, tensors, traversal
from squeezekit.errors import FormatError


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite"])
def test_the_converter_writes_objects_in_the_expected_order(name, request):
    model = request.getfixturevalue(name)
    found, recording, texts = record_replay.record(model)
    # Every object is the one expected, mostly where expected, and nothing but padding is left over.
    assert set(recording[traversal.Series.STEP]) == {traversal.NEWEST}
    assert np.mean(np.array(recording[traversal.Series.GAP]) == 0) > 0.9
    assert not any(b"".join(model[start:stop] for start, stop in found.gaps))
    assert not found.unresolved
    assert b"serving_default" in texts


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite", "golden"])
def test_a_recording_replays(name, request):
    model = golden_model() if name == "golden" else request.getfixturevalue(name)
    recorded, recording, texts = record_replay.record(model)
    replayed, file = record_replay.replay(len(model), recording, texts)
    assert replayed.fields == recorded.fields
    assert replayed.vectors == recorded.vectors
    assert (replayed.data, replayed.gaps, replayed.unresolved) == (
        recorded.data,
        recorded.gaps,
        recorded.unresolved,
    )
    # Whatever it wrote is what stands there.
    assert all(byte in (0, model[at]) for at, byte in enumerate(file.getvalue()))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_recording_ends_in_a_traversal_or_an_error(data):
    size = data.draw(st.sampled_from([8, 64, 9153]))
    numbers = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 2**40)), max_size=30)
    recording = [data.draw(numbers) for _ in traversal.Series]
    with contextlib.suppress(FormatError):
        _, file = record_replay.replay(size, recording, [b"text"] * data.draw(st.integers(0, 3)))
        assert len(file.getvalue()) == size


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_recording_never_crashes(data):
    _, recording, texts = record_replay.record(golden_model())
    for _ in range(data.draw(st.integers(1, 4))):
        series = recording[data.draw(st.sampled_from([s for s in traversal.Series if recording[s]]))]
        at = data.draw(st.integers(0, len(series) - 1))
        series[at] = data.draw(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)))
    with contextlib.suppress(FormatError):
        record_replay.replay(len(golden_model()), recording, texts)


def test_two_offsets_to_one_object_and_offsets_in_another_order():
    file = bytearray(tflite([Tensor(f"t{index}", "int8", (40,), bytes([index]) * 40) for index in range(4)]))
    flat = tensors._Flat(file)
    first, count = flat.vector(flat.follow(0), 4, 4)  # buffers: an empty one and four
    assert count == 5
    # The last but one is made to lead where the second leads.
    struct.pack_into("<I", file, first + 12, flat.follow(first + 4) - (first + 12))
    _, recording, _ = record_replay.record(bytes(file))
    # The synthetic builder lays tables down first to last, so the oldest offset is the one to follow.
    assert 1 in recording[traversal.Series.RANK]
    assert traversal.SAME_OBJECT in recording[traversal.Series.STEP]
    assert codec.unpack(codec.pack(bytes(file))) == bytes(file)


def test_too_many_offsets_are_not_traversed():
    model = golden_model()
    packed = codec.pack(model)
    with mock.patch.object(traversal, "MAX_LINKS", 30), mock.patch.object(record_replay, "MAX_LINKS", 30):
        assert codec.unpack(codec.pack(model)) == model
    with mock.patch.object(traversal, "MAX_LINKS", 5), pytest.raises(FormatError, match="offsets"):
        codec.unpack(packed)
    with mock.patch.object(traversal, "MAX_FIELDS", 10):
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
    entries = bytes(file[vtable : vtable + size])
    moved = len(file) + (-len(file) % 2)
    file += bytes(moved - len(file)) + entries
    struct.pack_into("<i", file, root, root - moved)
    if position == "behind":
        file += bytes(64)
    file = bytes(file)
    parts = skeleton.separate(file)
    section = skeleton.encode(file, parts, b"", ())
    assert parts.regions.detached
    assert skeleton.restores(section, file, parts)
    assert codec.unpack(codec.pack(file)) == file
    assert len(parts.contents) == len(skeleton.separate(golden_model()).contents)


def test_only_so_many_tables_are_read():
    model = golden_model()
    assert len(tensors.tensor_spans(model)) == 9
    # 11 buffers and a subgraph; then its 10 tensors are too many.
    with mock.patch.object(tensors, "_MAX_TABLES", 15):
        assert tensors.tensor_spans(model) == []
        assert codec.unpack(codec.pack(model)) == model
    with mock.patch.object(tensors, "_MAX_TABLES", 5), pytest.raises(FormatError, match="again"):
        tensors.tensor_spans(model)
