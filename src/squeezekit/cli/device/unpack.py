"""`squeezekit unpack`: a `.sqz` back to its `.tflite`."""

from pathlib import Path

import click

from squeezekit import codec, files
from squeezekit.cli.output import PATH, json_option, print_json, progress, refuse_same_file
from squeezekit.errors import FormatError

__all__ = ["command"]


@click.command()
@click.argument("model", metavar="MODEL.sqz", type=PATH)
@click.option("-o", "--output", required=True, metavar="MODEL.tflite", type=PATH)
@json_option()
def command(model: Path, output: Path, as_json: bool) -> None:
    """Unpack MODEL.sqz to the exact bytes of the .tflite that was packed."""
    refuse_same_file(model, output)
    packed = files.read_regular(model)
    try:
        with progress("unpacking") as show:
            tflite = codec.unpack(packed, progress=show)
    except FormatError as error:
        raise FormatError(f"{model}: {error}") from error
    files.write_bytes(output, tflite)
    if as_json:
        print_json({"input_bytes": len(packed), "output_bytes": len(tflite)})
    else:
        click.echo(f"{output}: {len(tflite):,} bytes")
