"""An experiment from images to rows: train what is missing, measure what is missing, keep everything."""

import contextlib
import dataclasses
import datetime
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import squeezekit
from squeezekit import compress, files, models
from squeezekit.data import open_dataset
from squeezekit.experiment import energy
from squeezekit.experiment.estimate import estimate
from squeezekit.experiment.executors import Executor, InProcess, Task
from squeezekit.experiment.experiment import Experiment, choose_preprocess
from squeezekit.experiment.measure_rows import latencies_in_turns, measure_rows
from squeezekit.experiment.plan import Plan, RowSpec, Site, Stage, describe_experiment, make_plan
from squeezekit.experiment.record import describe_data, describe_machine, differences, mapping, sequence
from squeezekit.experiment.row_store import Store
from squeezekit.experiment.stage_cache import is_finished, lock_experiment, read_stage, train_stage
from squeezekit.training import Progress

__all__ = ["dry_run", "run", "run_study"]

_RESULTS, _STUDY, _RUN = "results.jsonl", "study.json", "run.json"


def run_study(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    experiment: Experiment | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    command: str = "",
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Train and measure every line of a study; killed and called again, it goes on where it was.

    Writes OUT/results.jsonl (a row a file), OUT/study.json (what is common to them), OUT/files/*.sqz and, unless
    `cache` is elsewhere, OUT/stages. Rows whose id is in `results.jsonl` and whose file is there are done; stages in
    the cache are not trained again, whichever experiment trained them, and one that another is training now is
    waited for.

    Args:
        source: the images, as `data.open_dataset` takes them.
        out: the study's folder.
        experiment: what to do; every combination of the usual levels by default.
        cache: folder of trained stages, which experiments can share; OUT/stages by default.
        executor: who trains the stages; by default this process does.
        command: the command line, for the record.
        progress: where to show how far it is.
        say: told in one line if an unfinished row was cut off.

    Returns:
        What `study.json` holds, and "rows".

    Raises:
        DataError: the images cannot serve.
        FormatError: `results.jsonl` is damaged before its last line.
        ValueError: `out` holds rows of another study, or another study is writing there.
        OSError: a file cannot be written.
    """
    experiment, progress = experiment or Experiment(), progress or Progress()
    with lock_experiment(Path(out)):
        experiment, site = _open(source, out, experiment, cache, progress)
        plan = make_plan(experiment, site.dataset, site.preprocess)
        store = Store(site.out / _RESULTS, say=say)
        strange = {row["id"] for row in store} - {row.id for row in plan.rows}
        if strange:
            raise ValueError(
                f"{store.path} holds {len(strange)} rows of a study with other images, settings or levels. "
                "Take another output folder; --cache lets both share what they train."
            )
        files.remove_leftovers(site.out / _STUDY)
        record = _earlier_record(site.out / _STUDY)
        going = _Run(experiment, site, plan, store, record, progress, _STUDY)
        going.describe(command)
        going.run(executor or InProcess())
        measured = {row["stage"] for row in store}
        if measured != set(record.get("latency", {}).get("ms", {})):
            # At the end, when nothing else of ours is running; again when networks have come.
            record["latency"] = latencies_in_turns(list(store), site.out, progress)
            going.write()
    return {**record, "rows": list(store)}


def run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    experiment: Experiment,
    *,
    command: str = "",
    progress: Progress | None = None,
    advise: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Do an experiment of a few named files: a squeeze, a training, a compression. Killed, it goes on where it was.

    Writes each line's file and its copies into OUT, OUT/stages (safe to delete afterwards) and OUT/run.json.

    Args:
        source: the images, as `data.open_dataset` takes them.
        out: the run's folder.
        experiment: its lines have names of files.
        command: the command line, for the record.
        progress: where to show how far it is.
        advise: called before any training with each sentence of `compress.advice` on the last line's recipe.

    Returns:
        What `run.json` holds: data, settings, curves and one row of figures a file, the baseline first.

    Raises:
        DataError: the images cannot serve.
        ValueError: `out` holds another run's work, or the teacher does not fit the network.
        OSError: a file cannot be written.
    """
    progress, started = progress or Progress(), time.time()
    with lock_experiment(Path(out)):
        experiment, site = _open(source, out, experiment, None, progress)
        plan = make_plan(experiment, site.dataset, site.preprocess)
        _refuse_another_run(site, plan)
        advice = _advice(experiment, site)
        for line in advice:
            if advise:
                advise(line)
        record = _new_record()
        going = _Run(experiment, site, plan, Store(), record, progress, "")
        going.describe(command)
        going.run(InProcess())
        # Last trained, because what the user came for comes first; first told, because it is compared with.
        rows = sorted(going.store, key=lambda row: not row["baseline"])
        shipped = experiment.lines[-1]
        record |= {
            "recipe": shipped.recipe,
            "int8": shipped.int8,
            "advice": advice,
            "reference": rows[0]["reference"],
            "seconds": round(time.time() - started, 1),
            "rows": rows,
        }
        files.write_json(site.out / _RUN, record)
    return record


def dry_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    experiment: Experiment | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say what `run_study` would do with the same arguments, and about how long it would take; writes nothing.

    Args:
        source: the images.
        out: the study's folder; need not exist.
        experiment: what to do.
        cache: folder of trained stages; OUT/stages by default.
        progress: where to show how far the reading of the images is.

    Returns:
        "rows" and "trainings", each with whether it is "done" and the "seconds" that it may take; a row that is
        "measured" and not done lacks its file; "seconds" of all that is not done; "basis": what the estimate stands on.

    Raises:
        DataError: the images cannot serve.
    """
    experiment, site = _open(
        source, out, experiment or Experiment(), cache, progress or Progress(), writes=False
    )
    rows = Path(out) / _RESULTS
    lines = rows.read_bytes().splitlines() if rows.exists() else []
    return estimate(experiment, site, make_plan(experiment, site.dataset, site.preprocess), lines)


class _Run:
    """An experiment in progress."""

    def __init__(
        self,
        experiment: Experiment,
        site: Site,
        plan: Plan,
        store: Store,
        record: dict[str, Any],
        progress: Progress,
        record_file: str,
    ) -> None:
        self.experiment = experiment
        self.site = dataclasses.replace(site, id=record["id"])
        self.plan = plan
        self.store = store
        self.record = record
        self.progress = progress
        self.record_file = record_file
        known = {training["stage"]: training for training in record["trainings"]}
        self.trainings = {stage.key: known.get(stage.key) for stage in plan.stages}

    def describe(self, command: str) -> None:
        """Put into the record what it says besides its trainings."""
        self.record |= {
            "command": command,
            "squeezekit": squeezekit.__version__,
            "data": describe_data(self.site.dataset, self.site.source),
            "labels": list(self.site.dataset.class_names),
            **describe_experiment(self.experiment, self.site.preprocess),
            "inference_energy": energy.ASSUMPTIONS,
            **describe_machine(),
        }

    def run(self, executor: Executor) -> None:
        """Do what is missing."""
        missing = {stage.key: self._missing_rows(stage) for stage in self.plan.stages}
        finished = [stage for stage in self.plan.stages if is_finished(self.site, stage.key)]
        for stage in finished:
            self._note(stage)
        self.write()
        for stage in finished:
            self._measure(stage, missing[stage.key])
        left = [stage for stage in self.plan.stages if stage not in finished]
        needed = {key for stage in left if missing[stage.key] for key in stage.keys}
        stages = {stage.key: stage for stage in left if stage.key in needed}
        # Whoever trains a stage may work in another folder, and shows by finding this one that it sees the cache.
        site = self.site.absolute()
        for key in stages:
            site.folder(key).mkdir(parents=True, exist_ok=True)
        tasks = [
            Task(stage.key, train_stage, (site, stage), needs=stage.keys[:-1]) for stage in stages.values()
        ]
        waiting = []
        # Closed on an error, so that no task goes on without us.
        with contextlib.closing(executor.run(tasks, self.progress)) as results:
            for number, (key, _) in enumerate(results, start=1):
                self.progress.say(f"trained {number} of {len(tasks)}: {stages[key].title}")
                self._note(stages[key])
                self.write()
                waiting.append(stages[key])
                if executor.alone:
                    self._measure(stages[key], missing[key])
        if not executor.alone:
            for stage in waiting:
                self._measure(stage, missing[stage.key])

    def write(self) -> None:
        """Bring the record up to date, on disk where it has a file."""
        self.record["trainings"] = [training for training in self.trainings.values() if training]
        self.record["energy"] = energy.total_energy(
            self.record["trainings"], self.record["energy"].get("measuring")
        )
        if self.record_file:
            files.write_json(self.site.out / self.record_file, self.record)

    def _missing_rows(self, stage: Stage) -> list[RowSpec]:
        return [
            row
            for row in self.plan.rows_of(stage)
            if row.id not in self.store or not (self.site.out / row.file).exists()
        ]

    def _measure(self, stage: Stage, rows: list[RowSpec]) -> None:
        if not rows:
            return
        done = {row["id"]: row for row in self.store}
        probes, progress = self.experiment.probes, self.progress
        with energy.Meter() as meter:
            for row in measure_rows(self.site, stage, rows, done=done, probes=probes, progress=progress):
                self.store.append(row)
                if row["file"].endswith(".sqz") and not row["file"].startswith("files/"):
                    progress.say(f"{self.site.out / row['file']} is ready")
        self.store.compare(next(iter(self.experiment.networks), ""))
        earlier = self.record["energy"].get("measuring")
        self.record["energy"]["measuring"] = energy.add_up([*([earlier] if earlier else []), meter.record()])
        self.write()

    def _note(self, stage: Stage) -> None:
        """Take a stage's record into the run's."""
        record = read_stage(self.site, stage.key)
        self.trainings[stage.key] = {
            "stage": stage.key,
            "name": stage.recipe or stage.network,
            "network": stage.network,
            "recipe": stage.recipe,
            "seed": stage.seed,
            "seconds": record["seconds"],
            "resumed_at": record["resumed_at"],
            "precision": record["precision"],
            "curves": record["curves"],
            "reused": record["study"] != self.site.id,
            # Stages of before it was measured have none.
            "energy": record.get("energy"),
        }
        self.record |= {key: record[key] for key in ("init", "distil") if key in record}


def _open(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    experiment: Experiment,
    cache: str | os.PathLike[str] | None,
    progress: Progress,
    *,
    writes: bool = True,
) -> tuple[Experiment, Site]:
    """Check the output folder and the images before any work starts, and fill in what follows from them."""
    out = Path(out)
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        # A trial write now, not after an hour of training.
        with tempfile.TemporaryFile(dir=out):
            pass
    dataset = open_dataset(
        source,
        validation=experiment.validation,
        train_per_class=experiment.train_per_class,
        seed=experiment.settings.seed,
        progress=lambda done, total: progress.update("reading images", done, total),
    )
    for note in dataset.notes:
        progress.say(f"note: {note}")
    given, classes = experiment.given, len(dataset.class_names)
    if given is not None and given.output_shape[-1] != classes:
        raise ValueError(
            f"Expected a model of the {classes} classes in {source}. "
            f"Received: {given.name} with {given.output_shape[-1]}."
        )
    preprocess = choose_preprocess(dataset, experiment.size)
    where = Path(cache) if cache is not None else out / "stages"
    site = Site(dataset, preprocess, str(source), out, where, "")
    return experiment.for_images(len(dataset.train)), site


def _advice(experiment: Experiment, site: Site) -> list[str]:
    """Of the network as it starts: what a recipe cannot pay shows on any weights, and an hour earlier."""
    line = experiment.lines[-1]
    teachers = [each for each in (experiment.teacher, experiment.distil) if each is not None]
    if not line.recipe and not teachers:
        return []
    fresh = experiment.given
    if fresh is None:
        shape = (site.preprocess.height, site.preprocess.width, 3)
        fresh = models.build(line.network, shape, len(site.dataset.class_names), width=experiment.width)
    for teacher in teachers:
        teacher.check(fresh)
    if not line.recipe:
        return []
    return compress.advice(models.fold_batch_norm(fresh), compress.parse(line.recipe), int8=line.int8)


def _refuse_another_run(site: Site, plan: Plan) -> None:
    """Do not overwrite the files of a run with those of one that was trained otherwise."""
    path = site.out / _RUN
    if not path.exists():
        return
    earlier = mapping(json.loads(path.read_text("utf-8")))
    shipped = [row.stage for row in plan.rows if not row.baseline][-1]
    known = {mapping(row).get("stage") for row in sequence(earlier.get("rows"))}
    known |= {mapping(training).get("stage") for training in sequence(earlier.get("trainings"))}
    if shipped.key in known or not known.isdisjoint(shipped.keys[1:]):
        return
    last = mapping((sequence(earlier.get("rows")) or [None])[-1])
    if not last.get("stage") and (last.get("model"), earlier.get("recipe")) == (
        shipped.network,
        shipped.recipe,
    ):
        # The first version recorded no stages.
        return
    try:
        before = read_stage(site, str(last.get("stage")))["identity"]
    except (OSError, ValueError, KeyError):
        before = {}
    told = ", ".join(differences(shipped.identity, before)) if before else "settings"
    raise ValueError(
        f"{site.out} holds the files of a run with other {told}. Take another output folder, or delete this one."
    )


def _new_record() -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"id": uuid.uuid4().hex[:16], "started": now, "trainings": [], "energy": {}}


def _earlier_record(path: Path) -> dict[str, Any]:
    """The earlier `study.json`'s parts that outlive a kill, or new ones."""
    if not path.exists():
        return _new_record()
    earlier = json.loads(path.read_text("utf-8"))
    kept = {key: earlier[key] for key in ("id", "started", "trainings", "latency") if key in earlier}
    return {**kept, "energy": {"measuring": (earlier.get("energy") or {}).get("measuring")}}
