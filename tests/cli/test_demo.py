"""The demo, shortened: the same code on fewer images."""

import json

import pytest

from squeezekit.cli import main


@pytest.mark.slow
def test_demo_draws_trains_squeezes_and_predicts(tmp_path, capsys):
    words = ["demo", "-o", str(tmp_path), "--epochs", "1", "--images", "20", "--json"]
    assert main(words) == 0
    run = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in run["rows"]] == [
        "alexnet.tflite",
        "squeezenet-1.1-bypass.tflite",
        "model.sqz",
    ]
    assert run["prediction"]["label"] in run["labels"]
    assert len(run["labels"]) >= 8
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_demo_refuses_a_folder_of_someone_else(tmp_path, capsys):
    (tmp_path / "shapes-20-0").mkdir()
    (tmp_path / "shapes-20-0" / "mine.txt").write_text("mine")
    assert main(["demo", "-o", str(tmp_path), "--images", "20"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert (tmp_path / "shapes-20-0" / "mine.txt").read_text() == "mine"
