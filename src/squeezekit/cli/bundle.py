"""`squeezekit bundle`: all that a model needs on a Raspberry Pi, to copy there."""

from pathlib import Path

import click

from squeezekit import runtime
from squeezekit.cli.output import print_json, table
from squeezekit.quiet import quiet_native

__all__ = ["command"]


@click.command("bundle", short_help="Put a model and all it needs into a folder for a Raspberry Pi.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="DIR|FILE.tar.gz",
    type=click.Path(path_type=Path),
    help="Folder or archive to write.",
)
@click.option(
    "--wheels",
    multiple=True,
    metavar="PYTHON",
    help="Put wheels for 64-bit Raspberry Pi OS in as well, for this Python (3.11, 3.13); again for another.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, out: Path, wheels: tuple[str, ...], as_json: bool) -> None:
    """Write a folder, or a .tar.gz of it, that labels images on another machine.

    Copy it there and run ./classify photo.jpg: the first call installs what it needs beside itself, from the
    network or, with --wheels, from the bundle.
    """
    with quiet_native():
        members = runtime.bundle(model, out, wheels=wheels)
    if as_json:
        print_json({"out": str(out), "files": members})
        return
    click.echo(table(["file", "bytes"], [[name, f"{size:,}"] for name, size in members.items()], right=[1]))
    click.echo(f"\n{out}: copy it to the machine, then ./classify photo.jpg")
