"""The folder of a study read back, every row checked; stores of the first version included."""

import dataclasses
import json
import math
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from squeezekit.errors import FormatError
from squeezekit.experiment.record import mapping, sequence
from squeezekit.experiment.row_store import comparison

__all__ = ["Results", "read_results"]

Row = Mapping[str, Any]

# A row of 60,000 test images is some 200 KB; nothing honest comes near this.
_MAX_BYTES = 1_000_000_000


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

    @property
    def network(self) -> str:
        """The first of the networks, with which the others are compared."""
        networks = sequence(mapping(self.common.get("grid")).get("network"))
        return str(networks[0] if networks else self.common.get("model", ""))


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
    networks: dict[str, str] = {}
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        row = _parsed(line, f"{rows_path}, line {number}")
        _check(row, len(truth), len(common["data"]["labels"]), f"{rows_path}, line {number}")
        if row["id"] in rows:
            notes.append(f"Line {number} of {rows_path.name} repeats a row; the first one counts.")
        if "fire" in row["factors"]:
            networks[row["factors"]["fire"]] = row["network"]
        _complete(row, common)
        rows.setdefault(row["id"], row)
    if not rows:
        raise FormatError(f"{rows_path}: no row yet; run `squeezekit study` again to go on with it")
    _name_networks(common, networks)
    results = Results(list(rows.values()), common, notes)
    for row in results.rows:
        # Rows of the first version do not say it.
        row |= comparison(row, results.rows, results.network)
    return results


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


def _name_networks(common: dict[str, Any], networks: Mapping[str, str]) -> None:
    """Put into a first version's grid what the levels of its factor "fire" stood for."""
    grid = dict(mapping(common.get("grid")))
    if "fire" in grid:
        levels = sequence(grid.pop("fire"))
        common["grid"] = {"network": [networks.get(level, level) for level in levels], **grid}


def _complete(row: dict[str, Any], common: Mapping[str, Any]) -> None:
    """Give a row of the first version what it lacks, and every row the latency that was measured in turns."""
    row["file_bytes"] = row["bytes"]["file"]
    if "fire" in row["factors"]:
        row["factors"] = {"network": row["network"], **row["factors"]}
        del row["factors"]["fire"]
    # On its own before a study came to its end.
    row["latency_ms"] = _latency_ms(common.get("latency"), row.get("stage", "")) or row.get("latency_ms")


def _latency_ms(record: Any, stage: str) -> float | None:
    """The median of a stage's rounds; None where `study.json` has none."""
    times = sequence(mapping(mapping(record).get("ms")).get(stage))
    if not times or not all(type(time) is float and time > 0 for time in times):
        return None
    return statistics.median(times)
