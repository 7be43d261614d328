"""`squeezekit study`: every combination of techniques on the user's own images."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from squeezekit import codec, study, training
from squeezekit import data as images
from squeezekit.cli.main import load_ray_executor
from squeezekit.cli.options import command_line, compress_epochs_option, training_options
from squeezekit.cli.output import plain, print_json, share, table

__all__ = ["command"]

_IN_PROCESS, _RAY = "in-process", "ray"
# DATA of this name, where there is no such folder, means images that are drawn: a class, for training and test; side.
_SHAPES = "shapes"
_SHAPES_FULL, _SHAPES_QUICK = (160, 50, 64), (20, 15, 32)
# What --quick stands for where nothing else is said: the whole way in minutes, no figure worth quoting.
_QUICK_TECHNIQUES = "prune,quantize,coder"
_QUICK_CODERS = ("none", "small")
_QUICK_EPOCHS, _QUICK_COMPRESS_EPOCHS, _QUICK_SIZE, _QUICK_WIDTH = 2, 1, 32, 0.25


@click.command()
@click.argument("source", metavar="DATA")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--model", default=study.StudyPlan.model, show_default=True, help="SqueezeNet to compress.")
@click.option("--width", type=click.FloatRange(0, 4, min_open=True), help="Multiplier of channels; 1.")
@click.option(
    "--techniques",
    help=f"Factors to study, of {','.join(study.FACTORS)}; all by default. Others are left off, coder at small.",
)
@click.option(
    "--level",
    "levels",
    multiple=True,
    help="Level of a factor in place of its usual ones, again and again: prune(0.9), share(4), none, rans ...",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Trainings of everything, from --seed on.",
)
@compress_epochs_option
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Folder of trained stages, for studies to share."
)
@click.option(
    "--executor",
    "executor_name",
    default=_IN_PROCESS,
    show_default=True,
    type=click.Choice([_IN_PROCESS, _RAY]),
    help="Who trains: this process, one stage after another, or Ray's workers, side by side.",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Cluster to train on: auto, or HOST:PORT; by default Ray is started on this machine.",
)
@click.option(
    "--stage-cpus", type=click.IntRange(1), help="CPUs, and threads, of each stage under --executor ray; 1."
)
@click.option("--no-baseline", is_flag=True, help="Do not train AlexNet for comparison.")
@click.option(
    "--quick", is_flag=True, help="Narrow networks, few pixels, epochs and factors: to see it work."
)
@click.option(
    "--only",
    metavar="SEED",
    type=click.IntRange(0),
    help="Make one file alone: with every --level, of this seed; AlexNet's without --level.",
)
@click.option("--no-pictures", is_flag=True, help="Leave images out of the report: for a page to publish.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and about how long it takes.")
@training_options
def command(
    source: str,
    out: Path,
    model: str,
    width: float | None,
    techniques: str | None,
    levels: tuple[str, ...],
    seeds: int,
    compress_epochs: int,
    cache: Path | None,
    executor_name: str,
    ray_address: str | None,
    stage_cpus: int | None,
    no_baseline: bool,
    quick: bool,
    only: int | None,
    no_pictures: bool,
    dry_run: bool,
    settings: training.Settings,
    size: int,
    as_json: bool,
) -> None:
    """Train every combination of techniques on the folder DATA of images, and measure each one's file.

    DATA holds one folder a class (or train/CLASS and test/CLASS); `shapes` draws images. Combinations that begin
    alike share what they have in common. Run the same command again after an interruption and it goes on where
    it was. Rows go to OUT/results.jsonl.
    """
    chosen = techniques or (_QUICK_TECHNIQUES if quick else ",".join(study.FACTORS))
    if quick and "coder" in chosen and not any(level in codec.CODERS for level in levels):
        levels = (*levels, *_QUICK_CODERS)
    if quick:
        settings = dataclasses.replace(settings, epochs=settings.epochs or _QUICK_EPOCHS)
    grid = study.grid_of([name.strip() for name in chosen.split(",") if name.strip()], levels)
    alone = None
    if only is not None:
        if only < settings.seed:
            raise ValueError(f"Expected --only from --seed on. Received: {only} with --seed {settings.seed}.")
        seeds = max(seeds, only - settings.seed + 1)
        # Of a factor's levels the one that was named is the last.
        alone = (only, {name: those[-1] for name, those in grid.levels().items()} if levels else {})
    plan = study.StudyPlan(
        grid=grid,
        model=model,
        width=width or (_QUICK_WIDTH if quick else 1.0),
        size=size or (_QUICK_SIZE if quick else 0),
        settings=settings,
        compress_epochs=compress_epochs or (_QUICK_COMPRESS_EPOCHS if quick else 0),
        seeds=seeds,
        baseline=not no_baseline,
        probes=1 if quick else study.StudyPlan.probes,
        only=alone,
    )
    progress = training.Progress()
    if dry_run:
        with tempfile.TemporaryDirectory() as elsewhere:
            folder = _images(source, Path(elsewhere), quick, settings.seed, progress)
            agenda = study.dry_run(folder, out, plan, cache=cache, progress=progress)
        if as_json:
            print_json(agenda)
        else:
            click.echo(_agenda_text(agenda))
        return
    executor = _executor(executor_name, ray_address, stage_cpus)
    folder = _images(source, out, quick, settings.seed, progress)
    result = study.run_study(
        folder,
        out,
        plan,
        cache=cache,
        executor=executor,
        command=command_line(),
        progress=progress,
        say=_say,
    )
    results, found, paths = study.report_study(out, pictures=not no_pictures)
    for note in results.notes:
        _say(f"note: {note}")
    if as_json:
        print_json({**result, "findings": study.summary(found)})
        return
    click.echo(_result_text(result))
    click.echo()
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo(f"\n{paths[0]}  shows the details; {out / 'results.jsonl'} has every figure of every row")


def _executor(name: str, address: str | None, cpus: int | None) -> study.Executor:
    """Who trains the stages."""
    if name == _RAY:
        return load_ray_executor().RayExecutor(address or "local", cpus=cpus or 1)
    for option, value in (("--ray-address", address), ("--stage-cpus", cpus)):
        if value is not None:
            raise click.UsageError(f"{option} is for --executor {_RAY}.")
    return study.InProcess()


def _images(source: str, out: Path, quick: bool, seed: int, progress: training.Progress) -> str:
    """The folder of the images: DATA itself, or shapes drawn into `out`."""
    if source != _SHAPES or Path(source).exists():
        return source
    train, test, side = _SHAPES_QUICK if quick else _SHAPES_FULL
    folder = images.write_shapes(
        out / f"shapes-{train}-{side}-{seed}",
        per_class_train=train,
        per_class_test=test,
        size=side,
        seed=seed,
        progress=lambda done, total: progress.update("drawing shapes", done, total),
    )
    return str(folder)


def _say(line: str) -> None:
    click.echo(f"squeezekit: {plain(line)}", err=True)


def _agenda_text(agenda: Mapping[str, Any]) -> str:
    """What a dry run says to people."""
    rows, trainings = agenda["rows"], agenda["trainings"]
    cells = [
        [
            training["network"],
            training["recipe"] or "from scratch",
            str(training["seed"]),
            str(training["epochs"]),
            "in the cache"
            if training["done"]
            else _clock(training["seconds"])
            if training["needed"]
            else "not needed",
        ]
        for training in trainings
    ]
    header = ["network", "training", "seed", "epochs", "time"]
    parts = [table(header, cells, right=[2, 3])]
    factors = [name for name, levels in agenda["grid"].items() if len(levels) > 1]
    cells = [
        [
            *(row["factors"].get(name) or ("-" if row["factors"] else "AlexNet") for name in factors),
            str(row["seed"]),
            "done" if row["done"] else "file missing" if row["measured"] else "to do",
        ]
        for row in rows
    ]
    parts.append(table([*factors, "seed", "row"], cells, right=[len(factors)]))
    cached = sum(training["done"] for training in trainings)
    lost = sum(row["measured"] and not row["done"] for row in rows)
    again = (
        f"{lost} rows are measured, but their files are not here: they are made again, of as many bytes.\n"
    )
    parts.append(
        f"{len(rows)} rows, {sum(row['done'] for row in rows)} of them done; {len(trainings)} trainings, "
        f"{cached} of them in the cache.\n{again if lost else ''}About {_clock(agenda['seconds'])} ({agenda['basis']})."
    )
    return "\n\n".join(parts)


def _result_text(result: Mapping[str, Any]) -> str:
    """A line a row, the smallest file first."""
    rows: Sequence[Mapping[str, Any]] = sorted(
        result["rows"], key=lambda row: (row["bytes"]["file"], row["id"])
    )
    full = {row["seed"]: row for row in study.full_rows(rows)}
    against = {row["seed"]: row for row in rows if row["baseline"]} or full
    factors = [name for name, levels in result["grid"].items() if len(levels) > 1]
    cells = []
    for row in rows:
        low, high = row["top1_interval"]
        other, reference = full.get(row["seed"]), against.get(row["seed"])
        cells.append(
            [
                *(row["factors"].get(name) or ("-" if row["factors"] else "AlexNet") for name in factors),
                str(row["seed"]),
                f"{row['bytes']['file']:,}",
                f"{reference['bytes']['file'] / row['bytes']['file']:,.1f}" if reference else "",
                f"{share(row['top1'])} ({100 * low:.1f} to {100 * high:.1f})",
                share(study.disagreement(row, other)) if other else "",
            ]
        )
    header = [*factors, "seed", "bytes", "times smaller", "top-1 (95 %)", "churn"]
    right = [len(factors) + place for place in (0, 1, 2, 4)]
    name = (
        "AlexNet" if any(row["baseline"] for row in rows) else "the largest file of the uncompressed network"
    )
    note = (
        f"Times smaller than {name}. Churn: share of the {result['data']['test']:,} test images that get another label "
        "than from the uncompressed network of the same seed."
    )
    return f"{table(header, cells, right=right)}\n\n{note}"


def _clock(seconds: float) -> str:
    """A stretch of time, as finely as an estimate deserves."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
