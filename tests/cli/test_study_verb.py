"""`squeezekit study`: the real networks, few images."""

import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from squeezekit import experiment
from squeezekit.cli import main

KEPT = Path(__file__).parents[2] / "docs" / "results" / "intel"
STUDY = importlib.import_module("squeezekit.cli.host.study")

QUICK = ["study", "shapes", "--quick", "--no-baseline", "--techniques", "coder"]


def test_a_dry_run_of_the_full_grid_says_what_it_would_do_and_does_nothing(stripes_folder, tmp_path, capsys):
    words = ["study", str(stripes_folder), "-o", str(tmp_path / "out"), "--dry-run", "--seeds", "2"]
    assert main([*words, "--json"]) == 0
    agenda = json.loads(capsys.readouterr().out)
    assert len(agenda["rows"]) == 2 * 65
    assert len(agenda["trainings"]) == 2 * (14 + 3)
    assert agenda["seconds"] == pytest.approx(
        sum(item["seconds"] for item in (*agenda["rows"], *agenda["trainings"])), abs=1
    )
    assert main([*words, "--techniques", "prune,coder", "--level", "prune(0.9)", "--level", "rans"]) == 0
    text = capsys.readouterr().out
    assert "6 rows, 0 of them done; 6 trainings, 0 of them in the cache." in text
    assert "a guess" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_quick_study_ends_in_a_table_and_is_not_done_twice(tmp_path, capsys):
    words = [*QUICK, "-o", str(tmp_path)]
    assert main([*words, "--epochs", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["factors"]["coder"] for row in result["rows"]] == ["none", "small"]
    assert len(result["trainings"]) == 1
    assert result["rows"][0]["top5"] >= result["rows"][0]["top1"]
    before = (tmp_path / "results.jsonl").read_bytes()
    assert main([*words, "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert "times smaller" in text
    assert "churn" in text
    # The smallest file first.
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["small", "none"]
    assert f"{result['rows'][1]['bytes']['file']:,}" in text.splitlines()[1]
    assert main([*words, "--epochs", "1", "--dry-run"]) == 0
    assert "2 rows, 2 of them done; 1 trainings, 1 of them in the cache." in capsys.readouterr().out
    (tmp_path / result["rows"][0]["file"]).unlink()
    assert main([*words, "--epochs", "1", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert text.count("file missing") == 1
    assert "2 rows, 1 of them done" in text
    assert "1 rows are measured, but their files are not here" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--techniques", "melt"], "melt"),
        (["--level", "prune(1.5)"], "sparsity"),
        (["--techniques", "prune", "--level", "share(4)"], "share"),
        (["--model", "vgg"], "vgg"),
        (["--recipe", "prune(0.8)", "--techniques", "prune"], "--techniques"),
        (["--seeds", "0"], "seeds"),
        (["--ray-address", "auto"], "--executor ray"),
        (["--executor", "ray", "--stage-cpus", "0"], "stage-cpus"),
    ],
)
def test_mistakes_are_one_line_before_any_work(stripes_folder, tmp_path, capsys, more, says):
    assert main(["study", str(stripes_folder), "-o", str(tmp_path / "out"), *more]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert says in shown.err
    assert not (tmp_path / "out").exists()


def test_ray_that_is_not_installed_is_one_line_before_any_work(stripes_folder, tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ray" else found(name))
    assert main(["study", str(stripes_folder), "-o", str(tmp_path / "out"), "--executor", "ray"]) == 2
    assert capsys.readouterr().err == (
        "squeezekit: '--executor ray' needs Ray: pip install \"squeezekit[train,ray]\"\n"
    )
    assert not (tmp_path / "out").exists()


def test_the_table_of_an_earlier_study_compares_every_row_with_the_first_network(capsys):
    text = STUDY._result_text(experiment.read_results(KEPT)).splitlines()
    lines = [re.split(r"  +", line) for line in text[1:131]]
    churn = {tuple(line[:5]): line[-1] for line in lines if line[0] == "squeezenet-1.1-bypass"}
    assert churn["squeezenet-1.1-bypass", "-", "-", "-", "none"] == "0.0 %"
    assert text[0].split()[-1] == "churn"
    smallest, largest = lines[0], lines[-1]
    assert "1,760.1" in smallest
    assert largest[0] == "AlexNet"
    assert largest[-2] == "1.0"
