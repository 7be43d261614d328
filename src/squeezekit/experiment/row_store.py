"""The rows of an experiment on disk: one JSON object a line, whole after any kill."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from squeezekit import files
from squeezekit.errors import FormatError
from squeezekit.experiment.record import figure, mapping

__all__ = ["Store", "comparison", "file_bytes", "full_rows", "is_uncompressed", "reference_row"]

Row = Mapping[str, Any]

# A row holds a number for each test image; more than this is no row.
_MAX_LINE_BYTES = 1 << 28


class Store:
    """`results.jsonl`, open for one writer; without a path, rows in memory.

    A line that a killed writer left unfinished is cut off when the file is opened; everything before it was on
    disk before its `append` returned.

    Args:
        path: the file; created by the first row.
        say: told in one line if an unfinished row was cut off.

    Raises:
        FormatError: a line that is no row of a study, other than an unfinished last one.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.jsonl"
        >>> Store(path).append({"id": "a", "top1": 0.9})
        >>> "a" in Store(path), [row["top1"] for row in Store(path)]
        (True, [0.9])
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, say: Callable[[str], object] | None = None
    ) -> None:
        self.path = None if path is None else Path(path)
        self._rows: dict[str, dict[str, Any]] = {}
        self._size = 0
        data = self.path.read_bytes() if self.path and self.path.exists() else b""
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(keepends=True), start=1):
            row = _row(line)
            if row is None and self._size + len(line) == whole == len(data):
                # A disk that lost power may have the line's length but not its letters.
                whole = self._size
                break
            if row is None or row["id"] in self._rows:
                problem = "not a row of a study" if row is None else f"the row {row['id']} a second time"
                raise FormatError(f"{self.path}: line {number} is {problem}; remove that line")
            self._rows[row["id"]] = row
            self._size += len(line)
        if self.path and whole < len(data):
            with self.path.open("rb+") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
            if say is not None:
                say(f"{self.path}: cut off an unfinished row of {len(data) - whole:,} bytes")

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._rows

    def __getitem__(self, row_id: str) -> dict[str, Any]:
        return self._rows[row_id]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, row: Row) -> None:
        """Add a row; it is on disk when this returns.

        Args:
            row: plain JSON values, with its "id".

        Raises:
            ValueError: a row with this id is there already, or another process has written to the file.
            OSError: it cannot be written.
        """
        line = _line(row)
        kept = _row(line)
        if kept is None:
            raise ValueError(f"Expected a row with an id. Received: {sorted(row)}.")
        if kept["id"] in self._rows:
            raise ValueError(f"Expected a new row. Received: {kept['id']}, which {self.path} has already.")
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                self._require_unchanged(file.tell())
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self._size += len(line)
        self._rows[kept["id"]] = kept

    def compare(self, network: str = "") -> None:
        """Say of every row how many times smaller its file is than its reference's, now that more are there.

        The file is replaced as a whole where that changes a row.

        Args:
            network: as for `full_rows`.
        """
        rows = list(self)
        compared = {row["id"]: row | comparison(row, rows, network) for row in rows}
        if compared == self._rows:
            return
        if self.path is not None:
            self._require_unchanged(self.path.stat().st_size)
            data = b"".join(map(_line, compared.values()))
            files.write_bytes(self.path, data)
            self._size = len(data)
        self._rows = compared

    def _require_unchanged(self, size: int) -> None:
        if size != self._size:
            raise ValueError(
                f"{self.path} has changed since it was opened: let one study at a time write it."
            )


def reference_row(row: Row, rows: Sequence[Row], network: str = "") -> Row | None:
    """What a row's file is compared with: AlexNet, else the uncompressed network, of the same seed where it can be.

    Args:
        row: one of `rows`.
        rows: of one experiment.
        network: as for `full_rows`.
    """
    references = [other for other in rows if other.get("baseline")] or full_rows(rows, network)
    same = (other for other in references if other["seed"] == row["seed"])
    return next(same, references[0] if references else None)


def full_rows(rows: Sequence[Row], network: str = "") -> list[Row]:
    """A row of each seed's uncompressed network, the largest file of several: that without a coder, if it is there.

    Args:
        rows: of one experiment.
        network: the first of several networks; "" takes that of the first uncompressed row.
    """
    found: dict[int, Row] = {}
    full = [row for row in rows if is_uncompressed(row)]
    for row in full:
        if row["network"] != (network or full[0]["network"]):
            continue
        known = found.get(row["seed"])
        if known is None or file_bytes(row) > file_bytes(known):
            found[row["seed"]] = row
    return list(found.values())


def is_uncompressed(row: Row) -> bool:
    """Whether nothing was done to the network of a row; a coder writes it down, and changes no answer.

    Example:
        >>> is_uncompressed({"factors": {"network": "alexnet", "coder": "small"}, "recipe": ""})
        True
        >>> is_uncompressed({"factors": {}, "baseline": True})
        False
    """
    return bool(row["factors"]) and not row.get("recipe")


def file_bytes(row: Row) -> float:
    """The size of a row's file; rows of the first version have it among its parts alone."""
    return row["file_bytes"] if figure(row.get("file_bytes")) else mapping(row.get("bytes"))["file"]


def comparison(row: Row, rows: Sequence[Row], network: str) -> dict[str, Any]:
    """How many times smaller a row's file is than its reference's; arguments as for `reference_row`."""
    reference = reference_row(row, rows, network)
    if reference is None:
        return {"times_smaller": None, "reference": None}
    return {
        "times_smaller": file_bytes(reference) / file_bytes(row),
        "reference": reference.get("name") or reference.get("network"),
    }


def _line(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _row(line: bytes) -> dict[str, Any] | None:
    """The row that a line holds, or None."""
    if len(line) > _MAX_LINE_BYTES:
        return None
    try:
        row = json.loads(line)
    # Not JSON, not UTF-8, or nested deeper than Python recurses.
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("id"), str) else None
