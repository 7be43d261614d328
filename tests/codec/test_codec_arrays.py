import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from synthetic_tflite import golden_model

from squeezekit import codec
from squeezekit.codec import tensor
from squeezekit.codec.container import Section, join, split
from squeezekit.codec.entropy import bits
from squeezekit.errors import FormatError

TYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
    "complex64", "complex128",
]  # fmt: skip
SMALL = {
    "w": np.round(np.linspace(-3, 3, 60)).astype(np.float32).reshape(3, 20),
    "n": np.int64(5).reshape(()),
}


def same(left, right):
    assert list(left) == list(right)
    for name, array in left.items():
        other = right[name]
        assert other.dtype == array.dtype.newbyteorder("=")
        assert other.shape == array.shape
        # Bit for bit: NaN payloads and -0.0 too.
        assert other.tobytes() == np.ascontiguousarray(array, other.dtype).tobytes()


any_array = st.sampled_from(TYPES).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6))
)


@pytest.mark.parametrize("coder", ["huffman", "none"])
@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=12), any_array, max_size=4))
def test_arrays_come_back(coder, given_arrays):
    same(given_arrays, codec.decode_tensors(codec.encode_tensors(given_arrays, coder=coder)))


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_at_length(dtype):
    values = np.round(np.random.default_rng(0).normal(0, 9, (40, 3, 3, 8)))
    array = (values > 8 if dtype == "bool" else values).astype(dtype)
    packed = codec.encode_tensors({"w": array})
    same({"w": array}, codec.decode_tensors(packed))
    assert len(packed) < array.nbytes * 0.9


def test_other_layouts_and_byte_orders():
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4)
    given_arrays = {
        "big-endian": array,
        "transposed": array.T,
        "strided": array[:, ::2],
        "fortran": np.asfortranarray(array),
    }
    found = codec.decode_tensors(codec.encode_tensors(given_arrays))
    for name, value in given_arrays.items():
        assert np.array_equal(found[name], value)
        assert found[name].dtype == np.float32
        assert found[name].flags.c_contiguous
        assert found[name].flags.writeable


def test_odd_booleans_become_true():
    flags = np.array([0, 1, 2, 255], np.uint8).view(bool)
    found = codec.decode_tensors(codec.encode_tensors({"flags": flags}))["flags"]
    assert found.tolist() == [False, True, True, True]


