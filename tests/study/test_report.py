"""The page: what it says, that nothing in a run can harm it, and that it stays small and complete in itself."""

import doctest
import html.parser
import math
import re
import sys

import pytest

from squeezekit.study import charts
from squeezekit.study.report import render

CLASSES = ["buildings", "forest", "glacier", "mountain", "sea", "street"]
VOID = {"meta", "link", "br", "hr", "img", "input"}


def row(name, file, file_bytes, top1, **more):
    per_class = {label: top1 - 0.05 + 0.02 * index for index, label in enumerate(CLASSES)}
    return {
        "name": name,
        "file": file,
        "parameters": 725_574,
        "nonzero_parameters": 148_210,
        "file_bytes": file_bytes,
        "times_smaller": 93_912_345 / file_bytes,
        "top1": top1,
        "top1_interval": [top1 - 0.02, top1 + 0.02],
        "top5": 0.994,
        "per_class": per_class,
        "worst_class": {"label": "buildings", "recall": per_class["buildings"]},
        "latency_ms": 1.89,
        "images": 1500,
        **more,
    }


def run(**more):
    epochs = [{"loss": 1.0, "val_accuracy": 0.6 + 0.02 * epoch} for epoch in range(10)]
    return {
        "command": "squeezekit squeeze photos -o out",
        "squeezekit": "0.1.0",
        "versions": {"python": "3.11.9", "keras": "3.15.1"},
        "started": "2026-03-02T14:05:11+00:00",
        "seconds": 9234.5,
        "data": {
            "source": "photos",
            "fingerprint": "9f2c4be0",
            "classes": CLASSES,
            "train": 7867,
            "validation": 874,
            "test": 1500,
            "skipped": [{"path": "train/sea/1.jpg", "reason": "unreadable image (truncated)"}],
        },
        "preprocess": {"height": 96, "width": 96},
        "settings": {"epochs": 24, "nested": {"a": [1, 2]}},
        "compress_settings": {"epochs": 6},
        "recipe": "prune(0.8) | share(bits=5) | quantize(8)",
        "seed": 0,
        "reference": "AlexNet, float",
        "rows": [
            row("AlexNet, float", "alexnet.tflite", 93_912_345, 0.8153),
            row("SqueezeNet 1.1, float", "squeezenet.tflite", 2_914_368, 0.8693),
            row("SqueezeNet 1.1, squeezed", "model.sqz", 203_412, 0.8587),
        ],
        "trainings": [
            {"name": "alexnet", "precision": "bfloat16", "resumed_at": 0, "curves": epochs},
            {"name": "prune(0.8)", "precision": "float32", "resumed_at": 3, "curves": epochs[:4]},
            {"name": "quantize(8)", "precision": "float32", "resumed_at": 0, "curves": epochs[:1]},
        ],
        **more,
    }


