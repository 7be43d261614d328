"""`squeezekit unpack`: a `.sqz` gives back its `.tflite`."""

from pathlib import Path

import click

from squeezekit import codec, files
from squeezekit.cli.output import print_json, progress, refuse_same_file
from squeezekit.errors import FormatError

__all__ = ["command"]


@click.command("unpack", short_help="Give back the exact .tflite that a .sqz holds.")
@click.argument("model", metavar="MODEL.sqz", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="MODEL.tflite", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, output: Path, as_json: bool) -> None:
    """Give back the exact bytes of the .tflite that was packed."""
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
