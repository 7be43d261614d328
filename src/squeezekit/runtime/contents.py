"""What a model file holds beside the network: labels, image settings, and where the network comes from.

A `.sqz` can store them in its header. A `.tflite` stores them like standard TFLite Metadata, in a ZIP archive
appended to the file: `labels.txt`, one label per line, and squeezekit's own `squeezekit.json`.
"""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from squeezekit import codec
from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess

__all__ = ["Contents", "parse_labels", "read_contents"]

# A larger list of labels or settings is a memory bomb.
MAX_MEMBER_BYTES = 1 << 24

_LABELS_FILE = "labels.txt"
_SETTINGS_FILE = "squeezekit.json"
# The archive's last record, if it has no comment: every writer of TFLite Metadata writes it so.
_ARCHIVE_END, _ARCHIVE_END_BYTES = b"PK\x05\x06", 22


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a model file.

    Args:
        tflite: the network, and whatever is appended to it.
        labels: one for each output, in order; empty if the file has none.
        preprocess: what the network expects of an image; None if the file does not say.
        provenance: where the network comes from, as JSON values; empty if the file does not say.
    """

    tflite: bytes = dataclasses.field(repr=False)
    labels: tuple[str, ...]
    preprocess: Preprocess | None
    provenance: dict[str, Any]


def read_contents(data: bytes) -> Contents:
    """Read a `.sqz` or `.tflite`. The header of a `.sqz` takes precedence over its `.tflite`.

    Args:
        data: the whole file.

    Raises:
        FormatError: the file is neither of the two, or is damaged.

    Example:
        >>> read_contents(b"GIF89a")
        Traceback (most recent call last):
            ...
        squeezekit.errors.FormatError: neither a .sqz nor a .tflite file
    """
    info: dict[str, Any] = {}
    tflite = data
    if codec.is_sqz(data):
        info, tflite = codec.read_info(data), codec.unpack(data)
    if tflite[4:8] != b"TFL3":
        raise FormatError("neither a .sqz nor a .tflite file")
    members = _appended(tflite)
    settings = {**_settings(members.get(_SETTINGS_FILE)), **info}
    labels = settings.get("labels")
    if labels is None:
        labels = parse_labels(members[_LABELS_FILE]) if _LABELS_FILE in members else ()
    elif not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise FormatError("labels that are not a list of texts")
    return Contents(tflite, tuple(labels), _preprocess(settings), _provenance(settings))


def parse_labels(data: bytes) -> tuple[str, ...]:
    """Read a list of labels in UTF-8, one per line; blank lines at the end do not count.

    Raises:
        FormatError: it is not UTF-8 text, or has no label.

    Example:
        >>> parse_labels(b"cat\\r\\ndog\\r\\n")
        ('cat', 'dog')
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"labels that are not text in UTF-8 ({error.reason})") from error
    # Not splitlines(): it also splits at characters that a label may contain.
    labels = tuple(line.strip() for line in text.rstrip().split("\n"))
    if labels == ("",):
        raise FormatError("a list of labels without any label")
    return labels


def _appended(tflite: bytes) -> dict[str, bytes]:
    """The files appended to a `.tflite` that squeezekit reads."""
    if tflite[-_ARCHIVE_END_BYTES:][:4] != _ARCHIVE_END:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
            return _read_members(archive)
    except FormatError:
        raise
    # zipfile raises many kinds of exceptions for a damaged archive; they all mean the same to a caller.
    except Exception as error:
        raise FormatError(f"a damaged metadata archive ({error})") from error


def _read_members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    texts = [name for name in sizes if name.endswith(".txt")]
    # Other tools choose other names for the labels. A single text file can only be the labels.
    sources = {_SETTINGS_FILE: _SETTINGS_FILE, _LABELS_FILE: texts[0] if len(texts) == 1 else _LABELS_FILE}
    found = {}
    for name, source in sources.items():
        if source not in sizes:
            continue
        if sizes[source] > MAX_MEMBER_BYTES:
            raise FormatError(
                f"{source} claims {sizes[source]:,} bytes; at most {MAX_MEMBER_BYTES:,} are possible"
            )
        found[name] = archive.read(source)
    return found


def _settings(text: bytes | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    # Not JSON, not UTF-8, or nested deeper than Python recurses.
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{_SETTINGS_FILE} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise FormatError(f"{_SETTINGS_FILE} is not a JSON object")
    return {name: settings[name] for name in ("preprocess", "provenance") if name in settings}


def _preprocess(settings: Mapping[str, Any]) -> Preprocess | None:
    fields = settings.get("preprocess")
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise FormatError("image settings that are not a JSON object")
    try:
        return Preprocess.from_dict(fields)
    except (ValueError, TypeError) as error:
        raise FormatError(f"image settings that make no sense: {error}") from error


def _provenance(settings: Mapping[str, Any]) -> dict[str, Any]:
    provenance = settings.get("provenance") or {}
    if not isinstance(provenance, dict):
        raise FormatError("a provenance that is not a JSON object")
    return provenance
