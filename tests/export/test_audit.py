import pytest

from squeezekit.errors import FormatError
from squeezekit.export import audit


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PK\x03\x04" * 10, b"\x1c\x00\x00\x00TFL3", b"\xff" * 4 + b"TFL3" * 20]
)
def test_what_is_no_network_is_a_format_error(data):
    with pytest.raises(FormatError):
        audit(data)


def test_a_network_cut_short_is_a_format_error_or_read_whole(exported):
    _, tflite = exported("dense", integer=True)
    whole = audit(tflite)
    for kept in range(8, 4000, 61):
        try:
            assert audit(tflite[-kept:]) == whole
        except FormatError:
            continue
    for kept in range(8, len(tflite), 997):
        try:
            # A flatbuffer is written from its end: one that lost only weights still lists its operations.
            assert audit(tflite[:kept]).names == whole.names
        except FormatError:
            continue


def test_constants_and_what_flows_are_told_apart(exported):
    _, tflite = exported("dense", integer=True)
    graph = audit(tflite)
    (convolution,) = [step for step in graph.operations if step.name == "CONV_2D"]
    assert [tensor.constant for tensor in convolution.inputs] == [False, True, True]
    assert [tensor.dtype for tensor in convolution.inputs] == ["int8", "int8", "int32"]
    assert not convolution.outputs[0].constant
