"""From an archive of class folders, arrays or shards to a folder of class folders, in the same parts."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from squeezekit.curate.archive import complete_folder, members
from squeezekit.curate.image_check import suffix_of
from squeezekit.errors import DataError
from squeezekit.imaging import is_image_name, png
from squeezekit.readers import PARTS, Parts, open_arrays, open_parts
from squeezekit.readers.named_splits import class_folders_of, part_named
from squeezekit.readers.shards import is_shard

__all__ = ["unpack_images"]

Progress = Callable[[int, int], None]

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
    """Write images as `CLASS/*`, or as `train/CLASS/*` and so on, and return their number; the folder appears complete.

    Args:
        sources: one tar or ZIP archive of class folders, whatever folders are around them; or `.npz` and `.npy`
            files, which become PNG files pixel for pixel; or WebDataset tars; or TFRecord files.
        target: a folder that does not exist yet.
        images: name of the array of images, where it cannot be guessed; names then tell no parts.
        labels: name of the array of labels likewise; for `.npy` images the file of the labels.
        class_names: one a label of arrays and shards; by default their numbers.
        progress: called with (images written, images in all; 0 when unknown).

    Raises:
        ValueError: sources of different kinds, or class names that cannot be folders.
        DataError: no class folders in the archive, arrays that cannot be understood, or something at the target.
        FormatError: a source is damaged, or means harm.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.savez(folder / "a.npz", x=np.zeros((2, 8, 8), np.uint8), y=np.arange(2))
        >>> unpack_images([folder / "a.npz"], folder / "photos", class_names=["cat", "dog"])
        2
    """
    paths = [Path(source) for source in sources]
    arrays = [path.suffix.lower() in _ARRAYS for path in paths]
    if all(arrays):
        if images or labels:
            some = open_arrays(*paths, images=images, labels=labels, class_names=class_names)
            nothing = np.arange(0)
            return _write_parts(Parts(some, np.arange(len(some)), nothing, nothing), target, progress)
        return _write_parts(open_parts(paths, class_names), target, progress)
    if images or labels:
        raise ValueError("Expected names of arrays for .npz and .npy files only.")
    if all(map(is_shard, paths)) and (len(paths) > 1 or not _is_archive(paths[0])):
        return _write_parts(open_parts(paths, class_names), target, progress)
    if len(paths) != 1:
        raise ValueError(
            f"Expected one archive, or arrays or shards. Received: {len(paths)} files of other kinds."
        )
    if class_names:
        raise ValueError("Expected class names for arrays and shards only.")
    return _write_archive(paths[0], target, progress)


def _is_archive(path: Path) -> bool:
    """Whether a tar holds class folders; a shard has a label or a description beside each image."""
    if path.suffix.lower() != ".tar":
        return False
    names = [Path(*parts) for parts, _ in members(path) if parts]
    images = {name.with_suffix("") for name in names if is_image_name(name.name)}
    return not any(name.suffix in (".cls", ".json") and name.with_suffix("") in images for name in names)


def _write_parts(parts: Parts, target: str | os.PathLike[str], progress: Progress | None) -> int:
    for name in parts.images.class_names:
        if (
            name.startswith(".")
            or name.strip("/\\") != name
            or len(Path(name).parts) != 1
            or parts.images.class_names.count(name) > 1
        ):
            raise ValueError(f"Expected class names that can be folders, each once. Received: {name!r}.")
    places = {part: getattr(parts, part) for part in PARTS if len(getattr(parts, part))}
    count = sum(map(len, places.values()))
    done, digits = 0, len(str(count))
    with complete_folder(target) as write:
        for part, chosen in places.items():
            some = parts.images.take(chosen)
            around = (part,) if len(places) > 1 else ()
            for (_, image), label in zip(some.pictures(), some.labels.tolist(), strict=True):
                data = image if isinstance(image, bytes) else png(np.asarray(image))
                name = f"{done:0{digits}d}{suffix_of(data)}"
                write((*around, some.class_names[label], name), io.BytesIO(data))
                done += 1
                if progress is not None:
                    progress(done, count)
    return done


def _write_archive(source: Path, target: str | os.PathLike[str], progress: Progress | None) -> int:
    names = [parts for parts, _ in members(source) if _is_image(parts)]
    place = _layout(source, names)
    done = 0
    with complete_folder(target) as write:
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


def _layout(source: Path, names: Sequence[tuple[str, ...]]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """How a name in the archive becomes a name in the folder."""
    # The folders around everything: those that the first and the last name, sorted, begin with.
    outer = sorted({parts[:-2] for parts in names}) or [()]
    agree = [one == other for one, other in zip(outer[0], outer[-1], strict=False)]
    around = agree.index(False) if False in agree else len(agree)
    depths = {len(parts) - around for parts in names}
    if names and depths == {2}:
        return lambda parts: parts[around:]
    first = {parts[around] for parts in names if len(parts) - around > 1}
    holding = {
        name: (
            any(parts[around] == name and len(parts) - around > 2 for parts in names),
            any(parts[around] == name and len(parts) - around == 2 for parts in names),
        )
        for name in first
        if part_named(name)
    }
    found = class_folders_of(sorted(first), holding)
    if names and depths == {3} and not found.notes and "" not in found.parts:
        return lambda parts: (part_named(parts[around]), *parts[around + 1 :])
    example = f"for example {'/'.join(names[0])}" if names else "found no image"
    raise DataError(
        f"{source}: expected CLASS/*, or train/CLASS/* and test/CLASS/*, in the archive; {example}"
    )
