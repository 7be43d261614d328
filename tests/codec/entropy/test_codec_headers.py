import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.codec.entropy import bits, headers
from squeezekit.errors import FormatError

# Of one size, of all sizes, mostly none, growing over many octaves: each kind is written in a way of its own.
values = st.one_of(
    st.lists(st.integers(0, 9), max_size=150),
    st.lists(st.integers(0, 2**32 - 1), max_size=150),
    st.integers(0, 150).map(lambda count: [0] * count),
    st.integers(0, 150).map(lambda count: [int(1.2**at) % 2**32 for at in range(count)]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=12))
def test_lists_come_back_from_many_readers(given_lists):
    readers = [bits.Reader(bits.numbers(np.array(own, np.int64)) + b"next") for own in given_lists]
    found = headers.read_numbers(list(zip(readers, map(len, given_lists), strict=True)))
    assert [own.tolist() for own in found] == given_lists
    assert [bytes(reader.rest()) for reader in readers] == [b"next"] * len(readers)


def test_more_lists_than_are_read_at_once(monkeypatch):
    monkeypatch.setattr(headers, "_CHUNK", 50)
    given_lists = [list(range(start, start + 40)) for start in range(20)]
    readers = [bits.Reader(bits.numbers(np.array(own))) for own in given_lists]
    assert [own.tolist() for own in headers.read_numbers([(reader, 40) for reader in readers])] == given_lists


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 120), st.booleans())
def test_hostile_lists_are_told_alike_alone_and_beside_others(data, count, by_length):
    if by_length:
        data = bytes([bits.BY_LENGTH]) + data
    kind = bits.numbers(np.arange(7))
    readers = [bits.Reader(data), *(bits.Reader(kind) for _ in range(4))]
    alone = bits.Reader(data)
    try:
        expected = alone.numbers(count).tolist()
    except FormatError:
        with pytest.raises(FormatError):
            headers.read_numbers(
                [(reader, count if place == 0 else 7) for place, reader in enumerate(readers)]
            )
        return
    found = headers.read_numbers(
        [(reader, count if place == 0 else 7) for place, reader in enumerate(readers)]
    )
    assert found[0].tolist() == expected
    assert found[4].tolist() == list(range(7))
    assert readers[0].left == alone.left


def test_fields_of_many_readers():
    widths = [np.array([3, 0, 32, 1]), np.array([7]), np.array([0, 0])]
    readers = [bits.Reader(bytes(range(200, 200 + size))) for size in (6, 1, 0)]
    found = headers.read_bits(list(zip(readers, widths, strict=True)))
    for own, reader, width in zip(found, (6, 1, 0), widths, strict=True):
        data = np.frombuffer(bytes(range(200, 200 + reader)), np.uint8)
        assert own.tolist() == bits.read_bits(data, 0, width).tolist()
    assert [reader.left for reader in readers] == [1, 0, 0]
    with pytest.raises(FormatError, match="cut short"):
        headers.read_bits([(bits.Reader(b"a"), np.array([9]))])


def test_a_parser_that_fails_says_so():
    def parser(data):
        got = yield headers.read_numbers, (bits.Reader(data), 3)
        return got.sum()

    assert headers.run_together([parser(bits.numbers(np.arange(3)))] * 0) == []
    assert headers.run(parser(bits.numbers(np.arange(3)))) == 3
    with pytest.raises(FormatError):
        headers.run_together([parser(bits.numbers(np.arange(3))), parser(b"")])
