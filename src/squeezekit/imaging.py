"""From an image file of any kind to the uint8 RGB pixels that a network sees. Pillow and NumPy only."""

import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "fit", "open_rgb", "picture_size", "resized", "to_rgb"]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)

# Beyond this a small file is a memory bomb. Pillow's own limit, which it enforces without being asked.
MAX_PIXELS = 178_956_970

# Brings 16-bit and float samples to the 8 bits that every viewer shows.
_WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})

# What `warnings.filterwarnings("ignore", module=...)` puts into the list of filters.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB as a viewer would show it: upright, transparency over white.

    Args:
        image: an opened Pillow image of any mode (grey, palette, alpha, CMYK, 16-bit, float).

    Returns:
        The same picture in mode RGB, turned upright by its EXIF orientation.
    """
    image.load()
    # Asked first, because what need not be turned is copied all the same.
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_MODES:
        samples = np.asarray(image, np.float64)
        samples = np.nan_to_num(samples, nan=0.0, posinf=float(np.finfo(np.float32).max), neginf=0.0)
        # 16-bit files fill [0, 65535]; a mode-I or float file that stays within 8 bits is taken as it is.
        top = 255.0 if samples.max(initial=0.0) <= 255.0 and image.mode in ("I", "F") else 65535.0
        grey = np.clip(np.round(samples * (255.0 / top)), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        page = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, rgba).convert("RGB")
    return image.convert("RGB")


def open_rgb(source: str | os.PathLike[str] | bytes, at_least: int = 0) -> Image.Image:
    """Decode a whole image to RGB; anything wrong with it is one `FormatError`.

    Several threads may decode at once. What Pillow warns of is silenced from the first call on, for the whole
    process: the filters of warnings belong to all threads, and to change them back would be a race.

    Args:
        source: a path, or the bytes of an image file.
        at_least: with a number of pixels, a JPEG is shrunk to a half, a quarter or an eighth while it is decoded, which
            is faster, as long as neither side gets shorter than this. 0 decodes every pixel.

    Returns:
        An 8-bit RGB Pillow image, fully decoded and upright.

    Raises:
        FormatError: not an image, truncated, corrupt, or over `MAX_PIXELS`.
        OSError: the path cannot be opened.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        # Pillow warns of odd metadata and of bombs; ours is the limit that counts.
        if _QUIET not in warnings.filters:
            warnings.filterwarnings("ignore", module=r"PIL\.")
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise FormatError(f"{name}: {pixels:,} pixels, more than the {MAX_PIXELS:,} allowed")
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            return to_rgb(image)
    except FormatError:
        raise
    except UnidentifiedImageError as error:
        raise FormatError(f"{name}: unreadable image (not of any known format)") from error
    # Pillow's plugins raise nearly anything on hostile input; all of it means the same to a caller.
    except Exception as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise FormatError(f"{name}: unreadable image ({reason[0]})") from error


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in pixels, read from the header alone; an EXIF rotation is not applied.

    Raises:
        FormatError: not an image.
        OSError: the path cannot be opened.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except Image.UnidentifiedImageError as error:
        raise FormatError(f"{path}: unreadable image") from error


def resized(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize an RGB image to the size before the crop.

    The resize is a triangle (bilinear) filter, widened when shrinking so that every source pixel
    counts (antialiasing), rounded to uint8. Training and runtime both call this one, because a second
    implementation rounds ties the other way: 4 % of the pixels of an enlarged picture.

    Args:
        image: mode RGB.
        preprocess: the target.

    Returns:
        uint8 array, shape (resize_height, resize_width, 3).
    """
    top, left, rows, columns = preprocess.source_box(image.height, image.width)
    size = (preprocess.resize_width, preprocess.resize_height)
    if (rows, columns) != (image.height, image.width):
        # Crop first: resize(box=...) would let the filter read pixels beyond the box.
        image = image.crop((left, top, left + columns, top + rows))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def fit(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize an RGB image and cut the centre: what a network sees of it.

    Args:
        image: mode RGB.
        preprocess: the target.

    Returns:
        uint8 array, shape (height, width, 3).
    """
    row, column = preprocess.crop_offset
    whole = resized(image, preprocess)
    return whole[row : row + preprocess.height, column : column + preprocess.width]
