"""`squeezekit demo`: the whole job on generated images, so that a newcomer sees it work."""

import shutil
from pathlib import Path

import click

from squeezekit import curate, experiment, files, report, runtime, training
from squeezekit.cli.options import command_line
from squeezekit.cli.output import PATH, print_json
from squeezekit.quiet import quiet_native

__all__ = ["command"]

# Sized for about three minutes on two cores.
_TRAIN_IMAGES = 120
_TEST_IMAGES = 50
_SIDE = 64
_EPOCHS = 10
_COMPRESS_EPOCHS = 3


@click.command()
@click.option(
    "-o", "--out", default=Path("out/demo"), show_default=True, type=PATH, help="Folder for the results."
)
@click.option(
    "--epochs", default=_EPOCHS, show_default=True, type=click.IntRange(1), help="Passes over the images."
)
@click.option(
    "--images", default=_TRAIN_IMAGES, show_default=True, type=click.IntRange(20), help="For each class."
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Of the whole demo."
)
@click.option("--fresh", is_flag=True, help="Train anew instead of going on from OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of the table.")
def command(out: Path, epochs: int, images: int, seed: int, fresh: bool, as_json: bool) -> None:
    """Draw a small set of shapes, squeeze a network for it, classify one of its images."""
    if fresh:
        shutil.rmtree(out / "stages", ignore_errors=True)
    # Named by what determines them, so that another demo in the same folder draws its own.
    shapes = out / f"shapes-{images}-{seed}"
    progress = training.Progress()
    curate.write_shapes(
        shapes,
        per_class_train=images,
        per_class_test=min(_TEST_IMAGES, images),
        size=_SIDE,
        seed=seed,
        progress=lambda done, total: progress.update("drawing shapes", done, total),
    )
    settings = training.Settings(epochs=epochs, seed=seed)
    plan = experiment.Experiment(
        lines=experiment.squeeze_lines(experiment.DEFAULT_MODEL, experiment.DEFAULT_RECIPE),
        settings=settings,
        compress_epochs=_COMPRESS_EPOCHS,
        distil=training.SelfDistil(),
    )
    run = experiment.run(shapes, out, plan, command=command_line(), progress=progress)
    files.write_text(out / "report.html", report.render(run))
    image = sorted((shapes / "test").glob("*/*"))[0]
    with quiet_native():
        prediction = runtime.load(out / "model.sqz").predict(image)
    if as_json:
        shown = {"image": str(image), "label": prediction.label, "probability": prediction.probability}
        print_json({**run, "prediction": shown})
        return
    click.echo(report.table(run))
    click.echo(f"\n{image}: {prediction.label} ({prediction.probability:.1%}); in truth: {image.parent.name}")
    click.echo("Now with your own photos, one folder a class:  squeezekit squeeze PHOTOS -o out/photos")
