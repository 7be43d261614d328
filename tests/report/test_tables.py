"""A study's rows for other tools, and what each row is compared with."""

import csv
import json

import study_store
from squeezekit.experiment import Results, read_results
from squeezekit.report import churn, write_csv, write_json
from squeezekit.report.tables import full_of, times_smaller


def written(results, tmp_path):
    write_csv(results, tmp_path / "results.csv")
    write_json(results, tmp_path / "results.json")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), json.loads((tmp_path / "results.json").read_text("utf-8"))


def test_csv_and_json_hold_what_the_store_holds(results, tmp_path):
    lines, listed = written(results, tmp_path)
    ids = [row["id"] for row in results.rows]
    assert [line["id"] for line in lines] == [row["id"] for row in listed] == ids
    line, row = lines[40], results.rows[40]
    assert (line["recipe"], int(line["bytes_file"])) == (row["recipe"], row["bytes"]["file"])
    assert {name: line[name] for name in study_store.GRID} == row["factors"]
    assert [float(line["top1_low"]), float(line["top1_high"])] == row["top1_interval"]
    assert float(line["times_smaller"]) == 93_912_345 / row["bytes"]["file"] == listed[40]["times_smaller"]
    assert lines[0]["churn"] == ""
    assert float(line["churn"]) == listed[40]["churn"] == churn(row, results.rows)
    assert float(line["inference_uj"]) == row["inference_uj"]
    stage = next(one for one in results.common["trainings"] if one["stage"] == row["stage"])
    assert float(line["stage_kwh"]) == stage["energy"]["kwh"] == listed[40]["stage_kwh"]
    assert (lines[0]["baseline"], line["baseline"]) == ("1", "0")
    assert line["command"] == row["command"]
    assert "predicted" not in listed[0]


def test_what_was_not_measured_is_empty(tmp_path):
    rows = [
        {key: value for key, value in row.items() if key not in ("latency_ms", "top5_interval", "command")}
        for row in study_store.rows()[1:4]
    ]
    lines, listed = written(Results(rows, {"grid": study_store.GRID}, []), tmp_path)
    for key in ("latency_ms", "top5_low", "command", "stage_kwh", "times_smaller"):
        assert {line[key] for line in lines} == {""}
    assert {row["stage_kwh"] for row in listed} == {None}


def test_hostile_text_keeps_its_cell(tmp_path):
    machine = 'a, "b"\nc;=1+1'
    lines, listed = written(
        Results([{**study_store.rows()[1], "machine": machine}], {"grid": study_store.GRID}, []), tmp_path
    )
    assert lines[0]["machine"] == listed[0]["machine"] == machine


def test_no_rows_is_an_empty_table(tmp_path):
    assert written(Results([], {}, []), tmp_path) == ([], [])


def test_the_full_network_is_that_of_the_same_seed(results):
    full = full_of(results.rows[-1], results.rows)
    assert (full["seed"], full["recipe"], full["factors"]["network"]) == (1, "", study_store.NETWORK)
    # Of several coders the largest file: that without one.
    assert full["factors"]["coder"] == "none"
    alone = [row for row in results.rows if row["seed"] == 0]
    assert full_of(results.rows[-1], alone) is None
    assert churn(results.rows[-1], alone) is None


def test_the_full_network_is_the_first_of_several(results):
    """A separable network without a recipe is compressed too, wherever it stands."""
    rows = results.rows[::-1]
    row = next(row for row in rows if row["factors"] and row["recipe"])
    assert full_of(row, rows, results.network)["network"] == study_store.NETWORK
    separable = next(row for row in rows if not row["recipe"] and row["network"] == study_store.SEPARABLE)
    assert churn(separable, rows, results.network) > 0


def test_a_coder_that_is_not_studied_is_no_compression(results):
    rows = [row for row in results.rows if row["factors"].get("coder", "small") == "small"]
    full = full_of(rows[-1], rows)
    assert (full["factors"]["coder"], full["recipe"], full["seed"]) == ("small", "", 1)
    assert churn(full, rows) == 0


def test_churn_counts_images_that_another_label_gets():
    full = {"factors": {"prune": ""}, "network": "a", "seed": 0, "predicted": [0, 1, 2, 3], "file_bytes": 9}
    row = {**full, "recipe": "prune(0.8)", "predicted": [0, 2, 2, 1]}
    assert churn(row, [full, row]) == 0.5
    assert churn({**row, "baseline": True}, [full, row]) is None


def test_times_smaller_is_of_alexnet_of_the_same_seed(results):
    for row in (results.rows[5], results.rows[-5]):
        assert times_smaller(row, results) == (93_912_345 + row["seed"]) / row["file_bytes"]
    # AlexNet was trained with one seed alone: it serves all.
    once = Results([row for row in results.rows if row["factors"] or not row["seed"]], results.common, [])
    assert times_smaller(once.rows[-1], once) == 93_912_345 / once.rows[-1]["file_bytes"]
    without = Results([row for row in results.rows if row["factors"]], results.common, [])
    assert times_smaller(without.rows[-1], without) is None


def test_reading_back_what_was_written(tmp_path, results):
    again = read_results(study_store.write(tmp_path / "out"))
    assert again.rows == results.rows
    assert again.common == results.common
    assert again.notes == []
