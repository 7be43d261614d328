import re

import pytest
from c_target import TARGET

import tiny_classifiers
from squeezekit import codec, export
from squeezekit.cli import main


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(export.TARGETS, TARGET.name, TARGET)


@pytest.mark.parametrize("suffix", [".tflite", ".sqz"])
def test_a_file_becomes_a_c_array_of_the_same_bytes(tmp_path, capsys, suffix):
    tflite = tiny_classifiers.with_labels(tiny_classifiers.tflite("colours"))
    source, target = tmp_path / f"m{suffix}", tmp_path / "m.h"
    source.write_bytes(tflite if suffix == ".tflite" else codec.pack(tflite))
    assert main(["export", str(source), "-o", str(target), "--target", "c"]) == 0
    text = target.read_text()
    assert bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})", text)) == tflite
    assert f"model_bytes = {len(tflite)};" in text


def test_the_command_line_lists_it(capsys):
    assert main(["export", "--help"]) == 0
    assert "C array of a .tflite." in capsys.readouterr().out
