"""The study's report: that it says what is in the store, is whole in itself, and answers in a browser."""

import csv
import dataclasses
import doctest
import html
import html.parser
import io
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from PIL import Image

import study_store
from squeezekit.study import drawing, study_charts
from squeezekit.study.effects import Effect, Estimate
from squeezekit.study.findings import study_findings, summary
from squeezekit.study.results import Results, read_results
from squeezekit.study.study_page import effects_svg, pareto_svg, render_study, write_report
from test_docs import commands_in, what_is_wrong

VOID = {"meta", "link", "br", "hr", "img", "input"}
MODULES = ["findings", "pages", "results", "study_charts", "study_made", "study_page", "pictures"]


class Reader(html.parser.HTMLParser):
    """Reads a page strictly: every tag closed in order, every attribute once; tables become lists of cells."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text, self.tables = [], [], [], {}
        self.cells = None
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), f"{tag} has an attribute twice"
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.cells = self.tables.setdefault(given.get("id", f"table {len(self.tables)}"), [])
        elif tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data.replace("\u00a0", " ")

    def said(self):
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def results():
    rows = study_store.rows()
    return Results(rows, study_store.common(rows), [])


@pytest.fixture(scope="module")
def found(results):
    return study_findings(results)


@pytest.fixture(scope="module")
def page(results, found):
    return render_study(results, found)


@pytest.fixture(scope="module")
def reader(page):
    return Reader(page)


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    assert doctest.testmod(sys.modules[f"squeezekit.study.{module}"]).failed == 0


def test_three_sentences_made_of_figures(found, reader):
    assert len(found.sentences) == 3
    smallest, sources, payers = found.sentences
    # Within a point of AlexNet's 84.4 % on validation: one class lost an image each to the separable fire.
    assert smallest.startswith(
        "97.3 KB, 965 times smaller than AlexNet, and 84.0 % of 300 test images right (79.4 to "
    )
    assert "AlexNet: 84.0 %" in smallest
    assert smallest.endswith("the smallest file within 1 point of it.")
    assert sources.startswith(
        "All techniques together make the file 31.3 times smaller: quantizing bought 38 % "
    )
    assert payers.startswith("Sharing costs most accuracy, −3.0 points (")
    assert "32 of 120 files lose over 5 points on a class, most often sea (32 files)" in payers
    for sentence in found.sentences:
        assert " ".join(sentence.split()) in reader.said()


def test_shares_are_those_that_were_put_in(found):
    """Prune and a coder share what they save together only; the rest is each one's own."""
    own = {name: saved for name, saved in study_store.SAVED.items() if name not in ("huffman", "rans")}
    own["prune(0.8)"] += study_store.PAIR / 2
    own["small"] += study_store.PAIR / 2
    whole = sum(own.values())
    assert {share.factors[0][1]: share.estimate.value for share in found.shares} == pytest.approx(
        {name: saved / whole for name, saved in own.items()}, abs=0.01
    )
    assert sum(share.estimate.value for share in found.shares) == pytest.approx(1)
    assert all(share.estimate.low <= share.estimate.value <= share.estimate.high for share in found.shares)
    # The seed makes recipes a little larger: a few thousandths of the logarithm.
    assert found.reduction == pytest.approx(math.exp(whole), rel=0.02)


