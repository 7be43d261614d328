import json
import sys

import count_verb
import pytest
from PIL import Image

from squeezekit.cli import main

VERBS = sys.modules["squeezekit.cli.main"].VERBS


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    # In the package this is the file src/squeezekit/cli/device/count.py, and one line in VERBS.
    monkeypatch.setitem(sys.modules, "squeezekit.cli.device.count", count_verb)
    monkeypatch.setitem(VERBS, "count", ("Count the images of each class.", False))


def test_it_is_listed_and_counts(tmp_path, capsys):
    assert main(["--help"]) == 0
    assert "Count the images of each class." in capsys.readouterr().out
    for name, images in (("cat", 2), ("dog", 1)):
        (tmp_path / name).mkdir()
        for number in range(images):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{number}.png")
    assert main(["count", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"counts": {"cat": 2, "dog": 1}}
    assert main(["count", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == ["class  images", "cat         2", "dog         1"]


def test_mistakes_are_one_line(tmp_path, capsys):
    for words in ([str(tmp_path)], [str(tmp_path / "missing")], []):
        assert main(["count", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
