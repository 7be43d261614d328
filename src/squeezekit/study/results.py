"""A study's store as plain rows: read back with every row checked, and written as tables for other tools."""

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezekit import files
from squeezekit.errors import FormatError
from squeezekit.study.charts import mapping
from squeezekit.study.effects import full_of
from squeezekit.study.grid import REFERENCE
from squeezekit.study.speed import latency_ms
from squeezekit.study.table import figure

__all__ = ["Results", "disagreement", "read_results", "write_csv", "write_json"]

Row = Mapping[str, Any]

# A row of 60,000 test images is some 200 KB; nothing honest comes near this.
_MAX_BYTES = 1_000_000_000

_FIGURES = (
    "parameters",
    "nonzero",
    "macs",
    "activations",
    "inference_uj",
    "top1",
    "top5",
    "validation_top1",
    "latency_ms",
    "cold_start_ms",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Results:
    """What a study left behind.

    Args:
        rows: of `results.jsonl`, each id once.
        common: of `study.json`: the command, the images, the grid, the trainings.
        notes: sentences on what was passed over while reading.
    """

    rows: list[dict[str, Any]]
    common: dict[str, Any]
    notes: list[str]


def read_results(out: str | os.PathLike[str]) -> Results:
    """Read `results.jsonl` and `study.json` in the folder of a study.

    A last line without its end is what a killed study leaves: it is passed over and noted. Anything else that
    is not a row is an error, because a report over half of the rows would look like one over all.

    Args:
        out: the study's folder.

    Returns:
        The rows, what they have in common, and notes.

    Raises:
        ValueError: not the folder of a study.
        FormatError: a file in it is damaged; the message names the line.

    Example:
        >>> read_results("no/such/folder")
        Traceback (most recent call last):
        ValueError: Expected a study's folder, with results.jsonl and study.json in it. Received: no/such/folder.
    """
    folder = Path(out)
    rows_path, common_path = folder / "results.jsonl", folder / "study.json"
    if not rows_path.is_file() or not common_path.is_file():
        raise ValueError(
            f"Expected a study's folder, with results.jsonl and study.json in it. Received: {folder}."
        )
    common = _common(common_path)
    truth = common["data"]["truth"]
    lines = _text(rows_path).split("\n")
    notes = []
    if lines[-1].strip():
        notes.append(
            f"The last line of {rows_path.name} is cut off and was passed over; "
            "`squeezekit study` run again makes it anew."
        )
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        row = _parsed(line, f"{rows_path}, line {number}")
        _check(row, len(truth), len(common["data"]["labels"]), f"{rows_path}, line {number}")
        if row["id"] in rows:
            notes.append(f"Line {number} of {rows_path.name} repeats a row; the first one counts.")
        # Measured in turns with all others, where a study came to its end; on its own before that.
        row["latency_ms"] = latency_ms(common.get("latency"), row.get("stage", "")) or row.get("latency_ms")
        rows.setdefault(row["id"], row)
    if not rows:
        raise FormatError(f"{rows_path}: no row yet; run `squeezekit study` again to go on with it")
    return Results(list(rows.values()), common, notes)


def write_csv(rows: Sequence[Row], path: str | os.PathLike[str], trainings: Sequence[Any] = ()) -> None:
    """Write a line for each row, figures flat: for a spreadsheet, pandas or R.

    Proportions are in [0, 1]; `times_smaller` is against AlexNet, `churn` the share of test images that the
    uncompressed network of the same seed calls something else; `stage_kwh` is of the row's last training, which rows
    of other coders share; `inference_uj` is an estimate. What was not measured is empty.

    Args:
        rows: of a study.
        path: where the file goes; replaced as a whole.
        trainings: of `study.json`.
    """
    spent = _energy_by_stage(trainings)
    table = [{**_flat(row, rows), "stage_kwh": spent.get(row.get("stage"))} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(table[0]) if table else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    files.write_text(path, text.getvalue())


def write_json(rows: Sequence[Row], path: str | os.PathLike[str], trainings: Sequence[Any] = ()) -> None:
    """Write the rows as one JSON array, whole but for `predicted`, with what `write_csv` adds to them.

    Args:
        rows: of a study.
        path: where the file goes; replaced as a whole.
        trainings: of `study.json`.
    """
    table = []
    spent = _energy_by_stage(trainings)
    for row in rows:
        plain = {key: value for key, value in row.items() if key != "predicted"}
        plain["times_smaller"], plain["churn"] = times_smaller(row, rows), churn(row, rows)
        plain["stage_kwh"] = spent.get(row.get("stage"))
        table.append(plain)
    files.write_json(path, table)


def _energy_by_stage(trainings: Sequence[Any]) -> dict[Any, float | None]:
    """Kilowatt-hours of each training that tells them."""
    return {
        mapping(one).get("stage"): figure(mapping(mapping(one).get("energy")).get("kwh")) for one in trainings
    }


def times_smaller(row: Row, rows: Sequence[Row]) -> float | None:
    """AlexNet's bytes over the row's; AlexNet of the same seed where there are several. None without AlexNet."""
    baselines = [other for other in rows if other.get("baseline")]
    if not baselines:
        return None
    same = next((other for other in baselines if other["seed"] == row["seed"]), baselines[0])
    return float(same["bytes"]["file"] / row["bytes"]["file"])


def churn(row: Row, rows: Sequence[Row]) -> float | None:
    """The share of test images that the uncompressed network of the same seed calls something else.

    None for AlexNet and while that network is not there.

    Paper: Milani Fard et al., "Launch and Iterate: Reducing Prediction Churn", 2016.
    """
    full = None if row.get("baseline") else full_of(row, rows)
    if full is None or not row["predicted"]:
        return None
    return disagreement(row, full)


def disagreement(row: Row, other: Row) -> float:
    """The share of test images, of which there are some, that two rows call differently."""
    differ = sum(one != two for one, two in zip(row["predicted"], other["predicted"], strict=True))
    return differ / len(row["predicted"])


def _flat(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    flat: dict[str, Any] = {"id": row["id"], "baseline": int(bool(row.get("baseline")))}
    flat.update({factor: row["factors"].get(factor, "") for factor in REFERENCE})
    flat.update({key: row.get(key) for key in ("recipe", "network", "seed", "file")})
    flat.update({f"bytes_{part}": row["bytes"].get(part) for part in ("file", "graph", "tables", "weights")})
    flat["times_smaller"] = times_smaller(row, rows)
    for key in _FIGURES:
        flat[key] = row.get(key)
        if key in ("top1", "top5"):
            flat[f"{key}_low"], flat[f"{key}_high"] = row.get(f"{key}_interval") or (None, None)
    flat["churn"] = churn(row, rows)
    flat.update({key: row.get(key) for key in ("peak_memory_bytes", "seconds", "machine", "command")})
    return flat


def _text(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise FormatError(f"{path}: {path.stat().st_size:,} bytes, more than a study writes")
    try:
        # Bytes past the last end of line may be cut within a letter; they are passed over in any case.
        whole, end, torn = path.read_bytes().rpartition(b"\n")
        return (whole + end).decode("utf-8") + torn.decode("utf-8", errors="replace")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 ({error.reason} at byte {error.start:,})") from error


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise FormatError(f"{where}: Expected a JSON object. Received: {type(value).__name__}.")
    return value


def _common(path: Path) -> dict[str, Any]:
    common = _parsed(_text(path), str(path))
    data = common.get("data")
    labels, truth = (data.get("labels"), data.get("truth")) if isinstance(data, dict) else (None, None)
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise FormatError(f"{path}: Expected the class names in data.labels.")
    if not _are_labels(truth, len(labels)) or not truth:
        raise FormatError(f"{path}: Expected the class of each test image in data.truth.")
    return common


def _check(row: dict[str, Any], images: int, classes: int, where: str) -> None:
    """Raise FormatError unless the row holds all that a report cannot do without."""
    factors, size = row.get("factors"), row.get("bytes")
    checks: dict[str, Callable[[], bool]] = {
        "id": lambda: isinstance(row.get("id"), str) and bool(row["id"]),
        "factors": lambda: isinstance(factors, dict) and all(isinstance(v, str) for v in factors.values()),
        "bytes.file": lambda: isinstance(size, dict) and _is_number(size.get("file"), 1, math.inf),
        "seed": lambda: isinstance(row.get("seed"), int),
        "top1": lambda: _is_number(row.get("top1"), 0, 1),
        "validation_top1": lambda: _is_number(row.get("validation_top1"), 0, 1),
        "top1_interval": lambda: _is_interval(row.get("top1_interval")),
        "predicted": lambda: _are_labels(row.get("predicted"), classes) and len(row["predicted"]) == images,
    }
    for key, fine in checks.items():
        if not fine():
            raise FormatError(
                f"{where}: {key} is missing or makes no sense (study.json: {images:,} test images)"
            )


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_number(end, 0, 1) for end in value)


def _are_labels(value: Any, classes: int) -> bool:
    return isinstance(value, list) and all(type(label) is int and 0 <= label < classes for label in value)
