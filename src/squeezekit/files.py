"""Files that are either whole or not there: write to a temporary name, then rename."""

import contextlib
import glob
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["remove_leftovers", "replacing", "write_bytes", "write_json", "write_text"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error it vanishes.

    Whatever lay at `path` stays untouched until the new file is complete and on disk, so a killed
    process or a full disk never leaves half a file. The temporary name ends in `path`'s own suffix,
    because some writers choose a format by it.

    Args:
        path: where the file shall be; its folder is created when missing.

    Yields:
        The temporary path to write to.

    Raises:
        OSError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (folder / "a.txt").read_text()
        'whole'
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"Expected a file name, received a folder: {target}")
    if target.parent.exists() and not target.parent.is_dir():
        raise NotADirectoryError(f"Expected a folder, received a file: {target.parent}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=_prefix(target), suffix=target.suffix, dir=target.parent)
    except OSError as error:
        # With the name that the caller knows instead of the temporary one.
        raise OSError(error.errno, error.strerror, str(target)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a model is meant to be read by others like any file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete the temporary files that killed writers of `path` left beside it.

    Only for a file that no other process may be writing now.

    Args:
        path: what was given to `replacing`.
    """
    target = Path(path)
    for leftover in target.parent.glob(f"{glob.escape(_prefix(target))}*{glob.escape(target.suffix)}"):
        leftover.unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    # Cut, so that a name as long as the file system allows leaves room for mkstemp's letters.
    return f".{target.stem[:32]}."


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` as a whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 `text` to `path` as a whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path` as a whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
