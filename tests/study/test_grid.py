"""Which rows and stages a study has, and what makes a stage another stage."""

import dataclasses
import pickle

import pytest
import study_run

from squeezekit import models, study, training
from squeezekit.data import open_dataset
from squeezekit.study.again import command_of
from squeezekit.study.agenda import Site, make_agenda
from squeezekit.study.stages import train_stage


@pytest.fixture(scope="module")
def dataset(stripes_folder):
    return open_dataset(stripes_folder)


def agenda_of(dataset, plan):
    plan = plan.for_images(len(dataset.train))
    return make_agenda(plan, dataset, study.choose_preprocess(dataset, plan.size))


def test_a_rows_command_names_weight_decay_and_cutout_where_they_are_not_the_usual_ones():
    def line(**settings):
        return command_of({"seeds": [0], "settings": settings}, {"coder": "rans"}, 0)

    assert "--weight-decay 0.05 " in line(weight_decay=0.05)
    assert "--weight-decay 0.0 " in line(weight_decay=0.0)
    assert "--weight-decay" not in line(weight_decay=training.Settings().weight_decay) + line()
    assert "--cutout 0.25 " in line(augment={"flip": True, "cutout": 0.25})
    assert "--cutout" not in line(**training.Settings().to_dict()) + line()


def test_the_full_grid_is_64_rows_of_14_stages_and_two_networks(dataset):
    agenda = agenda_of(dataset, study.StudyPlan(baseline=False))
    assert len(agenda.rows) == len({row.id for row in agenda.rows}) == 64
    assert len({row.file for row in agenda.rows}) == 64
    assert len({tuple(row.factors.items()) for row in agenda.rows}) == 64
    assert sum(stage.recipe != "" for stage in agenda.stages) == 14
    scratch = [stage.network for stage in agenda.stages if not stage.recipe]
    assert scratch == ["squeezenet-1.1-bypass", "squeezenet-1.1-separable-bypass"]
    assert len({stage.key for stage in agenda.stages}) == 16


def test_every_stage_comes_after_those_that_it_continues_and_has_rows(dataset):
    agenda = agenda_of(dataset, study.StudyPlan(seeds=2))
    assert len(agenda.stages) == 2 * 17
    assert len(agenda.rows) == 2 * 65
    seen = set()
    for stage in agenda.stages:
        assert set(stage.keys[:-1]) <= seen
        assert len(stage.keys) == 1 + len(stage.recipe.split(" | ")) * bool(stage.recipe)
        assert agenda.rows_of(stage)
        seen.add(stage.key)
    assert [row.stage.recipe for row in agenda.rows if not row.factors] == ["", ""]


def test_a_row_is_exported_from_the_stage_of_its_factors(dataset):
    for row in agenda_of(dataset, study.StudyPlan(baseline=False)).rows:
        techniques = [row.factors[name] for name in ("prune", "share", "quantize") if row.factors[name]]
        assert row.stage.recipe == " | ".join(techniques)
        assert ("separable" in row.stage.network) == (row.factors["fire"] == "separable")


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
    one, other = (agenda_of(dataset, study_run.plan(**part)) for part in ({}, changes))
    assert not {stage.key for stage in one.stages} & {stage.key for stage in other.stages}
    assert not {row.id for row in one.rows} & {row.id for row in other.rows}


def test_other_retraining_leaves_the_networks_from_scratch(dataset):
    one, other = (agenda_of(dataset, study_run.plan(compress_epochs=epochs)) for epochs in (1, 2))
    shared = {stage.key for stage in one.stages} & {stage.key for stage in other.stages}
    assert shared == {stage.key for stage in one.stages if not stage.recipe}


def test_a_subset_has_the_ids_and_stages_of_the_whole(dataset):
    whole = agenda_of(dataset, study.StudyPlan())
    part = agenda_of(dataset, study.StudyPlan(grid=study.grid_of(["share", "coder"]), baseline=False))
    assert len(part.rows) == 8
    assert {row.id for row in part.rows} < {row.id for row in whole.rows}
    assert {stage.key for stage in part.stages} < {stage.key for stage in whole.stages}


def test_levels_have_one_name_and_many_are_possible():
    grid = study.grid_of(["prune", "share"], ["prune(sparsity=0.8)", "prune(0.9)"])
    assert grid.prune == ("", "prune(0.8)", "prune(0.9)")
    assert grid.share == ("", "share(bits=5)")
    assert grid.coder == ("small",)
    assert len(grid.recipes()) == 2 + 1 + 2


@pytest.mark.parametrize(
    ("techniques", "levels", "says"),
    [
        (["melt"], [], "melt"),
        ([], [], "techniques"),
        (["prune"], ["share(4)"], "share"),
        (["prune"], ["prune(0.8) | share(4)"], "level"),
        (["prune"], ["prune(0.8)", "prune(sparsity=0.8)"], "once"),
        (["prune"], ["prune(2)"], "sparsity"),
        (["coder"], ["auto"], "coder"),
        (["coder"], ["zip"], "zip"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(techniques, levels, says):
    with pytest.raises(ValueError, match=says):
        study.grid_of(techniques, levels)


@pytest.mark.parametrize(
    "changes", [{"model": "alexnet"}, {"model": "squeezenet-1.1-separable"}, {"seeds": 0}, {"probes": 0}]
)
def test_a_plan_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        study.StudyPlan(**changes)


@pytest.mark.parametrize(
    "model", ["squeezenet-1.0", "squeezenet-1.0-bypass", "squeezenet-1.1", "squeezenet-1.1-bypass"]
)
def test_every_network_has_a_separable_one(model):
    assert set(study.StudyPlan(model=model).networks.values()) <= set(models.MODELS)


def test_what_a_stage_needs_can_be_sent_elsewhere(dataset, tmp_path):
    agenda = agenda_of(dataset, study_run.plan())
    site = Site(dataset, study.choose_preprocess(dataset, 32), "stripes", tmp_path, tmp_path / "stages", "me")
    task = study.Task("a", train_stage, (site, agenda.stages[1]), needs=agenda.stages[1].keys[:-1])
    # Only what an executor may do between processes; nothing of ours is ever read from such bytes.
    sent = pickle.loads(pickle.dumps(task))
    assert sent.function is train_stage
    assert sent.arguments[0].dataset.fingerprint == dataset.fingerprint
    assert sent.arguments[0].dataset.test.paths == dataset.test.paths
    assert sent.arguments[1].keys == agenda.stages[1].keys
    assert sent.needs == task.needs


def test_tasks_wait_for_what_they_need():
    def name(value, progress):
        return value

    tasks = [study.Task("b", name, ("B",), needs=("a",)), study.Task("a", name, ("A",))]
    quiet = training.Progress(enabled=False)
    with pytest.raises(ValueError, match="b early"):
        list(study.InProcess().run(tasks, quiet))
    assert list(study.InProcess().run(tasks[::-1], quiet)) == [("a", "A"), ("b", "B")]
    assert list(study.InProcess().run(tasks[:1], quiet)) == [("b", "B")]
