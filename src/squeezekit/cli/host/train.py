"""`squeezekit train`: one network, from scratch or from trained weights."""

import dataclasses
from pathlib import Path

import click

from squeezekit import experiment, models, training
from squeezekit.cli.options import do, experiment_options, init_options, out_option, teacher_options

__all__ = ["command"]


@click.command()
@click.argument("data")
@out_option
@click.option(
    "--model",
    "name",
    type=click.Choice(sorted(models.MODELS)),
    help="Network; by default squeezenet-1.1, or what the weights of --init are of.",
)
@teacher_options("the training")
@init_options
@experiment_options("compress_epochs", "seeds", "baseline", "only")
def command(
    data: str,
    out: Path,
    name: str | None,
    distil: training.Distil | None,
    initial: training.Initial | None,
    frozen: tuple[str, ...],
    plan: experiment.Experiment,
    as_json: bool,
) -> None:
    """Train a network on the folder DATA: OUT/model.keras, OUT/model.tflite and OUT/run.json."""
    name = name or (initial.model if initial else "squeezenet-1.1")
    line = experiment.Line(
        name, coder=experiment.UNPACKED, name=f"{name}, float", file="model.tflite", copies=("model.keras",)
    )
    plan = dataclasses.replace(
        plan,
        lines=(line,),
        size=plan.size or (distil.input_side if distil else 0),
        norm=plan.norm if "norm" in models.MODELS[name].defaults else "",
        initial=initial,
        frozen=frozen,
        teacher=distil,
        baseline=False,
    )
    do(data, out, plan, as_json=as_json)
