"""The page of a study: it says what is in the store, is whole in itself, and nothing in a store can harm it."""

import html
import json
import math
import re
import shlex
from pathlib import Path

import pytest
from page_reader import Reader, require_accessible, require_self_contained

import study_store
from squeezekit.experiment import Results, read_results
from squeezekit.report import parts, render_study, study_findings, summary, write_report
from test_docs import what_is_wrong


def one_seed():
    """A seed's rows with two of four coders: every kind of figure, in a quarter of the time."""
    return [
        row for row in study_store.rows()
        if not row["seed"] and row["factors"].get("coder", "none") in ("none", "small")
    ]  # fmt: skip


def test_the_table_has_every_row_with_every_figure(results, reader):
    head, *lines = reader.tables["rows"]
    assert head == [
        "What was done", "Seed", "Bytes", "Times smaller", "Top-1", "Top-5", "Validation", "Churn", "Latency, ms",
        "Energy, µJ, estimated", "Non-zeros", "Weakest class", "Class that lost most",
    ]  # fmt: skip
    assert len(lines) == 130
    by_bytes = sorted((row["bytes"]["file"], row["seed"]) for row in results.rows)
    assert sorted((int(line[2].replace(",", "")), int(line[1])) for line in lines) == by_bytes
    line = next(line for line in lines if line[0].startswith("prune(0.8), share(bits=5), Huffman"))
    row = next(
        row for row in results.rows
        if row["recipe"] == "prune(0.8) | share(bits=5)" and row["factors"]["coder"] == "huffman"
    )  # fmt: skip
    assert line[1:4] == ["0", f"{row['bytes']['file']:,}", f"{93_912_345 / row['bytes']['file']:,.1f}"]
    assert line[4].startswith(f"{100 * row['top1']:.1f} %{100 * row['top1_interval'][0]:.1f} to ")
    assert line[5:7] == ["99.0 %", f"{100 * row['validation_top1']:.1f} %"]
    # Each class loses 1 of 50 images to sharing, the sea 6 more to both: 12 of 300, and as many get another label.
    assert line[7:10] == ["4.0 %", "1.60", "1,204"]
    assert line[10] == "148,210of 725,574"
    assert line[11] == f"{100 * row['worst_class']['recall']:.1f} %sea"
    assert line[12].startswith("sea −14.0−")
    assert line[0].endswith("loses over 5 points on sea")


def test_rows_that_lose_over_5_points_are_marked_in_words(results, reader):
    marked = [line for line in reader.tables["rows"][1:] if "loses over 5 points on" in line[0]]
    expected = [row for row in results.rows if row["factors"].get("prune") and row["factors"].get("share")]
    assert len(marked) == len(expected) == 32
    assert all("prune" in line[0] and "share" in line[0] for line in marked)


def test_one_small_file_that_asks_for_nothing(reader):
    require_self_contained(reader)
    assert not reader.all("img")
    assert len(reader.page.encode()) < 1_000_000


def test_a_screen_reader_finds_its_way(reader):
    require_accessible(reader)
    assert reader.drawings() == [
        "Top-1 accuracy against the size of the file",
        "Share of the reduction that each technique bought",
        "What each level does to bytes, accuracy and latency",
        "Change of each class&#39;s recall, in points",
        "Validation accuracy by epoch",
    ]
    live = [attributes["aria-live"] for _, attributes in reader.tags if "aria-live" in attributes]
    assert live == ["polite"]


def test_the_plot_and_the_table_know_each_other(results, reader):
    points = re.findall(r' id="row-(\d+)"', reader.page)
    rows = [attributes for attributes in reader.all("tr") if "data-at" in attributes]
    assert sorted(points) == sorted(row["data-at"] for row in rows)
    assert sorted(int(row["data-bytes"]) for row in rows) == sorted(row["file_bytes"] for row in results.rows)
    assert all(row["data-name"] and row["data-told"].endswith(".") for row in rows)


def test_says_how_it_was_made(reader):
    said = reader.said()
    for phrase in (
        "squeezekit study photos -o out --seeds 2",
        "34 trainings, 1 of them in an earlier run, 2 h 59 min in all, made 130 files; every file on its own would",
        "7,867 for training, 874 for validation, 300 for the test",
        "python 3.11.9, keras 3.15.1",
        "About 0.41 kWh (estimated; processor: 45 W, a guess)",
        "2026-03-02 14:05 UTC",
        "network: squeezenet-1.1-bypass / squeezenet-1.1-separable-bypass; prune: none / prune(0.8)",
    ):
        assert phrase in said, phrase


def test_every_row_has_its_recipe_and_command(results, page):
    listed = page[page.index('<ul class="again">') :]
    assert listed.count("<li>") == 130
    for row in results.rows:
        assert not row["recipe"] or f"recipe {row['recipe']}<" in listed
    scripts = [
        html.unescape(script)
        for script in re.findall(r"<pre tabindex=\"0\"><code>(.*?)</code>", listed, re.DOTALL)
    ]
    assert len(set(scripts)) == 130
    for script in scripts:
        assert what_is_wrong(shlex.split(script)[1:]) == ""


def test_interactions_are_text_in_cells(reader):
    crosses = [table for name, table in reader.tables.items() if table[0][:2] == ["", "separable fire"]]
    assert len(crosses) == 2
    bytes_cross, accuracy_cross = ({line[0]: line[1:] for line in table[1:]} for table in crosses)
    # Columns: separable fire, prune, share, quantize.
    assert bytes_cross["Huffman"][1].startswith(f"{math.exp(study_store.PAIR):.2f}")
    assert bytes_cross["Huffman"][3].startswith("1.00")
    assert accuracy_cross["share(bits=5)"][1].startswith("−2.0")
    # A coder changes no answer.
    assert "Huffman" not in accuracy_cross


