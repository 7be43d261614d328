"""The page of a sensitivity measurement."""

import pytest
from page_reader import Reader, require_accessible, require_self_contained

from squeezekit.report import render_sensitivity

SETTINGS = {"prune": [0.5, 0.9], "share": [8, 4]}
LAYERS = {"conv": 432, "dense": 1_000_000}


def measured(names=LAYERS, **more):
    lines = [
        {"technique": technique, "setting": setting, "layer": layer, "accuracy": 0.9 - 0.08 * place * row}
        for technique, settings in SETTINGS.items()
        for place, setting in enumerate(settings)
        for row, layer in enumerate(names)
        if (technique, layer) != ("share", "conv")
    ]
    whole = {"model": "net", "accuracy": 0.9, "images": 1234, "layers": dict(names), "techniques": SETTINGS}
    return {**whole, "results": lines, "complete": True, **more}


def test_says_what_each_layer_costs():
    reader = Reader(render_sensitivity(measured()))
    require_self_contained(reader)
    require_accessible(reader)
    assert len(reader.page.encode()) < 150_000
    prune, share = reader.tables.values()
    assert prune == [
        ["Layer", "Weights", "0.5", "0.9"],
        ["conv", "432", "0.0", "0.0"],
        ["dense", "1,000,000", "0.0", "−8.0"],
    ]
    # A layer that a technique leaves alone has no line.
    assert [line[0] for line in share] == ["Layer", "dense"]
    assert "90.0 % of 1,234 validation images right" in reader.said()
    assert "prune(0.5, layers={'conv': 0.9}) | share(bits=8) | quantize(bits=8)" in reader.said()


def test_the_strongest_setting_within_the_drop_is_bold():
    bold = [
        attributes
        for attributes in Reader(render_sensitivity(measured())).all("td")
        if "sure" in attributes.get("class", "")
    ]
    assert len(bold) == 3
    loose = Reader(render_sensitivity(measured(), drop=0.1))
    assert "costs at most 10.0 points" in loose.said()
    assert "prune(0.9) | share(bits=4) | quantize(bits=8)" in loose.said()


def test_a_measurement_that_has_not_ended_has_no_recipe():
    said = Reader(render_sensitivity(measured(complete=False))).said()
    assert "Not all layers are measured yet: call it again to go on." in said
    assert "quantize(bits=8)" not in said


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[2J\u202egpj", "{{ 7 }}"]
)
def test_hostile_names_are_inert(hostile):
    clean = Reader(render_sensitivity(measured()))
    dirty = Reader(render_sensitivity(measured({hostile: 1, "dense": 2}, model=hostile)))
    require_self_contained(dirty)
    assert {tag for tag, _ in dirty.tags} <= {tag for tag, _ in clean.tags}
    assert "\x1b" not in dirty.page
