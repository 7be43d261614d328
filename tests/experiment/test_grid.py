"""Which rows and stages a study has, and what makes a stage another stage."""

import dataclasses
import json
import pickle
import types
from pathlib import Path

import pytest
import study_run

from squeezekit import compress, experiment, training
from squeezekit.data import Augment, open_dataset
from squeezekit.experiment.grid import factors_of
from squeezekit.experiment.plan import Site, make_plan
from squeezekit.experiment.stage_cache import train_stage
from squeezekit.preprocess import Preprocess

KEPT = Path(__file__).parents[2] / "docs" / "results" / "intel"


@pytest.fixture(scope="module")
def dataset(stripes_folder):
    return open_dataset(stripes_folder)


def plan_of(dataset, study):
    study = study.for_images(len(dataset.train))
    return make_plan(study, dataset, experiment.choose_preprocess(dataset, study.size))


def test_a_rows_command_names_weight_decay_and_cutout_where_they_are_not_the_usual_ones(dataset):
    def line(**settings):
        study = experiment.Experiment(
            lines=experiment.grid(techniques=["coder"]), settings=training.Settings(**settings)
        )
        return plan_of(dataset, study).rows[0].command

    assert "--weight-decay 0.05 " in line(weight_decay=0.05)
    assert "--weight-decay 0.0 " in line(weight_decay=0.0)
    assert "--cutout 0.25 " in line(augment=Augment(cutout=0.25))
    assert "--weight-decay" not in line()
    assert "--cutout" not in line()


def test_the_full_grid_is_64_rows_of_14_stages_and_two_networks(dataset):
    plan = plan_of(dataset, experiment.Experiment(baseline=False))
    assert len(plan.rows) == len({row.id for row in plan.rows}) == 64
    assert len({row.file for row in plan.rows}) == 64
    assert len({tuple(row.factors.items()) for row in plan.rows}) == 64
    assert sum(stage.recipe != "" for stage in plan.stages) == 14
    scratch = [stage.network for stage in plan.stages if not stage.recipe]
    assert scratch == ["squeezenet-1.1-bypass", "squeezenet-1.1-separable-bypass"]
    assert len({stage.key for stage in plan.stages}) == 16


def test_every_stage_comes_after_those_that_it_continues_and_has_rows(dataset):
    plan = plan_of(dataset, experiment.Experiment(seeds=2))
    assert len(plan.stages) == 2 * 17
    assert len(plan.rows) == 2 * 65
    seen = set()
    for stage in plan.stages:
        assert set(stage.keys[:-1]) <= seen
        assert len(stage.keys) == 1 + len(stage.recipe.split(" | ")) * bool(stage.recipe)
        assert plan.rows_of(stage)
        seen.add(stage.key)
    assert [row.stage.recipe for row in plan.rows if not row.factors] == ["", ""]


def test_a_row_is_exported_from_the_stage_of_its_factors(dataset):
    for row in plan_of(dataset, experiment.Experiment(baseline=False)).rows:
        techniques = [row.factors[name] for name in ("prune", "share", "quantize") if row.factors[name]]
        assert row.stage.recipe == " | ".join(techniques)
        assert ("separable" in row.stage.network) == ("separable" in row.factors["network"])


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": dataclasses.replace(study_run.plan().settings, seed=1)},
        {"settings": dataclasses.replace(study_run.plan().settings, epochs=5)},
        {"settings": dataclasses.replace(study_run.plan().settings, precision=training.Precision.BFLOAT16)},
        {"width": 0.5},
        {"size": 48},
        {"validation": 0.2},
    ],
)
def test_whatever_determines_a_network_changes_every_key(dataset, changes):
    one, other = (plan_of(dataset, study_run.plan(**part)) for part in ({}, changes))
    assert not {stage.key for stage in one.stages} & {stage.key for stage in other.stages}
    assert not {row.id for row in one.rows} & {row.id for row in other.rows}


def test_other_retraining_leaves_the_networks_from_scratch(dataset):
    one, other = (plan_of(dataset, study_run.plan(compress_epochs=epochs)) for epochs in (1, 2))
    shared = {stage.key for stage in one.stages} & {stage.key for stage in other.stages}
    assert shared == {stage.key for stage in one.stages if not stage.recipe}


def test_a_subset_has_the_ids_and_stages_of_the_whole(dataset):
    whole = plan_of(dataset, experiment.Experiment())
    lines = experiment.grid(techniques=["share", "coder"])
    part = plan_of(dataset, experiment.Experiment(lines=lines, baseline=False))
    assert len(part.rows) == 8
    assert {row.id for row in part.rows} < {row.id for row in whole.rows}
    assert {stage.key for stage in part.stages} < {stage.key for stage in whole.stages}


