"""`squeezekit report`: a study's report, made again from its store."""

from pathlib import Path

import click

from squeezekit import report
from squeezekit.cli.output import PATH, print_json, say

__all__ = ["command"]


@click.command("report", short_help="Write a study's report again from its store.")
@click.argument("out", metavar="OUT", type=PATH)
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
    """Write OUT/report.html, results.csv, results.json, and pareto and effects as .svg, .png and .pdf.

    They come from OUT/results.jsonl and OUT/study.json alone; nothing is trained or measured. Pictures of
    images whose label flips are taken from the study's images where those can be found.
    """
    results, found, paths = report.report_study(out, pictures=not no_pictures, folder=folder)
    for note in results.notes:
        say(f"note: {note}")
    if as_json:
        told = {"files": [str(path) for path in paths], "notes": results.notes, **report.summary(found)}
        print_json({**told, "energy": results.common.get("energy")})
        return
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo(f"\n{paths[0]}  shows the details; beside it {', '.join(path.name for path in paths[1:])}")
