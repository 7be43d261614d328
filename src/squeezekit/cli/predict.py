"""`squeezekit predict`: label images."""

from pathlib import Path
from typing import Any

import click

from squeezekit import runtime
from squeezekit.cli.output import plain, print_json, progress, share, table
from squeezekit.errors import FormatError
from squeezekit.quiet import quiet_native

__all__ = ["command"]

_TOP_IN_JSON = 5
# Fewer images than this are done before a bar could be read.
_MANY = 20


@click.command("predict", short_help="Label images.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help=f"How many of the likeliest classes to name. [default: 1; with --json {_TOP_IN_JSON}]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    context: click.Context, model: Path, images: tuple[Path, ...], top: int | None, as_json: bool
) -> None:
    """Say what is in each image, by a .sqz or .tflite.

    An image that cannot be read is reported and passed over; the exit status is then 2.
    """
    with quiet_native():
        network = runtime.load(model)
    found: list[tuple[Path, runtime.Prediction]] = []
    problems = []
    with progress("predicting", shown=len(images) >= _MANY) as bar:
        for done, image in enumerate(images, start=1):
            try:
                found.append((image, network.predict(image, top=top or (_TOP_IN_JSON if as_json else 1))))
            except FormatError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{image}: {error.strerror or error}")
            if bar is not None:
                bar(done, len(images))
    if as_json:
        print_json([_as_json(image, prediction) for image, prediction in found])
    elif found:
        rows = [
            [str(image) if rank == 0 else "", label, share(probability)]
            for image, prediction in found
            for rank, (label, probability) in enumerate(prediction.top)
        ]
        click.echo(table(["image", "label", "probability"], rows, right=[2]))
    for problem in problems:
        click.echo(f"squeezekit: {plain(problem)}", err=True)
    if problems:
        context.exit(2)


def _as_json(image: Path, prediction: runtime.Prediction) -> dict[str, Any]:
    return {
        "image": str(image),
        "label": prediction.label,
        "probability": prediction.probability,
        "top": [[label, probability] for label, probability in prediction.top],
    }