def test_flips_name_images_and_take_pictures(results, found):
    assert found.flipped
    picture = "data:image/jpeg;base64,/9j/4AAQ"
    with_one = Reader(render_study(results, found, {found.flipped[0]: picture, 9999: picture}))
    assert [image["src"] for image in with_one.all("img")] == [picture]
    assert all(image["alt"] for image in with_one.all("img"))
    path = results.common["data"]["test_paths"][found.flipped[1]]
    assert path in with_one.said()


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg></style><b>",
    "{{ run }}",
    "$x_{1}$ ${broken $$",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_inert_wherever_it_stands(hostile, reader):
    renamed = {
        "prune(0.8)": hostile,
        study_store.NETWORK: f"{hostile} 1",
        study_store.SEPARABLE: f"{hostile} 2",
    }

    def poisoned(value, place=""):
        if value and isinstance(value, str):
            same = place in ("id", "stage") or place in study_store.GRID
            return renamed.get(value, value if same else hostile)
        if isinstance(value, list):
            return [poisoned(item, place) for item in value]
        if isinstance(value, dict):
            return {key: poisoned(item, key) for key, item in value.items()}
        return value

    rows = one_seed()
    shared = poisoned(study_store.common(rows))
    dirty = Reader(render_study(Results([poisoned(row) for row in rows], shared, [hostile])))
    require_self_contained(dirty)
    require_accessible(dirty)
    assert dirty.drawings() == reader.drawings()
    assert {tag for tag, _ in dirty.tags} <= {tag for tag, _ in reader.tags}
    allowed = {(tag, name) for tag, attributes in reader.tags for name in attributes}
    assert {(tag, name) for tag, attributes in dirty.tags for name in attributes} <= allowed
    assert hostile[:20] in dirty.said()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "kept",
    [
        lambda row: row["seed"] == 0,
        lambda row: not row["baseline"],
        lambda row: row["baseline"],
        lambda row: not row["factors"] or row["factors"]["coder"] == "none",
        lambda row: row["factors"].get("prune") != "" or not row["factors"],
        lambda row: row["recipe"] == "" and row["factors"].get("coder") == "none",
        lambda row: row["seed"] == 0 or row["factors"].get("network") != study_store.SEPARABLE,
    ],
    ids=[
        "one seed",
        "no AlexNet",
        "AlexNet alone",
        "no coder",
        "never uncompressed",
        "one row a seed",
        "unfinished",
    ],
)
def test_parts_of_a_study_have_a_report_too(kept, tmp_path):
    rows = [row for row in study_store.rows() if kept(row)]
    results = Results(rows, study_store.common(rows), [])
    found = study_findings(results)
    page, *others = write_report(tmp_path, results, found)
    assert len(Reader(page.read_text("utf-8")).tables["rows"]) == len(rows) + 1
    assert all(path.stat().st_size for path in others)
    json.dumps(summary(found), allow_nan=False)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "key", ["latency_ms", "nonzero", "macs", "top5", "file", "machine", "versions", "seconds"]
)
def test_what_was_not_measured_shows_as_such(key):
    rows = [{**row, key: None} for row in one_seed()]
    results = Results(rows, {"data": study_store.common(rows)["data"]}, [])
    found = study_findings(results)
    Reader(render_study(results, found))
    assert bool(found.main["latency"]) == (key != "latency_ms")


def test_of_many_classes_those_that_lose_most_are_shown(results):
    """Six classes of each label: 36, of which 24 are shown."""

    def spread(labels):
        return [label + 6 * (image // 6 % 6) for image, label in enumerate(labels)]

    rows = [{**row, "predicted": spread(row["predicted"])} for row in results.rows if row["seed"] == 0]
    names = [f"{label} {place}" for place in range(6) for label in study_store.LABELS]
    shared = {"data": {"labels": names, "truth": spread(study_store.TRUTH)}}
    many = study_findings(Results(rows, shared, []))
    part = parts.class_changes_part(many)
    assert (len(part["lines"]), part["more"]) == (24, 12)
    shown = [changes[0].change for _, _, changes in part["lines"]]
    assert shown == sorted(shown)
    assert "The 12 other classes lose less" in Reader(render_study(Results(rows, shared, []), many)).said()


def test_the_report_of_a_study_is_many_files(results, found, tmp_path):
    paths = write_report(tmp_path, results, found)
    drawn = [f"{name}.{kind}" for name in ("pareto", "effects") for kind in ("svg", "png", "pdf")]
    assert [path.name for path in paths] == ["report.html", "results.csv", "results.json", *drawn]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    before = {path: path.read_bytes() for path in paths}
    assert write_report(tmp_path, results) == paths
    assert {path: path.read_bytes() for path in paths} == before


def test_a_study_that_was_run_has_a_page_of_moderate_size():
    """130 rows of real networks, of the first version."""
    results = read_results(Path(__file__).parents[2] / "docs" / "results" / "intel")
    reader = Reader(render_study(results))
    require_self_contained(reader)
    require_accessible(reader)
    assert len(reader.page.encode()) < 3_000_000
    assert len(reader.tables["rows"]) == 131
    assert len(reader.drawings()) == 5
    assert reader.said().count("of 725,574") == 64
