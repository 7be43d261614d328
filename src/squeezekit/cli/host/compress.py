"""`squeezekit compress`: a recipe on a network that is trained already."""

import dataclasses
from pathlib import Path

import click

from squeezekit import codec, compress, experiment, models, training
from squeezekit.cli.options import do, experiment_options, out_option, teacher_options
from squeezekit.cli.output import PATH

__all__ = ["command"]


@click.command()
@click.argument(
    "model_path", metavar="MODEL.keras", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.argument("data")
@out_option
@click.option("--recipe", default=None, help=f"Techniques, in order.  [default: {experiment.DEFAULT_RECIPE}]")
@click.option(
    "--recipe-from",
    metavar="FILE.json",
    type=PATH,
    help="Take the recipe from what `squeezekit sensitivity` measured.",
)
@click.option(
    "--drop",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Accuracy that one layer may cost, for --recipe-from.",
)
@teacher_options("the retraining", itself="MODEL.keras as it is")
@experiment_options("width", "norm", "compress_epochs", "seeds", "baseline", "only")
def command(
    model_path: Path,
    data: str,
    out: Path,
    recipe: str | None,
    recipe_from: Path | None,
    drop: float,
    distil: training.Distil | training.SelfDistil | None,
    plan: experiment.Experiment,
    as_json: bool,
) -> None:
    """Squeeze MODEL.keras with a recipe, retraining on the folder DATA with --epochs for each technique.

    Retraining takes half of --learning-rate and, unless told, three tenths of the epochs from scratch.

    Writes OUT/model.keras (a plain model), OUT/model.tflite, OUT/model.sqz and OUT/run.json.
    """
    if recipe is not None and recipe_from is not None:
        raise ValueError("Expected --recipe or --recipe-from, not both.")
    if recipe_from is not None:
        parsed = experiment.recipe_from(experiment.read_sensitivity(recipe_from), drop)
    else:
        parsed = compress.parse(experiment.DEFAULT_RECIPE if recipe is None else recipe)
    model = models.load(model_path)
    height, width = model.input_shape[1:3]
    if height != width or plan.size not in (0, height):
        raise ValueError(
            f"Expected a model with a square input of the --size given. Received: {height}x{width}."
        )
    if distil is not None:
        distil.check(model)
    line = experiment.Line(
        model.name,
        str(parsed),
        codec.DEFAULT_CODER,
        name="squeezed",
        file="model.sqz",
        copies=("model.keras", "model.tflite"),
    )
    before = experiment.Line(model.name, coder=experiment.UNPACKED, name="before", file="before.tflite")
    plan = dataclasses.replace(
        plan,
        lines=(before, line),
        given=model,
        size=height,
        # --epochs are those of a technique; the rate and the rest come from a training of the usual length.
        settings=dataclasses.replace(plan.settings, epochs=0),
        compress_epochs=plan.settings.epochs,
        distil=distil,
        baseline=False,
    )
    do(data, out, plan, as_json=as_json)
