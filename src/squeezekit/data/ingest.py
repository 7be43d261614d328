"""From an archive of class folders, or from arrays in `.npz` files, to a folder that every verb reads."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from squeezekit.data.unpack import members, unpacked_into
from squeezekit.errors import DataError
from squeezekit.imaging import is_image_name, png
from squeezekit.sources import ArraySet, open_arrays

__all__ = ["unpack_images"]

Progress = Callable[[int, int], None]

# What people call the parts, and what we call them.
_PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
}
_ARRAYS = (".npz", ".npy")


def unpack_images(
    sources: Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    *,
    images: str = "",
    labels: str = "",
    class_names: Sequence[str] = (),
    progress: Progress | None = None,
) -> int:
    """Write images as `CLASS/*` or `train/CLASS/*` and `test/CLASS/*`; the folder appears when it is complete.

    Args:
        sources: one tar or ZIP archive of class folders, whatever folders are around them; or `.npz` and `.npy`
            files, which become PNG files pixel for pixel.
        target: a folder that does not exist yet.
        images: name of the array of images, where it cannot be guessed.
        labels: name of the array of labels likewise; for `.npy` images the file of the labels.
        class_names: one a label of the arrays; by default their numbers.
        progress: called with (images written, images in all; 0 when unknown).

    Returns:
        How many images were written.

    Raises:
        ValueError: sources of both kinds, or class names that cannot be folders.
        DataError: no class folders in the archive, arrays that cannot be understood, or something at the target.
        FormatError: a source is damaged, or means harm.
        OSError: something cannot be read or written.

    Example:
        >>> import numpy as np, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.savez(folder / "a.npz", x=np.zeros((2, 8, 8), np.uint8), y=np.arange(2))
        >>> unpack_images([folder / "a.npz"], folder / "photos", class_names=["cat", "dog"])
        2
        >>> sorted(path.name for path in (folder / "photos").iterdir())
        ['cat', 'dog']
    """
    kinds = {Path(source).suffix.lower() in _ARRAYS for source in sources}
    if kinds == {True}:
        arrays = open_arrays(*sources, images=images, labels=labels, class_names=class_names)
        return _write_arrays(arrays, target, progress)
    if len(sources) != 1:
        raise ValueError(
            f"Expected one archive, or .npz and .npy files. Received: {len(sources)} of other kinds."
        )
    if images or labels or class_names:
        raise ValueError("Expected names of arrays and classes for .npz and .npy files only.")
    return _write_archive(sources[0], target, progress)


def _write_arrays(arrays: ArraySet, target: str | os.PathLike[str], progress: Progress | None) -> int:
    for name in arrays.class_names:
        if (
            name.startswith(".")
            or name.strip("/\\") != name
            or len(Path(name).parts) != 1
            or arrays.class_names.count(name) > 1
        ):
            raise ValueError(f"Expected class names that can be folders, each once. Received: {name!r}.")
    done, digits = 0, len(str(len(arrays)))
    with unpacked_into(target) as write:
        for pixels, labels in arrays.blocks():
            for picture, label in zip(pixels, labels.tolist(), strict=True):
                name = f"{done:0{digits}d}.png"
                write((arrays.class_names[label], name), io.BytesIO(png(picture)))
                done += 1
            if progress is not None:
                progress(done, len(arrays))
    return done


def _write_archive(
    source: str | os.PathLike[str], target: str | os.PathLike[str], progress: Progress | None
) -> int:
    names = [parts for parts, _ in members(source) if _is_image(parts)]
    place = _layout(source, names)
    done = 0
    with unpacked_into(target) as write:
        for parts, stream in members(source):
            if _is_image(parts):
                write(place(parts), stream)
                done += 1
                if progress is not None:
                    progress(done, len(names))
    return done


def _is_image(parts: tuple[str, ...]) -> bool:
    """Whether training would read it: no hidden file, nor what macOS puts beside each."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return bool(parts) and not hidden and is_image_name(parts[-1])


def _layout(
    source: str | os.PathLike[str], names: Sequence[tuple[str, ...]]
) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """How a name in the archive becomes a name in the folder."""
    # The folders around everything: those that first and last name, of all sorted, begin with.
    outer = sorted({parts[:-2] for parts in names}) or [()]
    agree = [one == other for one, other in zip(outer[0], outer[-1], strict=False)]
    around = agree.index(False) if False in agree else len(agree)
    rest = {len(parts) - around for parts in names}
    if names and rest == {2}:
        return lambda parts: parts[around:]
    if names and rest == {3} and all(parts[around].lower() in _PARTS for parts in names):
        return lambda parts: (_PARTS[parts[around].lower()], *parts[around + 1 :])
    found = f"for example {'/'.join(names[0])}" if names else "found no image"
    raise DataError(f"{source}: expected CLASS/*, or train/CLASS/* and test/CLASS/*, in the archive; {found}")
