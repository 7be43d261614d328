"""Arrays and shards in files as one dataset, with the parts that their names tell.

The names tell: `x_train` and `y_test` in one `.npz` as Keras has them, `val_images` as MedMNIST has them, files
such as `train_data_batch_1.npz` and `photos-val-000000.tar`, or folders `train`, `val` and `test`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from squeezekit.errors import DataError
from squeezekit.readers.arrays import ArrayImages, joined, paired
from squeezekit.readers.named_splits import PARTS, TRAIN, VALIDATION, part_named, part_within
from squeezekit.readers.npy import NpyArray, arrays_in
from squeezekit.readers.shards import ShardImages, is_shard, open_shards

__all__ = ["Parts", "open_parts"]

# What lists the classes: an array of texts, or a file. Other texts, such as file names, are ignored.
_CLASS_ARRAYS = ("class_names", "classes", "label_names", "categories")
_CLASSES = "classes.txt"
_MAX_CLASSES_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Images in arrays or in shards, and which part each belongs to.

    Args:
        images: all images.
        train: their places, ascending int64; those that no name assigns too, and all where all names are alike.
        validation: likewise; empty where no name tells of such a part.
        test: likewise.
    """

    images: ArrayImages | ShardImages
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def open_parts(files: Sequence[Path], class_names: Sequence[str] = ()) -> Parts:
    """Understand files of arrays, or shards, as one dataset; no image is read yet.

    `.npy` files that lie in one folder belong together as the arrays in a `.npz` do. Names of the classes are
    `class_names`, or an array of texts of such a name, or the lines of a file `classes.txt` beside.

    Raises:
        FormatError: a file is damaged or would have to be unpickled.
        DataError: no or several arrays that could be meant, or arrays that do not fit each other.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "digits.npz")
        >>> x, y = np.zeros((2, 8, 8), np.uint8), np.arange(2)
        >>> np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
        >>> parts = open_parts([path])
        >>> parts.train.tolist(), parts.test.tolist()
        ([0, 1], [2, 3])
    """
    # A folder above all of the files says nothing of any.
    several = len({file.parent for file in files}) > 1
    of_file = {
        file: part_within(file.stem) or (part_named(file.parent.name) if several else "") for file in files
    }
    shards = [is_shard(file) for file in files]
    if any(shards):
        if not all(shards) or len({file.suffix.lower() == ".tar" for file in files}) > 1:
            raise DataError(f"{files[0]}: expected files of one kind in a dataset")
        images, file_of = open_shards(files, class_names or _class_names(files, []))
        return _assigned(images, [of_file[files[number]] for number in file_of.tolist()], [1] * len(images))
    if len(files) == 1 and files[0].suffix.lower() == ".npy":
        raise DataError(f"{files[0]}: where are its labels? Name the folder that holds both files")
    groups: dict[tuple[str, str], dict[str, NpyArray]] = {}
    texts: list[NpyArray] = []
    for file in files:
        for name, array in arrays_in(file).items():
            if array.dtype.kind in "US":
                if (name or file.stem).lower() in _CLASS_ARRAYS:
                    texts.append(array)
                continue
            where = str(file) if name else str(file.parent)
            part = part_within(name) or of_file[file]
            groups.setdefault((where, part), {})[name or file.stem] = array
    complete = {key: group for key, group in groups.items() if len(group) > 1}
    # What a file holds besides named parts, such as a mean, is no part.
    named = {where for where, part in complete if part}
    pairs = [
        (part, *paired(group, where))
        for (where, part), group in (complete or groups).items()
        if part or where not in named
    ]
    arrays = joined(
        [(array, labels) for _, array, labels in pairs], class_names or _class_names(files, texts)
    )
    return _assigned(arrays, [part for part, *_ in pairs], [len(array) for _, array, _ in pairs])


def _assigned(images: ArrayImages | ShardImages, parts: Sequence[str], counts: Sequence[int]) -> Parts:
    """Assign images to parts: the next `counts` of them to each of `parts`; "" means training."""
    parts = [part or TRAIN for part in parts]
    if len(set(parts)) == 1:
        # Whoever names a file of test images alone means these.
        parts = [TRAIN] * len(parts)
    every = np.repeat(np.array(parts, f"U{len(VALIDATION)}"), counts)
    return Parts(images, *(np.flatnonzero(every == part) for part in PARTS))


def _class_names(files: Sequence[Path], texts: Sequence[NpyArray]) -> tuple[str, ...]:
    lists = {tuple(map(_text, array.read(_MAX_CLASSES_BYTES).ravel().tolist())) for array in texts}
    for path in sorted({file.parent / _CLASSES for file in files}):
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
