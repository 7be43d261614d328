"""`squeezekit compress`: where its recipe comes from, who teaches, and what it warns of."""

import json

import pytest


def test_a_teacher_and_advice_are_told_and_recorded(net, stripes_folder, tmp_path, squeezekit):
    words = ["compress", net, stripes_folder, "-o", tmp_path, "--epochs", "1", "--batch-size", "16", "--json"]
    status, out, err = squeezekit(
        *words, "--recipe", "share(5, where='conv') | quantize(4)", "--teacher", "self", "--temperature", "2"
    )
    run = json.loads(out)
    assert status == 0
    assert run == json.loads((tmp_path / "run.json").read_text())
    (line,) = run["advice"]
    assert "15 values" in line
    assert f"squeezekit: advice: {line}\n" in err
    assert run["distil"]["temperature"] == 2
    assert run["distil"]["weight"] == 0.7
    assert len(run["distil"]["teacher"]) == 64
    # Without the teacher it would be another training, and the folder's checkpoints are of this one.
    status, _, err = squeezekit(*words, "--recipe", run["recipe"])
    assert status == 2
    assert "other distil" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--recipe", "share", "--recipe-from", "x.json"], "not both"),
        (["--recipe-from", "{missing}"], "No such file"),
        (["--teacher", "{missing}"], "No such file"),
        (["--teacher", "{other}"], "student's output_shape"),
        (["--teacher", "self", "--distil-weight", "2"], "--distil-weight"),
        (["--teacher", "self", "--temperature", "0"], "--temperature"),
    ],
)
def test_mistakes_are_one_line_before_any_work(net, stripes_folder, tmp_path, squeezekit, words, says):
    places = {"missing": tmp_path / "missing.json", "other": net.with_name("3.keras")}
    words = [word.format(**places) for word in words]
    status, out, err = squeezekit("compress", net, stripes_folder, "-o", tmp_path / "out", *words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "out").exists()
