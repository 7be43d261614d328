"""What each technique costs in accuracy and buys in bytes, from one trained network, on one's own images.

    python benchmarks/techniques.py ../shared/data/intel -o out/techniques --epochs 6 --distil

is a study of the recipes below: one float network, then each recipe on it, every stage trained for the same few epochs
(with --distil the float network teaches). The validation column is what may be chosen by, and agreement is the share of
test images to which the file gives the same label as the network as it was trained, transforms and all. Interrupted and
started again, it goes on where it was. OUT/results.jsonl holds every figure; --page writes the table into a page of the
documents, between its marks.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from int8_agreement import beside  # beside this file

from squeezekit import codec, data, experiment, files, models, training
from squeezekit.cli.output import table

BEGIN, END = "<!-- techniques:begin -->", "<!-- techniques:end -->"

RECIPES = (
    "prune(0.8)",
    "prune(0.8, scope='global')",
    "prune(0.8, scope='lamp')",
    "share(bits=5)",
    "quantize(8)",
    "quantize(8, activations=8)",
    "prune(0.8, scope='lamp') | share(bits=5) | quantize(8)",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6, help="Of each technique.")
    parser.add_argument("--distil", action="store_true", help="The float network teaches.")
    parser.add_argument("--recipe", action="append", help="Instead of the usual ones; may be given again.")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="Where the table goes too.")
    options = parser.parse_args()
    recipes = ["", *(options.recipe or RECIPES)]
    study = experiment.Experiment(
        lines=experiment.recipe_lines(experiment.DEFAULT_MODEL, recipes),
        compress_epochs=options.epochs,
        distil=training.SelfDistil() if options.distil else None,
        baseline=False,
    )
    rows = experiment.run_study(options.data, options.out, study)["rows"]
    dataset = data.open_dataset(options.data)
    head = ("recipe", "validation", "top-1", "loses", ".sqz bytes", "agreement")
    body = [cells(row, rows[0], agreement(row, options.out, dataset)) for row in rows]
    print(table(head, body, right=(1, 2, 3, 4, 5)))
    if options.page:
        lines = [head, ("---", *["---:"] * (len(head) - 1)), *body]
        write_between(options.page, "\n".join(f"| {' | '.join(line)} |" for line in lines))


def write_between(page: Path, text: str) -> None:
    """Put `text` between the page's marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"Expected the marks {BEGIN} and {END} in {page}.")
    files.write_text(page, f"{before}{begin}\n{text}\n{end}{after}")


def agreement(row: Mapping[str, Any], out: Path, dataset: data.Dataset) -> float | None:
    """The share of test images that a row's file calls like the network as it was trained."""
    trained = out / "stages" / row["stage"] / "hooked.keras"
    if not trained.exists():
        return None
    tflite = out / "work.tflite"
    files.write_bytes(tflite, codec.unpack((out / row["file"]).read_bytes()))
    try:
        return float(beside(models.load(trained), dataset, tflite)["agreement"])
    finally:
        tflite.unlink()


def cells(row: Mapping[str, Any], reference: Mapping[str, Any], agreed: float | None) -> tuple[str, ...]:
    """A row of the table."""
    return (
        f"`{row['recipe']}`" if row["recipe"] else "float",
        f"{row['validation_top1']:.1%}",
        f"{row['top1']:.1%}",
        f"{100 * (reference['top1'] - row['top1']):.1f} points",
        f"{row['file_bytes']:,}",
        "" if agreed is None else f"{agreed:.1%}",
    )


if __name__ == "__main__":
    main()
