"""From what a user names, to arrays of images with their labels and what each is for: training or test.

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

__all__ = ["Parts", "find_arrays", "open_parts"]

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
    """Arrays of images, and what is what.

    Args:
        arrays: all of them as one set.
        train: places in it, ascending int64; what is not named is for training too, and all where all is named alike.
        validation: likewise; only where there is a test part besides.
        test: likewise. Where there is a validation part and no test part, that.
    """

    arrays: ArraySet
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def find_arrays(source: str | os.PathLike[str]) -> list[Path]:
    """List the files of arrays that `source` means; none when it means something else, such as class folders.

    Args:
        source: a `.npz`; a pattern of file names such as "train_*.npz"; or a folder that holds `.npz` and `.npy`
            files, in itself or in folders called `train` and `test`, and no other folders. A name that is
            nothing here is looked for in `data_folder`.

    Returns:
        The files, by name.

    Raises:
        DataError: a pattern that fits nothing.
    """
    text = os.fspath(source)
    if glob.has_magic(text) and not Path(text).exists():
        found = glob.glob(text) or glob.glob(str(data_folder() / text))
        files = [Path(path) for path in found if Path(path).suffix.lower() in _SUFFIXES]
        if not files:
            raise DataError(f"No .npz or .npy file fits {text}")
        return sorted(files)
    try:
        path = find_source(source)
    except DataError:
        return []
    if path.is_file():
        return [path] if path.suffix.lower() in _SUFFIXES else []
    files = _arrays_of(path)
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if not folder.name.startswith("."):
            if folder.name.lower() not in _WORDS:
                return []
            files += _arrays_of(folder)
    return files


def open_parts(files: Sequence[Path]) -> Parts:
    """Understand files of arrays as one set; no image is read yet.

    `.npy` files that lie in one folder belong together as the arrays in a `.npz` do. An array of texts `class_names`,
    or a file `classes.txt` beside with a line for each, is the names of the classes.

    Args:
        files: of `find_arrays`.

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
    if len(files) == 1 and files[0].suffix.lower() == ".npy":
        raise DataError(f"{files[0]}: where are its labels? Name the folder that holds both files")
    apart = len({file.parent for file in files}) > 1
    groups: dict[tuple[str, str], dict[str, Rows]] = {}
    texts: list[Rows] = []
    for file in files:
        for name, rows in arrays_in(file).items():
            if rows.dtype.kind in "US":
                if (name or file.stem).lower() in _CLASS_ARRAYS:
                    texts.append(rows)
                continue
            where = str(file) if name else str(file.parent)
            part = (
                _part(name) or _part(file.stem) or (_WORDS.get(file.parent.name.lower(), "") if apart else "")
            )
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
    use = [part or _TRAIN for part, *_ in pairs]
    if len(set(use)) == 1:
        # Nothing to tell it from: whoever names a file of test images alone means these.
        use = [_TRAIN] * len(pairs)
    elif _TEST not in use:
        use = [_TEST if part == _VALIDATION else part for part in use]
    starts = np.cumsum([0, *(len(rows) for _, rows, _ in pairs)])
    of = {part: [np.arange(0)] for part in (_TRAIN, _VALIDATION, _TEST)}
    for part, start, end in zip(use, starts, starts[1:], strict=False):
        of[part].append(np.arange(start, end))
    return Parts(arrays, *(np.concatenate(places) for places in of.values()))


def _arrays_of(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entry for entry in entries if entry.suffix.lower() in _SUFFIXES and entry.is_file())


def _part(name: str) -> str:
    """What an array, a file or a folder is for by its name; "" when it does not say."""
    found = {_WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else ""


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
