"""The rows of a study on disk: one JSON object a line, only ever appended to, whole after any kill."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from squeezekit.errors import FormatError

__all__ = ["Store"]

# A row holds a number for each test image; more than this is no row.
_MAX_LINE_BYTES = 1 << 28


class Store:
    """`results.jsonl`, open for one writer.

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

    def __init__(self, path: str | os.PathLike[str], *, say: Callable[[str], object] | None = None) -> None:
        self.path = Path(path)
        self._rows: dict[str, dict[str, Any]] = {}
        self._size = 0
        data = self.path.read_bytes() if self.path.exists() else b""
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
        if whole < len(data):
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

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; it is on disk when this returns.

        Args:
            row: plain JSON values, with its "id".

        Raises:
            ValueError: a row with this id is there already, or another process has written to the file.
            OSError: it cannot be written.
        """
        line = json.dumps(row, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        kept = _row(line)
        if kept is None:
            raise ValueError(f"Expected a row with an id. Received: {sorted(row)}.")
        if kept["id"] in self._rows:
            raise ValueError(f"Expected a new row. Received: {kept['id']}, which {self.path} has already.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if file.tell() != self._size:
                raise ValueError(
                    f"{self.path} has changed since it was opened: let one study at a time write it."
                )
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)
        self._rows[kept["id"]] = kept


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