def test_info_progress_and_description():
    calls = []
    weights = {"a": np.ones((300, 100), np.float32), "b": np.zeros((0, 4), np.int8), "c": SMALL["w"]}
    packed = codec.encode_tensors(weights, info={"step": 7}, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (120_240, 120_240)
    assert codec.read_info(packed) == {"step": 7}
    description = codec.describe(packed)
    assert description.bytes == len(packed) == sum(description.sections.values())
    assert [line.name for line in description.tensors] == ["a", "c"]
    assert description.sections["tensors"] == sum(line.bytes for line in description.tensors)
    assert description.tensors[0].coder == "constant"
    assert description.tensors[0].bits_per_element < 0.01


@pytest.mark.parametrize(
    "given_arrays",
    [
        {"a": np.array(["text"])},
        {"a": np.array([object()])},
        {"a": np.zeros(3, "m8[s]")},
        {"a": np.zeros(3, [("x", "f4")])},
        {"a": np.zeros(3, np.longdouble)},
        {"\ud800": np.zeros(3)},
        {1: np.zeros(3)},
        {"a": np.broadcast_to(np.float64(0), (1 << 28,))},
        {"a": np.empty((0, 1 << 31), np.int8)},
    ],
)
def test_other_arrays_are_refused(given_arrays):
    with pytest.raises(ValueError, match="Expected"):
        codec.encode_tensors(given_arrays)


def test_networks_and_arrays_are_not_confused():
    with pytest.raises(FormatError, match="a network, no arrays"):
        codec.decode_tensors(codec.pack(golden_model()))
    packed = codec.encode_tensors(SMALL)
    with pytest.raises(FormatError, match="arrays, no network"):
        codec.unpack(packed)
    assert codec.read_info(packed) == {}


@pytest.mark.parametrize("dtype", ["int8", "float32", "bool", ">f8"])
def test_packed_bytes_are_those_of_the_tensor_alone(dtype):
    kernel = np.round(np.random.default_rng(0).normal(0, 3, (40, 3, 3, 16))).astype(dtype)
    assert (
        codec.packed_bytes(kernel)
        == codec.describe(codec.encode_tensors({"kernel": kernel})).tensors[0].bytes
    )
    assert codec.packed_bytes(kernel[:0]) == 0
    with pytest.raises(ValueError, match="Expected"):
        codec.packed_bytes(np.array(["text"]))


def test_every_flip_and_truncation_is_noticed():
    packed = codec.encode_tensors(SMALL, info={"a": 1})
    for at in range(len(packed)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(packed)
            damaged[at] ^= change
            with pytest.raises(FormatError):
                codec.decode_tensors(bytes(damaged))
        with pytest.raises(FormatError):
            codec.decode_tensors(packed[:at])


def lied(directory, payloads=b""):
    section = bits.varint(len(directory)) + b"\0" + directory
    return join([(Section.TENSORS, [payloads]), (Section.ARRAYS, [section])])


def entry(name, code, shape, size):
    return (
        bits.varint(len(name)) + name + bytes([code, len(shape)]) + b"".join(map(bits.varint, (*shape, size)))
    )


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (lied(b""), "cut short"),
        (lied(b"\1"), "cut short|at most"),
        (lied(b"\xff\xff\xff\xff\x0f"), "at most"),
        (lied(b"\0\0"), "too many"),
        (lied(b"\1" + entry(b"\xff", 2, (1,), 1), b"\0"), "UTF-8"),
        (lied(b"\1" + entry(b"a", 14, (1,), 1), b"\0"), "type"),
        (lied(b"\1" + entry(b"a", 2, (1,) * 33, 2), b"\0\0"), "axes"),
        (lied(b"\1" + entry(b"a", 2, (1,), 0)), "payload"),
        (lied(b"\1" + entry(b"a", 2, (0,), 1), b"\0"), "payload"),
        (lied(b"\1" + entry(b"a", 2, (1 << 31, 2), 2), b"\1\0"), "impossible"),
        (lied(b"\1" + entry(b"a", 2, (0, 1 << 31), 0)), "impossible"),
        (lied(b"\1" + entry(b"a", 2, (1 << 29,), 2), b"\1\0"), "too large to be true"),
        (lied(b"\1" + entry(b"a", 2, (1,), 3), b"\0\0"), "fill"),
        (lied(b"\2" + 2 * entry(b"a", 2, (1,), 2), b"\0\0" * 2), "one name"),
        (lied(b"\1" + entry(b"a", 0, (1,), 2), b"\1\2"), "neither true nor false"),
        (lied(b"\1" + entry(b"a", 2, (1,), 2), b"\x09\0"), "form 9"),
        (join([(Section.ARRAYS, [b"\1\0\0"])]), "tensors is missing"),
        (
            join([(Section.LAYOUT, [b""]), (Section.TENSORS, [b""]), (Section.ARRAYS, [b"\1\0\0"])]),
            "layout is out of place",
        ),
    ],
)
def test_lies_behind_right_checksums(file, reason):
    with pytest.raises(FormatError, match=reason):
        codec.decode_tensors(file)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_sections_never_crash(data):
    parts = {
        kind: bytearray(part) for kind, part in split(codec.encode_tensors(SMALL), arrays=True).parts.items()
    }
    part = parts[data.draw(st.sampled_from(sorted(parts)))]
    for _ in range(data.draw(st.integers(1, 3))):
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        codec.decode_tensors(join([(kind, [bytes(parts[kind])]) for kind in sorted(parts)]))


def test_constants_still_come_back():
    weights = {"zeros": np.zeros(100_000, np.float32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("squeezekit.codec.layout_section.FREE_BYTES", 0)
        patch.setattr("squeezekit.codec.layout_section.MAX_RATIO", 4)
        packed = codec.encode_tensors(weights)
        assert len(packed) > 100_000
        same(weights, codec.decode_tensors(packed))


def test_batches():
    weights = {f"layer{index}": np.full(1000, index, np.float32) for index in range(9)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor.Batch, "SIZE_BYTES", 9000)
        calls = []
        same(
            weights,
            codec.decode_tensors(codec.encode_tensors(weights), progress=lambda *call: calls.append(call)),
        )
    assert calls == [(12_000, 36_000), (24_000, 36_000), (36_000, 36_000), (36_000, 36_000)]
