import io
import json
import zipfile

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import encode, packer
from flatbuffers.number_types import Float32Flags, UOffsetTFlags

from squeezekit.export.metadata import attach
from squeezekit.preprocess import Preprocess

from . import nets


class Reader:
    """A flatbuffer table by field positions, independent of the writer."""

    def __init__(self, data, position):
        self.table = flatbuffers.table.Table(data, position)

    @classmethod
    def root(cls, data):
        return cls(data, encode.Get(packer.uoffset, data, 0))

    def _at(self, field):
        offset = self.table.Offset(4 + 2 * field)
        assert offset, f"field {field} is not there"
        return self.table.Pos + offset

    def text(self, field):
        return self.table.String(self._at(field)).decode()

    def byte(self, field):
        return self.table.Bytes[self._at(field)]

    def child(self, field):
        return Reader(self.table.Bytes, self.table.Indirect(self._at(field)))

    def union(self, field):
        child = flatbuffers.table.Table(bytearray(), 0)
        self.table.Union(child, self._at(field) - self.table.Pos)
        return Reader(child.Bytes, child.Pos)

    def children(self, field):
        offset = self._at(field) - self.table.Pos
        start = self.table.Vector(offset)
        positions = [start + 4 * index for index in range(self.table.VectorLen(offset))]
        return [Reader(self.table.Bytes, p + self.table.Get(UOffsetTFlags, p)) for p in positions]

    def floats(self, field):
        return self.table.GetVectorAsNumpy(Float32Flags, self._at(field) - self.table.Pos).tolist()


def metadata_of(tflite):
    model = schema.Model.GetRootAsModel(tflite, 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()


@pytest.mark.parametrize("integer", [False, True])
def test_the_standard_description_says_what_goes_in_and_out(exported, integer):
    _, tflite = exported("fire", integer=integer)
    data = metadata_of(tflite)
    assert data[4:8] == b"M001"
    root = Reader.root(data)
    assert root.text(0) == "fire_net"
    assert root.text(7) == "1.0.0"
    (graph,) = root.children(3)

    (image,) = graph.children(2)
    assert image.text(0) == "image"
    content = image.child(3)
    assert content.byte(0) == 2  # ImageProperties
    assert content.union(1).byte(0) == 1  # RGB
    (unit,) = image.children(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    assert (unit.union(1).floats(0), unit.union(1).floats(1)) == ([0.0], [1.0])

    (probability,) = graph.children(3)
    assert probability.text(0) == "probability"
    assert probability.child(3).byte(0) == 1  # FeatureProperties
    (labels,) = probability.children(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


def test_the_appended_files_are_a_plain_archive(exported):
    _, tflite = exported("fire")
    with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "squeezekit.json"]
        assert archive.read("labels.txt").decode().splitlines() == ["ant", "bee", "çat", "犬"]
        settings = json.loads(archive.read("squeezekit.json"))
        # MediaPipe maps the files in place, so none may be deflated.
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    assert Preprocess.from_dict(settings["preprocess"]) == Preprocess(nets.SIDE, nets.SIDE)
    assert settings["provenance"] == {"recipe": "prune(0.5)"}


def test_attaching_again_replaces_and_changes_no_result(exported):
    _, tflite = exported("dense")
    again = attach(tflite, "other", {"labels.txt": b"x\n"})
    assert Reader.root(metadata_of(again)).text(0) == "other"
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        assert archive.namelist() == ["labels.txt"]
    images = nets.pictures(3)
    np.testing.assert_array_equal(nets.run(again, images), nets.run(tflite, images))
