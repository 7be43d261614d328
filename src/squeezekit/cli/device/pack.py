"""`squeezekit pack`: a `.tflite` becomes a `.sqz`, losslessly."""

from pathlib import Path

import click

from squeezekit import codec, files
from squeezekit.cli.labels import labels_option, read_labels
from squeezekit.cli.output import PATH, json_option, print_json, progress, refuse_same_file
from squeezekit.errors import FormatError
from squeezekit.quiet import quiet_native
from squeezekit.runtime import Network

__all__ = ["command"]


@click.command()
@click.argument("model", metavar="MODEL.tflite", type=PATH)
@click.option("-o", "--output", required=True, metavar="MODEL.sqz", type=PATH)
@click.option(
    "--coder", type=click.Choice(list(codec.CODERS)), default=codec.DEFAULT_CODER, show_default=True
)
@labels_option
@json_option()
def command(model: Path, output: Path, coder: str, labels: Path | None, as_json: bool) -> None:
    """Pack any .tflite into a .sqz, without loss. `squeezekit unpack` gives the same bytes back.

    --coder says how tensors are coded. huffman and rans decode fastest. small also uses the neighbours of a
    weight. auto takes the smallest result. none stores the tensors as they are. --labels FILE names the classes;
    the .sqz stores these labels, and they replace labels inside the .tflite.
    """
    refuse_same_file(model, output)
    tflite = files.read_regular(model)
    try:
        info = {"labels": _labels_for(tflite, labels)} if labels else None
        with progress("packing") as show:
            packed = codec.pack(tflite, info=info, coder=coder, progress=show)
    except FormatError as error:
        raise FormatError(f"{model}: {error}") from error
    files.write_bytes(output, packed)
    if as_json:
        print_json({"input_bytes": len(tflite), "output_bytes": len(packed), "coder": coder})
    else:
        times = len(tflite) / len(packed)
        click.echo(f"{output}: {len(packed):,} bytes, {times:.2f} times smaller than {len(tflite):,}")


def _labels_for(tflite: bytes, path: Path) -> list[str]:
    """Read one label for each class of the network."""
    labels = read_labels(path)
    with quiet_native():
        classes = Network(tflite).classes
    if len(labels) != classes:
        raise ValueError(f"{path}: Expected {classes} labels, one for each class. Received: {len(labels)}.")
    return labels
