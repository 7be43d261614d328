"""Write results into the README, so that no figure there is typed by hand.

    python benchmarks/readme_table.py zoo/intel{,-separable,-tiny,-quick}.run.json README.md
    python benchmarks/readme_table.py docs/results/intel README.md --block findings

replace what stands between `<!-- results:begin -->` and `<!-- results:end -->` by the table of some runs, or what
stands between the markers of another block; of a folder it is the findings of the study there. A test holds the README
to all of them.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezekit import experiment, files, report
from squeezekit.report.text import count, percent


def block(runs: Sequence[Mapping[str, Any]]) -> str:
    """The commands and one table of some runs as Markdown.

    Args:
        runs: what the `run.json` of each holds, on the same images with the same settings of the float networks;
            AlexNet's row is shown of the first, a float network's of the first that began with it.

    Raises:
        ValueError: images or settings differ, so that no line could speak of all.
    """
    head = (
        "network",
        "recipe",
        "parameters",
        "non-zero",
        "file",
        "times smaller",
        "top-1 (95 %)",
        "worst class",
    )
    lines = [
        "```bash",
        *(run["command"] for run in runs),
        "```",
        "",
        "| " + " | ".join(head) + " |",
        "|---|---|" + "---:|" * (len(head) - 2),
    ]
    shown = set()
    for run in runs:
        fire = " with separable fire" if "separable" in run["model"] else ""
        for row in run["rows"]:
            squeezed = row is run["rows"][-1]
            name = (
                row["name"].replace(",", f"{fire},") if row["name"].startswith("SqueezeNet") else row["name"]
            )
            if not squeezed and name in shown:
                continue
            shown.add(name)
            if squeezed and not run.get("int8", True):
                name += ", in float"
            low, high = (100 * bound for bound in row["top1_interval"])
            worst = row["worst_class"]
            cells = (
                name,
                f"`{run['recipe'].replace('|', chr(92) + '|')}`" if squeezed else "",
                count(row["parameters"]),
                count(row["nonzero_parameters"]),
                f"{count(row['file_bytes'])} bytes",
                f"{row['times_smaller']:,.1f}",
                f"{percent(row['top1'])} ({low:.1f} to {high:.1f})",
                f"{worst['label']} {percent(worst['recall'])}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", _what_all_share(runs), ""]
    return "\n".join(lines)


def _what_all_share(runs: Sequence[Mapping[str, Any]]) -> str:
    epochs = sorted({run["compress_settings"]["epochs"] for run in runs})
    lines = set()
    for run in runs:
        data = run["data"]
        taught = ", taught by the float network" if run.get("distil") else ""
        lines.add(
            f"Seed {run['seed']}, {run['settings']['epochs']} epochs for each float network and "
            f"{' or '.join(map(str, epochs))} for each technique{taught}; {data['train']:,} images trained on, "
            f"{data['validation']:,} for validation, {data['test']:,} tested."
        )
    if len(lines) != 1:
        raise ValueError("Expected runs of the same images with the same settings of the float networks.")
    return lines.pop()


def findings_block(folder: Path) -> str:
    """The command and the findings of a study as Markdown.

    Args:
        folder: holds `results.jsonl` and `study.json`.
    """
    results = experiment.read_results(folder)
    common = results.common
    seeds = common["seeds"]
    note = (
        f"{len(results.rows)} files, {len(common['trainings'])} trainings, "
        f"{'one seed' if len(seeds) == 1 else f'{len(seeds)} seeds'}, {common['settings']['epochs']} epochs for each "
        f"float network and {common['compress_settings']['epochs']} for each technique, no teacher. Intervals are 95 %."
    )
    points = [f"- {sentence}" for sentence in report.study_findings(results).sentences]
    return "\n".join(["```bash", common["command"], "```", "", *points, "", note, ""])


def replace_block(readme: str, name: str, block: str) -> str:
    """`readme` with a block between its markers.

    Args:
        readme: the whole text.
        name: of the markers.
        block: what to put there.

    Raises:
        ValueError: the markers are missing.
    """
    opening, closing = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, begin, rest = readme.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise ValueError(f"Expected the markers {opening.strip()} and {closing} in the README.")
    return before + begin + block + end + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", type=Path, nargs="+", help="run.json files, or the folder of a study")
    parser.add_argument("readme", type=Path)
    parser.add_argument("--block", default="results", help="name of the markers")
    options = parser.parse_args()
    if options.sources[0].is_dir():
        made = findings_block(options.sources[0])
    else:
        made = block([json.loads(source.read_text(encoding="utf-8")) for source in options.sources])
    text = options.readme.read_text(encoding="utf-8")
    files.write_text(options.readme, replace_block(text, options.block, made))


if __name__ == "__main__":
    main()
