"""A study's rows as tables for other tools, and what a row is compared with."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from squeezekit import files
from squeezekit.experiment import Results, file_bytes, full_rows, reference_row
from squeezekit.experiment.record import figure, mapping

__all__ = ["churn", "full_of", "times_smaller", "write_csv", "write_json"]

Row = Mapping[str, Any]

_FIGURES = (
    *("parameters", "nonzero", "macs", "activations", "inference_uj", "top1", "top5", "validation_top1"),
    *("latency_ms", "cold_start_ms"),
)


def write_csv(results: Results, path: str | os.PathLike[str]) -> None:
    """Write a line for each row, figures flat: for a spreadsheet, pandas or R.

    Proportions are in [0, 1]; `times_smaller` is against AlexNet, `churn` the share of test images that the
    uncompressed network of the same seed calls something else; `stage_kwh` is of the row's last training, which rows
    of other coders share; `inference_uj` is an estimate. What was not measured is empty.

    Args:
        results: of a study.
        path: where the file goes; replaced as a whole.
    """
    table = [_flat(row, results) for row in results.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(table[0]) if table else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    files.write_text(path, text.getvalue())


def write_json(results: Results, path: str | os.PathLike[str]) -> None:
    """Write the rows as one JSON array, whole but for `predicted`, with what `write_csv` adds to them.

    Args:
        results: of a study.
        path: where the file goes; replaced as a whole.
    """
    files.write_json(
        path,
        [
            {key: value for key, value in row.items() if key != "predicted"} | _added(row, results)
            for row in results.rows
        ],
    )


def times_smaller(row: Row, results: Results) -> float | None:
    """The bytes of AlexNet's file over the row's, of the same seed where it can be; None without AlexNet."""
    reference = reference_row(row, results.rows, results.network)
    if reference is None or not reference.get("baseline"):
        return None
    return float(file_bytes(reference) / file_bytes(row))


def full_of(row: Row, rows: Sequence[Row], network: str = "") -> Row | None:
    """The network of the same seed to which nothing was done; None while it is not there.

    Args:
        row: of a study.
        rows: of the same study.
        network: as for `experiment.full_rows`.
    """
    return next((other for other in full_rows(rows, network) if other["seed"] == row["seed"]), None)


def churn(row: Row, rows: Sequence[Row], network: str = "") -> float | None:
    """The share of test images that the uncompressed network of the same seed calls something else.

    None for AlexNet and while that network is not there.

    Args:
        row: of a study.
        rows: of the same study.
        network: as for `experiment.full_rows`.

    Paper: Milani Fard et al., "Launch and Iterate: Reducing Prediction Churn", 2016.
    """
    full = None if row.get("baseline") else full_of(row, rows, network)
    if full is None or not row["predicted"]:
        return None
    differ = sum(one != two for one, two in zip(row["predicted"], full["predicted"], strict=True))
    return differ / len(row["predicted"])


def _added(row: Row, results: Results) -> dict[str, Any]:
    """What a table says of a row besides what the row says itself."""
    trainings = map(mapping, results.common.get("trainings") or ())
    stage = next((one for one in trainings if one.get("stage") == row.get("stage")), {})
    return {
        "times_smaller": times_smaller(row, results),
        "churn": churn(row, results.rows, results.network),
        "stage_kwh": figure(mapping(stage.get("energy")).get("kwh")),
    }


def _flat(row: Row, results: Results) -> dict[str, Any]:
    added = _added(row, results)
    flat: dict[str, Any] = {"id": row["id"], "baseline": int(bool(row.get("baseline")))}
    # The network has a column of its own.
    factors = [name for name in mapping(results.common.get("grid")) if name != "network"]
    flat |= {name: row["factors"].get(name, "") for name in factors}
    flat |= {key: row.get(key) for key in ("recipe", "network", "seed", "file")}
    flat |= {f"bytes_{part}": row["bytes"].get(part) for part in ("file", "graph", "tables", "weights")}
    flat["times_smaller"] = added["times_smaller"]
    for key in _FIGURES:
        flat[key] = row.get(key)
        if key in ("top1", "top5"):
            flat[f"{key}_low"], flat[f"{key}_high"] = row.get(f"{key}_interval") or (None, None)
    flat["churn"] = added["churn"]
    flat |= {key: row.get(key) for key in ("peak_memory_bytes", "seconds", "machine", "command")}
    return {**flat, "stage_kwh": added["stage_kwh"]}
