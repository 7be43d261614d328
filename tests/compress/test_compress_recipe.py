"""The recipe line: what it reads, what it writes, what it refuses."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezekit.compress import TECHNIQUES, Prune, Quantize, Recipe, ShareWeights, parse

techniques = st.one_of(
    st.builds(
        Prune,
        sparsity=st.floats(0, 0.999),
        ramp=st.none() | st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)),
        scope=st.sampled_from(["layer", "global"]),
        smallest=st.integers(0, 10_000),
    ),
    st.builds(ShareWeights, bits=st.integers(2, 8)),
    st.builds(Quantize, bits=st.integers(2, 8), per_channel=st.booleans()),
)


@given(st.lists(techniques, max_size=5))
def test_every_recipe_round_trips(steps):
    recipe = Recipe(*steps)
    assert parse(str(recipe)) == recipe
    assert hash(parse(str(recipe))) == hash(recipe)
    assert list(recipe) == steps


def test_recipes_nest_and_compose():
    nested = parse("(prune(0.8) | (share | quantize))")
    assert nested == Prune(0.8) | ShareWeights() | Quantize()
    assert nested == Recipe(Recipe(Prune(0.8), ShareWeights()), Recipe(Quantize()))
    assert nested == Prune(0.8) | (ShareWeights() | Quantize())
    assert len(nested) == 3
    assert nested[0] == Prune(0.8)
    assert parse("prune(0.8)\n | quantize(4)\n") == Prune(0.8) | Quantize(4)
    assert parse("  ") == Recipe()


def test_recipes_and_techniques_cannot_change():
    with pytest.raises(AttributeError):
        parse("quantize").techniques = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prune(0.5).sparsity = 0.6


def test_every_technique_is_known_by_its_name():
    assert {kind.name for kind in TECHNIQUES.values()} == set(TECHNIQUES) >= {"prune", "share", "quantize"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prun(0.8)", ["prune, share, quantize", "'prun'"]),
        ("prune(0.8) + share(5)", ["separated by '|'"]),
        ("prune(0.8) |", ["like 'prune(0.8) |"]),
        ("prune(0.8", ["like 'prune(0.8) |"]),
        ("prune(1.3)", ["prune: ", "[0, 1)", "sparsity=1.3"]),
        ("prune(1)", ["sparsity=1"]),
        ("prune('half')", ["sparsity='half'"]),
        ("prune(True)", ["sparsity=True"]),
        ("prune()", ["prune(sparsity, ramp, scope, smallest, where, layers)", "sparsity"]),
        ("prune(0.5, amount=3)", ["amount"]),
        ("prune(0.5, sparsity=0.5)", ["multiple values"]),
        ("prune(0.5, ramp=(0.5, 0.5))", ["ramp=(0.5, 0.5)"]),
        ("prune(0.5, ramp=0.5)", ["ramp=0.5"]),
        ("prune(0.5, ramp=(0, 2))", ["ramp's end=2"]),
        ("prune(0.5, scope='model')", ["layer, global", "'model'"]),
        ("prune(0.5, smallest=-1)", ["smallest=-1"]),
        ("share(bits=9)", ["from 2 to 8", "bits=9"]),
        ("share(bits=5.0)", ["bits=5.0"]),
        ("quantize(1)", ["bits=1"]),
        ("quantize(8, per_channel=1)", ["True or False"]),
        ("quantize(bits=8, bits=4)", ["every setting once"]),
        ("prune(__import__('os').system('true'))", ["numbers, names in quotes"]),
        ("prune(*[0.5])", ["numbers, names in quotes"]),
        ("prune(**{'sparsity': 0.5})", ["keywords must be strings"]),
        ("compress.prune(0.5)", ["'compress.prune(0.5)'"]),
        ("0.5", ["'0.5'"]),
        ("(" * 500 + "share" + ")" * 500, ["too many nested parentheses"]),
        ("share | " * 2000 + "share", ["10000 characters"]),
    ],
)
def test_mistakes_are_named(line, words):
    with pytest.raises(ValueError, match="Expected") as error:
        parse(line)
    for word in words:
        assert word in str(error.value)


def test_a_recipe_is_made_of_techniques():
    with pytest.raises(ValueError, match="'prune'"):
        Recipe("prune")
