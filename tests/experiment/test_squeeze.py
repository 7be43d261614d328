"""The main job on a small set: every file, every figure, and a second call that does nothing twice."""

import dataclasses
import json
import os
import shutil

import keras
import numpy as np
import pytest

from squeezekit import codec, compress, experiment, runtime, training
from squeezekit.cli import main
from squeezekit.data import open_dataset
from squeezekit.errors import DataError

PLAN = experiment.Experiment(
    lines=experiment.squeeze_lines(experiment.DEFAULT_MODEL, experiment.DEFAULT_RECIPE),
    settings=training.Settings(epochs=12, batch_size=8),
    compress_epochs=5,
    size=32,
    distil=training.SelfDistil(),
    probes=1,
)


@pytest.fixture(scope="module")
def finished(stripes_folder, tmp_path_factory):
    """A finished run and its folder."""
    out = tmp_path_factory.mktemp("squeezed")
    return experiment.run(stripes_folder, out, PLAN, command="squeezekit squeeze stripes"), out


def test_all_files_are_there_and_the_record_is_what_was_returned(finished):
    run, out = finished
    names = {
        "model.sqz",
        "model.tflite",
        "model.keras",
        "squeezenet-1.1-bypass.tflite",
        "alexnet.tflite",
        "run.json",
    }
    assert names <= set(os.listdir(out))
    assert json.loads((out / "run.json").read_text()) == run
    assert codec.unpack((out / "model.sqz").read_bytes()) == (out / "model.tflite").read_bytes()


def test_rows_are_measured_on_the_files(finished, stripes_folder):
    run, out = finished
    assert [row["file"] for row in run["rows"]] == [
        "alexnet.tflite",
        "squeezenet-1.1-bypass.tflite",
        "model.sqz",
    ]
    test = open_dataset(stripes_folder).test
    for row in run["rows"]:
        assert row["file_bytes"] == os.stat(out / row["file"]).st_size
        assert row["times_smaller"] == run["rows"][0]["file_bytes"] / row["file_bytes"]
        assert row["images"] == len(test)
        low, high = row["top1_interval"]
        assert 0 <= low <= row["top1"] <= high <= 1
        assert min(row["per_class"].values()) == row["worst_class"]["recall"]
        assert row["latency_ms"] > 0
    model = runtime.load(out / "model.sqz")
    right = sum(
        model.predict(path).label == run["labels"][label]
        for path, label in zip(test.paths, test.labels, strict=True)
    )
    assert run["rows"][2]["top1"] == right / len(test)
    assert run["rows"][2]["top1"] >= 0.8
    assert run["rows"][2]["times_smaller"] > 100


def test_the_squeezed_model_keeps_the_recipes_promises(finished):
    run, out = finished
    assert run["recipe"] == str(compress.parse(experiment.DEFAULT_RECIPE))
    plain = keras.saving.load_model(out / "model.keras", compile=False)
    kernels = [layer.kernel.numpy() for layer in plain.layers if isinstance(layer, keras.layers.Conv2D)]
    zeros = sum(np.count_nonzero(kernel == 0) for kernel in kernels if kernel.size >= 256)
    assert zeros / sum(kernel.size for kernel in kernels if kernel.size >= 256) == pytest.approx(
        0.8, abs=0.001
    )
    assert all(kernel.any() for kernel in kernels)
    squeezed = run["rows"][2]
    assert squeezed["nonzero_parameters"] < 0.3 * squeezed["parameters"]


def test_a_second_call_trains_nothing_and_writes_the_same_file(finished, stripes_folder, monkeypatch):
    _, out = finished
    before = (out / "model.sqz").read_bytes()
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    experiment.run(stripes_folder, out, PLAN, command="again")
    assert (out / "model.sqz").read_bytes() == before


def test_without_a_baseline_the_float_network_is_the_reference(finished, stripes_folder):
    run, out = finished
    plan = dataclasses.replace(PLAN, baseline=False)
    alone = experiment.run(stripes_folder, out, plan)
    assert [row["file"] for row in alone["rows"]] == ["squeezenet-1.1-bypass.tflite", "model.sqz"]
    assert alone["reference"] == run["rows"][1]["name"]
    assert alone["rows"][0]["times_smaller"] == 1


def test_a_float_file_is_made_of_the_same_stages(finished, stripes_folder, tmp_path, monkeypatch):
    _, out = finished
    shutil.copytree(out, tmp_path / "out")
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    recipe = "prune(0.8, scope='lamp') | share(bits=5)"
    lines = experiment.squeeze_lines(experiment.DEFAULT_MODEL, recipe, int8=False)
    plan = dataclasses.replace(PLAN, lines=lines, baseline=False)
    run = experiment.run(stripes_folder, tmp_path / "out", plan)
    rows = run["rows"]
    assert not run["int8"]
    tflite = codec.unpack((tmp_path / "out" / "model.sqz").read_bytes())
    assert len(tflite) > 4 * rows[1]["parameters"]
    assert rows[1]["file_bytes"] < len(tflite) / 10
    assert rows[1]["top1"] >= 0.8


