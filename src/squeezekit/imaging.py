"""From an image file of any kind to the uint8 RGB pixels of a network's input. Pillow and NumPy only."""

import contextlib
import io
import os
import re
import threading
import time
import warnings

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from squeezekit import files
from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SECONDS",
    "MAX_SKIPPED_SHARE",
    "all_resized",
    "fit",
    "is_image_name",
    "open_header",
    "open_rgb",
    "orientation_of",
    "picture_size",
    "png",
    "read_image",
    "resized",
    "to_rgb",
]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)

# A small file with more pixels is a memory bomb. This is Pillow's own limit.
MAX_PIXELS = 178_956_970

# With more broken files a whole set is damaged: an interrupted copy, or a wrong format.
MAX_SKIPPED_SHARE = 0.05

# MAX_PIXELS without any compression.
MAX_FILE_BYTES = 1 << 29

# Processor time to decode one image. PNGs of MAX_PIXELS in one colour took 1 s in RGB and 5 s in 16-bit grey on a PC.
MAX_SECONDS = 20.0

# The formats that Pillow may open, the usual ones first: it loads its other plugins only if none of these fits. Of its
# thirty other formats some are slow, and one runs another program on the file.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "DIB", "WEBP", "TIFF")
# Servers send it under any name; Pillow before 11.3 does not know it.
_NEW_FORMAT = "AVIF"

# Bytes that a decoder gets at a time: the time is checked at each read. A photo takes some dozens.
_READ_BYTES = 1 << 13

# Larger pictures are decoded one at a time in all threads together: each needs up to a gigabyte.
_LARGE_PIXELS = 1 << 25
_large = threading.Lock()

# How to turn a picture upright, by its EXIF orientation.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Samples converted to 8 bits at once: their floats take 8 bytes each.
_SAMPLES = 1 << 20

# Modes of 16-bit and float samples, which are converted to the 8 bits that every viewer shows.
_WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})

