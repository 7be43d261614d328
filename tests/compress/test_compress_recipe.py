"""The recipe line: what it reads, what it writes, what it refuses."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezekit.compress import TECHNIQUES, Prune, Quantize, Recipe, ShareWeights, parse

shares = st.floats(0, 1)
windows = st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)) | st.tuples(
    st.integers(0, 99), st.integers(100, 999)
)


@st.composite
def prunes(draw):
    start, end = draw(windows)
    kept = draw(st.sampled_from([None, 1, 2, 3]))
    sparsity = draw(st.floats(0, 0.999)) if kept is None else 1 - kept / 4
    return Prune(
        sparsity,
        draw(st.sampled_from(["polynomial", "constant", "iterative"])),
        start=start,
        end=end,
        every=draw(shares | st.integers(1, 500)),
        initial=sparsity * draw(shares),
        rounds=draw(st.integers(1, 9)),
        scope=draw(st.sampled_from(["layer", "global", "lamp"])),
        pattern=None if kept is None else f"{kept}:4",
        regrow=draw(st.booleans()),
        smallest=draw(st.integers(0, 10_000)),
    )


@st.composite
def shares_of_weights(draw):
    grid = draw(st.booleans())
    return ShareWeights(
        draw(st.integers(2, 8)),
        "exact" if grid else draw(st.sampled_from(["exact", "linear", "density", "random"])),
        half=not grid and draw(st.booleans()),
        grid=grid,
        begin=draw(shares | st.integers(0, 500)),
        seed=draw(st.integers(0, 9)),
    )


techniques = st.one_of(
    prunes(),
    shares_of_weights(),
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
        ("prune()", ["prune(sparsity, schedule, start, end, every, ", "smallest, where, layers)"]),
        ("prune(0.5, amount=3)", ["amount"]),
        ("prune(0.5, sparsity=0.5)", ["multiple values"]),
        ("prune(0.5, schedule='cubic')", ["polynomial, constant, iterative", "schedule='cubic'"]),
        ("prune(0.5, start=0.5)", ["start before the end", "start=0.5, end=0.5"]),
        ("prune(0.5, start=100)", ["both in steps", "start=100, end=0.5"]),
        ("prune(0.5, end=1.5)", ["end as a whole number of steps", "end=1.5"]),
        ("prune(0.5, start=-1)", ["start=-1"]),
        ("prune(0.5, every=0)", ["from 1 on", "every=0"]),
        ("prune(0.5, every=True)", ["every=True"]),
        ("prune(0.5, initial=0.6)", ["at most sparsity=0.5", "initial=0.6"]),
        ("prune(0.5, rounds=0)", ["rounds=0"]),
        ("prune(0.5, regrow=1)", ["regrow=1"]),
        ("prune(0.8, pattern='2:4')", ["sparsity of 0.5", "sparsity=0.8"]),
        ("prune(0.5, pattern='4:2')", ["'2:4'", "pattern='4:2'"]),
        ("prune(0.5, pattern=24)", ["pattern=24"]),
        ("prune(0.5, scope='model')", ["layer, global, lamp", "'model'"]),
        ("prune(0.5, smallest=-1)", ["smallest=-1"]),
        ("share(bits=9)", ["from 2 to 8", "bits=9"]),
        ("share(bits=5.0)", ["bits=5.0"]),
        ("share(start='best')", ["exact, linear, density, random", "start='best'"]),
        ("share(half=1)", ["half=1"]),
        ("share(grid=True, half=True)", ["without half", "half=True"]),
        ("share(grid=True, start='linear')", ["start='linear'"]),
        ("share(begin=-0.5)", ["begin=-0.5"]),
        ("share(seed=-1)", ["seed=-1"]),
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