def test_the_verbs_train_and_compress_make_the_same_kind_of_files(stripes_folder, tmp_path, capsys):
    options = ["--epochs", "1", "--batch-size", "16", "--size", "32", "--json"]
    net, small = tmp_path / "net", tmp_path / "small"
    assert main(["train", str(stripes_folder), "-o", str(net), "--width", "0.25", *options]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["labels"] == ["across", "down"]
    words = ["compress", str(net / "model.keras"), str(stripes_folder), "-o", str(small)]
    assert main([*words, "--recipe", "share(bits=4) | quantize(8)", *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[1]["file_bytes"] == (small / "model.sqz").stat().st_size < rows[0]["file_bytes"] / 4
    assert runtime.load(small / "model.sqz").labels == ("across", "down")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["squeeze", "{missing}", "-o", "{out}"], "No such folder"),
        (["squeeze", "{data}", "-o", "{file}/out"], "Not a directory"),
        (["squeeze", "{data}", "-o", "{out}", "--recipe", "prune(1.5)"], "sparsity"),
        (["squeeze", "{data}", "-o", "{out}", "--recipe", "melt(3)"], "melt"),
        (["squeeze", "{data}", "-o", "{out}", "--float"], "without quantize"),
        (["squeeze", "{data}", "-o", "{out}", "--model", "vgg"], "vgg"),
        (["squeeze", "{data}", "-o", "{out}", "--size", "8"], "size"),
        (["train", "{data}", "-o", "{out}", "--model", "vgg"], "vgg"),
        (["compress", "{file}", "{data}", "-o", "{out}"], "not a .keras file"),
    ],
)
def test_mistakes_are_one_line_and_status_2(stripes_folder, tmp_path, capsys, words, says):
    file = tmp_path / "file.keras"
    file.write_text("no folder")
    places = {"data": stripes_folder, "missing": tmp_path / "no", "out": tmp_path / "out", "file": file}
    assert main([word.format(**places) for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert says in shown.err
    assert not list((tmp_path / "out").glob("*.sqz"))


def test_norm_weight_decay_and_cutout_reach_the_training(stripes_folder, tmp_path, capsys):
    words = ["squeeze", str(stripes_folder), "-o", str(tmp_path / "out"), "--recipe", "quantize(8)", "--json"]
    words += ["--size", "32", "--epochs", "1", "--batch-size", "8", "--compress-epochs", "1", "--no-baseline"]
    words += ["--weight-decay", "0", "--cutout", "0.5"]
    assert main([*words, "--norm", "all"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["settings"]["weight_decay"] == run["compress_settings"]["weight_decay"] == 0
    assert run["settings"]["augment"]["cutout"] == run["compress_settings"]["augment"]["cutout"] == 0.5
    (path,) = (tmp_path / "out" / "stages").glob("*/squeezenet-1.1-bypass.checkpoint.npz")
    with np.load(path) as checkpoint:
        identity = json.loads(checkpoint["head"].tobytes())["identity"]
    assert identity["options"]["norm"] == "all"
    # Another network is another training.
    assert main([*words, "--norm", "squeeze"]) == 2
    assert "options" in capsys.readouterr().err
    with pytest.raises(ValueError, match="SqueezeNet"):
        experiment.Experiment(lines=experiment.squeeze_lines("alexnet", "quantize(8)"), norm="all")


def test_one_class_is_refused_before_any_work(stripes_folder, tmp_path):
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "across").symlink_to(stripes_folder / "across")
    with pytest.raises(DataError):
        experiment.run(lonely, tmp_path / "out", PLAN)


@pytest.mark.parametrize(
    ("sides", "size", "resized"),
    [
        ((100, 100), 96, 110),
        ((1600, 1200), 128, 147),
        ((64, 64), 64, 74),
        ((45, 80), 32, 37),
        ((47, 47), 32, 37),
        # What is no larger than a tiny input is seen whole.
        ((32, 32), 32, 32),
        ((20, 90), 32, 32),
    ],
)
def test_the_input_size_follows_the_images(stripes_folder, sides, size, resized):
    dataset = open_dataset(stripes_folder)
    preprocess = experiment.choose_preprocess(dataset, sides=[sides])
    assert (preprocess.height, preprocess.width) == (size, size)
    assert (preprocess.resize_height, preprocess.resize_width) == (resized, resized)
    assert size == resized or size < preprocess.resize_height <= size * 1.2


def test_images_are_not_looked_at_for_a_size_that_they_do_not_change(stripes_folder, monkeypatch):
    dataset = open_dataset(stripes_folder)
    assert experiment.choose_preprocess(dataset, 32, sides=[(33, 40)]).resize_height == 37
    assert experiment.choose_preprocess(dataset, 32, sides=[(32, 40)]).resize_height == 32
    monkeypatch.setattr(type(dataset.train), "sides", lambda *_: pytest.fail("looked"))
    assert experiment.choose_preprocess(dataset, 48).resize_height == 55


def test_wilson_interval_is_the_published_one():
    # Newcombe 1998, table I, case 81 of 263, method 3.
    low, high = experiment.wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
