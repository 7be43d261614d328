"""What a `.tflite` computes: its operations in order, and the types of its tensors."""

import dataclasses
import struct

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from squeezekit.errors import FormatError

__all__ = ["Audit", "Operation", "Tensor", "audit"]

_OPERATION_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
_TYPE_NAMES = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")
}


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the graph.

    Args:
        name: as the converter named it.
        shape: sides; all fixed in a static graph.
        dtype: "float32", "int8", "uint8", "int32", ...
        scales: quantization scales, float32; empty when not quantized, one when per tensor.
        zero_points: as many as there are scales.
        constant: stored in the file (weights, biases), not computed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One step of the graph: `name` as in the schema ("CONV_2D"), and the tensors it reads and writes."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def dtypes(self) -> frozenset[str]:
        """The types of everything that it reads and writes."""
        return frozenset(tensor.dtype for tensor in self.inputs + self.outputs)


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """The main graph of a `.tflite`."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operations: tuple[Operation, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The operations' names, in the order in which they run."""
        return tuple(operation.name for operation in self.operations)

    @property
    def float_operations(self) -> tuple[Operation, ...]:
        """The operations that touch a floating-point tensor: none in a full-integer network."""
        return tuple(step for step in self.operations if any("float" in dtype for dtype in step.dtypes))


def audit(tflite: bytes) -> Audit:
    """List the operations of a network and the types of their tensors.

    Args:
        tflite: a `.tflite` file's bytes.

    Returns:
        The main graph.

    Raises:
        FormatError: not a `.tflite`, or damaged.
    """
    if len(tflite) < 8 or tflite[4:8] != b"TFL3":
        raise FormatError("not a .tflite: it does not carry the identifier TFL3")
    try:
        return _audit(schema.Model.GetRootAsModel(tflite, 0))
    # A flatbuffer's accessors raise these when an offset points outside the file.
    except (struct.error, IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"damaged .tflite ({error})") from error


def _audit(model: schema.Model) -> Audit:
    graph = model.Subgraphs(0)
    tensors = [_tensor(model, graph.Tensors(index)) for index in range(graph.TensorsLength())]

    def pick(indices: np.ndarray | int) -> tuple[Tensor, ...]:
        # The accessors return 0 for an empty array; -1 is an optional input that is absent.
        return tuple(tensors[index] for index in np.atleast_1d(indices) if index >= 0)

    operations = []
    for index in range(graph.OperatorsLength()):
        step = graph.Operators(index)
        code = model.OperatorCodes(step.OpcodeIndex())
        # Files older than 2020 have the operation in the byte-sized field.
        name = _OPERATION_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        operations.append(Operation(name, pick(step.InputsAsNumpy()), pick(step.OutputsAsNumpy())))
    return Audit(pick(graph.InputsAsNumpy()), pick(graph.OutputsAsNumpy()), tuple(operations))


def _tensor(model: schema.Model, tensor: schema.Tensor) -> Tensor:
    quantization = tensor.Quantization()
    quantized = quantization is not None and quantization.ScaleLength() > 0
    return Tensor(
        name=tensor.Name().decode("utf-8", "replace"),
        shape=tuple(int(side) for side in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else (),
        dtype=_TYPE_NAMES[tensor.Type()],
        scales=tuple(float(scale) for scale in quantization.ScaleAsNumpy()) if quantized else (),
        zero_points=tuple(int(zero) for zero in quantization.ZeroPointAsNumpy()) if quantized else (),
        constant=model.Buffers(tensor.Buffer()).DataLength() > 0,
    )