def test_the_table_has_every_row_with_every_figure(results, reader):
    head, *lines = reader.tables["rows"]
    assert head == [
        "What was done", "Seed", "Bytes", "Times smaller", "Top-1", "Validation", "Churn", "Latency, ms",
        "Energy, µJ, estimated", "Non-zeros", "Class that lost most",
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
    assert line[5] == f"{100 * row['validation_top1']:.1f} %"
    # Each class loses 1 of 50 images to sharing, the sea 6 more to both: 12 of 300, and as many get another label.
    assert line[6:9] == ["4.0 %", "1.60", "1,204"]
    assert line[9] == "148,210"
    assert line[10].startswith("sea −14.0−")
    assert line[0].endswith("loses over 5 points on sea")


def test_rows_that_lose_over_5_points_are_marked_in_words(results, reader):
    marked = [line for line in reader.tables["rows"][1:] if "loses over 5 points on" in line[0]]
    expected = [row for row in results.rows if row["factors"].get("prune") and row["factors"].get("share")]
    assert len(marked) == len(expected) == 32
    assert all("prune" in line[0] and "share" in line[0] for line in marked)


def test_exactly_5_points_are_not_over_5(found):
    view = next(view for view in found.views if view.changes)
    five = dataclasses.replace(view.changes[0], change=0.9 - 0.95)
    assert not dataclasses.replace(view, changes=[five]).losers
    assert dataclasses.replace(view, changes=[dataclasses.replace(five, change=-0.051)]).losers


def test_one_file_without_network(page, reader):
    assert len(page.encode()) < 400_000
    names = {tag for tag, _ in reader.tags}
    assert not names & {"img", "iframe", "object", "embed", "form", "base", "foreignobject", "audio", "video"}
    assert [link["href"] for link in reader.all("link")] == ["data:,"]
    assert reader.all("script") == [{}]
    assert not re.search(r"https?:|url\(|@import|@font-face|fetch\(|XMLHttpRequest|import\(", page)
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    policy = next(meta["content"] for meta in reader.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    assert "unsafe-inline'; script" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)


def test_a_screen_reader_finds_its_way(reader):
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == 1
    assert reader.all("html") == [{"lang": "en"}]
    levels = [int(name[1]) for name in names if re.fullmatch(r"h[1-6]", name)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {attributes.get("scope") for attributes in reader.all("th")} == {"row", "col"}
    identities = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(set(identities)) == len(identities)
    for attribute in ("aria-labelledby", "aria-describedby"):
        named = [attributes.get(attribute, "").split() for _, attributes in reader.tags]
        assert {identity for some in named for identity in some} <= set(identities)
    assert all(section.get("aria-labelledby") for section in reader.all("section"))
    # The plot, shares, three effects, classes, and 17 recipes' curves: AlexNet's, and 16 of the grid.
    images = [attributes for attributes in reader.all("svg") if attributes.get("role") == "img"]
    assert len(images) == 1 + 1 + 3 + 1 + 17
    assert all(image["aria-labelledby"] for image in images)
    assert all(
        box.get("aria-labelledby") or box.get("aria-label") for box in reader.all("div") if "tabindex" in box
    )
    live = [attributes["aria-live"] for _, attributes in reader.tags if "aria-live" in attributes]
    assert live == ["polite"]


def test_says_how_it_was_made(reader):
    said = reader.said()
    for phrase in (
        "squeezekit study photos -o out --seeds 2",
        "34 trainings, 1 of them in an earlier run, 2 h 59 min in all, made 130 files; every file on its own would",
        "7,867 for training, 874 for validation, 300 for the test",
        "python 3.11.9, keras 3.15.1",
        "About 0.41 kWh (estimated; processor: 45 W, a guess)",
        "2026-03-02 14:05 UTC",
        "fire: standard / separable; prune: none / prune(0.8)",
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
        (words,) = commands_in(script)
        assert what_is_wrong(words) == ""


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
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_inert_wherever_it_stands(hostile, reader):
    def poisoned(value, place=""):
        if isinstance(value, str) and place not in (
            "id",
            "stage",
            "fire",
            "prune",
            "share",
            "quantize",
            "coder",
        ):
            return hostile
        if isinstance(value, list):
            return [poisoned(item) for item in value]
        if isinstance(value, dict):
            return {key: poisoned(item, key) for key, item in value.items()}
        return value

    rows = study_store.rows()[:66]
    shared = poisoned(study_store.common(rows))
    rows = [poisoned(row) for row in rows]
    for row in rows:
        row["factors"] = {
            factor: hostile if level == "prune(0.8)" else level for factor, level in row["factors"].items()
        }
    dirty = Reader(render_study(Results(rows, shared, [hostile])))
    assert {tag for tag, _ in dirty.tags} <= {tag for tag, _ in reader.tags}
    allowed = {(tag, name) for tag, attributes in reader.tags for name in attributes}
    assert {(tag, name) for tag, attributes in dirty.tags for name in attributes} <= allowed
    assert hostile[:20] in dirty.said()


@pytest.mark.parametrize(
    "kept",
    [
        lambda row: row["seed"] == 0,
        lambda row: not row["baseline"],
        lambda row: row["baseline"],
        lambda row: not row["factors"] or row["factors"]["coder"] == "none",
        lambda row: row["factors"].get("prune") != "" or not row["factors"],
        lambda row: row["recipe"] == "" and row["factors"].get("coder") == "none",
        lambda row: row["seed"] == 0 or row["factors"].get("fire") != "separable",
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
    reader = Reader(render_study(results, found))
    assert len(reader.tables["rows"]) == len(rows) + 1
    write_report(tmp_path, results, found)
    json.dumps(summary(found), allow_nan=False)


def test_no_cost_is_claimed_where_the_interval_holds_zero():
    rows = [
        row
        for row in study_store.rows()
        if row["factors"].get("share") == "" and row["factors"]["fire"] == "standard"
    ]
    found = study_findings(Results(rows, study_store.common(rows), []))
    assert found.sentences[-1].startswith("No technique costs accuracy on average")
    one = next(row for row in rows if row["recipe"] == "quantize(8)")
    wrong = next(image for image, label in enumerate(study_store.TRUTH) if one["predicted"][image] == label)
    for row in rows:
        if row["factors"]["quantize"]:
            row["predicted"] = [
                5 - label if image == wrong else label for image, label in enumerate(row["predicted"])
            ]
    found = study_findings(Results(rows, study_store.common(rows), []))
    assert found.sentences[-1].startswith(
        "No technique surely costs accuracy: quantizing comes nearest, −0.3 points ("
    )


def test_a_study_without_coders_says_who_pays_all_the_same():
    rows = [row for row in study_store.rows() if row["factors"].get("coder", "small") == "small"]
    common = study_store.common(rows)
    found = study_findings(Results(rows, {**common, "grid": {**common["grid"], "coder": ["small"]}}, []))
    assert not [view.name for view in found.views if "coder" in view.name]
    compressed = [view for view in found.views if view.changes]
    assert len(compressed) == len(rows) - 4
    assert all(view.churn is not None for view in compressed)
    assert len(found.shares) == 4
    assert found.flipped


@pytest.mark.parametrize(
    "key", ["latency_ms", "nonzero", "macs", "top5", "file", "machine", "versions", "seconds"]
)
def test_what_was_not_measured_shows_as_such(key):
    rows = [{**row, key: None} for row in study_store.rows()[:66]]
    results = Results(rows, {"data": study_store.common(rows)["data"]}, [])
    found = study_findings(results)
    Reader(render_study(results, found))
    assert bool(found.main["latency"]) == (key != "latency_ms")


def test_svg_files_are_whole_and_hold_every_row(found):
    for text, marks in ((pareto_svg(found), 130), (effects_svg(found), None)):
        root = xml.etree.ElementTree.fromstring(text)
        assert root.tag.endswith("}svg")
        assert not re.search(r"href|script|style=|url\(", text)
        if marks:
            titles = [node for node in root.iter() if node.tag.endswith("}title")]
            assert len(titles) == marks + 1


def test_png_is_the_svg_drawn(found):
    with Image.open(io.BytesIO(drawing.png_of(pareto_svg(found)))) as image:
        assert image.width == 1440
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(0, 0x67, 0xA8), (255, 255, 255), (0, 0, 0)} <= colours


def test_csv_and_json_hold_what_the_store_holds(results, found, tmp_path):
    paths = write_report(tmp_path, results, found)
    assert [path.name for path in paths] == [
        "report.html",
        "pareto.svg",
        "effects.svg",
        "results.csv",
        "results.json",
        "pareto.png",
        "effects.png",
    ]
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    listed = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert (
        [line["id"] for line in lines] == [row["id"] for row in results.rows] == [row["id"] for row in listed]
    )
    line, row = lines[40], results.rows[40]
    assert (line["recipe"], int(line["bytes_file"])) == (row["recipe"], row["bytes"]["file"])
    assert [float(line["top1_low"]), float(line["top1_high"])] == row["top1_interval"]
    assert float(line["times_smaller"]) == 93_912_345 / row["bytes"]["file"] == listed[40]["times_smaller"]
    assert lines[0]["churn"] == ""
    assert float(lines[40]["inference_uj"]) == row["inference_uj"]
    stage = next(one for one in results.common["trainings"] if one["stage"] == row["stage"])
    assert float(lines[40]["stage_kwh"]) == stage["energy"]["kwh"] == listed[40]["stage_kwh"]
    assert lines[0]["baseline"] == "1"
    assert "predicted" not in listed[0]


def test_bars_start_at_zero_and_end_at_their_value():
    effects = [
        Effect((("prune", "prune(0.8)"),), Estimate(-math.log(2), -math.log(3), -math.log(1.5), "seeds"), 4),
        Effect((("share", "share(bits=5)"),), Estimate(math.log(1.25)), 4),
    ]
    chart = study_charts.bars(effects, lambda estimate: "", study_charts.ratio_ticks, gain=-1)
    ticks = dict(chart.ticks)
    assert ticks["1×"] == chart.zero
    assert chart.bars[0].x == pytest.approx(ticks["2×"])
    assert chart.bars[0].ends[1] == pytest.approx(ticks["3×"])
    assert chart.bars[0].gain
    assert not chart.bars[1].gain
    assert chart.bars[1].x < chart.zero
    assert chart.bars[1].ends is None
    assert all(0 <= x <= 100 for x in ticks.values())


@pytest.mark.parametrize("low", [0.0, -0.004, -0.31, -3.0])
@pytest.mark.parametrize("high", [0.0, 0.003, 0.2, 2.5, 6.0])
@pytest.mark.parametrize("ticks", [study_charts.linear_ticks, study_charts.ratio_ticks])
def test_ticks_are_few_and_hold_the_range(ticks, low, high):
    marked = [value for _, value in ticks(low, high)]
    assert marked[0] <= low + 1e-9
    assert high - 1e-9 <= marked[-1]
    assert 2 <= len(marked) <= 7
    assert any(abs(value) < 1e-9 for value in marked)
    assert marked == sorted(marked)


def test_places_in_the_plot(found):
    plot = study_charts.scatter(found.views)
    by_size = sorted(plot.points, key=lambda point: point.view.row["bytes"]["file"])
    assert [point.x for point in by_size] == sorted(point.x for point in plot.points)
    assert all(0 < point.x < 100 for point in plot.points)
    (low, low_y), (high, high_y) = plot.ticks[0], plot.ticks[-1]
    for point in plot.points:
        share = (point.view.row["top1"] - low) / (high - low)
        assert point.y == pytest.approx(low_y + share * (high_y - low_y))
    assert {mark.lines[0] for mark in plot.labels} == {
        "AlexNet",
        "uncompressed",
        "within 1 point",
        "within 10 points",
    }
    assert plot.front == sorted(plot.front)


def test_of_many_classes_those_that_lose_most_are_shown(results):
    """Six classes of each label: 36, of which 24 are shown."""

    def spread(labels):
        return [label + 6 * (image // 6 % 6) for image, label in enumerate(labels)]

    rows = [{**row, "predicted": spread(row["predicted"])} for row in results.rows if row["seed"] == 0]
    names = [f"{label} {place}" for place in range(6) for label in study_store.LABELS]
    shared = {"data": {"labels": names, "truth": spread(study_store.TRUTH)}}
    many = study_findings(Results(rows, shared, []))
    chart = study_charts.changes_chart(many)
    assert (len(chart.classes), chart.more) == (24, 12)
    shown = [each.marks[0][4].change for each in chart.classes]
    assert shown == sorted(shown)
    assert "The 12 other classes lose less" in Reader(render_study(Results(rows, shared, []), many)).said()


# --- In a browser, where there is one.

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

SCRIPT = r"""
const table = document.getElementById("rows"), said = {errors: window.failures};
const column = (at) => [...table.tBodies[0].rows].map((row) => Number(row.cells[at].dataset.v));
const heads = [...table.tHead.rows[0].cells];
const click = (at) => heads[at].querySelector("button").click();
click(2); said.bytes = column(2); said.sorted = heads[2].getAttribute("aria-sort");
click(2); said.back = column(2); said.reversed = heads[2].getAttribute("aria-sort");
click(4); said.top1 = column(4); said.only = heads[2].hasAttribute("aria-sort");
click(6); said.churn = [...table.tBodies[0].rows].map((row) => row.cells[6].dataset.v);
const points = [...document.querySelectorAll(".point")];
said.points = points.length;
said.stops = points.filter((point) => point.tabIndex === 0).length;
const chosen = () => [...table.querySelectorAll("tr.chosen")].map((row) => row.dataset.at);
const picked = () => [...document.querySelectorAll(".point.picked")].map((point) => point.dataset.at);
const plot = document.getElementById("plot");
plot.scrollIntoView();
// AlexNet's two lie on each other; the lower one of a crowd cannot be meant. Take the last that is drawn.
const point = points[points.length - 1], box = point.querySelector(".ring").getBoundingClientRect();
const event = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
plot.dispatchEvent(new PointerEvent("pointermove", event));
said.hovered = document.getElementById("told").textContent;
plot.dispatchEvent(new MouseEvent("click", event));
said.wanted = point.dataset.at;
said.name = table.querySelector(`[data-at="${point.dataset.at}"]`).dataset.name;
said.clicked = [chosen(), picked()];
const at = (mark) => [mark.getAttribute("x"), mark.getAttribute("y"), mark.getAttribute("visibility")];
const held = point.parentElement;
said.rings = [at(document.getElementById("near")), at(document.getElementById("picked")),
  [held.getAttribute("x"), held.getAttribute("y"), "visible"]];
const row = table.tBodies[0].rows[5];
row.querySelector("button").click();
said.row = row.dataset.at;
said.rowClicked = [chosen(), picked(), row.querySelector("button").getAttribute("aria-pressed")];
points.find((each) => each.tabIndex === 0).focus();
const press = (key) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
press("Home"); press("ArrowRight"); press("Enter");
said.keyed = [chosen(), picked(), document.activeElement.dataset.at];
const sizes = points.map((each) => Number(each.dataset.bytes)).sort((a, b) => a - b);
said.second = [Number(document.activeElement.dataset.bytes), sizes[1]];
const words = document.getElementById("words");
words.value = "prune huff"; words.dispatchEvent(new Event("input"));
said.filtered = [...table.tBodies[0].rows].filter((each) => !each.hidden).map((each) => each.dataset.name);
said.matches = document.getElementById("matches").textContent;
const only = document.getElementById("only");
words.value = ""; only.checked = true; only.dispatchEvent(new Event("change"));
said.front = [...table.tBodies[0].rows].filter((each) => !each.hidden).length;
said.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const answer = document.createElement("pre");
answer.id = "answer"; answer.textContent = JSON.stringify(said);
document.body.append(answer);
"""


def browse(path, tmp_path, width=1280):
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", f"--window-size={width},2000",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000",
         "--dump-dom", path.as_uri()],
        capture_output=True, text=True, encoding="utf-8", timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_plot_and_table_answer_in_a_browser(page, found, tmp_path):
    (tmp_path / "report.html").write_text(page, "utf-8")
    shown, complaints = browse(tmp_path / "report.html", tmp_path)
    assert complaints == []
    # The script ran under the page's own policy: every head and every row got its button.
    assert shown.count("<button") == 11 + 130

    changed = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page)
    watch = "<script>window.failures = []; onerror = (what) => { failures.push(String(what)); };</script>"
    changed = changed.replace("<head>", f"<head>{watch}", 1)
    changed = changed.replace("</body>", f"<script>{SCRIPT}</script></body>")
    (tmp_path / "changed.html").write_text(changed, "utf-8")
    shown, complaints = browse(tmp_path / "changed.html", tmp_path)
    assert complaints == []
    answer = re.search(r'<pre id="answer">(.*?)</pre>', shown, re.DOTALL)
    assert answer, "the script did not come to its end"
    said = json.loads(answer[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert said["errors"] == []
    assert said["bytes"] == sorted(said["bytes"])
    assert len(said["bytes"]) == 130
    assert said["back"] == said["bytes"][::-1]
    assert (said["sorted"], said["reversed"], said["only"]) == ("ascending", "descending", False)
    assert said["top1"] == sorted(said["top1"], reverse=True)
    # What is not known comes last.
    assert said["churn"][-2:] == ["", ""]
    assert "" not in said["churn"][:-2]
    assert (said["points"], said["stops"]) == (130, 1)
    assert said["hovered"].startswith(said["name"])
    assert said["clicked"] == [[said["wanted"]], [said["wanted"]]]
    assert said["rings"][0] == said["rings"][1] == said["rings"][2]
    assert said["rowClicked"] == [[said["row"]], [said["row"]], "true"]
    assert said["keyed"] == [[said["keyed"][2]], [said["keyed"][2]], said["keyed"][2]]
    assert said["second"][0] == said["second"][1]
    assert len(said["filtered"]) == 16
    assert all("prune" in name and "Huffman" in name for name in said["filtered"])
    assert said["matches"] == "16 of 130 rows"
    assert said["front"] == sum(view.front for view in found.views)
    assert said["wide"] <= 0


def test_reading_back_what_was_written(tmp_path, results):
    again = read_results(study_store.write(tmp_path / "out"))
    assert again.rows == results.rows
    assert again.common == results.common
    assert again.notes == []
