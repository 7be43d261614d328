"""Levels, rows and changes in words."""

import math

import pytest

from squeezekit.compress import TECHNIQUES
from squeezekit.report.effects import Estimate
from squeezekit.report.wording import bought, level_name, noun, points, ratio, row_name, signed

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("level", "reference", "name"),
    [
        ("squeezenet-1.1-separable-bypass", "squeezenet-1.1-bypass", "separable fire"),
        ("squeezenet-1.1-separable-bypass", "squeezenet-1.1", "separable fire and bypass"),
        # Fewer features, another version or another family: the whole title says it.
        ("squeezenet-1.1", "squeezenet-1.1-bypass", "SqueezeNet 1.1"),
        ("squeezenet-1.0-bypass", "squeezenet-1.1", "SqueezeNet 1.0 with bypass"),
        ("alexnet", "squeezenet-1.1", "AlexNet"),
        ("mine", "squeezenet-1.1", "mine"),
        ("squeezenet-1.1-bypass", "mine", "SqueezeNet 1.1 with bypass"),
    ],
)
def test_networks(level, reference, name):
    assert level_name("network", level, reference) == name
    assert noun("network", level, reference) == name


@pytest.mark.parametrize(
    ("factor", "level", "name"),
    [
        ("coder", "none", "no coder"),
        ("coder", "huffman", "Huffman"),
        ("coder", "rans", "rANS"),
        ("coder", "auto", "auto coder"),
        ("order", "share | prune", "share, then prune"),
        ("order", "", "usual order"),
        ("prune", "prune(0.8)", "prune(0.8)"),
        ("prune", "", "no prune"),
        ("melt", "melt(3)", "melt(3)"),
    ],
)
def test_levels(factor, level, name):
    assert level_name(factor, level) == name


def test_every_technique_has_a_noun():
    for name, kind in TECHNIQUES.items():
        assert noun(name, kind.study_level) == kind.noun
    assert noun("coder", "rans") == "coding"
    assert noun("order", "share | prune") == "share, then prune"


def test_rows():
    grid = {"network": ["alexnet", "mine"], "prune": ["", "prune(0.8)"], "coder": ["small"]}
    factors = {"network": "mine", "prune": "prune(0.8)", "coder": "small"}
    assert row_name({"factors": factors}, grid) == "mine, prune(0.8)"
    assert row_name({"factors": factors | {"network": "alexnet", "prune": ""}}, grid) == "uncompressed"
    assert row_name({"factors": {}, "baseline": True}, grid) == "AlexNet"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0125, "+1.2"), (-0.0125, f"{MINUS}1.2"), (0.0, "0.0"), (-0.0004, "0.0"), (1.0, "+100.0")],
)
def test_points_have_a_sign_but_zero(value, text):
    assert signed(value) == text


def test_changes_have_their_intervals_in_rising_order():
    assert points(Estimate(-0.03, -0.041, -0.021)) == f"{MINUS}3.0 points ({MINUS}4.1 to {MINUS}2.1)"
    assert points(Estimate(0.01)) == "+1.0 points"
    # The logarithm of bytes falls as the ratio rises.
    assert ratio(Estimate(-math.log(3.42), -math.log(3.55), -math.log(3.30))) == "3.42× (3.30 to 3.55)"
    assert ratio(Estimate(math.log(2))) == "0.50×"
    assert ratio(Estimate(-math.log(1760))) == "1,760.0×"
    assert bought(Estimate(0.38, 0.36, 0.4)) == "38 % (36 to 40)"
    assert bought(Estimate(-0.004, -0.02, 0.01)) == f"0 % ({MINUS}2 to 1)"


@pytest.mark.parametrize("change", [-1e9, -800.0, 800.0, math.inf])
def test_absurd_changes_are_written_all_the_same(change):
    assert ratio(Estimate(change, change, change)).endswith(")")
