"""Rows on disk: whole after any kill, each once, by one writer."""

import json

import pytest

from squeezekit.errors import FormatError
from squeezekit.experiment import Store

ROWS = [{"id": f"{number:016x}", "predicted": list(range(number + 3)), "name": "grün"} for number in range(4)]


@pytest.fixture
def path(tmp_path):
    store = Store(tmp_path / "results.jsonl")
    for row in ROWS:
        store.append(row)
    return store.path


def test_rows_come_back_in_their_order(path):
    store = Store(path)
    assert list(store) == ROWS
    assert len(store) == 4
    assert ROWS[1]["id"] in store
    assert store[ROWS[1]["id"]] == ROWS[1]
    assert [json.loads(line) for line in path.read_text("ascii").splitlines()] == ROWS


def test_a_file_cut_anywhere_keeps_every_whole_row_and_grows_again(path):
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        said = []
        store = Store(path, say=said.append)
        kept = sum(end <= size for end in ends)
        assert list(store) == ROWS[:kept]
        assert len(said) == (size not in [0, *ends])
        assert path.stat().st_size == ([0, *ends])[kept]
        store.append(ROWS[kept])
        assert path.read_bytes() == whole[: ends[kept]]


def test_a_last_row_of_zeros_is_cut_off_too(path):
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(50) + b"\n")
    assert list(Store(path)) == ROWS
    assert path.read_bytes() == whole


def test_a_row_is_refused_a_second_time_also_by_another_store(path):
    store = Store(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=ROWS[2]["id"]):
        store.append(ROWS[2])
    assert path.read_bytes() == before


@pytest.mark.parametrize("row", [{"top1": 1.0}, {"id": 3}, {"id": "a", "top1": float("nan")}])
def test_what_is_no_row_is_refused(path, row):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"id|JSON"):
        Store(path).append(row)
    assert path.read_bytes() == before


def test_two_writers_are_noticed(path):
    one, other = Store(path), Store(path)
    one.append({"id": "new"})
    with pytest.raises(ValueError, match="one study at a time"):
        other.append({"id": "newer"})
    assert [row["id"] for row in Store(path)][-1] == "new"


@pytest.mark.parametrize("damage", ["not a row", "twice"])
def test_damage_before_the_last_row_is_told_with_its_line(path, damage):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b'{"id": \n' if damage == "not a row" else lines[0]
    path.write_bytes(b"".join(lines))
    with pytest.raises(FormatError, match="line 2"):
        Store(path)
    assert path.read_bytes() == b"".join(lines)


def test_rows_are_compared_once_their_reference_is_there(tmp_path):
    store = Store(tmp_path / "results.jsonl")
    common = {"seed": 0, "recipe": "", "network": "net"}
    store.append({**common, "id": "a", "file_bytes": 50, "factors": {"coder": "small"}, "name": "net, small"})
    store.append(
        {**common, "id": "b", "file_bytes": 10, "factors": {"coder": "small"}, "recipe": "prune(0.8)"}
    )
    store.compare()
    assert [(row["times_smaller"], row["reference"]) for row in store] == [
        (1, "net, small"),
        (5, "net, small"),
    ]
    store.append(
        {**common, "id": "c", "file_bytes": 100, "factors": {}, "baseline": True, "name": "AlexNet, float"}
    )
    store.compare()
    assert [row["times_smaller"] for row in Store(store.path)] == [2, 10, 1]
    assert {row["reference"] for row in Store(store.path)} == {"AlexNet, float"}
    store.append({**common, "id": "d"})
    assert len(Store(store.path)) == 4
