"""`squeezekit evaluate`: how often a model is right on labelled images."""

from pathlib import Path

import click

from squeezekit import runtime
from squeezekit.cli.output import plain, print_json, progress, share, table
from squeezekit.quiet import quiet_native

__all__ = ["command"]


@click.command("evaluate", short_help="Count how often a model is right on labelled images.")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("data", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(model: Path, data: Path, as_json: bool) -> None:
    """Run a .sqz or .tflite on labelled images: DATA/test/CLASS/* where there is a test folder, else DATA/CLASS/*.

    DATA may be a .npz too, a folder of .npz or .npy files, shards (.tar, .tfrecord), or a quoted pattern such as
    "val_*.npz": its test part where names tell one, else all. Macro-accuracy is the mean of the classes' recalls.

    Unreadable images are named and do not count; more than 5 % of them are refused.
    """
    with quiet_native():
        network = runtime.load(model)
    with progress("evaluating") as bar:
        result = runtime.evaluate(network, data, progress=bar)
    if as_json:
        print_json(
            {
                "images": result.images,
                "top1": result.top1,
                "top5": result.top5,
                "macro_accuracy": result.macro_accuracy,
                "per_class": result.per_class,
                "worst_class": result.worst_class,
                "skipped": list(result.skipped),
            }
        )
        return
    counts = result.counts
    rows = [[label, f"{counts[label]:,}", share(recall)] for label, recall in result.per_class.items()]
    click.echo(table(["class", "images", "recall"], rows, right=[1, 2]))
    worst = result.worst_class
    summary = [
        ["top-1", share(result.top1)],
        ["top-5", share(result.top5)],
        ["macro-accuracy", share(result.macro_accuracy)],
        ["worst class", f"{share(result.per_class[worst])} ({worst})"],
        ["images", f"{result.images:,}"],
        ["skipped", f"{len(result.skipped):,}"],
    ]
    click.echo("\n" + table(["in all", ""], summary))
    for problem in result.skipped:
        click.echo(f"skipped: {plain(problem)}", err=True)
