import numpy as np
import pytest
from deflate_coder import CODER

import tiny_classifiers
from squeezekit import codec
from squeezekit.codec.entropy import coders
from squeezekit.errors import FormatError


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(coders.BY_TAG, CODER.tag, CODER)
    monkeypatch.setitem(coders.CODERS, "deflate", (CODER,))


@pytest.mark.parametrize("kind", ["", "uint8"])
def test_pack_and_unpack_give_the_exact_bytes(kind):
    tflite = tiny_classifiers.tflite("places", kind)
    packed = codec.pack(tflite, coder="deflate")
    assert codec.unpack(packed) == tflite


def test_it_codes_weights_of_few_values():
    weights = np.random.default_rng(0).choice(np.array([0, 0, 0, 1, 2], np.int8), (64, 64))
    packed = codec.encode_tensors({"kernel": weights}, coder="deflate")
    assert len(packed) < weights.size / 2
    assert "deflate" in codec.describe(packed).tensors[0].coder
    np.testing.assert_array_equal(codec.decode_tensors(packed)["kernel"], weights)


@pytest.mark.parametrize("symbols", [[0], [3, 3, 3], list(range(300)), [0, 65535 % 300] * 500])
def test_streams_come_back_and_sizes_are_as_told(symbols):
    symbols = np.array(symbols, np.uint16)
    histogram = np.bincount(symbols, minlength=300)
    payload = CODER.encode(symbols, histogram)
    assert abs(len(payload) - CODER.size_bytes(histogram)) <= 8
    job = coders.Job(CODER, memoryview(payload), len(symbols), 300)
    np.testing.assert_array_equal(CODER.decode([job], 0)[0], symbols)


def test_damage_is_a_format_error():
    symbols = np.arange(100, dtype=np.uint8)
    payload = CODER.encode(symbols, np.bincount(symbols))
    for damaged, count in (
        (payload[:-1], 100),
        (payload + b"x", 100),
        (payload, 99),
        (payload, 101),
        (b"\xff", 1),
    ):
        with pytest.raises(FormatError):
            CODER.decode([coders.Job(CODER, memoryview(damaged), count, 100)], 0)
