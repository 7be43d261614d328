"""What each technique costs in accuracy and buys in bytes, from one trained network, on one's own images.

    squeezekit squeeze ../shared/data/intel -o out/intel --no-baseline
    python benchmarks/techniques.py ../shared/data/intel -o out/intel --epochs 6 --distil

takes the float network of that run and applies each recipe to it, every stage trained for the same few epochs
(with --distil the float network teaches). Every file is packed and run by the runtime on the test images; the
validation column is what may be chosen by, and agreement is the share of test images to which the file gives the same
label as the network as it was trained, transforms and all. Interrupted and started again, it goes on where it was.
OUT/techniques.json holds every figure; --page writes the table into a page of the documents, between its marks.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from int8_agreement import beside  # beside this file

from squeezekit import compress, files, models, study, training
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
    parser.add_argument("--validate", action="store_true", help="Leave the test images alone: to choose by.")
    parser.add_argument("--recipe", action="append", help="Instead of the usual ones; may be given again.")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="Where the table goes too.")
    options = parser.parse_args()
    plan = study.Plan(compress_epochs=options.epochs)
    shop = study.open_workshop(options.data, options.out, size=plan.size, validation=plan.validation)
    plan = plan.for_images(len(shop.dataset.train))
    model = shop.train(plan.model, plan.network_settings)
    start = training.evaluate(models.fold_batch_norm(model), shop.dataset.validation, shop.preprocess)
    rows = [{"recipe": "", "validation": start}]
    if not options.validate:
        rows[0] |= shop.measure(shop.export(model, shop.out / "float.tflite"), "float", plan.model, model)
    distil = training.Distil(model) if options.distil else None
    for line in options.recipe or RECIPES:
        rows.append(one_recipe(shop, model, plan, line, distil, measured=not options.validate))
    files.write_json(options.out / "techniques.json", rows)
    head = ("recipe", "validation", "top-1", "loses", ".sqz bytes", "agreement")
    body = [cells(row, rows[0]) for row in rows]
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


def one_recipe(
    shop: study.Workshop, model: Any, plan: study.Plan, line: str, distil: Any, *, measured: bool
) -> dict[str, Any]:
    """Train a recipe and measure its file."""
    recipe = compress.parse(line)
    name = re.sub(r"\W+", "-", f"{recipe}{'-taught' if distil else ''}-{plan.compress_epochs}").strip("-")
    folder = shop.work / name
    done = training.compress_in_stages(
        model,
        recipe,
        shop.dataset,
        shop.preprocess,
        plan.compress_settings,
        folder=folder,
        progress=shop.progress,
        distil=distil,
    )
    curves = [stage.history.curves[-1]["val_accuracy"] for stage in done.stages]
    row = {
        "recipe": str(recipe),
        "epochs": plan.compress_epochs,
        "taught": distil is not None,
        "stages": curves,
        "validation": training.evaluate(done.trained, shop.dataset.validation, shop.preprocess),
    }
    if measured:
        int8 = any(technique.name == "quantize" for technique in recipe)
        path = shop.export(
            done.model, folder / "net.tflite", recipe=str(recipe), int8=int8, ranges=done.ranges
        )
        row |= shop.measure(shop.pack(path, folder / "net.sqz"), name, plan.model, done.model)
        row["agreement"] = beside(done.trained, shop.dataset, path)["agreement"]
    return row


def cells(row: dict[str, Any], reference: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    name = f"`{row['recipe']}`" if row["recipe"] else "float"
    if "top1" not in row:
        return name, f"{row['validation']:.1%}", "", "", "", ""
    return (
        name,
        f"{row['validation']:.1%}",
        f"{row['top1']:.1%}",
        f"{100 * (reference['top1'] - row['top1']):.1f} points",
        f"{row['file_bytes']:,}",
        f"{row['agreement']:.1%}" if "agreement" in row else "",
    )


if __name__ == "__main__":
    main()
