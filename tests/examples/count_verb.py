"""How to add a verb: `squeezekit count FOLDER` says how many images each class has. One file and one line."""

from pathlib import Path

import click

from squeezekit import runtime
from squeezekit.cli.output import PATH, json_option, print_json, progress, table


@click.command()
@click.argument("folder", metavar="FOLDER", type=PATH)
@json_option()
def command(folder: Path, as_json: bool) -> None:
    """Count the images of each class in FOLDER, which holds one folder for each class."""
    classes = sorted(each for each in folder.iterdir() if each.is_dir())
    if not classes:
        # A user's mistake is a ValueError: the command line prints it as one line, with exit status 2.
        raise ValueError(f"Expected a folder of class folders. Received: {folder}.")
    counts = {}
    with progress("counting") as bar:
        for done, each in enumerate(classes, start=1):
            counts[each.name] = len(runtime.folder_images(each))
            if bar is not None:
                bar(done, len(classes))
    if as_json:
        print_json({"counts": counts})
    else:
        click.echo(table(["class", "images"], [[name, f"{n:,}"] for name, n in counts.items()], right=[1]))
