"""The names of a dataset's parts: the one place that decides whether a name means a part or a class.

Everything that reads images asks here: class folders, archives, arrays, shards, `data unpack`, `data check` and
`evaluate`. The rule for folders: a folder with a part's name is a part when it holds class folders and no images of
its own. When it holds images of its own it is a class.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from squeezekit import files
from squeezekit.imaging import IMAGE_SUFFIXES

__all__ = [
    "PARTS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "ClassFolders",
    "find_class_folders",
    "part_named",
    "part_within",
]

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)
_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
    "eval": TEST,
    "evaluation": TEST,
}


@dataclasses.dataclass(frozen=True, slots=True)
class ClassFolders:
    """Where the class folders of a dataset lie.

    Args:
        parts: the folders that hold the class folders of each part; {"": (".",)} where no part is named.
        notes: one sentence for each thing that was guessed or ignored.
    """

    parts: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


def part_named(name: str) -> str:
    """The part that a whole name means, in any case; "" for any other name.

    Example:
        >>> part_named("Valid"), part_named("valid-2")
        ('validation', '')
    """
    return _NAMES.get(name.lower(), "")


def part_within(name: str) -> str:
    """The part that a word within a name means; "" when no word or words of several parts are in it.

    Example:
        >>> part_within("x_train"), part_within("val_data"), part_within("train_test")
        ('train', 'validation', '')
    """
    found = {_NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _NAMES}
    return found.pop() if len(found) == 1 else ""


def find_class_folders(root: Path) -> ClassFolders:
    """Find the parts of a folder, on disk.

    Raises:
        OSError: a folder cannot be read.
    """
    names = files.folder_names(root)
    holding = {
        name: (bool(files.folder_names(root / name)), bool(files.regular_names(root / name, IMAGE_SUFFIXES)))
        for name in names
        if part_named(name)
    }
    return class_folders_of(names, holding)


def class_folders_of(names: Iterable[str], holding: Mapping[str, tuple[bool, bool]]) -> ClassFolders:
    """Decide which folders are parts.

    Args:
        names: all folders of a dataset's first level.
        holding: for each that has a part's name: whether it holds folders, and whether it holds images.
    """
    parts: dict[str, tuple[str, ...]] = {}
    notes, others = [], []
    for name in names:
        folders, images = holding.get(name, (False, False))
        if folders and not images:
            parts[part_named(name)] = (*parts.get(part_named(name), ()), name)
        else:
            others.append(name)
    # Quoted by repr, because a stranger may have named the folders.
    if not parts:
        own = [name for name in others if holding.get(name, (False, False))[1]]
        return ClassFolders(
            {"": (".",)}, tuple(f"{name!r} holds images of its own, so it is a class" for name in own)
        )
    if others:
        found = ", ".join(map(repr, others[:3])) + (", ..." if len(others) > 3 else "")
        named = ", ".join(repr(name) for part in PARTS for name in parts.get(part, ()))
        notes.append(
            f"not read: {found} beside {named} (a part holds class folders and no images of its own)"
        )
    return ClassFolders({part: parts[part] for part in PARTS if part in parts}, tuple(notes))
