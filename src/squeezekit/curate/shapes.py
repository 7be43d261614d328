"""Generated images for a trial without a download: textured, rotated, lit and noisy shapes.

Rendered from signed distances with NumPy. The classes differ in outline only: colours, textures, light, place, size
and angle have the same distributions in all of them. For demonstrations and tests; an accuracy on them says nothing
about photographs.
"""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from squeezekit.curate.archive import complete_folder
from squeezekit.errors import DataError

__all__ = ["SHAPE_CLASSES", "write_shapes"]

# Raise it whenever a picture changes for the same parameters: folders of another version are not reused.
_VERSION = 1
_MANIFEST = "shapes.json"
_CHUNK = 16  # pictures rendered at once, so that the arrays stay in the processor's cache
_SUFFIX = ".jpg"

_DISTRACTORS = 3
_GRID = 7  # knots a side of the smooth random field

# float64 throughout: sin and cos differ in their last bit between processors, which then never reaches a pixel.
Array = np.ndarray


def write_shapes(
    folder: str | os.PathLike[str],
    *,
    per_class_train: int,
    per_class_test: int,
    size: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `train/CLASS/*.jpg` and `test/CLASS/*.jpg` for every class of `SHAPE_CLASSES`; return the folder.

    The same parameters give the same pictures on any machine; a picture depends on the seed, the size, its part, its
    class and its number alone. The folder appears when it is complete; one that holds the same shapes is reused.

    Args:
        folder: must not exist, or be empty, or hold the same shapes.
        per_class_train: training images a class, at least 1.
        per_class_test: test images a class, at least 1.
        size: side of a picture in pixels, in [16, 1024].
        seed: chooses the pictures; at least 0.
        progress: called with (images written, images in all).

    Raises:
        ValueError: a number is out of range.
        DataError: something else lies at `folder`.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> made = write_shapes(root / "shapes", per_class_train=2, per_class_test=1, size=16)
        >>> len(list(made.glob("train/*/*.jpg")))
        16
    """
    for name, count in (("per_class_train", per_class_train), ("per_class_test", per_class_test)):
        if count < 1:
            raise ValueError(f"Expected at least one image a class. Received: {name}={count}.")
    if not 16 <= size <= 1024:
        raise ValueError(f"Expected a side in pixels in [16, 1024]. Received: {size=}.")
    if seed < 0:
        raise ValueError(f"Expected a seed of at least 0. Received: {seed=}.")
    parts = {"train": per_class_train, "test": per_class_test}
    manifest = {
        "shapes": _VERSION,
        "classes": list(SHAPE_CLASSES),
        "images": parts,
        "size": size,
        "seed": seed,
    }
    target = Path(folder)
    if _is_made(target, manifest):
        return target
    if target.exists():
        target.rmdir()
    done, total = 0, sum(parts.values()) * len(SHAPE_CLASSES)
    with complete_folder(target) as write:
        for place, data in _drawn(parts, size, seed):
            write(place, io.BytesIO(data))
            done += 1
            if progress is not None:
                progress(done, total)
        write((_MANIFEST,), io.BytesIO((json.dumps(manifest, indent=2) + "\n").encode()))
    return target


def _is_made(target: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether exactly these shapes lie at `target`; anything else there is refused."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{target} exists and holds something other than generated shapes") from None
    if found != manifest:
        raise DataError(f"{target} holds shapes of other parameters; remove it or choose another folder")
    for part, count in manifest["images"].items():
        for name in SHAPE_CLASSES:
            if len(list((target / part / name).glob(f"*{_SUFFIX}"))) != count:
                raise DataError(f"{target / part / name} no longer holds its {count} images; remove {target}")
    return True


def _drawn(parts: Mapping[str, int], size: int, seed: int) -> Iterator[tuple[tuple[str, str, str], bytes]]:
    """Draw all pictures: name, split into folders and file, and JPEG file."""
    for part_number, (part, count) in enumerate(parts.items()):
        for label, name in enumerate(SHAPE_CLASSES):
            for start in range(0, count, _CHUNK):
                numbers = range(start, min(start + _CHUNK, count))
                generators = [np.random.default_rng([seed, part_number, label, number]) for number in numbers]
                for number, pixels in zip(numbers, _render(_DISTANCES[name], generators, size), strict=True):
                    written = io.BytesIO()
                    Image.fromarray(pixels).save(written, "JPEG", quality=95, subsampling=0)
                    yield (part, name, f"{number:05d}{_SUFFIX}"), written.getvalue()


class _Draws:
    """Uniform random numbers for several pictures at once, each from its picture's own generator."""

    def __init__(self, generators: list[np.random.Generator]) -> None:
        self._generators = generators

    def array(self, *shape: int) -> Array:
        """Draw (pictures, *shape) numbers in [0, 1)."""
        return np.stack([generator.random(shape) for generator in self._generators])

    def uniform(self, low: float, high: float) -> Array:
        """Draw one number a picture in [low, high), shaped (pictures, 1, 1) to meet its pixels."""
        return low + (high - low) * self.array(1, 1)

    def colour(self, low: float, high: float) -> Array:
        """Draw one colour a picture, (pictures, 3, 1, 1)."""
        return low + (high - low) * self.array(3, 1, 1)


def _render(
    distance: Callable[[Array, Array], Array], generators: list[np.random.Generator], size: int
) -> Array:
    """Render one picture a generator: uint8 (pictures, size, size, 3)."""
    draws = _Draws(generators)
    # Pixel centres in [-1, 1], down and to the right. Pictures are (pictures, 3, size, size) until the end.
    axis = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
    y, x = axis[np.newaxis, :, np.newaxis], axis[np.newaxis, np.newaxis, :]
    pixel = 2.0 / size

    # Any colours, but the lit shape is the lighter one: either way round takes a network far longer to learn.
    canvas = _textured(draws.colour(0.05, 0.5), draws, x, y)
    for _ in range(_DISTRACTORS):
        canvas = _over(
            canvas, draws.colour(0.05, 0.95), _coverage(_stroke(draws, x, y, 0.02, 0.09, 0.35), pixel)
        )

    radius = draws.uniform(0.5, 0.75)
    centre_x, centre_y = (draws.uniform(-1.0, 1.0) * 0.9 * (0.95 - radius) for _ in range(2))
    angle = draws.uniform(-0.6, 0.6)
    light_angle = draws.uniform(0.0, 2.0 * np.pi)
    light_x, light_y = np.cos(light_angle), np.sin(light_angle)

    def outline(offset: float) -> Array:
        """Signed distance to the shape moved by `offset` away from the light; negative inside."""
        across, down = x - centre_x + offset * light_x, y - centre_y + offset * light_y
        u = (np.cos(angle) * across + np.sin(angle) * down) / radius
        v = (np.cos(angle) * down - np.sin(angle) * across) / radius
        return distance(u, v) * radius

    shadow = np.clip(0.5 - outline(0.08) / 0.12, 0.0, 1.0) * draws.uniform(0.1, 0.5)
    canvas *= 1.0 - shadow[:, np.newaxis]
    edge = outline(0.0)
    face = _textured(draws.colour(0.5, 0.95), draws, x, y)
    # A bevel: near the edge the surface leans outwards and is lit by how far it faces the light.
    slope_y, slope_x = np.gradient(edge, pixel, axis=(1, 2))
    lean = np.clip(1.0 + edge / 0.12, 0.0, 1.0) * (slope_x * light_x + slope_y * light_y)
    face *= 1.0 + (draws.uniform(0.1, 0.4) * lean)[:, np.newaxis]
    canvas = _over(canvas, face, _coverage(edge, pixel))

    # Something in front, in half of the pictures.
    hidden = _coverage(_stroke(draws, x, y, 0.03, 0.07, 0.9), pixel) * (draws.array(1, 1) < 0.5)
    canvas = _over(canvas, draws.colour(0.05, 0.95), hidden)
    canvas *= (1.0 + draws.uniform(0.05, 0.3) * (x * light_x + y * light_y))[:, np.newaxis]
    # Two uniform numbers make a good enough bell, and no library function decides its bits.
    bell = draws.array(2, 3, size, size).sum(axis=1) - 1.0
    canvas += bell * draws.uniform(0.02, 0.14)[:, np.newaxis]
    levels = np.floor(np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def _over(canvas: Array, colour: Array, coverage: Array) -> Array:
    return canvas + (colour - canvas) * coverage[:, np.newaxis]


def _coverage(distance: Array, pixel: float) -> Array:
    """Share of each pixel inside an outline: antialiasing."""
    return np.clip(0.5 - distance / pixel, 0.0, 1.0)


def _textured(colour: Array, draws: _Draws, x: Array, y: Array) -> Array:
    """Fill the canvas with a colour varied by stripes and a smooth random field: (pictures, 3, size, size)."""
    angle, phase = draws.uniform(0.0, np.pi), draws.uniform(0.0, 2.0 * np.pi)
    stripes = np.sin(draws.uniform(4.0, 22.0) * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    size = x.shape[-1]
    knots = np.linspace(0.0, _GRID - 1.0, size)
    weights = np.clip(1.0 - np.abs(knots[:, np.newaxis] - np.arange(_GRID)), 0.0, 1.0)  # (size, knots)
    # einsum, not matmul: its sums have one order on every machine.
    field = np.einsum("yi,nij->nyj", weights, 2.0 * draws.array(_GRID, _GRID) - 1.0)
    field = np.einsum("xj,nyj->nyx", weights, field)
    pattern = draws.uniform(0.0, 0.12) * stripes + draws.uniform(0.05, 0.3) * field
    return colour + pattern[:, np.newaxis] * draws.colour(0.4, 1.0)


def _stroke(draws: _Draws, x: Array, y: Array, thin: float, thick: float, longest: float) -> Array:
    """Signed distance to a straight stroke with round ends, anywhere on the canvas."""
    across, down = x - draws.uniform(-1.0, 1.0), y - draws.uniform(-1.0, 1.0)
    angle, half = draws.uniform(0.0, np.pi), draws.uniform(0.0, longest)
    along = np.cos(angle) * across + np.sin(angle) * down
    off_axis = np.cos(angle) * down - np.sin(angle) * across
    return _norm(np.maximum(np.abs(along) - half, 0.0), off_axis) - draws.uniform(thin, thick)


def _norm(u: Array, v: Array) -> Array:
    return np.sqrt(u * u + v * v)  # hypot guards against an overflow that cannot happen here, and costs more


def _box(u: Array, v: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _polygon(u: Array, v: Array, corners: int, inradius: float) -> Array:
    """Signed distance (from the sides' lines) of a regular polygon."""
    turns = 2.0 * np.pi * np.arange(corners) / corners
    sides = [u * np.cos(turn) + v * np.sin(turn) for turn in turns]
    return np.maximum.reduce(sides) - inradius


def _arrow(u: Array, v: Array) -> Array:
    shaft = _box(u + 0.35, v, 0.6, 0.2)
    head = np.maximum(0.8 * (u - 1.0) + 0.6 * np.abs(v) * 1.15, 0.05 - u)
    return np.minimum(shaft, head)


def _crescent(u: Array, v: Array) -> Array:
    return np.maximum(_norm(u, v) - 0.95, 0.68 - _norm(u - 0.45, v))


def _cross(u: Array, v: Array) -> Array:
    return np.minimum(_box(u, v, 0.95, 0.28), _box(u, v, 0.28, 0.95))


def _disc(u: Array, v: Array) -> Array:
    return _norm(u, v) - 0.85


def _ring(u: Array, v: Array) -> Array:
    return np.abs(_norm(u, v) - 0.7) - 0.22


def _square(u: Array, v: Array) -> Array:
    return _box(u, v, 0.75, 0.75)


def _star(u: Array, v: Array) -> Array:
    # Folded into half a ray: a tip at (1, 0), a notch at 36 degrees and 0.42 of the way; one straight side between.
    sector = 2.0 * np.pi / 5.0
    angle, distance = np.arctan2(v, u), _norm(u, v)
    angle = np.abs(angle - sector * np.round(angle / sector))
    notch = np.array([0.42 * np.cos(sector / 2.0), 0.42 * np.sin(sector / 2.0)])
    normal = np.array([notch[1], 1.0 - notch[0]]) / np.hypot(notch[1], 1.0 - notch[0])
    return normal[0] * (distance * np.cos(angle) - 1.0) + normal[1] * distance * np.sin(angle)


def _triangle(u: Array, v: Array) -> Array:
    return _polygon(u, v, 3, 0.5)


_DISTANCES: Mapping[str, Callable[[Array, Array], Array]] = {
    "arrow": _arrow,
    "crescent": _crescent,
    "cross": _cross,
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}

SHAPE_CLASSES = tuple(sorted(_DISTANCES))
