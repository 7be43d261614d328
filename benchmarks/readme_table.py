"""Write results into the README, so that no figure there is typed by hand.

    python benchmarks/readme_table.py zoo/intel.run.json README.md
    python benchmarks/readme_table.py docs/results/intel README.md

replace what stands between `<!-- results:begin -->` and `<!-- results:end -->` by a run's table, and what stands
between `<!-- findings:begin -->` and `<!-- findings:end -->` by a study's findings. A test holds the README to both.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from squeezekit import files, study
from squeezekit.study.table import count, percent


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


def findings_block(folder: Path) -> str:
    """The command and the findings of a study as Markdown.

    Args:
        folder: holds `results.jsonl` and `study.json`.
    """
    results = study.read_results(folder)
    common = results.common
    seeds = common["seeds"]
    note = (
        f"{len(results.rows)} files, {len(common['trainings'])} trainings, "
        f"{'one seed' if len(seeds) == 1 else f'{len(seeds)} seeds'}, {common['settings']['epochs']} epochs for each "
        f"float network and {common['compress_settings']['epochs']} for each technique, no teacher. Intervals are 95 %."
    )
    points = [f"- {sentence}" for sentence in study.study_findings(results).sentences]
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


if __name__ == "__main__":
    source, readme_path = map(Path, sys.argv[1:])
    text = readme_path.read_text(encoding="utf-8")
    if source.is_dir():
        text = replace_block(text, "findings", findings_block(source))
    else:
        text = replace_block(text, "results", block(json.loads(source.read_text(encoding="utf-8"))))
    files.write_text(readme_path, text)
