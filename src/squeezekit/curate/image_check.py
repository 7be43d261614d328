"""Check one image file: can it be decoded, is it what its name says, and what is its perceptual hash?"""

import dataclasses
import enum
import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from squeezekit import files
from squeezekit.curate.perceptual_hash import SIDE, picture_hash
from squeezekit.errors import FormatError
from squeezekit.imaging import open_header, open_rgb, orientation_of, read_image

__all__ = ["Fault", "ImageCheck", "check_image", "format_of", "right_suffix", "suffix_of"]

# Every suffix that training reads, and Pillow's name of what such a file should hold.
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
# Phones write several pictures into one JPEG (MPO), and old scanners DIB: their suffix is right all the same.
_SAME = {"MPO": "JPEG", "DIB": "BMP", "APNG": "PNG"}
# How the formats that training reads begin; of a RIFF file bytes 8 to 12 say more.
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"RIFF", "WEBP"),
)


class Fault(enum.Enum):
    """What is wrong with a file by itself.

    UNREADABLE: nothing can be decoded, or a dead link. TRUNCATED: the beginning of an image, of a copy or a download
    that stopped. WRONG_SUFFIX: a good image of another format than its name says.
    """

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    WRONG_SUFFIX = "wrong_suffix"


@dataclasses.dataclass(frozen=True, slots=True)
class ImageCheck:
    """What `check_image` found.

    Args:
        size_bytes: of the file.
        digest: sha256 of the file's bytes; empty when they cannot be read.
        format: Pillow's name, such as "JPEG"; empty when unknown.
        mode: Pillow's name, such as "RGB" or "CMYK"; empty when unknown.
        width: in pixels as stored, before any EXIF rotation.
        height: likewise.
        orientation: the EXIF orientation, 1 (upright) to 8.
        hash: perceptual hash; None for an image of one colour, and for what cannot be decoded.
        fault: what is wrong with the file.
        reason: in words.
    """

    size_bytes: int = 0
    digest: bytes = b""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    hash: int | None = None
    fault: Fault | None = None
    reason: str = ""


def check_image(path: str | os.PathLike[str]) -> ImageCheck:
    """Read, decode and hash an image file. Faults are in the answer, never raised; training reads the same files.

    Example:
        >>> check_image("missing.jpg").reason
        'No such file or directory'
    """
    try:
        data = read_image(path)
    except OSError as error:
        return ImageCheck(fault=Fault.UNREADABLE, reason=error.strerror or type(error).__name__)
    digest = hashlib.sha256(data).digest()
    if not data:
        return ImageCheck(0, digest, fault=Fault.TRUNCATED, reason="empty file")
    known = _header(data)
    try:
        picture = open_rgb(data)
    except FormatError as error:
        reason = str(error).removeprefix("image: ")
        # Pillow words it in several ways; all mean that bytes are missing at the end.
        short = any(word in reason.lower() for word in ("truncated", "premature", "not enough", "incomplete"))
        fault = Fault.TRUNCATED if short else Fault.UNREADABLE
        return ImageCheck(len(data), digest, *known, fault=fault, reason=reason)
    grey = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    check = ImageCheck(len(data), digest, *known, hash=picture_hash(grey))
    expected = _FORMATS.get(Path(path).suffix.lower())
    if expected and _SAME.get(check.format, check.format) != expected:
        return dataclasses.replace(check, fault=Fault.WRONG_SUFFIX, reason=f"is {check.format}")
    return check


def _header(data: bytes) -> tuple[str, str, int, int, int]:
    """Format, mode, width, height and orientation; nothing where even the header cannot be read."""
    try:
        with open_header(data) as image:
            return image.format or "", image.mode, image.width, image.height, orientation_of(image)
    # Pillow's plugins raise nearly anything on hostile input; `open_rgb` names the reason in the next step.
    except Exception:
        return "", "", 0, 0, 1


def format_of(path: str | os.PathLike[str]) -> str:
    """Guess a file's format by its first bytes: Pillow's name, or "" when it is no image that we know."""
    try:
        with open(path, "rb", opener=files.open_without_waiting) as file:
            # Reading gives None from what only looks like a file, as in /proc.
            return _format_of_bytes(file.read(12) or b"")
    except OSError:
        return ""


def _format_of_bytes(start: bytes) -> str:
    if start.startswith(b"RIFF") and start[8:12] != b"WEBP":
        return ""
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "")


def suffix_of(data: bytes) -> str:
    """The suffix of an image file by its first bytes; ".jpg" for what is none.

    Example:
        >>> suffix_of(b"GIF89a")
        '.gif'
    """
    name = _format_of_bytes(data)
    return next((suffix for suffix, known in _FORMATS.items() if known == name), ".jpg")


def right_suffix(check: ImageCheck) -> str:
    """The suffix that fits what the file holds; "" when there is none that training reads."""
    name = _SAME.get(check.format, check.format)
    return next((suffix for suffix, known in _FORMATS.items() if known == name), "")
