"""Read tar and ZIP archives of strangers, and write a folder that appears only when it is complete.

Absolute paths, `..`, links, devices, two files of one name, and more bytes or files than are plausible end the reading
with an error.
"""

import bz2
import contextlib
import glob
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from squeezekit.errors import DataError, FormatError

__all__ = ["complete_folder", "members", "safe_name"]

Progress = Callable[[int, int], None]

_MAX_FILES = 3_000_000
# Photos do not compress: an archive that grows more than this holds something else.
_MAX_RATIO = 30
_SPARE_BYTES = 64 << 20
_CHUNK = 1 << 20
_MAX_READ = 64 << 20
# RuntimeError: encrypted; an OSError of gzip: damaged.
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
_UNREADABLE = (*_BROKEN, EOFError, RuntimeError)


def safe_name(name: str) -> tuple[str, ...]:
    """Split a member's name into folders and file; raise `FormatError` when it leads somewhere else.

    Example:
        >>> safe_name("./train/cat/1.jpg")
        ('train', 'cat', '1.jpg')
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    bad = name.startswith("/") or ".." in parts or "\0" in name or "\\" in name
    if bad or (parts and parts[0][1:2] == ":"):
        raise FormatError(f"archive: member {name!r} leads out of its folder")
    return parts


def members(archive: str | os.PathLike[str]) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
    """Read the files in an archive, in its order.

    Args:
        archive: a ZIP, or a tar, compressed with gzip, bzip2 or xz or not at all; its content tells which.

    Yields:
        Name, split by `safe_name`, and a stream of which at most 64 MB can be read at once, before the next is taken.

    Raises:
        FormatError: no such archive, damaged, a bomb, or a member that is no plain file or leads elsewhere.
    """
    budget = _Budget(os.stat(archive).st_size * _MAX_RATIO + _SPARE_BYTES)
    try:
        if zipfile.is_zipfile(archive):
            yield from _zip_members(archive, budget)
        else:
            yield from _tar_members(archive, budget)
    except _UNREADABLE as error:
        raise FormatError(f"{archive}: damaged, or no archive ({error})") from error
    except FormatError as error:
        raise FormatError(str(error).replace("archive:", f"{archive}:", 1)) from error


def _zip_members(
    archive: str | os.PathLike[str], budget: "_Budget"
) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            parts = safe_name(info.filename)
            kind = (info.external_attr >> 16) & 0o170000  # of Unix; 0 where it was packed elsewhere
            # zipfile gives no more bytes than a member claims to have.
            budget.take(info.file_size)
            if info.is_dir():
                continue
            if kind not in (0, 0o100000):
                raise FormatError(f"archive: member {info.filename!r} is a link or a device")
            with file.open(info) as stream:
                yield parts, _LimitedReader(stream)  # type: ignore[misc]


def _tar_members(
    archive: str | os.PathLike[str], budget: "_Budget"
) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
    with open(archive, "rb") as plain:
        begin = plain.read(6)
        plain.seek(0)
        opener = next((opener for magic, opener in _PACKERS if begin.startswith(magic)), None)
        # tarfile reads a member's extended header as a whole, however long it claims to be.
        with (
            opener(plain) if opener else contextlib.nullcontext(plain) as inflated,
            tarfile.open(fileobj=_LimitedReader(inflated), mode="r:") as file,  # type: ignore[call-overload]
        ):
            for info in file:
                # tarfile keeps every member that it has seen; there may be millions.
                file.members = []
                parts = safe_name(info.name)
                budget.take(info.size)
                if info.isdir():
                    continue
                stream = file.extractfile(info) if info.isreg() else None
                if stream is None:
                    raise FormatError(f"archive: member {info.name!r} is a link or a device")
                yield parts, _LimitedReader(stream)  # type: ignore[misc]


_PACKERS: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", lambda plain: gzip.GzipFile(fileobj=plain)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)


class _Budget:
    """The bytes and files that an archive may still contain."""

    def __init__(self, size_bytes: int) -> None:
        self.left, self.files = size_bytes, _MAX_FILES

    def take(self, count: int) -> None:
        self.left -= count
        self.files -= 1
        if self.files < 0:
            raise FormatError(f"archive: more than {_MAX_FILES:,} members")
        if self.left < 0:
            raise FormatError(f"archive: gives more than {_MAX_RATIO} times its own size")


class _LimitedReader:
    """A stream that gives at most 64 MB at once, and whose damage is a `FormatError`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise FormatError(f"archive: a part of {size:,} bytes where a few were to be expected")
        try:
            return self._stream.read(size)
        except _UNREADABLE as error:
            raise FormatError(f"archive: damaged ({error})") from error


@contextlib.contextmanager
def complete_folder(target: str | os.PathLike[str]) -> Iterator[Callable[[tuple[str, ...], IO[bytes]], None]]:
    """Yield a function that writes a file under `target`; the folder appears when all is written.

    Raises:
        DataError: something lies at the target.
        FormatError: two files of one name.
    """
    path = Path(target)
    if os.path.lexists(path):
        raise DataError(f"{path}: there is something already")
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.unpacking."
    for left_by_a_killed_run in path.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left_by_a_killed_run, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))

    def write(parts: tuple[str, ...], stream: IO[bytes]) -> None:
        place = folder.joinpath(*safe_name("/".join(parts)))
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never over another file, nor through a link, of which there are none.
            with place.open("xb") as file:
                while data := stream.read(_CHUNK):
                    file.write(data)
        except (FileExistsError, NotADirectoryError) as error:
            raise FormatError(f"archive: two members named {'/'.join(parts)!r}") from error

    try:
        yield write
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)  # mkdtemp makes folders private
        folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
