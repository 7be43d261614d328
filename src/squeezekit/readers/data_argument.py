"""From what a user names as DATA to a folder or files."""

import glob
import os
from pathlib import Path

from squeezekit.errors import DataError
from squeezekit.readers.named_splits import part_named
from squeezekit.readers.shards import is_shard

__all__ = ["FETCHABLE", "data_folder", "find_files", "find_folder", "find_source"]

# The names of `curate.CATALOGUE`, which lies above this room; a test compares the two.
FETCHABLE = (
    *("caltech-101", "caltech-256", "cifar-10", "cifar-100", "imagenet", "imagenet-16", "imagenet-32"),
    *("imagenet-64", "imagenette", "imagewoof", "intel", "shapes"),
)
_ARRAYS = (".npz", ".npy")


def data_folder() -> Path:
    """Where known datasets are fetched to and looked for: the folder in `SQUEEZEKIT_DATA`, or `data` here."""
    return Path(os.environ.get("SQUEEZEKIT_DATA") or "data")


def find_source(source: str | os.PathLike[str]) -> Path:
    """Return what `source` means: a folder or file, here or in `data_folder`.

    Raises:
        DataError: there is neither; for a known dataset the message says how to get it.
    """
    path = Path(source)
    if path.exists():
        return path
    there = data_folder() / path
    # An absolute path stays what it is when it is joined.
    if there.exists():
        return there
    message = f"No such folder: {path}" + ("" if path.is_absolute() else f", nor {there}")
    known = f"; to get it: squeezekit data fetch {source}" if str(source) in FETCHABLE else ""
    raise DataError(message + known)


def find_folder(source: str | os.PathLike[str]) -> Path:
    """Return the folder that `source` means: a path, or a name in `data_folder`.

    Raises:
        DataError: there is no such folder, or it is a file.
    """
    path = find_source(source)
    if not path.is_dir():
        known = "; squeezekit data unpack makes one of it" if _is_source(path) else ""
        raise DataError(f"Expected a folder of class folders, received a file: {path}{known}")
    return path


def find_files(source: str | os.PathLike[str]) -> list[Path]:
    """List the files of arrays or shards that `source` means, by name; none when it means something else.

    A source is a `.npz`, `.tar` or `.tfrecord`, here or in `data_folder`; a pattern of names such as "train_*.npz"; or
    a folder that holds such files or `.npy` files, in itself or in folders named as parts, and no other folders.

    Raises:
        DataError: a pattern that fits nothing.
    """
    text = os.fspath(source)
    if glob.has_magic(text) and not Path(text).exists():
        found = glob.glob(text) or glob.glob(str(data_folder() / text))
        matching = [Path(path) for path in found if _is_source(Path(path))]
        if not matching:
            raise DataError(f"No .npz, .npy, .tar or .tfrecord file fits {text}")
        return sorted(matching)
    try:
        path = find_source(source)
    except DataError:
        return []
    if path.is_file():
        return [path] if _is_source(path) else []
    listed = _files_of(path)
    for folder in sorted(entry for entry in path.iterdir() if entry.is_dir()):
        if not folder.name.startswith("."):
            # Class folders, directly or within parts, whatever else lies beside them.
            if not part_named(folder.name) or any(entry.is_dir() for entry in folder.iterdir()):
                return []
            listed += _files_of(folder)
    return listed


def _is_source(path: Path) -> bool:
    return path.suffix.lower() in _ARRAYS or is_shard(path)


def _files_of(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(entry for entry in entries if _is_source(entry) and entry.is_file())
