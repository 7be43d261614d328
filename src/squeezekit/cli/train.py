"""`squeezekit train`: one network from scratch."""

from pathlib import Path

import click

from squeezekit import files, models, study, training
from squeezekit.cli.options import finish_run, training_options

__all__ = ["command"]


@click.command()
@click.argument("data")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option(
    "--model",
    "name",
    default="squeezenet-1.1",
    show_default=True,
    type=click.Choice(sorted(models.MODELS)),
    help="Network.",
)
@click.option(
    "--width", default=1.0, show_default=True, type=click.FloatRange(0, 4, min_open=True), help="Multiplier."
)
@click.option(
    "--norm",
    default="squeeze",
    show_default=True,
    type=click.Choice([norm.value for norm in models.Norm]),
    help="Where a SqueezeNet has BatchNorm; exports fold it away.",
)
@training_options
def command(
    data: str,
    out: Path,
    name: str,
    width: float,
    norm: str,
    settings: training.Settings,
    size: int,
    as_json: bool,
) -> None:
    """Train a network on the folder DATA: OUT/model.keras, OUT/model.tflite and OUT/run.json."""
    shop = study.open_workshop(data, out, size=size, seed=settings.seed)
    settings = settings.for_images(len(shop.dataset.train))
    options = {"norm": norm} if name.startswith("squeezenet") else {}
    model = shop.train(name, settings, width=width, **options)
    with files.replacing(out / "model.keras") as temporary:
        model.save(temporary)
    path = shop.export(model, out / "model.tflite")
    rows = [shop.measure(path, f"{name}, float", name, model)]
    more = {"model": name, "recipe": "", "settings": settings.to_dict()}
    finish_run(shop, rows, more, as_json=as_json)
