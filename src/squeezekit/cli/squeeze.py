"""`squeezekit squeeze`: the whole job on the user's own images."""

from pathlib import Path

import click

from squeezekit import compress, study, training
from squeezekit.cli.options import (
    command_line,
    compress_epochs_option,
    init_options,
    norm_option,
    per_class_option,
    show_advice,
    teacher_options,
    training_options,
)
from squeezekit.cli.output import print_json

__all__ = ["command"]


@click.command()
@click.argument("data")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option(
    "--model",
    help=f"Network to squeeze; by default {study.Plan.model}, or what the weights of --init are of.",
)
@norm_option
@click.option("--recipe", default=study.DEFAULT_RECIPE, show_default=True, help="Techniques, in order.")
@compress_epochs_option
@click.option(
    "--float",
    "as_float",
    is_flag=True,
    help="A file that computes in float, not in integers: for a recipe without quantize. On x86 the quicker one of a "
    "small network.",
)
@click.option(
    "--no-baseline", is_flag=True, help="Do not train AlexNet for comparison; saves over half of the time."
)
@teacher_options("the recipe's stages", itself="the float network, once it is trained")
@init_options
@per_class_option
@training_options
def command(
    data: str,
    out: Path,
    model: str | None,
    norm: str | None,
    recipe: str,
    compress_epochs: int,
    as_float: bool,
    no_baseline: bool,
    distil: training.Distil | training.SelfDistil | None,
    initial: training.Initial | None,
    frozen: tuple[str, ...],
    settings: training.Settings,
    train_per_class: int,
    size: int,
    as_json: bool,
) -> None:
    """Turn the folder DATA of images into OUT/model.sqz, a classifier for a small device.

    DATA holds one folder a class (or train/CLASS and test/CLASS), or is a .npz of images and labels. Run the same
    command again after an interruption and it goes on where it was.
    """
    plan = study.Plan(
        model=model or (initial.model if initial else study.Plan.model),
        norm=norm or "",
        recipe=compress.parse(recipe),
        size=size or (distil.input_side if distil else 0),
        settings=settings,
        initial=initial,
        frozen=frozen,
        compress_epochs=compress_epochs,
        distil=distil,
        int8=not as_float,
        baseline=not no_baseline,
        train_per_class=train_per_class,
    )
    run = study.squeeze(data, out, plan, command=command_line(), advise=show_advice)
    if as_json:
        print_json(run)
        return
    click.echo(study.table(run))
    click.echo(f"\n{out / 'model.sqz'}  classifies:  squeezekit predict {out / 'model.sqz'} IMAGE")
    click.echo(f"{out / 'report.html'}  shows the details")
