"""`squeezekit squeeze`: the whole job on the user's own images."""

import dataclasses
from pathlib import Path

import click

from squeezekit import experiment, training
from squeezekit.cli.options import do, experiment_options, init_options, out_option, teacher_options

__all__ = ["command"]


@click.command()
@click.argument("data")
@out_option
@click.option(
    "--model",
    help=f"Network to squeeze; by default {experiment.DEFAULT_MODEL}, or what the weights of --init are of.",
)
@click.option("--recipe", default=experiment.DEFAULT_RECIPE, show_default=True, help="Techniques, in order.")
@click.option(
    "--float",
    "as_float",
    is_flag=True,
    help="A file that computes in float, not in integers: for a recipe without quantize. On x86 the quicker one of a "
    "small network.",
)
@teacher_options("the recipe's stages", itself="the float network, once it is trained")
@init_options
@experiment_options("width", "seeds", "only")
def command(
    data: str,
    out: Path,
    model: str | None,
    recipe: str,
    as_float: bool,
    distil: training.Distil | training.SelfDistil | None,
    initial: training.Initial | None,
    frozen: tuple[str, ...],
    plan: experiment.Experiment,
    as_json: bool,
) -> None:
    """Turn the folder DATA of images into OUT/model.sqz, a classifier for a small device.

    DATA holds one folder a class (or train/CLASS and test/CLASS), or is a .npz of images and labels. Run the same
    command again after an interruption and it goes on where it was.
    """
    name = model or (initial.model if initial else experiment.DEFAULT_MODEL)
    plan = dataclasses.replace(
        plan,
        lines=experiment.squeeze_lines(name, recipe, int8=not as_float),
        size=plan.size or (distil.input_side if distil else 0),
        initial=initial,
        frozen=frozen,
        distil=distil,
    )
    if not do(data, out, plan, as_json=as_json):
        click.echo(f"\n{out / 'model.sqz'}  classifies:  squeezekit predict {out / 'model.sqz'} IMAGE")
        click.echo(f"{out / 'report.html'}  shows the details")
