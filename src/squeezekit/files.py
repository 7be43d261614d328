"""Write a file whole or not at all: to a temporary name, then rename. Read without waiting for pipes."""

import contextlib
import errno
import glob
import json
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "folder_names",
    "is_folder",
    "open_without_waiting",
    "read_regular",
    "regular_names",
    "remove_leftovers",
    "replacing",
    "write_bytes",
    "write_json",
    "write_text",
]

# The largest possible .tflite: its offsets are signed 32-bit numbers.
MAX_BYTES = 1 << 31


def read_regular(path: str | os.PathLike[str], *, most_bytes: int = MAX_BYTES) -> bytes:
    """Read a whole regular file; refuse pipes and devices, which a link can lead to, instead of waiting for them.

    Args:
        path: the file, or a link to one.
        most_bytes: a larger file is refused before anything is read.

    Returns:
        The content at the time of opening; what is appended later is not read.

    Raises:
        OSError: it is larger, is a folder, pipe, socket or device, or cannot be read.

    Example:
        >>> read_regular(os.devnull, most_bytes=9)
        Traceback (most recent call last):
            ...
        OSError: [Errno 22] a pipe, a socket or a device, not a file: '/dev/null'
    """
    # Check before opening: some devices act when they are opened.
    _require_regular(os.stat(path), path)
    with open(path, "rb", opener=open_without_waiting) as file:
        # Check again: the name can mean another file by now.
        status = os.fstat(file.fileno())
        _require_regular(status, path)
        if status.st_size > most_bytes:
            problem = f"{status.st_size:,} bytes, more than the {most_bytes:,} allowed"
            raise OSError(errno.EFBIG, problem, str(path))
        return file.read(status.st_size)


def _require_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device, not a file", str(path))


def open_without_waiting(path: str, flags: int) -> int:
    """An opener for `open` that does not wait for a writer if the file is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def regular_names(folder: str | os.PathLike[str], suffixes: Collection[str]) -> list[str]:
    """Names of the files in a folder with one of these suffixes, sorted.

    Hidden files are left out, and so are folders, pipes, devices and dead links.

    Args:
        folder: the folder, without its subfolders.
        suffixes: with their dot, in lower case.

    Raises:
        OSError: the folder cannot be read.

    Example:
        >>> regular_names(os.path.dirname(__file__), [".py"])[:2]
        ['__init__.py', '__main__.py']
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and os.path.splitext(entry.name)[1].lower() in suffixes
            and _is(entry.is_file)
        )


def folder_names(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in a folder, and of links to folders, sorted, without hidden ones.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and is_folder(entry))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a directory entry is a folder or a link to one; a circular link is not."""
    return _is(entry.is_dir)


def _is(question: Callable[[], bool]) -> bool:
    """The answer of a directory entry; False for a circular link."""
    try:
        return question()
    except OSError:
        return False


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error it is deleted.

    An old file at `path` stays until the new one is complete and on disk, so a killed process or a full disk never
    leaves half a file. The temporary name has the suffix of `path`, because some writers choose a format by it.

    Args:
        path: of the file; its folder is created if it is missing.

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
        # Name the caller's path instead of the temporary one.
        raise OSError(error.errno, error.strerror, str(target)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a model should have the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete the temporary files that killed writers of `path` left beside it.

    Use it only if no other process can be writing the file now.

    Args:
        path: as given to `replacing`.
    """
    target = Path(path)
    for leftover in target.parent.glob(f"{glob.escape(_prefix(target))}*{glob.escape(target.suffix)}"):
        leftover.unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    # Cut, so that the longest possible name leaves room for mkstemp's letters.
    return f".{target.stem[:32]}."


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` as a whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write UTF-8 `text` to `path` as a whole or not at all.

    Parts of a file name that are not Unicode become \udc80 to \udcff, as in JSON.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path` as a whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
