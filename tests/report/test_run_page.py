"""The page of a run: what it says, that nothing in a record can harm it, and that it stays small."""

import math
import re

import pytest
from page_reader import Reader, require_accessible, require_self_contained
from run_record import row, rows, run

from squeezekit.report import render


@pytest.fixture(scope="module")
def reader():
    return Reader(render(run()))


def test_says_what_was_measured(reader):
    said = reader.said()
    for phrase in (
        "203.4 KB, 461 times smaller than AlexNet, and 85.9 % of 1,500 test images right; AlexNet: 81.5 %.",
        "93,912,345 93.9 MB",
        "148,210 of 725,574",
        "83.9 to 87.9 %",
        "78.4 % buildings",
        "1 image could not be used. train/sea/1.jpg: unreadable image (truncated)",
        "squeezekit squeeze photos -o out",
        "squeezekit predict model.sqz photo.jpg",
        'runtime.load("model.sqz")',
        "prune(0.8) | share(bits=5) | quantize(bits=8)",
        "9f2c4be0",
        "python 3.11.9, keras 3.15.1",
        "7,867 for training, 874 for validation, 1,500 for the test",
        "2026-03-02 14:05 UTC",
        "2 h 33 min",
        'nested = {"a": [1, 2]}',
    ):
        assert phrase in said, phrase


def test_one_small_file_that_asks_for_nothing(reader):
    require_self_contained(reader)
    assert not reader.all("img")
    assert len(reader.page.encode()) < 150_000


def test_a_screen_reader_finds_its_way(reader):
    require_accessible(reader)
    assert reader.drawings() == [
        "Top-1 accuracy against the size of the file",
        "Recall of each class",
        "Validation accuracy by epoch",
    ]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</title></svg></style><b>",
    "{{ run }}{% raw %}",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "\x00\x1b[2J\u202egpj.exe",
    "\udcff\ud800",
    "<!-- --><![CDATA[",
    "$x_{1}$ ${broken $$",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_inert_wherever_it_stands(hostile, reader):
    def poisoned(value):
        if isinstance(value, str):
            return hostile
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        if isinstance(value, dict):
            return {key: poisoned(item) for key, item in value.items()}
        return value

    dirty = poisoned(run())
    dirty["versions"] = dirty["settings"] = {hostile: hostile}
    for place, item in enumerate(dirty["rows"]):
        item["name"] = f"{hostile}, {place}"
        item["per_class"] = {hostile: 0.5, "b": 0.6}
    dirty["reference"] = dirty["rows"][0]["name"]
    page = render(dirty)
    page.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", page)
    spoiled = Reader(page)
    require_self_contained(spoiled)
    require_accessible(spoiled)
    assert {tag for tag, _ in spoiled.tags} <= {tag for tag, _ in reader.tags}
    allowed = {(tag, name) for tag, attributes in reader.tags for name in attributes}
    assert {(tag, name) for tag, attributes in spoiled.tags for name in attributes} <= allowed
    if not re.search(r"[\x00-\x1f\ud800-\udfff]", hostile):
        assert hostile[:20] in spoiled.said()


def test_a_file_name_is_quoted_for_the_shell():
    dirty = run()
    dirty["rows"][-1]["file"] = "a b;rm -rf ~.sqz"
    assert "squeezekit predict 'a b;rm -rf ~.sqz' photo.jpg" in Reader(render(dirty)).said()


@pytest.mark.parametrize(
    "missing", [None, float("nan"), "x", [], {}, -1, 7, 1e300, 10**400], ids=lambda value: str(value)[:8]
)
def test_missing_and_absurd_figures(missing):
    def spoiled(value):
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return missing if isinstance(value, (int, float)) else value

    page = render(spoiled(run()))
    Reader(page)
    assert not re.search(r' (x|y|[xyr][12]|c[xy]|points|width|height)="[^"]*[a-df-z]', page)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("key", [*run(), None])
def test_any_part_may_be_missing_or_of_the_wrong_kind(key):
    whole = run()
    parts = {} if key is None else {name: value for name, value in whole.items() if name != key}
    Reader(render(parts))
    for wrong in (None, "text", [1, None, "a"], {"a": 1}):
        Reader(render({**whole, key or "rows": wrong}))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("key", row())
def test_any_figure_may_be_missing(key):
    without = [{name: value for name, value in item.items() if name != key} for item in rows()]
    Reader(render(run(rows=without)))


def test_empty_run():
    said = Reader(render({})).said()
    assert "No network was measured." in said
    assert "Nothing: every image found could be read." in said


def test_without_baseline():
    without = run(rows=rows()[1:], reference="SqueezeNet 1.1, float")
    said = Reader(render(without)).said()
    assert "times smaller than SqueezeNet 1.1 (float)" in said
    assert "AlexNet" not in said


def test_the_largest_run_stays_small():
    labels = [f"{index}" + '"' * 250 for index in range(1000)]
    large = run(
        command="'" * 10_000, settings={label: label for label in labels}, versions={"a": "&" * 10_000}
    )
    large["data"].update(classes=labels, skipped=[{"path": "<" * 4000, "reason": ">" * 4000}] * 5000)
    for item in large["rows"]:
        item["per_class"] = {label: index / 1000 for index, label in enumerate(labels)}
        item["worst_class"] = {"label": labels[0], "recall": 0.0}
    epochs = [{"val_accuracy": 0.5 + 0.3 * math.sin(epoch)} for epoch in range(2000)]
    large["trainings"] = [{"name": f"{place}" + "&" * 500, "curves": epochs} for place in range(40)]
    page = render(large)
    assert len(page.encode()) < 250_000
    said = Reader(page).said()
    assert "The 976 other classes" in said
    assert "The other 4,988 are named in run.json." in said
    assert "The curves of 22 more are in the record beside this page." in said
