"""Images and their labels in a tar file as WebDataset has them: KEY.jpg beside KEY.cls or KEY.json.

Only headers and labels are read; members are never unpacked, so their names do no harm. Links, devices and sparse files
are ignored. Convention: https://github.com/webdataset/webdataset.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import IMAGE_SUFFIXES

__all__ = ["images_in_tar"]

# A label, or a description of one image.
_MAX_LABEL_BYTES = 1 << 20
# Names of the label in descriptions.
_KEYS = ("cls", "label", "class", "class_name", "label_name", "category")


class _Headers(io.FileIO):
    """A file that refuses large reads: a header may claim to be gigabytes long."""

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        if size is None or not 0 <= size <= _MAX_LABEL_BYTES:
            raise FormatError(f"{self.name}: damaged tar (a header of {size} bytes)")
        return super().read(size)


def images_in_tar(path: Path) -> Iterator[tuple[int, int, int | str]]:
    """Find the images of a shard: first byte, size in bytes, and label, a number or a text.

    The members of one key lie together in the tar, which is not compressed.

    Raises:
        FormatError: the file is damaged.
        DataError: an image without a label.
    """
    total = path.stat().st_size
    try:
        with _Headers(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            key, image, label = "", None, None
            while (member := archive.next()) is not None:
                if member.size < 0:  # an endless loop otherwise
                    raise FormatError(f"{path}: damaged tar (a member of {member.size} bytes)")
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member
                if not member.isreg() or member.issparse():
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, suffix = base.partition(".")
                if not stem:
                    continue  # hidden
                if f"{folder}/{stem}" != key:
                    yield from _sample(path, key, image, label)
                    key, image, label = f"{folder}/{stem}", None, None
                if member.offset_data + member.size > total:
                    raise FormatError(f"{path}: ends early")
                suffix = suffix.lower()
                if f".{suffix.rpartition('.')[2]}" in IMAGE_SUFFIXES and image is None:
                    image = (member.offset_data, member.size)
                elif suffix in ("cls", "json", "txt") and (label is None or suffix == "cls"):
                    label = _label(path, archive, member, suffix, label)
            yield from _sample(path, key, image, label)
    except (tarfile.TarError, UnicodeError, OverflowError, RecursionError, EOFError) as error:
        raise FormatError(f"{path}: damaged or compressed tar ({error})") from error


def _sample(
    path: Path, key: str, image: tuple[int, int] | None, label: int | str | None
) -> Iterator[tuple[int, int, int | str]]:
    if image is None:
        return
    if label is None:
        raise DataError(
            f"{path}: no {key.strip('/')}.cls or .json says what {key.strip('/')} is. "
            "An archive of class folders wants: squeezekit data unpack"
        )
    yield (*image, label)


def _label(
    path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, known: int | str | None
) -> int | str | None:
    """The label in a member; `known` when there is none."""
    if member.size > _MAX_LABEL_BYTES:
        raise FormatError(f"{path}: a label of {member.size:,} bytes, over {_MAX_LABEL_BYTES:,}")
    stream = archive.extractfile(member)
    text = stream.read().decode("utf-8", "replace") if stream is not None else ""
    if suffix == "json":
        try:
            said = json.loads(text)
        except ValueError as error:
            raise FormatError(f"{path}: {member.name} is no JSON") from error
        value = next((said[name] for name in _KEYS if name in said), None) if isinstance(said, dict) else said
    elif suffix == "cls":
        value = text.strip()
    else:
        value = None  # captions
    return known if value is None else _as_label(path, member.name, value)


def _as_label(path: Path, name: str, value: Any) -> int | str:
    if isinstance(value, str) and 0 < len(value) <= 256:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise FormatError(f"{path}: {name} is no label")
