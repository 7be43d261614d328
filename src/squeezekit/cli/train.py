"""`squeezekit train`: one network, from scratch or from trained weights."""

from pathlib import Path

import click

from squeezekit import files, models, study, training
from squeezekit.cli.options import (
    finish_run,
    init_options,
    norm_option,
    per_class_option,
    teacher_options,
    training_options,
)

__all__ = ["command"]


@click.command()
@click.argument("data")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option(
    "--model",
    "name",
    type=click.Choice(sorted(models.MODELS)),
    help="Network; by default squeezenet-1.1, or what the weights of --init are of.",
)
@click.option(
    "--width", default=1.0, show_default=True, type=click.FloatRange(0, 4, min_open=True), help="Multiplier."
)
@norm_option
@teacher_options("the training")
@init_options
@per_class_option
@training_options
def command(
    data: str,
    out: Path,
    name: str | None,
    width: float,
    norm: str | None,
    distil: training.Distil | None,
    initial: training.Initial | None,
    frozen: tuple[str, ...],
    settings: training.Settings,
    train_per_class: int,
    size: int,
    as_json: bool,
) -> None:
    """Train a network on the folder DATA: OUT/model.keras, OUT/model.tflite and OUT/run.json."""
    name = name or (initial.model if initial else "squeezenet-1.1")
    if initial is not None:
        initial.require(name)
    if distil is not None:
        size = size or distil.input_side
    shop = study.open_workshop(data, out, size=size, train_per_class=train_per_class, seed=settings.seed)
    images = len(shop.dataset.train)
    settings = settings.for_fine_tuning(images) if initial else settings.for_images(images)
    options = {"norm": norm} if norm and name.startswith("squeezenet") else {}
    model = shop.train(name, settings, width=width, distil=distil, initial=initial, frozen=frozen, **options)
    with files.replacing(out / "model.keras") as temporary:
        model.save(temporary)
    path = shop.export(model, out / "model.tflite")
    rows = [shop.measure(path, f"{name}, float", name, model)]
    started = study.describe_start(model, initial, frozen)
    taught = {} if distil is None else {"distil": distil.to_dict()}
    more = {"model": name, "recipe": "", **started, "settings": settings.to_dict(), **taught}
    finish_run(shop, rows, more, as_json=as_json)
