"""Write the results of a run into the README, so that no figure there is typed by hand.

    python benchmarks/readme_table.py zoo/intel.run.json README.md

replaces what stands between `<!-- results:begin -->` and `<!-- results:end -->`. A test holds the README to it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from squeezekit import files
from squeezekit.study.table import count, percent

BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->"


def block(run: Mapping[str, Any]) -> str:
    """The command and the table of a run as Markdown.

    Args:
        run: what `run.json` holds.
    """
    head = (
        "network",
        "parameters",
        "non-zero",
        "file",
        "times smaller",
        "top-1 (95 %)",
        "worst class",
        "latency",
    )
    lines = [
        "```bash",
        run["command"],
        "```",
        "",
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
    ]
    for row in run["rows"]:
        low, high = (100 * bound for bound in row["top1_interval"])
        worst = row["worst_class"]
        cells = (
            row["name"],
            count(row["parameters"]),
            count(row["nonzero_parameters"]),
            f"{count(row['file_bytes'])} bytes",
            f"{row['times_smaller']:,.1f}",
            f"{percent(row['top1'])} ({low:.1f} to {high:.1f})",
            f"{worst['label']} {percent(worst['recall'])}",
            f"{row['latency_ms']:.2f} ms",
        )
        lines.append("| " + " | ".join(cells) + " |")
    data = run["data"]
    taught = ", taught by the float network" if run.get("distil") else ""
    lines += [
        "",
        f"Recipe `{run['recipe']}`, seed {run['seed']}, {run['settings']['epochs']} epochs for each float network and "
        f"{run['compress_settings']['epochs']} for each technique{taught}; {data['train']:,} images trained on, "
        f"{data['validation']:,} for validation, {data['test']:,} tested. Latency: LiteRT, one thread, "
        f"{run['machine']}.",
        "",
    ]
    return "\n".join(lines)


def replace_block(readme: str, run: Mapping[str, Any]) -> str:
    """`readme` with the block of `run` between the markers.

    Raises:
        ValueError: the markers are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"Expected the markers {BEGIN.strip()} and {END} in the README.")
    return before + begin + block(run) + end + after


if __name__ == "__main__":
    run_path, readme_path = map(Path, sys.argv[1:])
    text = replace_block(
        readme_path.read_text(encoding="utf-8"), json.loads(run_path.read_text(encoding="utf-8"))
    )
    files.write_text(readme_path, text)
