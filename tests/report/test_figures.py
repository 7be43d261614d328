"""Figures: the same bytes each time, every mark in its place, few round ticks, names as they are."""

import io
import math
import re
import xml.etree.ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from squeezekit.report import figures
from squeezekit.report.figures import Bar, Curve, Dot, Mark

MARKS = [
    Mark("row-0", 93_900_000, 0.82, (0.80, 0.84), "baseline", False, "AlexNet"),
    Mark("row-1", 2_900_000, 0.87, (0.85, 0.89), "front", False, "uncompressed"),
    Mark("row-2", 120_000, 0.86, (0.84, 0.88), "front", False, "within 1 point"),
    Mark("row-3", 1_000_000, 0.80, None, "other", True, ""),
    Mark("row-4", 53_300, 0.78, None, "front", True, "within 10 points"),
]
BARS = [
    Bar("pruning", "2.00×", -math.log(2), -math.log(3), -math.log(1.5)),
    Bar("sharing", "0.80×", math.log(1.25), None, None),
]
DRAWN = {
    "pareto": lambda: figures.pareto(MARKS),
    "bars": lambda: figures.bars(
        [("Bytes", BARS, "ratio"), ("Top-1", BARS, "points"), ("All", BARS, "share")]
    ),
    "dots": lambda: figures.dots([("sea", [Dot(0, -0.1, -0.2, 0.0), Dot(3, 0.1)]), ("street", [])], "points"),
    "recalls": lambda: figures.dots([("sea", [Dot(place, 0.5) for place in range(6)])], "percent"),
    "curves": lambda: figures.curves(
        [Curve("alexnet", [[0.1, 0.4], [0.2, None, 0.3]]), Curve("prune", [[0.5]])]
    ),
}


def ticks(axes):
    """Where the marks of the horizontal axis are within its ends, and what they say."""
    low, high = sorted(axes.get_xlim())
    places = [place for place in axes.xaxis.get_major_locator()() if low - 1e-12 <= place <= high + 1e-12]
    return places, axes.xaxis.get_major_formatter().format_ticks(places)


def placed(svg):
    """Where the mark of each row is in a drawing."""
    found = re.findall(r'id="(row-\d+)">.*?<use xlink:href="[^"]+" x="([\d.]+)" y="([\d.]+)"', svg, re.DOTALL)
    return {name: (float(x), float(y)) for name, x, y in found}


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_the_same_bytes_twice(name, kind):
    first = figures.written(DRAWN[name](), kind)
    # What is drawn between, or set outside, leaves no trace.
    figures.written(figures.pareto(MARKS[:2]), kind)
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "other"}):
        again = figures.written(DRAWN[name](), kind)
    assert first == again
    assert first.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[kind])
    assert not re.search(rb"CreationDate|20\d\d-\d\d-\d\dT", first)


@pytest.mark.parametrize("name", DRAWN)
def test_an_svg_file_is_whole_and_refers_to_itself_alone(name):
    svg = figures.written(DRAWN[name](), "svg").decode("utf-8")
    root = xml.etree.ElementTree.fromstring(svg)
    assert root.tag.endswith("}svg")
    assert set(re.findall(r'href="(.)|url\((.)', svg)) <= {("#", ""), ("", "#")}
    assert "<script" not in svg
    assert "<image" not in svg


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_in_the_page_takes_the_pages_colours(name):
    svg = figures.inline(DRAWN[name](), 'A & B < "C"')
    assert svg.startswith("<svg viewBox=")
    assert 'role="img"><title>A &amp; B &lt; &#34;C&#34;</title>' in svg
    assert not re.search(
        r"#[0-9a-f]{6}\b(?!\))|xmlns|<metadata|font-family", re.sub(r"[#\"][mp][0-9a-f]{10}", "", svg)
    )
    assert "var(--quiet)" in svg
    assert xml.etree.ElementTree.fromstring(svg.replace("xlink:", "")).tag == "svg"
    # Names that two drawings of one page would both have are gone.
    assert all(re.fullmatch(r"row-\d+|[mp][0-9a-f]{10}", name) for name in re.findall(r' id="([^"]*)"', svg))


def test_png_is_the_figure_drawn():
    with Image.open(io.BytesIO(figures.written(figures.pareto(MARKS), "png"))) as image:
        assert image.width == 1440
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(0, 0x67, 0xA8), (0xB8, 0x4C, 0), (255, 255, 255)} <= colours


def test_every_file_is_in_its_place():
    svg = figures.inline(figures.pareto(MARKS), "")
    places = placed(svg)
    assert set(places) == {mark.id for mark in MARKS}
    # Bytes on a logarithmic scale, accuracy on a linear one that rises: straight lines through all marks.
    across = [(math.log(mark.size_bytes), places[mark.id][0]) for mark in MARKS]
    upward = [(mark.top1, places[mark.id][1]) for mark in MARKS]
    for pairs, rises in ((across, True), (upward, False)):
        slope, start = np.polyfit(*zip(*pairs, strict=True), 1)
        assert (slope > 0) == rises
        assert [slope * value + start for value, _ in pairs] == pytest.approx(
            [at for _, at in pairs], abs=0.01
        )


