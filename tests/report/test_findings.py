"""What a study found: sentences, shares and picks of a study whose effects are known."""

import dataclasses
import itertools
import json
import math
from types import SimpleNamespace

import pytest

import study_store
from squeezekit import compress
from squeezekit.experiment import Results
from squeezekit.report import render_study, study_findings, summary


def findings_of(rows, **more):
    return study_findings(Results(rows, study_store.common(rows) | more, []))


def other_study(grid, baseline=True):
    """Rows of all levels of whatever factors; each level but the first of its factor halves the file."""
    rows = [study_store.row({}, 0, 90_000_000)] if baseline else []
    for levels in itertools.product(*grid.values()):
        factors = dict(zip(grid, levels, strict=True))
        halved = sum(level != grid[name][0] for name, level in factors.items())
        recipe = " | ".join(level for name, level in factors.items() if level and name in compress.TECHNIQUES)
        network = {"network": study_store.NETWORK}
        row = study_store.row(network | factors, 0, 8_000_000 // 2**halved, recipe=recipe)
        rows.append({**row, "factors": factors})
    return rows


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
        assert sentence in reader.said()


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


def test_exactly_5_points_are_not_over_5(found):
    view = next(view for view in found.views if view.changes)
    five = dataclasses.replace(view.changes[0], change=0.9 - 0.95)
    assert not dataclasses.replace(view, changes=[five]).losers
    assert dataclasses.replace(view, changes=[dataclasses.replace(five, change=-0.051)]).losers


def test_no_cost_is_claimed_where_the_interval_holds_zero():
    rows = [
        row
        for row in study_store.rows()
        if row["factors"].get("share") == "" and row["factors"]["network"] == study_store.NETWORK
    ]
    found = findings_of(rows)
    assert found.sentences[-1].startswith("No technique costs accuracy on average")
    one = next(row for row in rows if row["recipe"] == "quantize(bits=8)")
    wrong = next(image for image, label in enumerate(study_store.TRUTH) if one["predicted"][image] == label)
    for row in rows:
        if row["factors"]["quantize"]:
            row["predicted"] = [
                5 - label if image == wrong else label for image, label in enumerate(row["predicted"])
            ]
    found = findings_of(rows)
    assert found.sentences[-1].startswith(
        "No technique surely costs accuracy: quantizing comes nearest, −0.3 points ("
    )


def test_a_study_without_coders_says_who_pays_all_the_same():
    rows = [row for row in study_store.rows() if row["factors"].get("coder", "small") == "small"]
    found = findings_of(rows, grid={**study_store.GRID, "coder": ["small"]})
    assert not [view.name for view in found.views if "coder" in view.name]
    compressed = [view for view in found.views if view.changes]
    assert len(compressed) == len(rows) - 4
    assert all(view.churn is not None for view in compressed)
    assert len(found.shares) == 4
    assert found.flipped


@pytest.mark.parametrize(
    ("grid", "names", "sentence"),
    [
        (
            {"prune_channels": ["", "prune_channels(0.3)"], "separable": ["", "separable()"]},
            ["prune_channels(0.3), separable()", "prune_channels(0.3)", "separable()", "uncompressed"],
            "pruning channels bought 50 % of that, separable convolutions 50 %.",
        ),
        (
            {"network": ["squeezenet-1.1", "squeezenet-1.0"], "coder": ["none", "rans"]},
            ["SqueezeNet 1.0, rANS", "SqueezeNet 1.0", "rANS", "uncompressed"],
            "SqueezeNet 1.0 bought 50 % of that, coding 50 %.",
        ),
        (
            {"network": ["mine", "other"], "prune": ["", "prune(0.8)"]},
            ["other, prune(0.8)", "other", "prune(0.8)", "uncompressed"],
            "other bought 50 % of that, pruning 50 %.",
        ),
    ],
    ids=["techniques that change layers", "networks of two families", "networks that nobody knows"],
)
def test_any_factor_is_told_by_its_name(grid, names, sentence):
    found = findings_of(other_study(grid), grid=grid)
    assert sorted(view.name for view in found.views[1:]) == sorted(names)
    assert found.sentences[1] == f"All techniques together make the file 4.0 times smaller: {sentence}"


def test_a_technique_that_registers_has_its_words(monkeypatch):
    monkeypatch.setitem(compress.TECHNIQUES, "melt", SimpleNamespace(noun="melting"))
    grid = {"melt": ["", "melt(0.5)", "melt(0.9)"]}
    found = findings_of(other_study(grid), grid=grid)
    assert [effect.factors for effect in found.main["bytes"]] == [
        (("melt", "melt(0.5)"),),
        (("melt", "melt(0.9)"),),
    ]
    assert "melting bought 100 % of that" in found.sentences[1]
    assert found.sentences[2].startswith("No technique costs accuracy on average")


def test_orders_are_a_factor_and_name_their_rows():
    """Where orders differ, not every combination is there: no shares, but the level that saves most."""
    both = {"prune": "prune(0.8)", "share": "share(bits=5)"}
    grid = {"prune": ["", both["prune"]], "share": ["", both["share"]], "order": ["", "share | prune"]}
    rows = [
        row for row in other_study(grid) if not row["factors"].get("order") or row["recipe"].count("|") == 1
    ]
    found = findings_of(rows, grid=grid)
    assert len(rows) == 1 + 5
    assert "prune(0.8), share(bits=5), share, then prune" in [view.name for view in found.views]
    assert found.shares == []
    assert found.reduction is None
    assert found.sentences[1].endswith("saves most: 2.00× smaller on average.")
    assert {effect.factors[0][0] for effect in found.main["bytes"]} == {"prune", "share", "order"}
    render_study(Results(rows, study_store.common(rows) | {"grid": grid}, []), found)


def test_picks_are_the_smallest_files_within_1_and_10_points(found):
    near, far = found.picks
    assert [view.pick for view in found.picks] == ["within 1 point", "within 10 points"]
    assert near.name == "separable fire, prune(0.8), quantize(bits=8), small coder"
    assert far.name == "separable fire, prune(0.8), share(bits=5), quantize(bits=8), small coder"
    assert [found.labels[change.label] for change in far.losers] == ["sea"]


def test_one_file_can_be_both_picks():
    rows = [row for row in study_store.rows() if not row["factors"].get("share")]
    (pick,) = findings_of(rows).picks
    assert pick.pick == "within 1 point and within 10 points"


def test_no_file_within_10_points():
    rows = [{**row, "validation_top1": 0.9 * row["baseline"]} for row in study_store.rows()]
    found = findings_of(rows)
    assert found.picks == found.flipped == []
    assert found.sentences[0].endswith("the smallest file. No file stays within 10 points of it.")


def test_the_summary_is_plain_json_in_the_units_of_a_reader(found):
    told = json.loads(json.dumps(summary(found), allow_nan=False))
    assert set(told) == {
        *("findings", "picks", "front", "effects", "interactions", "shares_of_the_reduction"),
    }  # fmt: skip
    network = told["effects"]["bytes"][0]
    assert network["levels"] == {"network": study_store.SEPARABLE}
    assert network["value"] == pytest.approx(math.exp(0.9), rel=0.001)
    assert network["low"] <= network["value"] <= network["high"]
    assert (network["interval_from"], network["contexts"]) == ("seeds", 32)
    helped = next(
        line for line in told["interactions"]["bytes"]
        if line["levels"] == {"prune": "prune(0.8)", "coder": "rans"}
    )  # fmt: skip
    assert helped["value"] == pytest.approx(math.exp(study_store.PAIR), rel=0.001)
    assert sum(share["value"] for share in told["shares_of_the_reduction"]) == pytest.approx(1)
    assert told["picks"][1]["lost_over_5_points"] == ["sea"]
