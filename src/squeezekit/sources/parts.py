"""From what a user names, to images in arrays or shards, with their labels and what each is for: training or test.

The names tell: `x_train` and `y_test` in one `.npz` as Keras has them, `val_images` as MedMNIST has them, files
such as `train_data_batch_1.npz` and `val_data.npz` of downsampled ImageNet, or folders `train` and `test`.
"""

import dataclasses
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from squeezekit.errors import DataError
from squeezekit.sources.find import data_folder, find_source
from squeezekit.sources.rows import Rows, arrays_in
from squeezekit.sources.sets import ArraySet, joined, paired
from squeezekit.sources.shards import ShardSet, is_shard, open_shards

__all__ = ["Parts", "find_files", "open_parts"]

_SUFFIXES = (".npz", ".npy")
_TRAIN, _TEST, _VALIDATION = "train", "test", "validation"
_WORDS = {
    "train": _TRAIN,
    "training": _TRAIN,
    "test": _TEST,
    "testing": _TEST,
    "val": _VALIDATION,
    "valid": _VALIDATION,
    "validation": _VALIDATION,
}
# What lists the classes: an array of texts, or a file. Other texts, such as names of files, are passed over.
_CLASS_ARRAYS = ("class_names", "classes", "label_names", "categories")
_CLASSES = "classes.txt"
_MAX_CLASSES_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Images in arrays or in shards, and what is what.

    Args:
        images: all of them as one set.
        train: places in it, ascending int64; what is not named is for training too, and all where all is named alike.
        validation: likewise; only where there is a test part besides.
        test: likewise. Where there is a validation part and no test part, that.
    """

    images: ArraySet | ShardSet
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def find_files(source: str | os.PathLike[str]) -> list[Path]:
    """List the files of arrays or shards that `source` means; none when it means something else, such as class folders.

    Args:
        source: a `.npz`, `.tar` or `.tfrecord`; a pattern of file names such as "train_*.npz"; or a folder that holds
            such files or `.npy` files, in itself or in folders called `train` and `test`, and no other folders.
            A name that is nothing here is looked for in `data_folder`.

    Returns:
        The files, by name.

    Raises:
        DataError: a pattern that fits nothing.
    """
    text = os.fspath(source)
    if glob.has_magic(text) and not Path(text).exists():
        found = glob.glob(text) or glob.glob(str(data_folder() / text))
        files = [Path(path) for path in found if _is_source(Path(path))]
        if not files:
            raise DataError(f"No .npz, .npy, .tar or .tfrecord file fits {text}")
        return sorted(files)
    try:
        path = find_source(source)
    except DataError:
        return []
    if path.is_file():
        return [path] if _is_source(path) else []
    files = _files_of(path)
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if not folder.name.startswith("."):
            # Class folders, in themselves or in their parts, whatever else lies beside them.
            if folder.name.lower() not in _WORDS or any(entry.is_dir() for entry in folder.iterdir()):
                return []
            files += _files_of(folder)
    return files


def open_parts(files: Sequence[Path]) -> Parts:
    """Understand files of arrays, or shards, as one set; no image is read yet.

    `.npy` files that lie in one folder belong together as the arrays in a `.npz` do. An array of texts `class_names`,
    or a file `classes.txt` beside with a line for each, is the names of the classes.

    Args:
        files: of `find_files`.

    Raises:
        FormatError: a file is damaged or would have to be unpickled.
        DataError: no or several arrays that could be meant, or arrays that do not fit each other.
        OSError: a file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "digits.npz")
        >>> x, y = np.zeros((2, 8, 8), np.uint8), np.arange(2)
        >>> np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
        >>> parts = open_parts([path])
        >>> parts.train.tolist(), parts.test.tolist()
        ([0, 1], [2, 3])
    """
    apart = len({file.parent for file in files}) > 1
    shards = [is_shard(file) for file in files]
    if any(shards):
        if not all(shards) or len({file.suffix.lower() == ".tar" for file in files}) > 1:
            raise DataError(f"{files[0]}: expected files of one kind in a set")
        images, file_of = open_shards(files, _class_names(files, []))
        use = [_part(file.stem) or _part_of_folder(file, apart) for file in files]
        return _parts(images, [use[number] for number in file_of.tolist()], [1] * len(images))
    if len(files) == 1 and files[0].suffix.lower() == ".npy":
        raise DataError(f"{files[0]}: where are its labels? Name the folder that holds both files")
    groups: dict[tuple[str, str], dict[str, Rows]] = {}
    texts: list[Rows] = []
    for file in files:
        for name, rows in arrays_in(file).items():
            if rows.dtype.kind in "US":
                if (name or file.stem).lower() in _CLASS_ARRAYS:
                    texts.append(rows)
                continue
            where = str(file) if name else str(file.parent)
            part = _part(name) or _part(file.stem) or _part_of_folder(file, apart)
            groups.setdefault((where, part), {})[name or file.stem] = rows
    complete = {key: group for key, group in groups.items() if len(group) > 1}
    # What a file holds besides parts with names, such as a mean, is no part.
    named = {where for where, part in complete if part}
    pairs = [
        (part, *paired(group, where))
        for (where, part), group in (complete or groups).items()
        if part or where not in named
    ]
    arrays = joined([pair for _, *pair in pairs], class_names=_class_names(files, texts))  # type: ignore[misc]
    return _parts(arrays, [part for part, *_ in pairs], [len(rows) for _, rows, _ in pairs])


def _parts(images: ArraySet | ShardSet, use: Sequence[str], counts: Sequence[int]) -> Parts:
    """Put together what is for what: `use` says it for the next of so many images, "" where it does not."""
    use = [part or _TRAIN for part in use]
    found = set(use)
    if len(found) == 1:
        # Nothing to tell it from: whoever names a file of test images alone means these.
        use = [_TRAIN] * len(use)
    elif _TEST not in found:
        use = [_TEST if part == _VALIDATION else part for part in use]
    every = np.repeat(np.array(use, f"U{len(_VALIDATION)}"), counts)
    return Parts(images, *(np.flatnonzero(every == part) for part in (_TRAIN, _VALIDATION, _TEST)))


def _is_source(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES or is_shard(path)


def _files_of(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entry for entry in entries if _is_source(entry) and entry.is_file())


def _part(name: str) -> str:
    """What an array, a file or a folder is for by its name; "" when it does not say."""
    found = {_WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else ""


def _part_of_folder(file: Path, apart: bool) -> str:
    """What a file is for by its folder, where there are others; a folder above all of them means nothing."""
    return _WORDS.get(file.parent.name.lower(), "") if apart else ""


def _class_names(files: Sequence[Path], texts: Sequence[Rows]) -> tuple[str, ...]:
    lists = {tuple(map(_text, rows.read(_MAX_CLASSES_BYTES).ravel().tolist())) for rows in texts}
    beside = {file.parent / _CLASSES for file in files}
    for path in sorted(beside):
        if path.is_file() and path.stat().st_size <= _MAX_CLASSES_BYTES:
            lines = path.read_text("utf-8", errors="replace").splitlines()
            lists.add(tuple(line.strip() for line in lines if line.strip()))
    if len(lists) > 1:
        raise DataError(f"{files[0]}: more than one list of class names; leave one")
    names = lists.pop() if lists else ()
    if len(set(names)) < len(names):
        raise DataError(f"{files[0]}: two classes with one name")
    return names


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
