"""An image classifier inside LiteRT: uint8 pixels in, probabilities out, whatever types the file uses inside."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError as missing:
    # 32-bit Raspberry Pi OS: LiteRT 2 has no wheels for it; its predecessor has, with the same interface.
    try:
        from tflite_runtime.interpreter import Interpreter
    except ModuleNotFoundError:
        raise missing from None

from squeezekit.errors import FormatError
from squeezekit.preprocess import MAX_SIDE

__all__ = ["Network"]

# AlexNet's tensors take a quarter of it. A file that needs more is damaged, or not for a small device.
MAX_TENSOR_BYTES = 1 << 30
MAX_CLASSES = 1 << 20

# Largest distance of a sum of float32 probabilities from 1, for any number of classes.
_SUM_TOLERANCE = 1e-3


class Network:
    """A `.tflite` image classifier, ready to run. Do not use one from several threads at once.

    LiteRT checks the structure of the file; this class checks numbers that LiteRT does not. That
    stops accidents, not attacks: trust a `.tflite` as much as you trust its author.

    Args:
        tflite: the whole file.
        threads: CPU threads of LiteRT, at least 1.
        size: height and width in pixels. A network of fixed size must have exactly this one.

    Raises:
        ValueError: the network is no image classifier: not one NHWC input with 3 channels and one output of at
            least 2 classes.
        FormatError: it is damaged, or LiteRT cannot run it.

    Example:
        >>> Network(b"GIF89a")
        Traceback (most recent call last):
            ...
        squeezekit.errors.FormatError: LiteRT cannot open it: The model is not a valid Flatbuffer buffer
    """

    def __init__(self, tflite: bytes, *, threads: int = 1, size: tuple[int, int] | None = None) -> None:
        if type(threads) is not int or not 1 <= threads <= 1024:
            raise ValueError(f"Expected a number of threads in [1, 1024]. Received: threads={threads!r}.")
        try:
            # LiteRT treats empty content as "no model given".
            self._interpreter = Interpreter(model_content=tflite or b"\0", num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"LiteRT cannot open it: {_first_line(error)}") from error
        _check_tensors(self._interpreter.get_tensor_details())
        self._input, self._output = _only_input_and_output(self._interpreter)
        self._allocate(_input_shape(self._input, size))
        # Allocation fixes the shapes that depend on the input.
        self._input, self._output = _only_input_and_output(self._interpreter)
        self._classes = _class_count(self._output)
        self._outputs_probabilities = self._is_probabilities()

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, height, width, 3)."""
        one, height, width, channels = (int(side) for side in self._input["shape"])
        return one, height, width, channels

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._classes

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Run images through the network, one after another.

        An output that is not a probability distribution, such as logits, goes through a softmax.

        Args:
            pixels: uint8 RGB, shape (images, height, width, 3).

        Returns:
            float32, shape (images, classes), in [0, 1].

        Raises:
            ValueError: pixels of another shape or type.
            FormatError: the network's numbers overflow, or LiteRT stops.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != self.input_shape[1:]:
            expected = ", ".join(map(str, self.input_shape[1:]))
            raise ValueError(
                f"Expected uint8 pixels of shape (images, {expected}). "
                f"Received: {pixels.dtype} of shape {pixels.shape}."
            )
        results = np.empty((len(pixels), self._classes), np.float32)
        for result, image in zip(results, pixels, strict=True):
            values = self._run(image)
            result[:] = values if self._outputs_probabilities else _softmax(values)
        return results

    def _run(self, image: np.ndarray) -> np.ndarray:
        """Run one image, uint8 (height, width, 3); return the output's real values, float32 (classes,)."""
        kind = self._input["dtype"]
        # Unsigned integer networks take the bytes as they are, signed ones shifted to start at -128.
        values = (image ^ np.uint8(128)).view(np.int8) if kind is np.int8 else image.astype(kind)
        try:
            self._interpreter.set_tensor(self._input["index"], values[np.newaxis])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"LiteRT cannot run it: {_first_line(error)}") from error
        raw = self._interpreter.get_tensor(self._output["index"]).reshape(-1)
        if raw.dtype != np.float32:
            scale, zero_point = self._output["quantization"]
            raw = (raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        if not np.isfinite(raw).all():
            raise FormatError("the network's output is not a number: its weights are damaged")
        return raw

    def _allocate(self, shape: tuple[int, ...]) -> None:
        try:
            if tuple(self._input["shape"]) != shape:
                self._interpreter.resize_tensor_input(self._input["index"], shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise FormatError(f"LiteRT cannot run it: {_first_line(error)}") from error

    def _is_probabilities(self) -> bool:
        if self._output["dtype"] is not np.float32:
            # A quantized softmax covers [0, 1]. Rounding can move its sum far from 1, so the range decides.
            scale, zero_point = self._output["quantization"]
            limits = np.iinfo(self._output["dtype"])
            low, high = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
            return abs(low) < 0.01 and abs(high - 1) < 0.01
        # Always the same picture, so that a file always gives the same answer.
        probe = np.random.default_rng(0).integers(0, 256, self.input_shape[1:], np.uint8)
        values = self._run(probe)
        return bool(
            values.min() >= -_SUM_TOLERANCE and abs(values.sum(dtype=np.float64) - 1) <= _SUM_TOLERANCE
        )


def _check_tensors(details: list[Mapping[str, Any]]) -> None:
    """Refuse numbers that make LiteRT 2.3 crash."""
    total_bytes = 0
    for tensor in details:
        kind = np.dtype(tensor["dtype"])
        total_bytes += math.prod(int(side) for side in tensor["shape"]) * kind.itemsize
        scales = tensor["quantization_parameters"]["scales"]
        zero_points = tensor["quantization_parameters"]["zero_points"]
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise FormatError(f"tensor {tensor['index']} has a scale that is no positive number")
        if kind in (np.int8, np.uint8, np.int16) and len(zero_points):
            limits = np.iinfo(kind)
            if zero_points.min() < limits.min or zero_points.max() > limits.max:
                raise FormatError(f"tensor {tensor['index']} has a zero point outside its type")
    if total_bytes > MAX_TENSOR_BYTES:
        raise FormatError(
            f"needs {total_bytes:,} bytes for its tensors; at most {MAX_TENSOR_BYTES:,} are allowed"
        )


def _only_input_and_output(interpreter: Interpreter) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "Expected an image classifier, with one input and one output. "
            f"Received: a network with {len(inputs)} inputs and {len(outputs)} outputs."
        )
    if inputs[0]["dtype"] not in (np.float32, np.uint8, np.int8):
        raise ValueError(
            f"Expected an input of float32, uint8 or int8. Received: {np.dtype(inputs[0]['dtype'])}."
        )
    output = outputs[0]
    if output["dtype"] not in (np.float32, np.uint8, np.int8, np.int16):
        raise ValueError(
            f"Expected an output of float32, uint8, int8 or int16. Received: {np.dtype(output['dtype'])}."
        )
    if output["dtype"] is not np.float32 and len(output["quantization_parameters"]["scales"]) != 1:
        raise ValueError(f"Expected a scale for the {np.dtype(output['dtype'])} output. Received: none.")
    return inputs[0], output


def _input_shape(details: Mapping[str, Any], size: tuple[int, int] | None) -> tuple[int, ...]:
    """The input's shape, with the sides filled in that the file leaves open."""
    shape = [int(side) for side in details["shape"]]
    # Old converters leave it empty: then no side is open.
    signature = [int(side) for side in details["shape_signature"]] or shape
    if len(shape) != 4 or len(signature) != 4 or shape[3] != 3 or signature[0] not in (-1, 1):
        raise ValueError(
            f"Expected an input of one RGB image, shape (1, height, width, 3). Received: {tuple(signature)}."
        )
    for axis in (1, 2):
        if signature[axis] == -1:
            if size is None:
                raise ValueError(
                    "Expected an input of fixed height and width, or image settings in the file that give them. "
                    f"Received: {tuple(signature)}."
                )
            shape[axis] = size[axis - 1]
    if not all(1 <= side <= MAX_SIDE for side in shape[1:3]):
        raise ValueError(f"Expected an input with sides in [1, {MAX_SIDE}]. Received: {tuple(shape)}.")
    if size is not None and tuple(shape[1:3]) != size:
        raise FormatError(
            f"the image settings are for {size[0]}x{size[1]}, the network is for {shape[1]}x{shape[2]}"
        )
    return 1, *shape[1:]


def _class_count(details: Mapping[str, Any]) -> int:
    shape = tuple(int(side) for side in details["shape"])
    classes = shape[-1] if shape else 0
    if math.prod(shape) != classes or not 2 <= classes <= MAX_CLASSES:
        raise ValueError(f"Expected an output of one number a class, shape (1, classes). Received: {shape}.")
    return classes


def _softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values.astype(np.float64) - values.max())
    return exponentials / exponentials.sum()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip()