def test_the_kept_study_has_the_same_rows_files_and_stages():
    common = json.loads((KEPT / "study.json").read_text("utf-8"))
    rows = [json.loads(line) for line in (KEPT / "results.jsonl").read_text("utf-8").splitlines()]
    data = types.SimpleNamespace(fingerprint=common["data"]["fingerprint"], train_per_class=0)
    settings = training.Settings(precision=training.Precision.BFLOAT16)
    study = experiment.Experiment(settings=settings, seeds=2).for_images(common["data"]["train"])
    plan = make_plan(study, data, Preprocess.from_dict(common["preprocess"]))
    assert {row.id: row.file for row in plan.rows} == {row["id"]: row["file"] for row in rows}
    assert {row.id: row.stage.key for row in plan.rows} == {row["id"]: row["stage"] for row in rows}
    assert {stage.key for stage in plan.stages} == {training["stage"] for training in common["trainings"]}


def test_levels_have_one_name_and_many_are_possible():
    lines = experiment.grid(techniques=["prune", "share"], levels=["prune(sparsity=0.8)", "prune(0.9)"])
    _, levels = factors_of(lines)
    assert levels["prune"] == ["", "prune(0.8)", "prune(0.9)"]
    assert levels["share"] == ["", "share(bits=5)"]
    assert levels["coder"] == ["small"]
    assert len({line.recipe for line in lines}) == 6


def test_every_technique_can_be_studied_and_orders_too(dataset):
    for name, technique in compress.TECHNIQUES.items():
        lines = experiment.grid(techniques=[name])
        assert [line.recipe for line in lines] == ["", str(compress.parse(technique.study_level))]
    lines = experiment.grid(levels=["prune_channels(0.5, multiple_of=8)"])
    assert len(lines) == 128
    assert factors_of(lines)[1]["prune_channels"] == ["", "prune_channels(0.5, multiple_of=8)"]
    recipes = ["", "prune(0.8) | share(5)", "share(5) | prune(0.8)"]
    study = experiment.Experiment(
        lines=experiment.recipe_lines(experiment.DEFAULT_MODEL, recipes), baseline=False
    )
    rows = plan_of(dataset, study).rows
    assert [row.factors["order"] for row in rows] == ["", "", "share | prune"]
    assert len({row.id for row in rows}) == 3


def test_a_command_of_the_first_version_makes_the_same_lines():
    old = experiment.grid(techniques=["fire", "coder"], levels=["separable", "rans"])
    new = experiment.recipe_lines("squeezenet-1.1-separable-bypass", [""], ["rans"])
    assert old[-1] == new[-1]


@pytest.mark.parametrize(
    ("techniques", "levels", "says"),
    [
        (["melt"], [], "melt"),
        (["prune"], ["share(4)"], "share"),
        (["prune"], ["prune(0.8) | share(4)"], "level"),
        (["prune"], ["prune(0.8)", "prune(sparsity=0.8)"], "once"),
        (["prune"], ["prune(2)"], "sparsity"),
        (["coder"], ["auto"], "auto"),
        (["coder"], ["zip"], "zip"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(techniques, levels, says):
    with pytest.raises(ValueError, match=says):
        experiment.grid(techniques=techniques, levels=levels)


@pytest.mark.parametrize(
    "changes", [{"seeds": 0}, {"probes": 0}, {"size": 8}, {"only": -1}, {"frozen": ("a",)}]
)
def test_an_experiment_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        experiment.Experiment(**changes)


@pytest.mark.parametrize(
    "model", ["squeezenet-1.0", "squeezenet-1.0-bypass", "squeezenet-1.1", "squeezenet-1.1-bypass"]
)
def test_every_squeezenet_has_a_separable_one(model):
    version = "-".join(model.split("-")[:2])
    networks = {line.network for line in experiment.grid(model, techniques=["network"])}
    assert networks == {model, model.replace(version, f"{version}-separable")}


def test_what_a_stage_needs_can_be_sent_elsewhere(dataset, tmp_path):
    plan = plan_of(dataset, study_run.plan())
    site = Site(
        dataset, experiment.choose_preprocess(dataset, 32), "stripes", tmp_path, tmp_path / "stages", "me"
    )
    task = experiment.Task("a", train_stage, (site, plan.stages[1]), needs=plan.stages[1].keys[:-1])
    # Only what an executor may do between processes; nothing of ours is ever read from such bytes.
    sent = pickle.loads(pickle.dumps(task))
    assert sent.function is train_stage
    assert sent.arguments[0].dataset.fingerprint == dataset.fingerprint
    assert sent.arguments[0].dataset.test.paths == dataset.test.paths
    assert sent.arguments[1].keys == plan.stages[1].keys
    assert sent.needs == task.needs


def test_tasks_wait_for_what_they_need():
    def name(value, progress):
        return value

    tasks = [experiment.Task("b", name, ("B",), needs=("a",)), experiment.Task("a", name, ("A",))]
    quiet = training.Progress(enabled=False)
    with pytest.raises(ValueError, match="b early"):
        list(experiment.InProcess().run(tasks, quiet))
    assert list(experiment.InProcess().run(tasks[::-1], quiet)) == [("a", "A"), ("b", "B")]
    assert list(experiment.InProcess().run(tasks[:1], quiet)) == [("b", "B")]
