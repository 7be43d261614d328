"""Files that are either whole or not there: write to a temporary name, then rename. Reading never waits."""

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

# The most that a .tflite can have: its offsets are signed numbers of 32 bits.
MAX_BYTES = 1 << 31


def read_regular(path: str | os.PathLike[str], *, most_bytes: int = MAX_BYTES) -> bytes:
    """Read a whole file, but neither wait for a pipe nor drink from a device that a stranger's link leads to.

    Args:
        path: the file, or a link to one.
        most_bytes: a larger file is refused before anything is read.

    Returns:
        What was in it when it was opened: a file that grows meanwhile is not followed.

    Raises:
        OSError: it is larger, a folder, a pipe, a socket or a device, or cannot be read.

    Example:
        >>> read_regular(os.devnull, most_bytes=9)
        Traceback (most recent call last):
            ...
        OSError: [Errno 22] a pipe, a socket or a device, not a file: '/dev/null'
    """
    # Before it is opened, for opening alone makes some devices act.
    _require_regular(os.stat(path), path)
    with open(path, "rb", opener=open_without_waiting) as file:
        # Again: by now the name may mean something else.
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
    """An opener for `open`: of a pipe that nobody writes to nothing is read, instead of waiting for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def regular_names(folder: str | os.PathLike[str], suffixes: Collection[str]) -> list[str]:
    """Names of the files in a folder with one of these suffixes, sorted, at no more memory than the names take.

    Hidden ones are passed by, and what only has the name of a file: a folder, a pipe, a device, a dead link.

    Args:
        folder: where to look; not in the folders inside it.
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
    """Names of the folders in a folder, and of links to folders, sorted; hidden ones are passed by.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and is_folder(entry))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a directory entry is a folder or a link to one; a link that leads in a circle is none."""
    return _is(entry.is_dir)


def _is(question: Callable[[], bool]) -> bool:
    """The answer of a directory entry; of a link that leads in a circle no."""
    try:
        return question()
    except OSError:
        return False


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
    r"""Write UTF-8 `text` to `path` as a whole or not at all.

    What a file name holds that is not Unicode becomes \udc80 to \udcff, which is how JSON writes it.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON to `path` as a whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