def test_names_stand_at_the_few_marks_that_have_one():
    texts = [text.get_text() for text in figures.pareto(MARKS).axes[0].texts]
    assert sorted(text.partition("\n")[0] for text in texts) == sorted(
        mark.label for mark in MARKS if mark.label
    )
    assert "within 1 point\n120.0 KB, 86.0 %" in texts


def test_the_front_is_a_line_from_small_to_large():
    line = figures.pareto(MARKS).axes[0].lines[0]
    assert list(line.get_xdata()) == [53_300, 120_000, 2_900_000]
    assert list(line.get_ydata()) == [0.78, 0.86, 0.87]


@pytest.mark.parametrize(
    "sizes",
    [
        (53_300, 93_900_000),
        (1, 1e14),
        (1_234_000, 1_239_000),
        (7_000,),
        (50_000, 60_000),
        (90_000, 2_900_000),
    ],
)
def test_bytes_have_a_few_ticks(sizes):
    marks = [Mark(f"row-{place}", size, 0.8, None, "front", False, "") for place, size in enumerate(sizes)]
    places, texts = ticks(figures.pareto(marks).axes[0])
    assert 2 <= len(places) <= 7
    assert len(set(texts)) == len(texts)


def test_bars_start_at_no_change_and_end_at_their_value():
    axes = figures.bars([("Bytes", BARS, "ratio")]).axes[0]
    better, worse = axes.patches
    assert (better.get_x(), better.get_width()) == pytest.approx((0, math.log(2)))
    assert worse.get_x() + worse.get_width() == pytest.approx(-math.log(1.25))
    assert better.get_facecolor() != worse.get_facecolor()
    interval = next(
        line for line in axes.lines if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    )
    assert sorted(interval.get_xdata()) == pytest.approx([math.log(1.5), math.log(3)])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["pruning\n2.00×", "sharing\n0.80×"]
    # The first on top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


@pytest.mark.parametrize("fold", [1.0, 1.004, 1.1, 1.9, 3.4, 54.6, 1e6, 1e30, 0.5, 0.01])
def test_ratios_have_a_few_ticks(fold):
    axes = figures.bars([("", [Bar("a", "", -math.log(fold), None, None)], "ratio")]).axes[0]
    places, texts = ticks(axes)
    assert 2 <= len(places) <= 7
    assert len(set(texts)) == len(texts)
    assert all(text.endswith("×") for text in texts)
    assert "1×" in texts
    assert [float(text[:-1]) for text in texts] == pytest.approx(
        [math.exp(place) for place in places], rel=1e-3
    )


def test_points_have_a_sign_but_zero():
    axes = figures.dots([("a", [Dot(0, -0.011), Dot(1, 0.011)])], "points").axes[0]
    _, texts = ticks(axes)
    assert "0" in texts
    assert {text[0] for text in texts if text != "0"} == {"+", "\N{MINUS SIGN}"}


def test_a_gap_in_a_curve_stays_a_gap_and_the_best_epoch_has_a_dot():
    values = [0.5, 0.6, None, 0.7, None, 0.6, 0.8, 0.8]
    line, best = figures.curves([Curve("a", [values])]).axes[0].lines
    assert list(line.get_xdata()) == [*range(1, 9)]
    assert [None if math.isnan(value) else value for value in line.get_ydata()] == values
    # The first of two.
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([7], [0.8])


def test_epochs_are_whole_numbers():
    for axes in figures.curves(
        [Curve("a", [[0.5]]), Curve("b", [[0.5, 0.6]]), Curve("c", [[0.5] * 24])]
    ).axes[:3]:
        places, _ = ticks(axes)
        assert places
        assert all(place == round(place) for place in places)


def test_of_very_many_epochs_some_are_drawn():
    values = [0.001 * epoch for epoch in range(1000)]
    line, best = figures.curves([Curve("a", [values] * 50)]).axes[0].lines[:2]
    assert len(line.get_xdata()) <= 100
    assert all(line.get_ydata() == [values[epoch - 1] for epoch in line.get_xdata()])
    assert list(best.get_xdata()) == [1000]


def test_panels_of_curves_have_one_scale_and_whole_names():
    name = "separable fire, prune(0.8, scope='lamp') | share(bits=5)"
    drawn = figures.curves([Curve(name, [[0.1]]), Curve("b", [[0.9, 0.8]])])
    assert len({axes.get_ylim() for axes in drawn.axes}) == 1
    assert " ".join(drawn.axes[0].get_title(loc="left").split()) == name


@pytest.mark.parametrize(
    "name",
    [
        "$x_{1}$ ${",
        "猫" * 30,
        "e\u0301" * 90,
        "\x1b[31m",
        "a\nb",
        "\u202egpj",
        "<b>&amp;",
        "\udcff",
        "हिन्दी 👩‍🔬",
        "",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_any_name_can_be_drawn(name, kind):
    made = figures.written(figures.bars([("", [Bar(name, "", 0.1, None, None)], "share")]), kind)
    if kind == "svg":
        xml.etree.ElementTree.fromstring(made)
