"""`squeezekit study`: every combination of techniques on the user's own images."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from squeezekit import codec, curate, experiment, report, training
from squeezekit.cli.main import load_ray_executor
from squeezekit.cli.options import command_line, experiment_options, out_option
from squeezekit.cli.output import PATH, print_json, say, share, table

__all__ = ["command"]

_IN_PROCESS, _RAY = "in-process", "ray"
# DATA of this name, where there is no such folder, means images that are drawn: a class, for training and test; side.
_SHAPES = "shapes"
_SHAPES_FULL, _SHAPES_QUICK = (160, 50, 64), (20, 15, 32)
_QUICK_TECHNIQUES = "prune,quantize,coder"
_QUICK_CODERS = ("none", "small")
_QUICK_EPOCHS, _QUICK_COMPRESS_EPOCHS, _QUICK_SIZE, _QUICK_WIDTH = 2, 1, 32, 0.25


@click.command()
@click.argument("source", metavar="DATA")
@out_option
@click.option("--model", default=experiment.DEFAULT_MODEL, show_default=True, help="Network to compress.")
@click.option(
    "--techniques",
    help="Factors to study, of network, coder and any technique; by default network,prune,share,quantize,coder and "
    "whatever --level names. Others are left off, coder at small.",
)
@click.option(
    "--level",
    "levels",
    multiple=True,
    help="Level of a factor in place of its usual ones, again and again: prune(0.9), prune_channels(0.3), a network, "
    "a coder ...",
)
@click.option(
    "--recipe",
    "recipes",
    metavar="LINE",
    multiple=True,
    help='A whole recipe in place of every combination, again and again; "" for the network as it is.',
)
@click.option("--cache", type=PATH, help="Folder of trained stages, for studies to share.")
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
@click.option(
    "--quick", is_flag=True, help="Narrow networks, few pixels, epochs and factors: to see it work."
)
@click.option("--no-pictures", is_flag=True, help="Leave images out of the report: for a page to publish.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and about how long it takes.")
@experiment_options("norm", "train_per_class")
def command(
    source: str,
    out: Path,
    model: str,
    techniques: str | None,
    levels: tuple[str, ...],
    recipes: tuple[str, ...],
    cache: Path | None,
    executor_name: str,
    ray_address: str | None,
    stage_cpus: int | None,
    quick: bool,
    no_pictures: bool,
    dry_run: bool,
    plan: experiment.Experiment,
    as_json: bool,
) -> None:
    """Train every combination of techniques on the folder DATA of images, and measure each one's file.

    DATA holds one folder a class (or train/CLASS and test/CLASS); `shapes` draws images. Combinations that begin
    alike share what they have in common. Run the same command again after an interruption and it goes on where
    it was. Rows go to OUT/results.jsonl.
    """
    if recipes and techniques:
        raise click.UsageError("--recipe takes the place of --techniques.")
    if quick:
        techniques = techniques or ("" if recipes else _QUICK_TECHNIQUES)
        if "coder" in techniques and not any(level in codec.CODERS for level in levels):
            levels = (*levels, *_QUICK_CODERS)
        plan = _quick(plan)
    if recipes:
        lines = experiment.recipe_lines(model, recipes, levels)
    else:
        lines = experiment.grid(model, _names(techniques), levels)
    if plan.only is not None:
        # Of a factor's levels the one that was named is the last.
        lines = lines[-1:] if levels or recipes else ()
        plan = dataclasses.replace(plan, baseline=not lines)
    plan = dataclasses.replace(plan, lines=lines)
    progress = training.Progress()
    if dry_run:
        with tempfile.TemporaryDirectory() as elsewhere:
            folder = _images(source, Path(elsewhere), quick, plan.settings.seed, progress)
            planned = experiment.dry_run(folder, out, plan, cache=cache, progress=progress)
        if as_json:
            print_json(planned)
        else:
            click.echo(_plan_text(planned))
        return
    executor = _executor(executor_name, ray_address, stage_cpus)
    folder = _images(source, out, quick, plan.settings.seed, progress)
    result = experiment.run_study(
        folder,
        out,
        plan,
        cache=cache,
        executor=executor,
        command=command_line(),
        progress=progress,
        say=say,
    )
    results, found, paths = report.report_study(out, pictures=not no_pictures)
    for note in results.notes:
        say(f"note: {note}")
    if as_json:
        print_json({**result, "findings": report.summary(found)})
        return
    click.echo(_result_text(results))
    click.echo()
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo(f"\n{paths[0]}  shows the details; {out / 'results.jsonl'} has every figure of every row")


def _quick(plan: experiment.Experiment) -> experiment.Experiment:
    """What --quick stands for where nothing else is said: the whole way in minutes, no figure worth quoting."""
    return dataclasses.replace(
        plan,
        settings=dataclasses.replace(plan.settings, epochs=plan.settings.epochs or _QUICK_EPOCHS),
        width=_QUICK_WIDTH if plan.width == experiment.Experiment.width else plan.width,
        size=plan.size or _QUICK_SIZE,
        compress_epochs=plan.compress_epochs or _QUICK_COMPRESS_EPOCHS,
        probes=1,
    )


def _executor(name: str, address: str | None, cpus: int | None) -> experiment.Executor:
    """Who trains the stages."""
    if name == _RAY:
        return load_ray_executor().RayExecutor(address or "local", cpus=cpus or 1)
    for option, value in (("--ray-address", address), ("--stage-cpus", cpus)):
        if value is not None:
            raise click.UsageError(f"{option} is for --executor {_RAY}.")
    return experiment.InProcess()


def _images(source: str, out: Path, quick: bool, seed: int, progress: training.Progress) -> str:
    """The folder of the images: DATA itself, or shapes drawn into `out`."""
    if source != _SHAPES or Path(source).exists():
        return source
    train, test, side = _SHAPES_QUICK if quick else _SHAPES_FULL
    folder = curate.write_shapes(
        out / f"shapes-{train}-{side}-{seed}",
        per_class_train=train,
        per_class_test=test,
        size=side,
        seed=seed,
        progress=lambda done, total: progress.update("drawing shapes", done, total),
    )
    return str(folder)


def _names(techniques: str | None) -> list[str]:
    return [name.strip() for name in (techniques or "").split(",") if name.strip()]


def _plan_text(plan: Mapping[str, Any]) -> str:
    """What a dry run says to people."""
    rows, trainings = plan["rows"], plan["trainings"]
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
    parts = [table(["network", "training", "seed", "epochs", "time"], cells, right=[2, 3])]
    factors = [name for name, levels in plan["grid"].items() if len(levels) > 1]
    cells = [
        [*_levels(row, factors), "done" if row["done"] else "file missing" if row["measured"] else "to do"]
        for row in rows
    ]
    parts.append(table([*factors, "seed", "row"], cells, right=[len(factors)]))
    cached = sum(training["done"] for training in trainings)
    lost = sum(row["measured"] and not row["done"] for row in rows)
    again = f"{lost} rows are measured, but their files are not here: they are made again.\n"
    parts.append(
        f"{len(rows)} rows, {sum(row['done'] for row in rows)} of them done; {len(trainings)} trainings, "
        f"{cached} of them in the cache.\n{again if lost else ''}About {_clock(plan['seconds'])} ({plan['basis']})."
    )
    return "\n\n".join(parts)


def _result_text(results: experiment.Results) -> str:
    """A line a row, the smallest file first."""
    rows = sorted(results.rows, key=lambda row: (row["file_bytes"], row["id"]))
    grid = results.common["grid"]
    factors = [name for name, levels in grid.items() if len(levels) > 1]
    cells = []
    for row in rows:
        low, high = row["top1_interval"]
        smaller, churn = row.get("times_smaller"), report.churn(row, rows, results.network)
        cells.append(
            [
                *_levels(row, factors),
                f"{row['file_bytes']:,}",
                f"{smaller:,.1f}" if smaller else "",
                f"{share(row['top1'])} ({100 * low:.1f} to {100 * high:.1f})",
                "" if churn is None else share(churn),
            ]
        )
    header = [*factors, "seed", "bytes", "times smaller", "top-1 (95 %)", "churn"]
    right = [len(factors) + place for place in (0, 1, 2, 4)]
    baseline = any(row["baseline"] for row in rows)
    name = "AlexNet" if baseline else "the largest file of the uncompressed network"
    images = results.common["data"]["test"]
    note = (
        f"Times smaller than {name}. Churn: share of the {images:,} test images that get another label "
        "than from the uncompressed network of the same seed."
    )
    return f"{table(header, cells, right=right)}\n\n{note}"


def _levels(row: Mapping[str, Any], factors: Sequence[str]) -> list[str]:
    """A row's levels and its seed."""
    name = "-" if row["factors"] else "AlexNet"
    return [*(row["factors"].get(factor) or name for factor in factors), str(row["seed"])]


def _clock(seconds: float) -> str:
    """A stretch of time, as finely as an estimate deserves."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
