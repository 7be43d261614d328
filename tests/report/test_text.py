"""The plain-text outcome: figures, widths, missing values, hostile names."""

import pytest
from run_record import row, run

from squeezekit.report.text import clip, count, headline, milliseconds, percent, size, table, times

GOLDEN = """\
model                     parameters    non-zero      file    times  top-1  latency  worst class
                                                            smaller      %       ms  recall, %
----------------------------------------------------------------------------------------------------
AlexNet, float            23,472,134  23,472,134   93.9 MB      1.0   81.5    12.21   75.6 glacier
SqueezeNet 1.1, float        725,574     725,574    2.9 MB     32.2   86.9     1.63   75.6 glacier
SqueezeNet 1.1, squeezed     725,574     148,210  203.4 KB    461.7   85.9     1.89   78.4 buildings
----------------------------------------------------------------------------------------------------
alexnet.tflite 93,912,345 bytes, squeezenet.tflite 2,914,368 bytes, model.sqz 203,412 bytes.
Times smaller: than the file of AlexNet, float. 1 KB = 1,000 bytes.
Accuracy: each file itself on the 1,500 test images. Latency: median of one inference, one thread."""


def test_whole_table():
    assert table(run()) == GOLDEN


def test_headline():
    assert (
        headline(run())
        == "203.4 KB, 461 times smaller than AlexNet, and 85.9 % of 1,500 test images right; AlexNet: 81.5 %."
    )


def test_headline_without_baseline_names_the_float_network():
    rows = run()["rows"][1:]
    rows[1] = {**rows[1], "times_smaller": 14.33}
    assert headline({"reference": "SqueezeNet 1.1, float", "rows": rows}) == (
        "203.4 KB, 14.3 times smaller than SqueezeNet 1.1 (float), and 85.9 % of 1,500 test images right; "
        "SqueezeNet 1.1 (float): 86.9 %."
    )


def test_headline_never_claims_more_than_the_file_holds():
    rows = [row(), row("squeezed", times_smaller=299.97)]
    assert "299 times smaller" in headline({"rows": rows})


def test_headline_of_one_row_compares_with_nothing():
    assert headline({"rows": [row(images=None)]}) == "93.9 MB and 81.5 % of the test images right."
    assert headline({"rows": [row(top1=None)]}) == "93.9 MB; accuracy not measured."


@pytest.mark.parametrize("nothing", [{}, {"rows": []}, {"rows": None}, {"rows": [None]}])
def test_no_rows(nothing):
    assert table(nothing) == headline(nothing) == "No network was measured."


@pytest.mark.parametrize(
    "missing", [None, float("nan"), float("inf"), "many", True, [], 10**400], ids=lambda value: str(value)[:8]
)
def test_what_is_no_figure_shows_as_missing(missing):
    assert {write(missing) for write in (count, size, percent, times, milliseconds)} == {"n/a"}
    broken = row(**dict.fromkeys(("file_bytes", "top1", "latency_ms", "images"), missing))
    assert table({"rows": [broken, broken]}).count("n/a") >= 6
    assert headline({"rows": [broken]}) == "A file of unknown size; accuracy not measured."


def test_empty_row():
    assert "n/a" in table({"rows": [{}, {"worst_class": None}, {"worst_class": {"label": "a"}}]})


@pytest.mark.parametrize(
    ("bytes_", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (5e15, "5,000.0 TB"),
    ],
)
def test_sizes(bytes_, shown):
    assert size(bytes_) == shown


@pytest.mark.parametrize(
    "label", ["c" * 255, "猫" * 80, "e\u0301" * 90, "a b " * 60, "\x1b[31mred\x1b[0m", "two\nlines", "\udcff"]
)
def test_any_label_keeps_the_table_in_shape(label):
    rows = run()["rows"]
    rows[0]["worst_class"] = {"label": label, "recall": 1.0}
    rows[1]["name"] = label
    rows[1]["file"] = label
    lines = table({"rows": rows, "reference": label}).splitlines()
    assert len(lines) >= 10
    assert all(len(line.encode("utf-8")) for line in lines)
    assert not any(letter < " " for line in lines for letter in line)
    assert max(len(line) for line in lines[:7] if line.isascii()) <= 100


def test_wide_letters_count_twice():
    assert clip("猫猫猫", 6) == "猫猫猫"
    assert clip("猫猫猫", 5) == "猫猫…"


def test_no_line_is_wider_than_the_terminal():
    rows = run()["rows"]
    rows[2]["name"] = "SqueezeNet 1.1, complex bypass, separable fire, width 0.75, squeezed"
    rows[0]["worst_class"]["label"] = "a class with a long name"
    rows[0]["file"] = "a" * 200
    assert max(map(len, table({"rows": rows}).splitlines())) <= 100


def test_macro_accuracy_is_shown_where_classes_are_unequal():
    counts = {"macro_accuracy": 0.4321, "class_images": {"cat": 30, "dog": 20}}
    equal = table({"rows": [row(**counts)]})
    counts["class_images"]["dog"] = 19
    unequal = table({"rows": [row(**counts), row("an older row")]})
    assert "43.2" in unequal
    assert "Macro: mean of the classes' recalls." in unequal
    assert "acro" not in equal
    assert max(map(len, unequal.splitlines())) <= 100
