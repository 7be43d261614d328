"""A study from images to rows: train what is missing, measure what is missing, keep everything."""

import contextlib
import datetime
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from squeezekit import files
from squeezekit.data import open_dataset
from squeezekit.study import joules
from squeezekit.study.agenda import Agenda, RowSpec, Site, Stage, StudyPlan, describe_plan, make_agenda
from squeezekit.study.energy import Meter, add_up, total_energy
from squeezekit.study.estimate import estimate
from squeezekit.study.executors import Executor, InProcess, Task
from squeezekit.study.locks import lock_study
from squeezekit.study.plan import choose_preprocess
from squeezekit.study.rows import measure_rows
from squeezekit.study.speed import measure_in_turns
from squeezekit.study.stages import is_finished, read_stage, train_stage
from squeezekit.study.store import Store
from squeezekit.study.workshop import describe_data, describe_machine, open_workshop
from squeezekit.training import Progress

__all__ = ["dry_run", "run_study"]

_RESULTS, _RECORD = "results.jsonl", "study.json"


def run_study(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    plan: StudyPlan | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    command: str = "",
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Train and measure every combination; killed and called again, it goes on where it was.

    Writes OUT/results.jsonl (a row a file), OUT/study.json (what is common to them), OUT/files/*.sqz and, unless
    `cache` is elsewhere, OUT/stages. Rows whose id is in `results.jsonl` and whose file is there are done; stages in
    the cache are not trained again, whichever study trained them, and one that another study is training now is
    waited for.

    Args:
        source: the images, as `data.open_dataset` takes them.
        out: the study's folder.
        plan: what to do; `StudyPlan()` by default.
        cache: folder of trained stages, which studies can share; OUT/stages by default.
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
    progress = progress or Progress()
    plan = plan or StudyPlan()
    with lock_study(Path(out)):
        return _run_study(source, out, plan, cache, executor or InProcess(), command, progress, say)


def _run_study(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    plan: StudyPlan,
    cache: str | os.PathLike[str] | None,
    executor: Executor,
    command: str,
    progress: Progress,
    say: Callable[[str], object] | None,
) -> dict[str, Any]:
    """See `run_study`; nobody else writes to `out` meanwhile."""
    shop = open_workshop(
        source, out, size=plan.size, validation=plan.validation, seed=plan.settings.seed, progress=progress
    )
    plan = plan.for_images(len(shop.dataset.train))
    store = Store(shop.out / _RESULTS, say=say)
    agenda = make_agenda(plan, shop.dataset, shop.preprocess)
    strange = {row["id"] for row in store} - {row.id for row in agenda.rows}
    if strange:
        raise ValueError(
            f"{store.path} holds {len(strange)} rows of a study with other images, settings or levels. "
            "Take another output folder; --cache lets both share what they train."
        )
    files.remove_leftovers(shop.out / _RECORD)
    record = _open_record(shop.out / _RECORD)
    where = Path(cache) if cache is not None else shop.out / "stages"
    site = Site(shop.dataset, shop.preprocess, shop.source, shop.out, where, record["id"])
    study = _Study(plan, site, agenda, store, {**record, **_describe(plan, site, command)}, progress)
    study.run(executor)
    return {**study.record, "rows": list(store)}


class _Study:
    """A study in progress."""

    def __init__(
        self,
        plan: StudyPlan,
        site: Site,
        agenda: Agenda,
        store: Store,
        record: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.plan = plan
        self.site = site
        self.agenda = agenda
        self.store = store
        self.record = record
        self.progress = progress
        known = {training["stage"]: training for training in record.get("trainings", [])}
        self.trainings = {stage.key: known.get(stage.key) for stage in agenda.stages}

    def run(self, executor: Executor) -> None:
        """Do what is missing."""
        missing = {stage.key: self._missing_rows(stage) for stage in self.agenda.stages}
        finished = [stage for stage in self.agenda.stages if is_finished(self.site, stage.key)]
        for stage in finished:
            self._note(stage)
        self._write()
        for stage in finished:
            self._measure(stage, missing[stage.key])
        left = [stage for stage in self.agenda.stages if stage not in finished]
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
                self._write()
                waiting.append(stages[key])
                if executor.alone:
                    self._measure(stages[key], missing[key])
        if not executor.alone:
            for stage in waiting:
                self._measure(stage, missing[stage.key])
        measured = {row["stage"] for row in self.store}
        if measured != set(self.record.get("latency", {}).get("ms", {})):
            # At the end, when nothing else of ours is running; again when networks have come.
            self.record["latency"] = measure_in_turns(self.store, self.site.out, self.progress)
            self._write()

    def _missing_rows(self, stage: Stage) -> list[RowSpec]:
        return [
            row
            for row in self.agenda.rows_of(stage)
            if row.id not in self.store or not (self.site.out / row.file).exists()
        ]

    def _measure(self, stage: Stage, rows: list[RowSpec]) -> None:
        if not rows:
            return
        done = {row["id"]: row for row in self.store}
        with Meter() as meter:
            for row in measure_rows(
                self.site, stage, rows, done=done, probes=self.plan.probes, progress=self.progress
            ):
                self.store.append(row)
        earlier = self.record["energy"].get("measuring")
        self.record["energy"]["measuring"] = add_up([*([earlier] if earlier else []), meter.record()])
        self._write()

    def _note(self, stage: Stage) -> None:
        """Take a stage's record into the study's."""
        record = read_stage(self.site, stage.key)
        self.trainings[stage.key] = {
            "stage": stage.key,
            "network": stage.network,
            "recipe": stage.recipe,
            "seed": stage.seed,
            "seconds": record["seconds"],
            "resumed_at": record["resumed_at"],
            "precision": record["precision"],
            "curves": record["curves"],
            "reused": record["study"] != self.site.study,
            # Stages of before it was measured have none.
            "energy": record.get("energy"),
        }

    def _write(self) -> None:
        self.record["trainings"] = [training for training in self.trainings.values() if training]
        self.record["energy"] = total_energy(self.record["trainings"], self.record["energy"].get("measuring"))
        files.write_json(self.site.out / _RECORD, self.record)


def dry_run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    plan: StudyPlan | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Say what `run_study` would do with the same arguments, and about how long it would take; writes nothing.

    Args:
        source: the images.
        out: the study's folder; need not exist.
        plan: what to do; `StudyPlan()` by default.
        cache: folder of trained stages; OUT/stages by default.
        progress: where to show how far the reading of the images is.

    Returns:
        "rows" and "trainings", each with whether it is "done" and the "seconds" that it may take; a row that is
        "measured" and not done lacks its file; "seconds" of all that is not done; "basis": what the estimate stands on.

    Raises:
        DataError: the images cannot serve.
    """
    progress = progress or Progress()
    plan = plan or StudyPlan()
    dataset = open_dataset(
        source,
        validation=plan.validation,
        seed=plan.settings.seed,
        progress=lambda done, total: progress.update("reading images", done, total),
    )
    preprocess = choose_preprocess(dataset, plan.size)
    plan = plan.for_images(len(dataset.train))
    where = Path(cache) if cache is not None else Path(out) / "stages"
    site = Site(dataset, preprocess, str(source), Path(out), where, "")
    rows = Path(out) / _RESULTS
    lines = rows.read_bytes().splitlines() if rows.exists() else []
    return estimate(plan, site, make_agenda(plan, dataset, preprocess), lines)


def _open_record(path: Path) -> dict[str, Any]:
    """The earlier `study.json`'s parts that outlive a kill, or new ones."""
    if path.exists():
        earlier = json.loads(path.read_text("utf-8"))
        kept = {key: earlier[key] for key in ("id", "started", "trainings", "latency") if key in earlier}
        return {**kept, "energy": {"measuring": (earlier.get("energy") or {}).get("measuring")}}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"id": uuid.uuid4().hex[:16], "started": now, "trainings": [], "energy": {}}


def _describe(plan: StudyPlan, site: Site, command: str) -> dict[str, Any]:
    """What `study.json` says besides its trainings."""
    dataset = site.dataset
    return {
        "command": command,
        "data": {
            **describe_data(dataset, site.source),
            "labels": list(dataset.class_names),
            "truth": [int(label) for label in dataset.test.labels],
            "test_paths": [_relative(path, site.source) for path in dataset.test.names()],
        },
        **describe_plan(plan, site.preprocess),
        "inference_energy": joules.ASSUMPTIONS,
        **describe_machine(),
    }


def _relative(path: str, source: str) -> str:
    """An image's path inside the folder of the images, with forward slashes."""
    for root in (Path(source), Path(os.environ.get("SQUEEZEKIT_DATA", "")) / source):
        if Path(path).is_relative_to(root):
            return Path(path).relative_to(root).as_posix()
    return Path(path).as_posix()
