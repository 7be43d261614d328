"""`squeezekit report`: a study's report, made again from its store."""

from pathlib import Path

import click

from squeezekit import study
from squeezekit.cli.output import plain, print_json

__all__ = ["command"]


@click.command("report", short_help="Write a study's report again from its store.")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--no-pictures", is_flag=True, help="Leave out the images whose label flips: for a page to publish."
)
@click.option(
    "--data",
    "folder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the images lie now, for the pictures; by default where the study had them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(out: Path, no_pictures: bool, folder: Path | None, as_json: bool) -> None:
    """Write OUT/report.html, results.csv, results.json, and pareto and effects as .svg and .png, of the study in OUT.

    They come from OUT/results.jsonl and OUT/study.json alone; nothing is trained or measured. Pictures of
    images whose label flips are taken from the study's images where those can be found.
    """
    results, found, paths = study.report_study(out, pictures=not no_pictures, folder=folder)
    for note in results.notes:
        click.echo(f"squeezekit: note: {plain(note)}", err=True)
    if as_json:
        told = {"files": [str(path) for path in paths], "notes": results.notes, **study.summary(found)}
        print_json({**told, "energy": results.common.get("energy")})
        return
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo(f"\n{paths[0]}  shows the details; beside it {', '.join(path.name for path in paths[1:])}")
