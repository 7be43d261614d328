"""Options made from the fields of a dataclass, and the command line that a value of it stands for."""

import dataclasses
import enum
import re
from fractions import Fraction
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from squeezekit import options, training
from squeezekit.cli.options import options_from
from squeezekit.data import Augment
from squeezekit.options import option


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Inner:
    share: float = option(0.5, "Of the whole.", least=0, most=1, above=True)
    hidden: int = 7


@dataclasses.dataclass(frozen=True)
class Outer:
    steps: int = option(0, "By default as many as fit.", least=0, auto=True)
    colour: Colour = option(Colour.RED, "Paint.")
    coder: str = option("small", "How to pack.", choices=("small", "none"))
    inner: Inner = dataclasses.field(default_factory=Inner)
    names: tuple[str, ...] = option((), "Again and again.")
    rate: Fraction = option(Fraction(1, 2), "As a fraction.", parse=Fraction)
    place: Path | None = option(None, "Where to.", metavar="FOLDER")
    most: int | None = option(None, "At most.", least=1)
    other: Colour | None = option(None, "More paint.")
    baseline: bool = option(True, "Leave it out.", name="no-baseline")
    fast: bool = option(False, "Hurry.")
    checked: int = option(3, least=2)


SET = {
    "--steps": ("4", {"steps": 4}),
    "--colour": ("blue", {"colour": Colour.BLUE}),
    "--coder": ("none", {"coder": "none"}),
    "--rate": ("3/4", {"rate": Fraction(3, 4)}),
    "--share": ("0.25", {"inner": Inner(share=0.25)}),
    "--names": ("a", {"names": ("a",)}),
    "--place": ("x", {"place": Path("x")}),
    "--most": ("9", {"most": 9}),
    "--other": ("red", {"other": Colour.RED}),
    "--no-baseline": (None, {"baseline": False}),
    "--fast": (None, {"fast": True}),
}


def run(*words, skip=()):
    got = []

    @click.command()
    @options_from(Outer, into="outer", skip=skip)
    def command(outer):
        got.append(outer)

    result = CliRunner().invoke(command, words)
    return result, got


def test_without_options_the_value_is_the_default():
    assert run()[1] == [Outer()]
    assert options.command_words(Outer()) == []


@pytest.mark.parametrize("name", SET)
def test_an_option_sets_its_field_and_the_value_gives_the_option_back(name):
    word, fields = SET[name]
    words = [name] if word is None else [name, word]
    expected = Outer(**fields)
    assert run(*words)[1] == [expected]
    assert options.command_words(expected) == words


def test_help_names_ranges_choices_and_defaults():
    text = " ".join(run("--help")[0].output.split())
    assert "--steps INTEGER RANGE By default as many as fit. [x>=0]" in text
    assert "--colour [red|blue] Paint. [default: red]" in text
    assert "--share FLOAT RANGE Of the whole. [default: 0.5; 0<x<=1]" in text
    assert "--place FOLDER" in text
    assert "hidden" not in text
    assert "--checked" not in text
    assert "--fast" not in run("--help", skip=("fast",))[0].output


@pytest.mark.parametrize(
    "words", [("--share", "0"), ("--colour", "green"), ("--steps", "-1"), ("--most", "0")]
)
def test_a_value_out_of_range_is_refused(words):
    assert run(*words)[0].exit_code == 2


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Outer(steps=-1), "Expected steps >= 0. Received: steps=-1."),
        (Outer(checked=1), "Expected checked >= 2. Received: checked=1."),
        (Inner(share=0), r"Expected share in (0, 1]. Received: share=0."),
        (Inner(share=float("nan")), "share=nan"),
    ],
)
def test_ranges_are_checked_in_python_too(value, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        options.check_ranges(value)


def test_a_record_of_settings_becomes_settings_again():
    settings = training.Settings(
        epochs=3, optimizer=training.Optimizer.SGD, augment=Augment(cutout=0.25, flip=False), seed=7
    )
    record = settings.to_dict()
    assert options.build(training.Settings, {**record, "unknown": 1}) == settings
    assert options.command_words(settings) == [
        *("--epochs", "3", "--optimizer", "sgd", "--cutout", "0.25", "--seed", "7")
    ]
