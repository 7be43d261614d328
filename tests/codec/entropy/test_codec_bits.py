import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.codec.entropy import bits
from squeezekit.codec.flatbuffer import varints
from squeezekit.errors import FormatError

uint32 = st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1))


@settings(deadline=None)
@given(st.lists(uint32, max_size=60))
def test_numbers_come_back(values):
    data = bits.numbers(np.array(values, np.int64))
    reader = bits.Reader(data + b"next")
    assert reader.numbers(len(values)).tolist() == values
    assert bytes(reader.rest()) == b"next"


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 32).flatmap(lambda w: st.tuples(st.integers(0, max(0, 2**w - 1)), st.just(w))))
)
def test_bits_match_a_string_of_bits(pairs):
    values, widths = (
        np.array(column, np.int64) for column in (zip(*pairs, strict=True) if pairs else ((), ()))
    )
    writer = bits.BitWriter(int(widths.sum()))
    writer.write(values, widths)
    text = "".join(f"{value:0{width}b}" if width else "" for value, width in pairs)
    text += "0" * (-len(text) % 8)
    assert writer.to_bytes() == bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
    data = np.frombuffer(writer.to_bytes(), np.uint8)
    assert bits.read_bits(data, 0, widths).tolist() == values.tolist()


def test_bits_written_in_pieces_across_chunks():
    widths = np.random.default_rng(0).integers(1, 17, (1 << 20) + 12_345)
    values = np.random.default_rng(1).integers(0, 1 << 16, len(widths)) & ((1 << widths) - 1)
    writer = bits.BitWriter(int(widths.sum()))
    for part in np.array_split(np.arange(len(widths)), 3):
        writer.write(values[part], widths[part])
    data = np.frombuffer(writer.to_bytes(), np.uint8)
    assert np.array_equal(bits.read_bits(data, 0, widths), values.astype(np.uint64))


@settings(deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_zigzag(values):
    folded = bits.zigzag(np.array(values, np.int64))
    assert (folded >= 0).all()
    assert bits.unzigzag(folded).tolist() == values


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_varint(value):
    assert bits.Reader(bits.varint(value)).varint() == value


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 5, b"\xff\xff\xff\xff\x7f"])
def test_bad_varints_are_refused(data):
    with pytest.raises(FormatError):
        bits.Reader(data).varint()


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(1, 50))
def test_hostile_numbers_never_crash(data, count):
    try:
        values = bits.Reader(data).numbers(count)
    except FormatError:
        return
    assert len(values) == count
    assert values.min() >= 0
    assert values.max() < 2**32


def test_reader_refuses_to_pass_the_end():
    reader = bits.Reader(b"abc")
    with pytest.raises(FormatError, match="cut short"):
        reader.take(4)
    with pytest.raises(FormatError, match="too many"):
        reader.finish()


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 200), st.integers(0, 2**64 - 1)), max_size=40))
def test_long_varints_come_back(values):
    data = varints.varints(np.array(values, np.uint64))
    assert varints.read_varints(data, 40).tolist() == values
    reader = bits.Reader(data + b"next")
    assert varints.read_some(reader, len(values)) == values
    assert bytes(reader.rest()) == b"next"
    if all(value < 2**32 for value in values):
        assert data == b"".join(map(bits.varint, values))


@pytest.mark.parametrize("data", [b"\x80", b"\x80" * 10 + b"\1", b"\xff" * 9 + b"\2", b"\0\0\0\0"])
def test_bad_long_varints_are_refused(data):
    with pytest.raises(FormatError):
        varints.read_varints(data, 3)
