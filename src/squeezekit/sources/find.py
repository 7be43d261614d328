"""Where a set of images lies that was named on a command line."""

import os
from pathlib import Path

from squeezekit.errors import DataError

__all__ = ["data_folder", "find_source"]


def data_folder() -> Path:
    """Where sets are fetched to and looked for: the folder that `SQUEEZEKIT_DATA` names, or `data` here."""
    return Path(os.environ.get("SQUEEZEKIT_DATA") or "data")


def find_source(source: str | os.PathLike[str]) -> Path:
    """Return what `source` means: a folder or file, here or in `data_folder`.

    Raises:
        DataError: there is neither.
    """
    path = Path(source)
    if path.exists():
        return path
    there = data_folder() / path
    # An absolute path stays what it is when it is joined.
    if there.exists():
        return there
    raise DataError(f"No such folder: {path}" + ("" if path.is_absolute() else f", nor {there}"))
