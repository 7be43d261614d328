"""Stages as Ray tasks on two nodes: order, errors, deaths, and the rows of a study in this process."""

import io
import json
import os
import signal
from pathlib import Path

import pytest
import study_run

from squeezekit import experiment, models
from squeezekit.errors import DataError
from squeezekit.experiment import Task
from squeezekit.training import Progress

pytest.importorskip("ray")

import ray
import ray_tasks
from ray.cluster_utils import Cluster

from squeezekit.experiment import ray_executor
from squeezekit.experiment.ray_executor import RayExecutor

# As many threads as TensorFlow takes in this process: results are the same to the bit only then.
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
TIMES = {"latency_ms", "cold_start_ms", "peak_memory_bytes", "seconds"}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes that take one stage each."""
    with pytest.MonkeyPatch.context() as environment:
        here = str(Path(__file__).parent)
        environment.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Cluster()
        # As below a shell's background job: what Ray starts inherits it.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for options in ({"include_dashboard": False}, {}):
            _add_node(nodes, num_cpus=CPUS, **options)
        signal.signal(signal.SIGINT, before)
        yield nodes
        nodes.shutdown()


def _add_node(nodes, **options):
    """Ray gives a node half a minute to start, which a machine that is busy otherwise may exceed."""
    for left in (2, 1, 0):
        try:
            nodes.add_node(**options)
            return
        # Ray knows no narrower kind for it.
        except Exception:
            if not left:
                raise


@pytest.fixture(scope="module")
def connected(cluster):
    """Connected by the test itself, once: workers stay from test to test, each has TensorFlow to import."""
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()


@pytest.fixture
def executor(connected):
    return RayExecutor(cpus=CPUS)


@pytest.fixture
def quiet():
    return Progress(enabled=False)


@pytest.mark.slow
def test_a_study_has_the_same_rows_though_a_worker_died(cluster, stripes_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("squeezekit.experiment.runner.train_stage", ray_tasks.train_small)
    for name, network in study_run.SMALL.items():
        monkeypatch.setitem(models.MODELS, name, network)
    plan = study_run.plan(("prune",))
    executor = RayExecutor(cluster.address, cpus=CPUS)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "died").touch()
    # A worker has another folder of its own.
    monkeypatch.chdir(tmp_path)
    results = {
        "here": experiment.run_study(stripes_folder, "here", plan),
        "ray": experiment.run_study(stripes_folder, "ray", plan, executor=executor),
    }
    assert (tmp_path / "ray" / "died").exists()
    one, other = results.values()
    assert [_without_times(row) for row in _sorted(one)] == [_without_times(row) for row in _sorted(other)]
    for row in one["rows"]:
        files = [(tmp_path / name / row["file"]).read_bytes() for name in results]
        assert files[0] == files[1]
    trained = [
        {training["stage"]: training["curves"] for training in each["trainings"]} for each in (one, other)
    ]
    assert trained[0] == trained[1]
    assert not ray.is_initialized()
    died = next(training for training in other["trainings"] if training["network"] == "alexnet")
    assert died["resumed_at"] > 0


def test_two_nodes_work_at_once_and_a_task_waits_for_what_it_needs(executor, quiet, tmp_path):
    tasks = [
        Task("a", ray_tasks.meet, (tmp_path, "a", "b")),
        Task("b", ray_tasks.meet, (tmp_path, "b", "a")),
        Task("c", ray_tasks.after, (tmp_path, "ab"), needs=("a", "b", "done before")),
        Task("d", ray_tasks.touch, (tmp_path, "d"), needs=("c",)),
    ]
    results = dict(executor.run(tasks, quiet))
    assert list(results)[2:] == ["c", "d"]
    assert results["a"] != results["b"]
    assert results["c"] == [True, True]
    assert results["d"][0] == str(CPUS)
    with pytest.raises(ValueError, match="d early"):
        list(executor.run(tasks[::-1], quiet))


def test_an_error_comes_out_as_itself_and_stops_the_others(executor, quiet, tmp_path):
    tasks = [
        Task("refused", ray_tasks.refuse),
        Task("lingers", ray_tasks.linger, (tmp_path,)),
        Task("never", ray_tasks.touch, (tmp_path, "never"), needs=("refused",)),
    ]
    with pytest.raises(DataError) as raised:
        list(executor.run(tasks, quiet))
    assert type(raised.value) is DataError
    assert str(raised.value) == "photos: fewer than two classes"
    assert not (tmp_path / "never").exists()


def test_closed_early_running_tasks_end_in_order(executor, tmp_path, monkeypatch):
    # However long the worker waits for a processor: what is tested is that its end is waited for.
    monkeypatch.setattr(ray_executor, "_FAREWELL_SECONDS", ray_tasks.SECONDS)
    stream = io.StringIO()
    tasks = [
        Task("lingers", ray_tasks.linger, (tmp_path,)),
        Task("quick", ray_tasks.touch, (tmp_path, "quick")),
    ]
    results = executor.run(tasks, Progress(stream, enabled=True))
    assert next(results)[0] == "quick"
    ray_tasks.wait_for(tmp_path / "began")
    results.close()
    assert (tmp_path / "in order").exists()


def test_a_task_whose_worker_dies_is_run_again_but_not_for_ever(connected, quiet, tmp_path):
    task = Task("dies", ray_tasks.die, (tmp_path, 2))
    with pytest.raises(ChildProcessError, match="goes on where it was"):
        list(RayExecutor(cpus=CPUS, retries=0).run([task], quiet))
    assert dict(RayExecutor(cpus=CPUS, retries=1).run([task], quiet)) == {"dies": 2}


def test_more_cpus_than_any_node_has_are_refused(connected, quiet, tmp_path):
    task = Task("never", ray_tasks.touch, (tmp_path, "never"))
    with pytest.raises(ValueError, match=f"{CPUS} on the largest"):
        list(RayExecutor(cpus=CPUS + 1).run([task], quiet))
    with pytest.raises(ValueError, match="cpus=0"):
        RayExecutor(cpus=0)


def _sorted(result):
    return sorted(result["rows"], key=lambda row: row["id"])


def _without_times(row):
    return json.loads(json.dumps({key: value for key, value in row.items() if key not in TIMES}))
