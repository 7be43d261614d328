"""Whether a study that was made again is the same: its rows against those of an earlier store.

    squeezekit study ../shared/data/intel -o out/again --seeds 1 --no-pictures
    python benchmarks/same_rows.py out/again docs/results/intel

A row is known by its id, a digest of everything that determines it. Of each row that both have the sizes of the file's
parts, the label of every test image and the curves of its training are compared; latency, cold start and memory are a
machine's own. Exits with 1 when a row differs or the earlier store lacks one.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from squeezekit import experiment

# What must be equal; the rest of a row follows from these or was measured by the clock.
COMPARED = ("bytes", "predicted", "top1", "top5", "validation_top1", "parameters", "nonzero", "macs")


def differences(row: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> list[str]:
    """What is not as it was; "missing" when the row is new."""
    if earlier is None:
        return ["missing"]
    return [key for key in COMPARED if row[key] != earlier[key]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("again", type=Path, help="folder of the study that was made again")
    parser.add_argument("earlier", type=Path)
    options = parser.parse_args()
    again, earlier = (experiment.read_results(folder) for folder in (options.again, options.earlier))
    known = {row["id"]: row for row in earlier.rows}
    wrong = 0
    for row in again.rows:
        found = differences(row, known.get(row["id"]))
        if found:
            wrong += 1
            print(f"{row['file']}: {', '.join(found)}")
    curves = {training["stage"]: training["curves"] for training in earlier.common["trainings"]}
    trainings = again.common["trainings"]
    same = sum(training["curves"] == curves.get(training["stage"]) for training in trainings)
    seconds = sum(training["seconds"] for training in trainings)
    print(
        f"{len(again.rows) - wrong} of {len(again.rows)} rows the same, {same} of {len(trainings)} trainings with "
        f"the same curves; they took {seconds / 60:.0f} minutes."
    )
    return 1 if wrong or same < len(trainings) else 0


if __name__ == "__main__":
    sys.exit(main())
