"""How rows were made, in words: trainings and what they share, facts, energy, times."""

import pytest
from run_record import run

import study_store
from squeezekit.report import provenance
from squeezekit.report.templating import duration, moment, pairs


def training(network, recipe, seed=0, **more):
    curves = [{"val_accuracy": 0.5}, {"val_accuracy": None}]
    return {
        "network": network,
        "recipe": recipe,
        "seed": seed,
        "stage": f"{network} {recipe} {seed}",
        "curves": curves,
    } | more


TRAININGS = [
    training(network, recipe, seed)
    for network in (study_store.NETWORK, study_store.SEPARABLE)
    for recipe in ("", "prune(0.8)", "prune(0.8) | share(bits=5)", "share(bits=5)")
    for seed in (0, 1)
]


def test_curves_of_two_networks_stay_apart_and_seeds_come_together():
    curves = provenance.training_curves([*TRAININGS, training("alexnet", "")])
    assert [(curve.name, len(curve.lines)) for curve in curves] == [
        (study_store.NETWORK, 2),
        ("prune(0.8)", 2),
        ("prune(0.8) | share(bits=5)", 2),
        ("share(bits=5)", 2),
        (study_store.SEPARABLE, 2),
        ("separable fire, prune(0.8)", 2),
        ("separable fire, prune(0.8) | share(bits=5)", 2),
        ("separable fire, share(bits=5)", 2),
        ("alexnet", 1),
    ]
    assert list(curves[0].lines[0]) == [0.5, None]


@pytest.mark.parametrize("absurd", [None, "x", [None], [{"val_accuracy": "x"}], [{}], {"a": 1}])
def test_what_is_no_curve_is_passed_over(absurd):
    assert provenance.training_curves([training("alexnet", "", curves=absurd)]) == []


def test_a_training_says_what_came_from_it():
    rows = [{"stage": each["stage"]} for each in TRAININGS for _ in range(3)]
    listed = provenance.shared_trainings(TRAININGS, rows)
    assert [each.files for each in listed] == [3] * len(TRAININGS)
    going_on = [(each.name, each.seed) for each in listed if each.onward]
    assert going_on == [
        ("prune(0.8)", 0),
        ("prune(0.8)", 1),
        ("separable fire, prune(0.8)", 0),
        ("separable fire, prune(0.8)", 1),
    ]
    assert {each.onward for each in listed} == {0, 1}


def test_sharing_is_told_in_trainings():
    rows = [{"recipe": each["recipe"]} for each in TRAININGS for _ in range(4)]
    trainings = [{**each, "seconds": 60.0, "reused": each["seed"] == 1} for each in TRAININGS]
    assert provenance.shared_sentence(trainings, rows) == (
        "16 trainings, 8 of them in an earlier run, 16 min 0 s in all, made 64 files; "
        "every file on its own would have taken 128 trainings."
    )


def test_facts_are_those_of_the_record():
    known = dict(provenance.facts(run(), run()["rows"]))
    assert known["Training"] == 'epochs = 24, nested = {"a": [1, 2]}'
    assert known["Split"] == "7,867 for training, 874 for validation, 1,500 for the test"
    assert known["Classes (6)"] == "buildings, forest, glacier, mountain, sea, street"
    assert known["Versions"] == "squeezekit 0.1.0, python 3.11.9, keras 3.15.1"
    assert "Teacher" not in known


def test_a_study_that_went_on_elsewhere_names_both_machines():
    rows = [{"machine": "a"}, {"machine": "b"}, {"machine": "a"}]
    assert dict(provenance.facts({}, rows))["Machine"] == "a; b"


def test_facts_are_short_whatever_a_record_holds():
    labels = ["x" * 300] * 1000
    known = provenance.facts(
        {"data": {"labels": labels}, "settings": dict.fromkeys(map(str, range(1000)), "y" * 500)}, []
    )
    assert all(len(text) <= 900 for _, text in known)
    assert provenance.facts({}, []) == []


@pytest.mark.parametrize(
    ("energy", "text"),
    [
        ({}, ""),
        ({"kwh": 2.0, "metered": True, "basis": ["a socket"]}, "2 kWh (metered; a socket)."),
        (
            {"kwh": 0.5, "unmetered_trainings": 3},
            "About 0.5 kWh (estimated); 3 trainings are not or not wholly in it.",
        ),
        ({"kwh": None, "reason": ["no counter"]}, "not measured (no counter)"),
        ({"kwh": float("nan")}, "not measured"),
    ],
)
def test_energy(energy, text):
    assert provenance.energy_sentence(energy) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9234.5, "2 h 33 min"), (61, "1 min 1 s"), (4.25, "4.2 s"), (None, ""), ("x", ""), (float("inf"), "")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("2026-03-02T14:05:11+00:00", "2026-03-02 14:05 UTC"), (None, ""), ("soon", "soon"), (7, "7")],
)
def test_moments(value, text):
    assert moment(value) == text


def test_pairs():
    assert pairs({"a": 1, "b": [1, None], "c": {"d": "e"}}) == 'a = 1, b = [1, null], c = {"d": "e"}'
    assert pairs("text") == ""
