"""`squeezekit sensitivity`: how sensitive each layer of a network is to each technique."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from squeezekit import data, experiment, files, models, report, training
from squeezekit.cli.options import options_from
from squeezekit.cli.output import PATH, print_json, table

__all__ = ["command"]


@click.command(
    "sensitivity", short_help="Measure how sensitive each layer is to pruning, sharing and quantizing."
)
@click.argument(
    "model_path", metavar="MODEL.keras", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.argument("source", metavar="DATA")
@click.option(
    "-o",
    "--output",
    metavar="FILE.json",
    type=PATH,
    help="Where the figures go, and beside it FILE.html, which draws them; gone on with if it is there.",
)
@click.option(
    "--images",
    default=500,
    show_default=True,
    type=click.IntRange(1),
    help="How many of the validation images.",
)
@click.option(
    "--try",
    "tried",
    metavar="TECHNIQUE=VALUES",
    multiple=True,
    help='What is tried instead of everything, the gentlest first: "prune=0.5,0.8". May be given again.',
)
@click.option(
    "--minutes",
    default=math.inf,
    type=click.FloatRange(0, min_open=True),
    help="Stop after so long; called again with the same -o it goes on.  [default: to the end]",
)
@click.option(
    "--drop",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Accuracy that one layer may cost, for the recipe line.",
)
@options_from(experiment.Experiment, into="plan", only=("train_per_class", "seed"))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    model_path: Path,
    source: str,
    output: Path | None,
    images: int,
    tried: tuple[str, ...],
    minutes: float,
    drop: float,
    plan: experiment.Experiment,
    as_json: bool,
) -> None:
    """Measure MODEL.keras on the validation images of DATA with one layer at a time pruned, shared or quantized.

    Nothing is retrained and the test images are not looked at. The last line is a recipe with each layer's
    strongest settings within --drop, for `squeezekit compress --recipe`; `--recipe-from FILE.json` takes it
    from the file. It is where to start from: losses of many layers add up, and retraining wins most back.
    """
    if output is not None and output.suffix != ".json":
        raise ValueError(f"Expected a .json file. Received: {output}.")
    if math.isfinite(minutes) and output is None:
        raise ValueError("Expected -o with --minutes: what was measured would be lost.")
    grid = _grid(tried)
    model = models.load(model_path)
    height, width = model.input_shape[1:3]
    if height != width:
        raise ValueError(f"Expected a model with a square input. Received: {height}x{width}.")
    progress = training.Progress()
    dataset = data.open_dataset(
        source,
        seed=plan.settings.seed,
        train_per_class=plan.train_per_class,
        progress=lambda done, total: progress.update("reading images", done, total),
    )
    if model.output_shape[-1] != len(dataset.class_names):
        raise ValueError(
            f"Expected a model of the {len(dataset.class_names)} classes in {source}. "
            f"Received: {model_path} with {model.output_shape[-1]}."
        )
    preprocess = experiment.choose_preprocess(dataset, height)
    result = experiment.sensitivity(
        model,
        dataset,
        preprocess,
        images=images,
        path=output,
        grid=grid,
        minutes=minutes,
        progress=progress,
    )
    recipe = str(experiment.recipe_from(result, drop)) if result["complete"] else ""
    if output is not None and result["complete"]:
        files.write_text(output.with_suffix(".html"), report.render_sensitivity(result, drop))
    if as_json:
        print_json({**result, "drop": drop, "recipe": recipe})
        return
    for technique in result["techniques"]:
        click.echo(_table(result, technique) + "\n")
    click.echo(
        f"Accuracy in % on {result['images']:,} validation images, one layer at a time; "
        f"{100 * result['accuracy']:.1f} as it is. A recipe that costs at most {100 * drop:g} % a layer:\n"
    )
    click.echo(recipe or "Not all layers yet: call it again to go on; then it ends with a recipe.")


def _grid(tried: Sequence[str]) -> dict[str, list[int | float]] | None:
    """What `--try` says, None if it was not given."""
    grid: dict[str, list[int | float]] = {}
    for item in tried:
        name, _, values = item.partition("=")
        try:
            grid[name.strip()] = [
                int(value) if value.strip().isdigit() else float(value) for value in values.split(",")
            ]
        except ValueError:
            raise ValueError(f"Expected --try as in prune=0.5,0.8. Received: {item}.") from None
    return grid or None


def _table(result: Mapping[str, Any], technique: str) -> str:
    """One technique's figures: a row a layer, a column a setting, the gentlest first."""
    settings = result["techniques"][technique]
    figures = {
        (line["layer"], line["setting"]): f"{100 * line['accuracy']:.1f}"
        for line in result["results"]
        if line["technique"] == technique
    }
    rows = [
        [layer, f"{weights:,}", *(figures.get((layer, setting), "") for setting in settings)]
        for layer, weights in result["layers"].items()
        if any((layer, setting) in figures for setting in settings)
    ]
    header = [technique, "weights", *(f"{setting:g}" for setting in settings)]
    return table(header, rows, right=range(1, len(header)))