class Reader(html.parser.HTMLParser):
    """Reads a page strictly: every tag closed in order, every attribute kept."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style"} & set(self.open):
            self.text.append(data)

    def said(self):
        return " ".join(" ".join(self.text).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("module", ["squeezekit.study.report", "squeezekit.study.charts"])
def test_doctests(module):
    assert doctest.testmod(sys.modules[module]).failed == 0


def test_says_what_was_measured():
    said = Reader(render(run())).said()
    for phrase in (
        "203.4 KB, 461 times smaller than AlexNet, and 85.9 % of 1,500 test images right; AlexNet: 81.5 %.",
        "93,912,345 bytes",
        "148,210 non-zero",
        "83.9 to 87.9 %",
        "1 image could not be used. train/sea/1.jpg: unreadable image (truncated)",
        "squeezekit squeeze photos -o out",
        "squeezekit predict model.sqz photo.jpg",
        'runtime.load("model.sqz")',
        "prune(0.8) | share(bits=5) | quantize(8)",
        "9f2c4be0",
        "python 3.11.9, keras 3.15.1",
        "7,867 for training, 874 for validation, 1,500 for the test",
        "2026-03-02 14:05 UTC",
        "2 h 33 min",
        "resumed after epoch 3",
        "alexnet: validation accuracy over 10 epochs, best 78.0 % in epoch 10, last 78.0 %",
        'nested = {"a": [1, 2]}',
    ):
        assert phrase.replace("\u00a0", " ") in said.replace("\u00a0", " "), phrase


def test_one_file_without_network_or_script():
    page = render(run())
    assert len(page.encode()) < 40_000
    reader = Reader(page)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "img", "iframe", "object", "embed", "form", "base", "foreignobject"}
    assert [link["href"] for link in reader.all("link")] == ["data:,"]
    assert not re.search(r"https?:|//|url\(|@import|@font-face", page)
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    policy = next(meta["content"] for meta in reader.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy


def test_a_screen_reader_finds_its_way():
    reader = Reader(render(run()))
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == 1
    assert reader.all("html") == [{"lang": "en"}]
    assert names.count("caption") == 1
    assert {attributes.get("scope") for attributes in reader.all("th")} == {"row", "col"}
    identities = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(set(identities)) == len(identities)
    named = [attributes.get("aria-labelledby", "").split() for _, attributes in reader.tags]
    assert {identity for some in named for identity in some} <= set(identities)
    # Accuracy, classes and three curves; each is an image with a name.
    images = [attributes for attributes in reader.all("svg") if attributes.get("role") == "img"]
    assert len(images) == 5
    assert all(image["aria-labelledby"] for image in images)


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
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_inert_wherever_it_stands(hostile):
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
    clean = Reader(render(run()))
    reader = Reader(page)
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in clean.tags}
    allowed = {(tag, name) for tag, attributes in clean.tags for name in attributes}
    assert {(tag, name) for tag, attributes in reader.tags for name in attributes} <= allowed
    if not re.search(r"[\x00-\x1f\ud800-\udfff]", hostile):
        assert hostile[:20] in reader.said()


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


@pytest.mark.parametrize("key", [*run(), None])
def test_any_part_may_be_missing_or_of_the_wrong_kind(key):
    whole = run()
    parts = {} if key is None else {name: value for name, value in whole.items() if name != key}
    Reader(render(parts))
    for wrong in (None, "text", [1, None, "a"], {"a": 1}):
        Reader(render({**whole, key or "rows": wrong}))


@pytest.mark.parametrize("key", row("a", "b", 1, 0.5))
def test_any_figure_may_be_missing(key):
    rows = [{name: value for name, value in item.items() if name != key} for item in run()["rows"]]
    Reader(render(run(rows=rows)))


def test_empty_run():
    said = Reader(render({})).said()
    assert "No network was measured." in said
    assert "Nothing: every image found could be read." in said


def test_without_baseline():
    without = run(rows=run()["rows"][1:], reference="SqueezeNet 1.1, float")
    said = Reader(render(without)).said().replace("\u00a0", " ")
    assert "times smaller than SqueezeNet 1.1 (float)" in said
    assert "AlexNet" not in said


def test_the_largest_run_stays_under_100_kilobytes():
    labels = [f"{index}" + '"' * 250 for index in range(1000)]
    large = run(
        command="'" * 10_000, settings={label: label for label in labels}, versions={"a": "&" * 10_000}
    )
    large["data"].update(classes=labels, skipped=[{"path": "<" * 4000, "reason": ">" * 4000}] * 5000)
    for item in large["rows"]:
        item["per_class"] = {label: index / 1000 for index, label in enumerate(labels)}
        item["worst_class"] = {"label": labels[0], "recall": 0.0}
    epochs = [{"val_accuracy": 0.5 + 0.3 * math.sin(epoch)} for epoch in range(2000)]
    large["trainings"] = [{"name": "&" * 500, "precision": "float32", "curves": epochs}] * 40
    page = render(large)
    assert len(page.encode()) < 100_000
    said = Reader(page).said()
    assert "The 968 other classes" in said
    assert "The other 4,988 are named in run.json." in said
    assert "28 more stages" in said


def test_plot_places():
    rows = run()["rows"]
    found = charts.plot(rows, charts.series(rows, rows[0]))
    assert [bytes_ for bytes_, _ in found.decades] == [10**5, 10**6, 10**7, 10**8]
    assert [mark.series for mark in found.marks] == [0, 2, 1]
    sizes, places = [mark.row["file_bytes"] for mark in found.marks], [mark.x for mark in found.marks]
    for bytes_, x in zip(sizes, places, strict=True):
        assert x == pytest.approx(100 * (math.log10(bytes_) - 5) / 3)
    # The scale is linear in accuracy: two ticks give the height of everything else.
    (low, low_y), (high, high_y) = found.ticks[0], found.ticks[-1]
    for mark in found.marks:
        share = (mark.row["top1"] - low) / (high - low)
        assert mark.y == pytest.approx(low_y + share * (high_y - low_y))
        assert low - 1e-9 <= mark.row["top1_interval"][0]
        assert mark.row["top1_interval"][1] <= high + 1e-9


@pytest.mark.parametrize("accuracies", [(0.82, 0.87, 0.86), (0.86, 0.86, 0.86), (0.9, 0.86, 0.82)])
def test_labels_do_not_write_over_each_other(accuracies):
    rows = [
        row(item["name"], item["file"], item["file_bytes"], top1)
        for item, top1 in zip(run()["rows"], accuracies, strict=True)
    ]
    marks = charts.plot(rows, charts.series(rows, rows[0])).marks
    boxes = [mark.box(mark.label_y) for mark in marks]
    for index, (left, right, top, bottom) in enumerate(boxes):
        for other in boxes[index + 1 :]:
            assert right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top


def test_a_gap_in_a_curve_stays_a_gap():
    values = [0.5, 0.6, None, 0.7, None, 0.6, 0.8, 0.8]
    training = {"name": "a", "curves": [{"val_accuracy": value} for value in values]}
    panel = charts.curves([training], 5).panels[0]
    assert len(panel.lines) == 2
    assert len(panel.single) == 1
    assert panel.best[:2] == (7, 0.8)
    assert panel.epochs == 8


def test_classes_are_shown_weakest_first():
    rows = run()["rows"]
    found = charts.recalls(rows, charts.series(rows, rows[0]), 4)
    recalls = [item.shipped for item in found.classes]
    assert recalls == sorted(recalls)
    assert found.more == 2
    assert all(0 <= x <= 100 for item in found.classes for _, x in item.dots)