# The entry that `warnings.filterwarnings("ignore", module=...)` adds to the list of filters.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its name: not hidden, and with a suffix of `IMAGE_SUFFIXES`.

    Example:
        >>> is_image_name("cat.JPG"), is_image_name(".cat.jpg"), is_image_name("cat.txt")
        (True, False, False)
    """
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB as a viewer shows it: upright, transparency over white.

    Args:
        image: an opened Pillow image of any mode (grey, palette, alpha, CMYK, 16-bit, float).

    Returns:
        The picture in mode RGB, turned upright by its EXIF orientation.
    """
    turn = _TURNS.get(orientation_of(image))
    if turn is not None:
        transparency = image.info.get("transparency")
        image = image.transpose(turn)
        if transparency is not None:
            image.info["transparency"] = transparency
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_MODES:
        return _from_wide(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        page = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, rgba).convert("RGB")
    return image.convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    """Grey of 8 bits from 16-bit, integer or float samples, a strip at a time."""
    rows = max(1, _SAMPLES // image.width)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    top = 65535.0
    # 16-bit files use [0, 65535]; a mode-I or float file within 8 bits is taken as it is.
    if image.mode in ("I", "F") and all(_samples(image, box).max(initial=0.0) <= 255.0 for box in boxes):
        top = 255.0
    grey = np.empty((image.height, image.width), np.uint8)
    for box in boxes:
        grey[box[1] : box[3]] = np.clip(np.round(_samples(image, box) * (255.0 / top)), 0, 255)
    return Image.fromarray(grey)


def _samples(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    samples = np.asarray(image.crop(box), np.float64)
    return np.nan_to_num(samples, nan=0.0, posinf=float(np.finfo(np.float32).max), neginf=0.0)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 if there is none, or an invalid one."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1)
    # A viewer shows the picture whatever its EXIF holds, and Pillow raises many kinds of exceptions for it.
    except Exception:
        return 1
    return turned if isinstance(turned, int) and 1 <= turned <= 8 else 1


def read_image(path: str | os.PathLike[str]) -> bytes:
    """Read an image file; a pipe or a device is an error, without waiting.

    Raises:
        OSError: the path cannot be read, is no regular file, or has more than `MAX_FILE_BYTES`.
    """
    return files.read_regular(path, most_bytes=MAX_FILE_BYTES)


def open_header(data: bytes) -> ImageFile.ImageFile:
    """Open an image file without decoding it, if it is of a format that training reads.

    Several threads can call it at once. From the first call on, Pillow's warnings are off for the whole process: all
    threads share the warning filters, so restoring them would be a race.

    Args:
        data: the file.

    Returns:
        The image, which the caller closes; decoding must end within `MAX_SECONDS` from now.

    Raises:
        UnidentifiedImageError: it is of another format.
        Exception: almost any, for a damaged file.
    """
    # Pillow warns of odd metadata and of bombs; our own limit decides.
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        image = Image.open(_TimeLimitedReader(data), formats=_FORMATS)
    except UnidentifiedImageError:
        if _NEW_FORMAT not in Image.OPEN:
            raise
        image = Image.open(_TimeLimitedReader(data), formats=[_NEW_FORMAT])
    image.decodermaxblock = _READ_BYTES
    return image


def open_rgb(source: str | os.PathLike[str] | bytes) -> Image.Image:
    """Decode a whole image to RGB; any fault in it is a `FormatError`.

    Args:
        source: a path, or the bytes of an image file.

    Returns:
        An 8-bit RGB Pillow image, fully decoded and upright.

    Raises:
        FormatError: it is not an image, is cut off or damaged, has over `MAX_PIXELS`, or takes over `MAX_SECONDS`.
        OSError: the path cannot be read, is no regular file, or has more than `MAX_FILE_BYTES`.
    """
    data = source if isinstance(source, bytes) else read_image(source)
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        with open_header(data) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise FormatError(f"{name}: {pixels:,} pixels, more than the {MAX_PIXELS:,} allowed")
            with _large if pixels > _LARGE_PIXELS else contextlib.nullcontext():
                image.load()
                return to_rgb(image)
    except FormatError:
        raise
    except UnidentifiedImageError as error:
        raise FormatError(f"{name}: unreadable image (not of any known format)") from error
    except _TooLong as error:
        raise FormatError(
            f"{name}: unreadable image (not decoded within {MAX_SECONDS:g} s of processor time)"
        ) from error
    # Pillow's plugins raise many kinds of exceptions on hostile input; they all mean the same to a caller.
    except Exception as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise FormatError(f"{name}: unreadable image ({reason[0]})") from error


class _TooLong(Exception):
    """An image took more than `MAX_SECONDS`. Not an OSError: Pillow treats some of those as the end of the file."""


class _TimeLimitedReader(io.BytesIO):
    """The bytes of an image, which stop when the processor time for it is used up.

    A JPEG can paint its picture again and again, 20 ms for every 31 bytes at 4,000 x 4,000 pixels. The time is
    checked whenever a decoder asks for bytes. Decoders that take all bytes at once (WebP, TIFF, AVIF) are not stopped;
    the limit of pixels bounds them. It is the time of the thread, so a busy machine refuses nothing.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.thread_time() + MAX_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._end:
            raise _TooLong
        return super().read(size)


def picture_size(source: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Width and height in pixels, read from the header, without the EXIF rotation.

    Args:
        source: a path, or the bytes of an image file.

    Raises:
        FormatError: not an image.
        OSError: the path cannot be opened.
    """
    data = source if isinstance(source, bytes) else read_image(source)
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        with open_header(data) as image:
            return image.size
    # As in `open_rgb`.
    except Exception as error:
        raise FormatError(f"{name}: unreadable image") from error


def resized(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize an RGB image to the size before the crop.

    The resize is a triangle (bilinear) filter with antialiasing, rounded to uint8. Training and runtime both call this
    function, because another implementation rounds ties the other way: 4 % of the pixels of an enlarged picture.

    Args:
        image: mode RGB.
        preprocess: the target.

    Returns:
        uint8 array, shape (resize_height, resize_width, 3).
    """
    top, left, rows, columns = preprocess.source_box(image.height, image.width)
    size = (preprocess.resize_width, preprocess.resize_height)
    if (rows, columns) != (image.height, image.width):
        # Crop first: with resize(box=...) the filter reads pixels outside the box.
        image = image.crop((left, top, left + columns, top + rows))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def all_resized(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """`resized` for pictures of one size; pictures that have the target size are returned as they are.

    Args:
        pixels: uint8 RGB, shape (pictures, height, width, 3).
        preprocess: the target.

    Returns:
        uint8 array, shape (pictures, resize_height, resize_width, 3).
    """
    if pixels.shape[1:3] == (preprocess.resize_height, preprocess.resize_width):
        return pixels
    return np.stack([resized(Image.fromarray(picture), preprocess) for picture in pixels])


def fit(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize an RGB image and crop the centre: the network's input.

    Args:
        image: mode RGB.
        preprocess: the target.

    Returns:
        uint8 array, shape (height, width, 3).
    """
    row, column = preprocess.crop_offset
    whole = resized(image, preprocess)
    return whole[row : row + preprocess.height, column : column + preprocess.width]


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels, with fast rather than strong compression.

    Args:
        pixels: uint8 (height, width, 3) RGB, or (height, width) grey.

    Example:
        >>> open_rgb(png(np.full((2, 3, 3), 7, np.uint8))).size
        (3, 2)
    """
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(written, "PNG", compress_level=1)
    return written.getvalue()
