"""Trained ranges of activations in the place of calibrated ones."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from squeezekit.compress.graph.rewrite import rebuild

__all__ = ["check_ranges", "set_ranges"]

_IDENTIFIER = b"TFL3"

# Two images tell tensors apart; the tolerance is that of float arithmetic in another order.
_PROBES = 2
_TOLERANCE = 1e-4


def check_ranges(ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise a `ValueError` unless every range is finite, contains 0 and is not empty."""
    for name, bounds in ranges.items():
        low, high = bounds
        if not (np.isfinite([low, high]).all() and low <= 0 <= high and low < high):
            raise ValueError(f"Expected ranges (low, high) with low <= 0 <= high. Received: {name}={bounds}.")


def set_ranges(
    calibrated: bytes,
    model: keras.Model,
    ranges: Mapping[str, tuple[float, float]],
    images: Sequence[np.ndarray],
) -> bytes:
    """Replace the calibrated range of every tensor that is the output of a layer in `ranges`.

    Tensors are found by their values, because the converter's fusions change names.

    Args:
        calibrated: a float `.tflite` with calibrated ranges.
        model: the network that it was made of.
        ranges: {name of a layer, with those of nested models in front: (low, high)}.
        images: at least one, float32 (height, width, 3), with different outputs.

    Returns:
        The same file with other ranges. A layer whose output is no tensor of the file gives a warning.

    Raises:
        ValueError: `ranges` has a name that is no layer of the model.
    """
    images = images[:_PROBES]
    given = _outputs(model, ranges, images)
    stored = _tensors(calibrated, images)
    changed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(calibrated, 0))
    missing = []
    for name, (low, high) in ranges.items():
        for values in given[name]:
            places = [index for index, tensor in stored.items() if _same(tensor, values)]
            for index in places:
                quantization = changed.subgraphs[0].tensors[index].quantization
                quantization.min, quantization.max = np.array([low], np.float32), np.array([high], np.float32)
            if not places:
                missing.append(name)
    if missing:
        warnings.warn(
            f"The .tflite has no output of {', '.join(missing)}; the ranges trained for them are not used.",
            stacklevel=2,
        )
    builder = flatbuffers.Builder(len(calibrated) + 4096)
    builder.Finish(changed.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Probe(keras.layers.Layer):
    """Returns its input, and keeps a copy."""

    def __init__(self, keep: Callable[[np.ndarray], None]) -> None:
        super().__init__()
        self._keep = keep  # not the list itself: Keras would track a copy of it

    def call(self, inputs: Any) -> Any:
        self._keep(keras.ops.convert_to_numpy(inputs))
        return inputs

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def _outputs(
    model: keras.Model, names: Mapping[str, Any], images: Sequence[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """{name of a layer: for each of its calls, its output for each image}."""
    kept: dict[str, list[np.ndarray]] = {}

    def replace(name: str, operation: Any, copy: Callable[..., Any]) -> Sequence[Any]:
        chain = [] if isinstance(operation, keras.layers.InputLayer) else [copy()]
        return [*chain, _Probe(kept.setdefault(name, []).append)] if name in names else chain

    probed = rebuild(model, replace)
    unknown = [name for name in names if name not in kept]
    if unknown:
        raise ValueError(f"Expected ranges of layers of {model.name}. Received: {unknown[0]!r}.")
    for image in images:
        probed(image[np.newaxis], training=False)
    # A layer that is called n times left n tensors for the first image, then n for the second, ...
    calls = {name: len(values) // len(images) for name, values in kept.items()}
    return {
        name: [np.stack(values[call :: calls[name]]) for call in range(calls[name])]
        for name, values in kept.items()
    }


def _tensors(tflite: bytes, images: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """{number of a tensor: its values for each image} of a float network, constants included."""
    interpreter = Interpreter(
        model_content=tflite,
        # The other kernels reuse memory, or fuse operations in ways of their own.
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    details = [tensor for tensor in interpreter.get_tensor_details() if tensor["dtype"] is np.float32]
    found: dict[int, list[np.ndarray]] = {tensor["index"]: [] for tensor in details}
    for image in images:
        interpreter.set_tensor(entry["index"], image[np.newaxis])
        interpreter.invoke()
        for index, values in found.items():
            values.append(interpreter.get_tensor(index))
    return {index: np.stack(values) for index, values in found.items()}


def _same(tensor: np.ndarray, values: np.ndarray) -> bool:
    if tensor.shape != values.shape:
        return False
    return bool(np.abs(tensor - values).max() <= _TOLERANCE * np.abs(values).max())
