"""A study of small networks: rows as promised, nothing done twice, and three kills that change nothing."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import keras
import pytest
import study_run

from squeezekit import codec, experiment, models, runtime
from squeezekit.cli import main
from squeezekit.data import open_dataset

# What differs from one run to the next; all else must not.
TIMES = {"latency_ms", "cold_start_ms", "peak_memory_bytes", "seconds"}
# What follows from the other rows of the same store.
COMPARED = {"times_smaller", "reference"}


@pytest.fixture(scope="module")
def small_models():
    usual = dict(models.MODELS)
    models.MODELS.update(study_run.SMALL)
    yield
    models.MODELS.update(usual)


@pytest.fixture(scope="module")
def whole(small_models, stripes_folder, tmp_path_factory):
    """A finished study and its folder."""
    out = tmp_path_factory.mktemp("study")
    return experiment.run_study(
        stripes_folder, out, study_run.plan(), command="squeezekit study stripes"
    ), out


def rows_in(out):
    lines = (out / "results.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def without_times(row, *others):
    return {key: value for key, value in row.items() if key not in TIMES.union(*others)}


def test_a_row_has_every_figure_and_they_fit(whole, stripes_folder):
    result, out = whole
    rows = list(rows_in(out).values())
    assert rows == result["rows"]
    assert len(rows) == 9
    test = open_dataset(stripes_folder).test
    for row in rows:
        path = out / row["file"]
        assert row["bytes"]["file"] == os.stat(path).st_size
        assert row["bytes"]["file"] == sum(row["bytes"][part] for part in ("graph", "tables", "weights"))
        assert len(row["predicted"]) == len(test)
        right = [one == two for one, two in zip(row["predicted"], test.labels, strict=True)]
        assert row["top1"] == sum(right) / len(test)
        assert row["top1_interval"][0] <= row["top1"] <= row["top1_interval"][1]
        assert row["top5"] is row["top5_interval"] is None
        assert row["cold_start_ms"] > row["latency_ms"] > 0
        assert 0 < row["nonzero"] <= row["parameters"]
        assert row["macs"] > 0
        # The smallest possible: float weights from memory once, or one byte each.
        moved = row["parameters"] * (1 if row["factors"].get("quantize") else 4)
        assert row["inference_uj"] > moved * 160e-6
        assert row["peak_memory_bytes"] > 1e7
        assert row["versions"]["keras"] == keras.__version__
        model = runtime.load(path)
        assert model.input_shape == (1, 32, 32, 3)
        assert row["predicted"][0] == model.labels.index(model.predict(test.paths[0]).label)
        assert row["file_bytes"] == row["bytes"]["file"]
        assert row["images"] == len(test)
        assert row["reference"] == "AlexNet, float"
        alexnet = next(other for other in rows if other["baseline"])
        assert row["times_smaller"] == alexnet["file_bytes"] / row["file_bytes"]
        assert min(row["per_class"].values()) == row["worst_class"]["recall"]
    assert [row["factors"] for row in rows if row["baseline"]] == [{}]


def test_a_rows_command_makes_its_file_again(whole, stripes_folder, tmp_path, monkeypatch, capsys):
    result, out = whole
    monkeypatch.chdir(tmp_path)

    def run(row, *more):
        words = shlex.split(row["command"])[1:]
        words[words.index("DATA")] = str(stripes_folder)
        assert main([*words, "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)["rows"]

    for row in result["rows"]:
        assert [planned["id"] for planned in run(row, "--dry-run")] == [row["id"]]
    row = next(row for row in result["rows"] if row["factors"].get("prune") and row["factors"]["quantize"])
    alone = [without_times(again, COMPARED) for again in run(row, "--no-pictures")]
    assert alone == [without_times(row, COMPARED)]
    assert (tmp_path / "row" / row["file"]).read_bytes() == (out / row["file"]).read_bytes()


def test_the_levels_are_what_is_in_the_file(whole):
    result, out = whole
    for row in result["rows"]:
        if row["baseline"]:
            assert row["file"].endswith(".tflite")
            continue
        tflite = codec.unpack((out / row["file"]).read_bytes())
        integer = any(span.dtype == "int8" for span in codec.describe(tflite).tensors)
        assert integer == bool(row["factors"]["quantize"])
        assert row["recipe"] == " | ".join(
            filter(None, (row["factors"]["prune"], row["factors"]["quantize"]))
        )
        assert (row["nonzero"] < 0.6 * row["parameters"]) == bool(row["factors"]["prune"])
        assert (out / row["file"]).read_bytes() == codec.pack(tflite, coder=row["factors"]["coder"])
        assert (row["bytes"]["tables"] < 20) == (row["factors"]["coder"] == "none")
    by_coder = {}
    for row in result["rows"]:
        by_coder.setdefault(row["stage"], []).append(row["bytes"]["file"])
    assert all(sizes == sorted(sizes, reverse=True) for sizes in by_coder.values())


def test_the_record_says_what_all_rows_share(whole, stripes_folder):
    result, out = whole
    record = json.loads((out / "study.json").read_text())
    assert record == {key: value for key, value in result.items() if key != "rows"}
    assert record["command"] == "squeezekit study stripes"
    assert record["grid"]["coder"] == ["none", "small"]
    assert record["seeds"] == [0]
    test = open_dataset(stripes_folder).test
    assert record["data"]["truth"] == test.labels.tolist()
    assert [str(stripes_folder / path) for path in record["data"]["test_paths"]] == test.paths
    assert record["data"]["labels"] == ["across", "down"]
    epochs = {"": study_run.EPOCHS}
    assert len(record["trainings"]) == 5
    for training in record["trainings"]:
        assert len(training["curves"]) == epochs.get(training["recipe"], study_run.COMPRESS_EPOCHS)
        assert training["seconds"] > 0
        assert not training["reused"]
    assert {training["stage"] for training in record["trainings"]} == {row["stage"] for row in result["rows"]}
    turns = record["latency"]
    assert turns["ms"].keys() == {row["stage"] for row in result["rows"]}
    assert all(len(rounds) == turns["rounds"] and min(rounds) > 0 for rounds in turns["ms"].values())


def test_called_again_nothing_is_trained_or_measured(whole, stripes_folder, monkeypatch):
    _, out = whole
    before = (out / "results.jsonl").read_bytes()
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(runtime, "evaluate_files", lambda *_, **__: pytest.fail("measured again"))
    experiment.run_study(stripes_folder, out, study_run.plan(), command="squeezekit study stripes")
    assert (out / "results.jsonl").read_bytes() == before
    assert not any(
        training["reused"] for training in json.loads((out / "study.json").read_text())["trainings"]
    )


def test_a_file_that_is_gone_is_made_again_and_its_row_stays(whole, stripes_folder, monkeypatch):
    result, out = whole
    row = next(row for row in result["rows"] if row["factors"].get("coder") == "small")
    path = out / row["file"]
    data, before = path.read_bytes(), (out / "results.jsonl").read_bytes()
    path.unlink()
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    experiment.run_study(stripes_folder, out, study_run.plan(), command="squeezekit study stripes")
    assert path.read_bytes() == data
    assert (out / "results.jsonl").read_bytes() == before


def test_another_study_takes_its_stages_from_the_cache(whole, stripes_folder, tmp_path, monkeypatch):
    first, out = whole
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    plan = study_run.plan(("quantize",), baseline=False)
    second = experiment.run_study(stripes_folder, tmp_path, plan, cache=out / "stages")
    known = rows_in(out)
    assert len(second["rows"]) == 2
    for row in second["rows"]:
        assert without_times(row, COMPARED) == without_times(known[row["id"]], COMPARED)
    assert [training["reused"] for training in second["trainings"]] == [True, True]
    assert second["id"] != first["id"]
    assert not (tmp_path / "stages").exists()


def test_a_folder_with_another_studys_rows_is_refused(whole, stripes_folder):
    _, out = whole
    before = (out / "results.jsonl").read_bytes(), (out / "study.json").read_bytes()
    with pytest.raises(ValueError, match="another output folder"):
        experiment.run_study(stripes_folder, out, study_run.plan(compress_epochs=1))
    with pytest.raises(ValueError, match="6 rows"):
        experiment.run_study(stripes_folder, out, study_run.plan(("prune",)))
    assert before == ((out / "results.jsonl").read_bytes(), (out / "study.json").read_bytes())


def test_a_dry_run_tells_what_is_done_and_takes_measured_seconds(whole, stripes_folder, tmp_path):
    _, out = whole
    fresh = experiment.dry_run(stripes_folder, tmp_path / "no", study_run.plan())
    assert not any(item["done"] for item in (*fresh["rows"], *fresh["trainings"]))
    assert "guess" in fresh["basis"]
    assert not (tmp_path / "no").exists()
    wider = experiment.dry_run(stripes_folder, out, study_run.plan(("prune", "share", "quantize", "coder")))
    assert (len(wider["rows"]), sum(row["done"] for row in wider["rows"])) == (17, 9)
    missing = [training for training in wider["trainings"] if not training["done"]]
    assert [training["recipe"].count("share") for training in missing] == [1, 1, 1, 1]
    assert "guess" not in wider["basis"]
    left = sum(item["seconds"] for item in (*missing, *(row for row in wider["rows"] if not row["done"])))
    assert wider["seconds"] == pytest.approx(left, abs=0.2)
    done = experiment.dry_run(stripes_folder, out, study_run.plan())
    assert done["seconds"] == 0


@pytest.mark.slow
def test_killed_three_times_a_study_ends_with_the_same_rows(whole, stripes_folder, tmp_path):
    _, out = whole
    broken = tmp_path / "broken"
    run = [sys.executable, study_run.__file__, str(stripes_folder), str(broken)]

    def rows():
        path = broken / "results.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    moments = {
        "after an epoch of a stage": lambda: any(broken.glob("stages/*/1-prune.checkpoint.npz")),
        "between the rows of a stage": lambda: rows() >= 3,
        "with one training to go": lambda: len(list(broken.glob("stages/*/stage.json"))) >= 4,
    }
    counts = []
    for name, arrived in moments.items():
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 500
        while not arrived() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"not killed {name}"
        counts.append(rows())
    assert counts == sorted(counts)
    assert counts[-1] < 9
    # As if the last kill had come in the middle of a write.
    with (broken / "results.jsonl").open("ab") as file:
        file.write(b'{"id": "0123456789abcdef", "base')

    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=500)
    assert "Traceback" not in done.stderr
    one, other = rows_in(out), rows_in(broken)
    assert len((broken / "results.jsonl").read_text().splitlines()) == 9
    assert {key: without_times(row) for key, row in one.items()} == {
        key: without_times(row) for key, row in other.items()
    }
    for row in one.values():
        assert (out / row["file"]).read_bytes() == (broken / row["file"]).read_bytes()
    assert not list(broken.rglob(".*")), "half-written files are left"
    records = [json.loads((folder / "study.json").read_text()) for folder in (out, broken)]
    for mine, its in zip(*(record["trainings"] for record in records), strict=True):
        assert mine["curves"] == its["curves"]
        assert not its["reused"]
