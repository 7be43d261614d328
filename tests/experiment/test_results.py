"""A study's store read back: whole rows only, and one clear line about whatever is wrong with it."""

import json
from pathlib import Path

import pytest

import study_store
from squeezekit.errors import FormatError
from squeezekit.experiment import read_results

KEPT = Path(__file__).parents[2] / "docs" / "results" / "intel"


@pytest.fixture
def store(tmp_path):
    return study_store.write(tmp_path / "out", study_store.rows()[:10])


def test_a_torn_last_line_is_passed_over_with_a_note(store):
    path = store / "results.jsonl"
    whole = path.read_bytes()
    last = whole.rstrip().rpartition(b"\n")[2]
    # Wherever a kill may cut: one letter in, in the middle, and just before the end of the line.
    for cut in (len(last), len(last) // 2, 1):
        path.write_bytes(whole[: len(whole) - cut])
        results = read_results(store)
        assert len(results.rows) == 9
        assert len(results.notes) == 1
        assert "last line of results.jsonl is cut off" in results.notes[0]


def test_latency_is_that_of_turns_where_there_were_turns(store):
    path = store / "study.json"
    common = json.loads(path.read_text())
    alone = [row["latency_ms"] for row in read_results(store).rows]
    first = read_results(store).rows[0]["stage"]
    common["latency"] = {"rounds": 3, "runs": 7, "ms": {first: [0.25, 9.0, 0.5]}}
    path.write_text(json.dumps(common))
    rows = read_results(store).rows
    for row, before in zip(rows, alone, strict=True):
        assert row["latency_ms"] == (0.5 if row["stage"] == first else before)
    # Whatever else stands there is nothing that was measured.
    for damaged in (7, {"ms": []}, {"ms": {first: []}}, {"ms": {first: ["x"]}}, {"ms": {first: [-1.0]}}):
        path.write_text(json.dumps({**common, "latency": damaged}))
        assert [row["latency_ms"] for row in read_results(store).rows] == alone


def test_a_last_line_cut_within_a_letter(store):
    path = store / "results.jsonl"
    path.write_bytes(path.read_bytes() + '{"id": "é'.encode()[:-1])
    assert len(read_results(store).rows) == 10


def test_a_repeated_row_counts_once(store):
    path = store / "results.jsonl"
    path.write_text(path.read_text() + path.read_text().partition("\n")[0] + "\n")
    results = read_results(store)
    assert len(results.rows) == 10
    assert results.notes == ["Line 11 of results.jsonl repeats a row; the first one counts."]


@pytest.mark.parametrize("missing", ["results.jsonl", "study.json"])
def test_no_store_there(store, missing):
    (store / missing).unlink()
    with pytest.raises(ValueError, match=r"with results.jsonl and study.json in it. Received: .*out\.$"):
        read_results(store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: "{", "line 3: not JSON"),
        (lambda row: "[" * 100_000, "line 3: not JSON"),
        (lambda row: "[1]", "line 3: Expected a JSON object. Received: list"),
        (lambda row: {**row, "id": 7}, "line 3: id"),
        (lambda row: {**row, "factors": {"prune": None}}, "line 3: factors"),
        (lambda row: {**row, "bytes": {"file": 0}}, "line 3: bytes.file"),
        (lambda row: {**row, "bytes": None}, "line 3: bytes.file"),
        (lambda row: {**row, "seed": None}, "line 3: seed"),
        (lambda row: {**row, "top1": float("nan")}, "line 3: top1"),
        (lambda row: {**row, "validation_top1": True}, "line 3: validation_top1"),
        (lambda row: {**row, "top1_interval": [0.1]}, "line 3: top1_interval"),
        (lambda row: {**row, "predicted": row["predicted"][1:]}, "line 3: predicted"),
        (lambda row: {**row, "predicted": [99] * 300}, "line 3: predicted"),
        (lambda row: {**row, "predicted": [-1] * 300}, "line 3: predicted"),
    ],
)
def test_a_damaged_row_is_named(store, change, message):
    path = store / "results.jsonl"
    lines = path.read_text().splitlines()
    changed = change(json.loads(lines[2]))
    lines[2] = changed if isinstance(changed, str) else json.dumps(changed)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError) as failure:
        read_results(store)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{}", "class names in data.labels"),
        ('{"data": {"labels": []}}', "class names"),
        ('{"data": {"labels": ["a"]}}', "class of each test image"),
        ('{"data": {"labels": ["a"], "truth": [1]}}', "class of each test image"),
        ('{"data": {"labels": ["a"], "truth": []}}', "class of each test image"),
    ],
)
def test_a_damaged_study_json_is_named(store, text, message):
    (store / "study.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_results(store)


def test_not_text_and_nothing(store):
    path = store / "results.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(FormatError, match="not UTF-8"):
        read_results(store)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="no row yet"):
        read_results(store)


def test_a_store_of_the_first_version_is_read_as_one_of_today():
    results = read_results(KEPT)
    assert list(results.common["grid"]) == ["network", "prune", "share", "quantize", "coder"]
    assert results.common["grid"]["network"] == ["squeezenet-1.1-bypass", "squeezenet-1.1-separable-bypass"]
    assert results.network == "squeezenet-1.1-bypass"
    assert len(results.rows) == 130
    for row in results.rows:
        assert row["file_bytes"] == row["bytes"]["file"]
        assert row["factors"].get("network", "alexnet") == row["network"]
