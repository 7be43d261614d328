"""`squeezekit pack`: a `.tflite` becomes a `.sqz`, losslessly."""

from pathlib import Path

import click

from squeezekit import codec, files
from squeezekit.cli.output import print_json, progress, refuse_same_file
from squeezekit.errors import FormatError
from squeezekit.quiet import quiet_native
from squeezekit.runtime import Network, parse_labels

__all__ = ["command"]


@click.command("pack", short_help="Pack a .tflite into a .sqz, losslessly.")
@click.argument("model", metavar="MODEL.tflite", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="MODEL.sqz", type=click.Path(path_type=Path))
@click.option(
    "--coder", type=click.Choice(list(codec.CODERS)), default=codec.DEFAULT_CODER, show_default=True
)
@click.option("--labels", metavar="FILE", type=click.Path(path_type=Path), help="One label a line, in order.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, output: Path, coder: str, labels: Path | None, as_json: bool) -> None:
    """Pack any .tflite into a .sqz that `squeezekit unpack` turns back into the exact bytes.

    --coder says how tensors are coded: huffman and rans decode fastest, small looks at a weight's
    surroundings too, auto takes whatever is smallest, none stores them as they are. --labels FILE names the
    classes of a file that does not name them itself; it goes into the .sqz, and comes before labels inside
    the .tflite.
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
    """The labels in a file, as many as the network has classes."""
    try:
        labels = parse_labels(path.read_bytes())
    except FormatError as error:
        raise ValueError(f"{path}: {error}") from error
    with quiet_native():
        classes = Network(tflite).classes
    if len(labels) != classes:
        raise ValueError(f"{path}: Expected {classes} labels, one a class. Received: {len(labels)}.")
    return list(labels)
