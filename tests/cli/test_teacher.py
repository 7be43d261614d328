"""`--teacher`: who guides a training, what is recorded of it, and that another teacher is another training."""

import json

import numpy as np
import pytest

from squeezekit import models
from squeezekit.training import weights_digest
from squeezekit.training.checkpoint import Checkpoint

EPOCH = ["--model", "squeezenet-1.1", "--epochs", "1", "--batch-size", "32", "--json"]

pytestmark = pytest.mark.usefixtures("small_squeezenet")


def digest(path):
    return weights_digest(models.load(path))


def identity(out, name):
    return Checkpoint.load(checkpoint(out, name)).identity


def checkpoint(out, name):
    (path,) = (out / "stages").glob(f"*/{name}.checkpoint.npz")
    return path


def test_train_is_taught_by_a_file(net, stripes_folder, tmp_path, squeezekit):
    words = ["train", stripes_folder, "-o", tmp_path, *EPOCH]
    status, out, err = squeezekit(*words, "--teacher", net, "--distil-weight", "0.5")
    assert status == 0, err
    run = json.loads(out)
    expected = {"temperature": 4.0, "weight": 0.5, "teacher": digest(net)}
    assert run["distil"] == expected
    assert run == json.loads((tmp_path / "run.json").read_text())
    assert identity(tmp_path, "squeezenet-1.1")["distil"] == expected
    # Its input is the only one that the student can have.
    assert models.load(tmp_path / "model.keras").input_shape == (None, 32, 32, 3)
    for other in ([], ["--teacher", net, "--distil-weight", "0.6"]):
        status, _, err = squeezekit(*words, "--size", "32", *other)
        assert status == 2
        assert "other distil" in err


def test_squeeze_is_taught_in_the_stages_by_the_float_network(stripes_folder, tmp_path, squeezekit):
    words = ["squeeze", stripes_folder, "-o", tmp_path, "--size", "32", "--no-baseline", *EPOCH]
    words += ["--compress-epochs", "1", "--recipe", "quantize(8)"]
    status, out, err = squeezekit(*words, "--temperature", "2")
    assert status == 0, err
    run = json.loads(out)
    assert (run["distil"]["temperature"], run["distil"]["weight"]) == (2.0, 0.7)
    assert identity(tmp_path, "1-quantize")["distil"] == run["distil"]
    # The stage starts from the float network, which is the teacher; nobody taught that.
    assert identity(tmp_path, "1-quantize")["start"] == run["distil"]["teacher"]
    assert "distil" not in identity(tmp_path, "squeezenet-1.1")
    assert "Teacher" in (tmp_path / "report.html").read_text()
    # Without the teacher the float network is the same, its compression is another training.
    before = np.load(checkpoint(tmp_path, "squeezenet-1.1"))["v0"]
    status, _, err = squeezekit(*words, "--teacher", "none")
    assert status == 2
    assert "a run with other distil" in err
    np.testing.assert_array_equal(np.load(checkpoint(tmp_path, "squeezenet-1.1"))["v0"], before)


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        ("train", ["--teacher", "self"], "No such file"),
        ("train", ["--teacher", "{other}", "--epochs", "1"], "student's output_shape"),
        ("train", ["--teacher", "{net}", "--size", "48"], "student's input_shape"),
        ("squeeze", ["--teacher", "{missing}"], "No such file"),
        ("squeeze", ["--teacher", "{other}"], "student's output_shape"),
        ("squeeze", ["--teacher", "{net}", "--size", "48"], "student's input_shape"),
        ("squeeze", ["--teacher", "self", "--distil-weight", "nan"], "weight"),
    ],
)
def test_mistakes_are_one_line_before_any_training(
    net, stripes_folder, tmp_path, squeezekit, verb, words, says
):
    places = {"missing": tmp_path / "missing.keras", "net": net, "other": net.with_name("3.keras")}
    words = [word.format(**places) for word in words]
    status, out, err = squeezekit(verb, stripes_folder, "-o", tmp_path / "out", *words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not list((tmp_path / "out").glob("stages/*/*.npz"))
