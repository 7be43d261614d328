"""Stages a minute on two Ray nodes of one CPU against one such node, and what a killed worker costs.

    python benchmarks/ray_throughput.py --stages 4 --epochs 4

trains the same independent stages (SqueezeNet from scratch, one seed each, on images that it draws) three times, on
nodes that are all on this machine: one node, two nodes, and two nodes of which one loses its worker when its first
epoch is on disk. Workers have imported TensorFlow before the clock starts. Every stage of every run must end with the
curves that it had in the first: nothing is lost, and nothing depends on where a stage is trained. With `--rounds` the
three take turns so often, each round beginning with another, and the ratio is the median of the rounds'. Needs
`squeezekit[ray]` and, for the ratio to mean anything, two cores that nothing else uses.

On two cores with nothing else to do, `--stages 2 --epochs 12 --images 8` printed 21.5 s on one node and 11.3 s on two:
1.91 times the throughput (0.94 with a worker killed, and nothing lost); on a slower day 1.71.
"""

import argparse
import contextlib
import dataclasses
import logging
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from squeezekit import curate, data, experiment, training
from squeezekit.data import Dataset
from squeezekit.experiment.plan import Site, Stage, make_plan
from squeezekit.experiment.ray_executor import RayExecutor
from squeezekit.experiment.stage_cache import train_stage
from squeezekit.preprocess import Preprocess

QUIET = training.Progress(enabled=False)
# Each way's number of nodes, and whether a worker is killed.
WAYS = {"one node": (1, False), "two nodes": (2, False), "a kill": (2, True)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=40, help="A class, for training.")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images = curate.write_shapes(
            work / "images", per_class_train=options.images, per_class_test=4, size=options.size, seed=0
        )
        dataset = data.open_dataset(images)
        settings = training.Settings(epochs=options.epochs, precision=training.Precision.FLOAT32)
        study = experiment.Experiment(
            lines=experiment.grid(techniques=["coder"]),
            width=options.width,
            size=options.size,
            settings=settings,
            seeds=options.stages,
            baseline=False,
        ).for_images(len(dataset.train))
        preprocess = experiment.choose_preprocess(dataset, options.size)
        stages = make_plan(study, dataset, preprocess).stages
        runner = Runner(dataset, preprocess, images, work, stages)
        rounds = [runner.round(number) for number in range(options.rounds)]
    for title, way, end in (
        ("two nodes against one:", "two nodes", "the throughput"),
        ("with a worker killed: ", "a kill", "nothing lost"),
    ):
        ratios = [seconds["one node"] / seconds[way] for seconds in rounds]
        spread = (
            f" ({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)" if len(ratios) > 1 else ""
        )
        print(f"{title} {statistics.median(ratios):.2f} times{spread}, {end}")


class Runner:
    """Runs the three ways in turns, and holds each to the curves of the first run."""

    def __init__(
        self, dataset: Dataset, preprocess: Preprocess, images: Path, work: Path, stages: tuple[Stage, ...]
    ) -> None:
        self._site = Site(dataset, preprocess, str(images), work, work, "")
        self._stages = stages
        self._curves: dict[str, list] = {}

    def round(self, number: int) -> dict[str, float]:
        """The seconds of each way; every round begins with another."""
        names = list(WAYS)
        first = number % len(names)
        return {name: self._seconds(number, name) for name in names[first:] + names[:first]}

    def _seconds(self, number: int, name: str) -> float:
        nodes, kill = WAYS[name]
        out = self._site.out / f"{number} {name}"
        site = dataclasses.replace(self._site, out=out, cache=out / "stages", id=name)
        seconds, curves = run(site, self._stages, nodes, kill=kill)
        print(
            f"{name:10} {seconds:7.1f} s  {len(self._stages) / seconds * 60:6.2f} stages a minute", flush=True
        )
        self._curves = self._curves or curves
        if curves != self._curves:
            raise SystemExit(f"{name}: other curves than in the first run")
        return seconds


def run(site: Site, stages: tuple[Stage, ...], nodes: int, *, kill: bool) -> tuple[float, dict[str, list]]:
    """Train all on so many nodes of one CPU: seconds, and the curves of each stage."""
    pids = site.out / "pids"
    pids.mkdir(parents=True)
    for stage in stages:
        site.folder(stage.key).mkdir(parents=True)
    with cluster(nodes):
        executor = RayExecutor(cpus=1)
        warm = [
            experiment.Task(f"warm {node}", meet, (site.out / f"warm {node}", site.out, nodes))
            for node in range(nodes)
        ]
        list(executor.run(warm, QUIET))
        killer = threading.Thread(target=kill_one, args=(site, stages[0], pids), daemon=True)
        tasks = [experiment.Task(stage.key, train, (site, stage, pids)) for stage in stages]
        started = time.perf_counter()
        if kill:
            killer.start()
        records = dict(executor.run(tasks, QUIET))
        seconds = time.perf_counter() - started
    if kill and not (pids / "killed").exists():
        raise SystemExit("the stage ended before its worker could be killed: more --epochs")
    return seconds, {stage.key: records[stage.key]["curves"] for stage in stages}


def meet(mine: Path, folder: Path, count: int, *, progress: training.Progress) -> None:
    """Until every node has a worker that has come so far: TensorFlow is imported."""
    mine.touch()
    while len(list(folder.glob("warm *"))) < count:
        time.sleep(0.01)


def train(site: Site, stage: Stage, pids: Path, *, progress: training.Progress) -> dict:
    """`train_stage`, and who does it."""
    (pids / stage.key).write_text(str(os.getpid()))
    return train_stage(site, stage, progress=progress)


def kill_one(site: Site, stage: Stage, pids: Path) -> None:
    """Kill the worker that trains a stage, once its first epoch is on disk."""
    while not list(site.folder(stage.key).glob("*.checkpoint.npz")):
        time.sleep(0.01)
    if not (site.folder(stage.key) / "stage.json").exists():
        os.kill(int((pids / stage.key).read_text()), signal.SIGKILL)
        (pids / "killed").touch()


@contextlib.contextmanager
def cluster(count: int) -> Iterator[None]:
    """So many nodes of one CPU on this machine, each kept to a core of its own, and a connection to them."""
    cores = sorted(os.sched_getaffinity(0))
    nodes = Cluster()
    for number in range(count):
        # What a node starts inherits this. Without it a single node works on both cores: TensorFlow's threads do.
        os.sched_setaffinity(0, {cores[number % len(cores)]})
        nodes.add_node(num_cpus=1, include_dashboard=False)
    os.sched_setaffinity(0, cores)
    ray.init(nodes.address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


if __name__ == "__main__":
    main()
