"""A technique and a network of one's own are studied, advised on, measured and drawn, with no edit elsewhere."""

import keras
import low_rank
import numpy as np
import pytest
import tiny_mobile

from squeezekit import compress, data, experiment, models, report, training
from squeezekit.cli import main
from squeezekit.preprocess import Preprocess


@pytest.fixture
def registered(monkeypatch):
    """The two registry lines of docs/extending.md."""
    monkeypatch.setitem(compress.TECHNIQUES, "low_rank", low_rank.LowRank)
    monkeypatch.setitem(models.MODELS, "tiny-mobile", tiny_mobile.ENTRY)


@pytest.mark.slow
def test_a_study_trains_measures_and_draws_both(registered, stripes_folder, tmp_path):
    settings = training.Settings(epochs=1, batch_size=16, precision=training.Precision.FLOAT32)
    lines = experiment.grid("tiny-mobile", ["low_rank", "coder"], ["none", "small"])
    study = experiment.Experiment(
        lines=lines, settings=settings, size=32, width=0.5, compress_epochs=1, probes=1, baseline=False
    )
    rows = experiment.run_study(stripes_folder, tmp_path, study)["rows"]
    assert [(row["network"], row["recipe"], row["factors"]["coder"]) for row in rows] == [
        ("tiny-mobile", recipe, coder) for recipe in ("", "low_rank(4)") for coder in ("none", "small")
    ]
    results, found, paths = report.report_study(tmp_path)
    assert {effect.factors[0] for effect in found.main["bytes"]} == {
        ("low_rank", "low_rank(4)"),
        ("coder", "small"),
    }
    assert any("low rank" in sentence for sentence in found.sentences)
    page = paths[0].read_text()
    assert "low_rank(4)" in page
    assert "low_rank" in (tmp_path / "results.csv").read_text().splitlines()[0]
    assert len(results.rows) == 4


def test_the_command_line_studies_both_and_a_technique_with_settings(
    registered, stripes_folder, tmp_path, capsys
):
    words = ["study", str(stripes_folder), "-o", str(tmp_path / "out"), "--dry-run", "--no-baseline"]
    more = ["--model", "tiny-mobile", "--techniques", "low_rank,prune_channels"]
    more += ["--level", "low_rank(2)", "--level", "prune_channels(0.5, multiple_of=8)"]
    assert main([*words, *more]) == 0
    shown = capsys.readouterr().out
    assert "prune_channels(0.5, multiple_of=8) | low_rank(2)" in shown.replace(
        "low_rank(2) | prune_channels", ""
    )
    assert "4 rows" in shown


def test_sensitivity_and_advice_know_the_technique(registered, stripes_folder):
    keras.utils.set_random_seed(0)
    network = models.build("tiny-mobile", (32, 32, 3), 2, width=0.5, norm="none")
    dataset = data.open_dataset(stripes_folder, validation=0.3)
    result = experiment.sensitivity(
        network,
        dataset,
        Preprocess(32, 32),
        images=8,
        grid={"low_rank": experiment.default_grid()["low_rank"][-2:]},
    )
    assert {line["technique"] for line in result["results"]} == {"low_rank"}
    assert "low_rank" in report.render_sensitivity(result)
    assert np.isfinite([line["accuracy"] for line in result["results"]]).all()
    dense = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="fc")])
    (line,) = compress.advice(dense, "low_rank(32)")
    assert "low_rank(32)" in line
