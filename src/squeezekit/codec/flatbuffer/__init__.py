"""The `.tflite` itself: tensors found in it, and the rest of its bytes in few."""

from squeezekit.codec.flatbuffer.tensors import TensorSpan, tensor_spans

__all__ = ["TensorSpan", "tensor_spans"]
