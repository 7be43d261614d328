"""Standard TFLite Metadata: it tells any tool that the input is an RGB image, and the label of each output.

The model's metadata entry `TFLITE_METADATA` holds a flatbuffer (identifier "M001", schema 1.0). It names the files
that are appended to the model as a ZIP archive. Python's `zipfile` reads the archive, MediaPipe and Android's tools
read both. Schema: `metadata_schema.fbs` of TensorFlow Lite Support.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from squeezekit.preprocess import Preprocess

__all__ = ["LABELS_FILE", "SETTINGS_FILE", "associated_files", "attach"]

LABELS_FILE = "labels.txt"
SETTINGS_FILE = "squeezekit.json"

_ENTRY = b"TFLITE_METADATA"
_MODEL_IDENTIFIER = b"TFL3"
_METADATA_IDENTIFIER = b"M001"

# Every field used here is in the first version of the schema.
_MIN_PARSER_VERSION = "1.0.0"
# Members of the schema's enumerations and unions.
_TENSOR_AXIS_LABELS = 2
_RGB = 1
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION_OPTIONS = 1


def associated_files(
    labels: Sequence[str], preprocess: Preprocess, provenance: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files inside a network's file, by name.

    Args:
        labels: one label an output, in order.
        preprocess: what the network expects of an image.
        provenance: where the network comes from; plain JSON values.

    Returns:
        `labels.txt`, one label a line, and `squeezekit.json` {"preprocess": ..., "provenance": ...}, in UTF-8.

    Raises:
        ValueError: `provenance` is no JSON.

    Example:
        >>> associated_files(["cat", "dog"], Preprocess(96, 96), {})["labels.txt"]
        b'cat\\ndog\\n'
    """
    settings = {"preprocess": preprocess.to_dict(), "provenance": dict(provenance)}
    try:
        written = json.dumps(settings, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected plain JSON values. Received: provenance={provenance!r} ({error})."
        ) from error
    lines = "".join(f"{label}\n" for label in labels)
    return {LABELS_FILE: lines.encode("utf-8"), SETTINGS_FILE: written.encode("utf-8")}


def attach(tflite: bytes, name: str, associated: Mapping[str, bytes]) -> bytes:
    """Put labels, normalization and settings into a classifier's file.

    Args:
        tflite: a network with one image input and one output of probabilities. Its earlier metadata is replaced.
        name: the network's name, for people.
        associated: what `associated_files` gave.

    Returns:
        The file with metadata. The same arguments give the same bytes.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    kept = [entry for entry in model.metadata or [] if entry.name != _ENTRY]
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_describe(name), np.uint8)
    entry.name, entry.buffer = _ENTRY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = kept + [entry]
    builder = flatbuffers.Builder(len(tflite) + 4096)
    builder.Finish(model.Pack(builder), _MODEL_IDENTIFIER)
    return _append_files(bytes(builder.Output()), associated)


def _append_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    whole = io.BytesIO(model)
    whole.seek(0, io.SEEK_END)
    # Stored, not deflated: MediaPipe reads associated files in place. Offsets count from the model's first byte.
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            # ZIP's earliest time and a fixed system, so that equal content gives equal bytes.
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, content)
    return whole.getvalue()


def _describe(name: str) -> bytes:
    """The ModelMetadata flatbuffer. Numbers are the fields' positions in the schema's tables."""
    builder = flatbuffers.Builder(1024)
    text, table, vector = builder.CreateString, partial(_table, builder), partial(_vector, builder)

    def union(kind: int, content: int) -> int:
        """A table of a union's type and content."""
        return table({1: content}, uint8={0: kind})

    def raw_pixels() -> int:
        """A ProcessUnit that normalizes by (x - 0) / 1, of the same values in a quantized and a float network."""
        mean = builder.CreateNumpyVector(np.zeros(1, np.float32))
        deviation = builder.CreateNumpyVector(np.ones(1, np.float32))
        return union(_NORMALIZATION_OPTIONS, table({0: mean, 1: deviation}))

    # The order in which children are written decides the file's bytes.
    image = table(
        {
            0: text("image"),
            1: text("RGB picture; scaling is inside the network"),
            3: union(_IMAGE_PROPERTIES, table(int8={0: _RGB})),
            4: vector([raw_pixels()]),
        }
    )
    labels_file = table(
        {0: text(LABELS_FILE), 1: text("one label an output, in order")}, int8={2: _TENSOR_AXIS_LABELS}
    )
    probability = table(
        {
            0: text("probability"),
            1: text("probability of each label"),
            3: union(_FEATURE_PROPERTIES, table()),
            6: vector([labels_file]),
        }
    )
    graph = table({2: vector([image]), 3: vector([probability])})
    settings_file = table({0: text(SETTINGS_FILE)})
    root = table(
        {
            0: text(name),
            1: text("Image classifier"),
            3: vector([graph]),
            6: vector([settings_file]),
            7: text(_MIN_PARSER_VERSION),
        }
    )
    builder.Finish(root, _METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _table(
    builder: flatbuffers.Builder,
    offsets: Mapping[int, int] = MappingProxyType({}),
    *,
    int8: Mapping[int, int] = MappingProxyType({}),
    uint8: Mapping[int, int] = MappingProxyType({}),
) -> int:
    """Write one table, whose children are written already, and return its offset: {field's position: value}."""
    builder.StartObject(max([*offsets, *int8, *uint8], default=-1) + 1)
    for position, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(position, offset, 0)
    for position, value in int8.items():
        builder.PrependInt8Slot(position, value, 0)
    for position, value in uint8.items():
        builder.PrependUint8Slot(position, value, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
