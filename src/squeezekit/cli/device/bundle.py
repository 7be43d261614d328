"""`squeezekit bundle`: a model and everything it needs on a Raspberry Pi, ready to copy."""

from pathlib import Path

import click

from squeezekit import runtime
from squeezekit.cli.output import PATH, json_option, model_argument, print_json, table
from squeezekit.quiet import quiet_native

__all__ = ["command"]


@click.command()
@model_argument
@click.option(
    "-o", "--out", required=True, metavar="DIR|FILE.tar.gz", type=PATH, help="Folder or archive to write."
)
@click.option(
    "--wheels",
    multiple=True,
    metavar="PYTHON",
    help="Include the wheels for 64-bit Raspberry Pi OS and this Python (3.11, 3.13). Repeat it for another Python.",
)
@json_option()
def command(model: Path, out: Path, wheels: tuple[str, ...], as_json: bool) -> None:
    """Write a folder, or a .tar.gz of it, that labels images on another machine.

    Copy it there and run ./classify photo.jpg. The first call installs the packages into the folder: from the
    network or, with --wheels, from the bundle.
    """
    with quiet_native():
        members = runtime.bundle(model, out, wheels=wheels)
    if as_json:
        print_json({"out": str(out), "files": members})
        return
    click.echo(table(["file", "bytes"], [[name, f"{size:,}"] for name, size in members.items()], right=[1]))
    click.echo(f"\n{out}: copy it to the machine, then ./classify photo.jpg")
