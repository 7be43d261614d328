"""`squeezekit evaluate`: a model's accuracy on labelled images."""

from pathlib import Path

import click

from squeezekit import runtime
from squeezekit.cli import output
from squeezekit.quiet import quiet_native

__all__ = ["command"]


@click.command()
@output.model_argument
@click.argument("data", metavar="DATA", type=output.PATH)
@output.json_option()
def command(model: Path, data: Path, as_json: bool) -> None:
    """Measure the accuracy of a .sqz or .tflite on the labelled images in DATA.

    DATA has one folder for each class. If DATA has a folder test/, only DATA/test/CLASS/* counts.

    DATA can also be a .npz, a folder of .npz or .npy files, shards (.tar, .tfrecord), or a quoted pattern such as
    "val_*.npz". If file names mark a test part, only that part counts. Macro-accuracy is the mean recall of the
    classes.

    Unreadable images are listed and do not count. If more than 5 % are unreadable, the command fails.
    """
    with quiet_native():
        network = runtime.load(model)
    with output.progress("evaluating") as bar:
        result = runtime.evaluate(network, data, progress=bar)
    if as_json:
        output.print_json(
            {
                "images": result.images,
                "top1": result.top1,
                "top5": result.top5,
                "macro_accuracy": result.macro_accuracy,
                "per_class": result.per_class,
                "worst_class": result.worst_class,
                "skipped": list(result.skipped),
                "notes": list(result.notes),
            }
        )
        return
    counts = result.counts
    rows = [[label, f"{counts[label]:,}", output.share(recall)] for label, recall in result.per_class.items()]
    click.echo(output.table(["class", "images", "recall"], rows, right=[1, 2]))
    worst = result.worst_class
    summary = [
        ["top-1", output.share(result.top1)],
        ["top-5", output.share(result.top5)],
        ["macro-accuracy", output.share(result.macro_accuracy)],
        ["worst class", f"{output.share(result.per_class[worst])} ({worst})"],
        ["images", f"{result.images:,}"],
        ["skipped", f"{len(result.skipped):,}"],
    ]
    click.echo("\n" + output.table(["in all", ""], summary))
    for problem in result.skipped:
        click.echo(f"skipped: {output.plain(problem)}", err=True)
    for note in result.notes:
        output.say(f"note: {note}")
