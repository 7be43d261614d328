"""`squeezekit compress`: a recipe on a network that is trained already."""

import dataclasses
from pathlib import Path

import click

from squeezekit import compress, files, models, study, training
from squeezekit.cli.options import (
    finish_run,
    per_class_option,
    show_advice,
    teacher_options,
    training_options,
)

__all__ = ["command"]


@click.command()
@click.argument(
    "model_path", metavar="MODEL.keras", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.argument("data")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option(
    "--recipe",
    default=None,
    help=f"Techniques, in order.  [default: {study.DEFAULT_RECIPE}]",
)
@click.option(
    "--recipe-from",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
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
@per_class_option
@training_options
def command(
    model_path: Path,
    data: str,
    out: Path,
    recipe: str | None,
    recipe_from: Path | None,
    drop: float,
    distil: training.Distil | training.SelfDistil | None,
    settings: training.Settings,
    train_per_class: int,
    size: int,
    as_json: bool,
) -> None:
    """Squeeze MODEL.keras with a recipe, retraining on the folder DATA with --epochs for each technique.

    Retraining takes half of --learning-rate and, unless told, three tenths of the epochs from scratch.

    Writes OUT/model.keras (a plain model), OUT/model.tflite, OUT/model.sqz and OUT/run.json.
    """
    if recipe is not None and recipe_from is not None:
        raise ValueError("Expected --recipe or --recipe-from, not both.")
    if recipe_from is not None:
        parsed = study.recipe_from(study.read_sensitivity(recipe_from), drop)
    else:
        parsed = compress.parse(study.DEFAULT_RECIPE if recipe is None else recipe)
    model = models.load(model_path)
    height, width = model.input_shape[1:3]
    if height != width or (size and size != height):
        raise ValueError(
            f"Expected a model with a square input of the --size given. Received: {height}x{width}."
        )
    teaching = None if distil is None else distil.of(model)
    shop = study.open_workshop(data, out, size=height, train_per_class=train_per_class, seed=settings.seed)
    if model.output_shape[-1] != len(shop.dataset.class_names):
        raise ValueError(
            f"Expected a model of the {len(shop.dataset.class_names)} classes in {data}. "
            f"Received: {model_path} with {model.output_shape[-1]}."
        )
    # --epochs are those of a technique; the rate and the rest come from a training of the usual length.
    scratch = dataclasses.replace(settings, epochs=0).for_images(len(shop.dataset.train))
    settings = scratch.for_retraining(settings.epochs)
    advice = compress.advice(models.fold_batch_norm(model), parsed)
    for line in advice:
        show_advice(line)
    before = shop.export(model, out / "before.tflite")
    rows = [shop.measure(before, "before", model.name, model)]
    compressed = shop.compress(model, parsed, settings, distil=teaching)
    squeezed = compressed.model
    with files.replacing(out / "model.keras") as temporary:
        squeezed.save(temporary)
    tflite = shop.export(
        squeezed,
        out / "model.tflite",
        recipe=str(parsed),
        int8="quantize" in names(parsed),
        ranges=compressed.ranges,
    )
    rows.append(shop.measure(shop.pack(tflite, out / "model.sqz"), "squeezed", model.name, squeezed))
    more = {
        "model": model.name,
        "recipe": str(parsed),
        "advice": advice,
        "settings": settings.to_dict(),
        **({} if teaching is None else {"distil": teaching.to_dict()}),
    }
    finish_run(shop, rows, more, as_json=as_json)


def names(recipe: compress.Recipe) -> set[str]:
    """The techniques that a recipe uses, by name."""
    return {technique.name for technique in recipe}
