import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from synthetic_tflite import Tensor, golden_model, tflite

from squeezekit.codec.flatbuffer.tensors import is_tflite, tensor_spans
from squeezekit.errors import FormatError


@pytest.mark.parametrize("name", ["float_tflite", "int8_tflite", "golden"])
def test_spans_hold_what_litert_reads(name, request):
    model = golden_model(operators=()) if name == "golden" else request.getfixturevalue(name)
    interpreter = Interpreter(model_content=model)
    if name != "golden":
        interpreter.allocate_tensors()
    details = {tensor["name"]: tensor for tensor in interpreter.get_tensor_details()}
    spans = tensor_spans(model)
    assert len(spans) >= 7
    for span in spans:
        detail = details[span.name]
        assert span.shape == tuple(detail["shape"])
        assert span.dtype == np.dtype(detail["dtype"]).name
        assert span.item_bytes == np.dtype(detail["dtype"]).itemsize
        if name != "golden":
            assert model[span.start : span.stop] == interpreter.get_tensor(detail["index"]).tobytes()


def test_buffers_behind_the_flatbuffer():
    tensors = [Tensor("a", "float32", (100,), bytes(range(200)) * 2, True), Tensor("b", "int8", (3,), b"abc")]
    file = tflite(tensors)
    first, second = tensor_spans(file)
    assert file[first.start : first.stop] == tensors[0].data
    assert file[second.start : second.stop] == b"abc"
    # Cut off, the buffer no longer exists and is passed by.
    assert [span.name for span in tensor_spans(file[:-1])] == ["b"]


def test_odd_parts_are_passed_by():
    file = tflite([Tensor("a", "float32", (100,), bytes(399)), Tensor("\N{SNOWMAN}", "int4", (9,), b"12345")])
    odd, packed = tensor_spans(file)
    assert (odd.item_bytes, odd.size_bytes) == (1, 399)
    assert (packed.name, packed.dtype, packed.item_bytes) == ("\N{SNOWMAN}", "int4", 1)


def test_not_a_model():
    assert not is_tflite(b"")
    with pytest.raises(FormatError, match="TFL3"):
        tensor_spans(b"\x1c\0\0\0ONNX")
    with pytest.raises(FormatError, match="outside"):
        tensor_spans(b"\x1c\0\0\0TFL3")


def test_every_truncation_ends_in_spans_or_an_error():
    file = golden_model()
    for size in range(0, len(file), 3):
        try:
            spans = tensor_spans(file[:size])
        except FormatError:
            continue
        assert all(0 < span.start < span.stop <= size for span in spans)
