"""Sets of images that are known by name: where they are, what they must be, which of their folders are classes.

Checksums are those that TensorFlow Datasets and torchvision publish. Nothing here is downloaded until
`fetch` is called, and each set has its own licence: `licence` says what is known of it.
"""

import dataclasses
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from squeezekit import files
from squeezekit.data.download import Wanted, check_file, download
from squeezekit.data.shapes import SHAPE_CLASSES, write_shapes
from squeezekit.data.unpack import members, unpacked_into
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import is_image_name, png

__all__ = ["CATALOGUE", "Entry", "fetch", "is_fetched"]

Progress = Callable[[str, int, int], None]

# Hidden, so that it is no class and no image; whoever removes it fetches anew.
MARK = ".squeezekit.json"
_SIDE = 32  # of CIFAR's pictures


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One set of images.

    Args:
        title: what it is.
        classes: how many.
        images: how many, in all parts.
        licence: what is known of it.
        urls: addresses of the archive, in the order in which they are tried; none where a login is needed, or nothing.
        wanted: the archive's size and checksum.
        folders: (folder in the archive, folder in the set) of what is taken; the rest of the archive is left.
            Under it lie class folders.
        left_out: class folders that are none.
        inner: file in the archive that is the archive proper.
        cifar_labels: labels before the pixels of each row where the archive holds CIFAR's binary batches instead; the
            last one is the fine one.
        drawn: shapes a class for training and for the test, where nothing is unpacked at all.
        login: what to do where nobody but the user can download it.
    """

    title: str
    classes: int
    images: int
    licence: str
    urls: tuple[str, ...] = ()
    wanted: Wanted = Wanted()  # noqa: RUF009 - frozen
    folders: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    inner: str = ""
    cifar_labels: int = 0
    drawn: tuple[int, int] = (0, 0)
    login: str = ""


_FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas/"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_IMAGENET_TERMS = "ImageNet's terms: research and education, not commercial"
_UNSTATED = "none stated; research use is usual"

_DRAWN = (200, 50)

CATALOGUE: dict[str, Entry] = {
    "caltech-101": Entry(
        "objects in photos of some 300x200 pixels, 31 to 800 a class",
        101,
        8677,
        "CC BY 4.0",
        ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
        folders=(("101_ObjectCategories", ""),),
        left_out=("BACKGROUND_Google",),
        inner="caltech-101/101_ObjectCategories.tar.gz",
    ),
    "caltech-256": Entry(
        "objects in photos of many sizes, 80 to 800 a class",
        256,
        29780,
        "CC BY 4.0",
        ("https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",),
        Wanted(digest="md5:67b4f42ca05d46448c6bb8ecd2220f6d"),
        folders=(("256_ObjectCategories", ""),),
        left_out=("257.clutter",),
    ),
    "cifar-10": Entry(
        "things and animals at 32x32 pixels",
        10,
        60000,
        _UNSTATED,
        (f"{_TORONTO}cifar-10-binary.tar.gz",),
        Wanted(170052171, "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        cifar_labels=1,
    ),
    "cifar-100": Entry(
        "things, animals, plants and people at 32x32 pixels",
        100,
        60000,
        _UNSTATED,
        (f"{_TORONTO}cifar-100-binary.tar.gz",),
        Wanted(168513733, "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
        cifar_labels=2,
    ),
    "imagenette": Entry(
        "10 classes of ImageNet that are easily told apart, short side 160",
        10,
        13394,
        _IMAGENET_TERMS,
        (f"{_FASTAI}imagenette2-160.tgz",),
        Wanted(98948031, "sha256:88daccb09b6fce93f45e6c09ddeb269cce705549e6bff322092a2a5a11489863"),
        folders=(("imagenette2-160/train", "train"), ("imagenette2-160/val", "test")),
    ),
    "imagewoof": Entry(
        "10 breeds of dogs of ImageNet, short side 160",
        10,
        12954,
        _IMAGENET_TERMS,
        (f"{_FASTAI}imagewoof2-160.tgz",),
        folders=(("imagewoof2-160/train", "train"), ("imagewoof2-160/val", "test")),
    ),
    "intel": Entry(
        "natural scenes at 150x150 pixels",
        6,
        17034,
        "none stated; Kaggle's terms",
        folders=(("seg_train/seg_train", "train"), ("seg_test/seg_test", "test")),
        login="Sign in at https://www.kaggle.com/datasets/puneet6060/intel-image-classification and choose "
        "Download. Then: squeezekit data fetch intel --file archive.zip",
    ),
    "imagenet": Entry(
        "ILSVRC 2012",
        1000,
        1331167,
        _IMAGENET_TERMS,
        login="Sign in at https://image-net.org/download-images.php, download ILSVRC2012_img_train.tar and unpack it "
        "and the archives in it to train/WNID/*.JPEG. That folder is DATA for every verb; nothing need be fetched.",
    ),
    **{
        f"imagenet-{side}": Entry(
            f"ImageNet at {side}x{side} pixels as .npz batches",
            1000,
            1331167,
            _IMAGENET_TERMS,
            login="Sign in at https://image-net.org/download-images.php and download the npz files of the images "
            f"downsampled to {side}x{side}. The folder with train_data_batch_1.npz and its like is DATA for every "
            "verb; nothing need be fetched.",
        )
        for side in (16, 32, 64)
    },
    "shapes": Entry(
        "eight kinds of shapes at 64x64 pixels, drawn here without a download",
        len(SHAPE_CLASSES),
        len(SHAPE_CLASSES) * sum(_DRAWN),
        "drawn by squeezekit: none needed",
        drawn=_DRAWN,
    ),
}


def is_fetched(name: str, folder: str | os.PathLike[str]) -> bool:
    """Whether `fetch` has put the set there."""
    return (Path(folder) / name / MARK).is_file()


def fetch(
    name: str,
    folder: str | os.PathLike[str],
    *,
    mirror: str = "",
    file: str | os.PathLike[str] = "",
    keep: bool = False,
    progress: Progress | None = None,
    wait_seconds: float = 1.0,
) -> Path:
    """Download, check and unpack a set to `folder/name`, as `train/CLASS/*` and `test/CLASS/*` or `CLASS/*`.

    `shapes` are drawn instead.

    Args:
        name: in `CATALOGUE`.
        folder: where to.
        mirror: address of a folder that is asked first, with the archive's own file name.
        file: the archive, downloaded already; needed where a login is.
        keep: do not remove the archive after unpacking.
        progress: called with (what is done, done so far, in all; 0 when unknown).
        wait_seconds: before a second attempt.

    Returns:
        The folder of the set.

    Raises:
        DataError: no such set, a login is needed, it cannot be had, or something else lies at its place.
        FormatError: the archive is not what it should be.
        OSError: it cannot be written.
    """
    if name not in CATALOGUE:
        raise DataError(f"No set named {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    entry, target = CATALOGUE[name], Path(folder) / name
    if is_fetched(name, folder):
        return target
    if any(entry.drawn):
        return _drawn(entry, target, progress)
    if os.path.lexists(target):
        raise DataError(f"{target}: there is something already, which fetch has not put there")
    if file:
        archive = Path(file)
        if entry.urls:
            check_file(archive, entry.wanted)
    elif not entry.urls:
        raise DataError(f"{name}: nobody but you can download it. {entry.login}")
    else:
        last = entry.urls[0].rpartition("/")[2]
        urls = (*([f"{mirror.rstrip('/')}/{last}"] if mirror else []), *entry.urls)
        archive = Path(folder) / f".{name}-{last}"
        told = (lambda done, total: progress("downloading", done, total)) if progress is not None else None
        download(urls, archive, entry.wanted, progress=told, wait_seconds=wait_seconds)
    if not entry.folders and not entry.cifar_labels:
        raise DataError(f"{name}: {entry.login}")
    try:
        _unpack(name, entry, archive, target, progress)
    except FormatError as error:
        raise FormatError(str(error).replace("archive:", f"{archive}:", 1)) from error
    if not file and not keep:
        archive.unlink()
    return target


def _drawn(entry: Entry, target: Path, progress: Progress | None) -> Path:
    """Draw the shapes, and a mark that says that they are complete."""
    train, test = entry.drawn
    told = (lambda done, total: progress("drawing", done, total)) if progress is not None else None
    write_shapes(target, per_class_train=train, per_class_test=test, progress=told)
    mark = {"name": target.name, "images": entry.images, "source": []}
    files.write_json(target / MARK, mark)
    return target


def _unpack(name: str, entry: Entry, archive: Path, target: Path, progress: Progress | None) -> None:
    """Write the images of an archive, and a mark that says that they are complete."""
    count = 0
    with unpacked_into(target) as write:
        if entry.cifar_labels:
            source = _cifar_images(entry, archive)
        else:
            source = _images(entry, archive, target)
        for parts, stream in source:
            write(parts, stream)
            count += 1
            if progress is not None:
                progress("unpacking", count, entry.images)
        if not count:
            raise FormatError(f"archive: none of the images of {name} in it")
        mark = {"name": name, "images": count, "source": list(entry.urls) or [archive.name]}
        write((MARK,), io.BytesIO(json.dumps(mark).encode("ascii")))


def _images(entry: Entry, archive: Path, target: Path) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
    """The images of an archive of class folders, under the names that they shall have."""
    if entry.inner:
        for parts, stream in members(archive):
            if "/".join(parts) == entry.inner:
                with tempfile.TemporaryDirectory(
                    prefix=f".{target.name}.unpacking.", dir=target.parent
                ) as place:
                    inner = Path(place) / parts[-1]
                    with inner.open("wb") as copy:
                        while data := stream.read(1 << 20):
                            copy.write(data)
                    yield from _images(dataclasses.replace(entry, inner=""), inner, target)
                return
        raise FormatError(f"archive: no {entry.inner} in it")
    for parts, stream in members(archive):
        for source, place in entry.folders:
            above = tuple(source.split("/"))
            rest = parts[len(above) :]
            if parts[: len(above)] != above or len(rest) != 2 or rest[0] in entry.left_out:
                continue
            if is_image_name(rest[1]):
                yield ((place, *rest) if place else rest), stream


def _cifar_images(entry: Entry, archive: Path) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
    """CIFAR's binary batches as PNG files: rows of labels, then 1,024 bytes each of red, green and blue."""
    labels, names = entry.cifar_labels, []
    for parts, stream in members(archive):
        if parts[-1] in ("batches.meta.txt", "fine_label_names.txt"):
            names = [line.strip() for line in stream.read(1 << 16).decode("ascii", "replace").splitlines()]
    names = [word for word in names if word]
    if len(names) != entry.classes or any("/" in word or word.startswith(".") for word in names):
        raise FormatError("archive: no names of the classes in it")
    for parts, stream in members(archive):
        if not parts[-1].endswith(".bin"):
            continue
        split = "test" if parts[-1].startswith("test") else "train"
        row, number = labels + 3 * _SIDE * _SIDE, 0
        while data := stream.read(row):
            label = data[labels - 1]
            if len(data) != row or label >= len(names):
                raise FormatError(f"archive: {parts[-1]} is damaged")
            planes = np.frombuffer(data, np.uint8, offset=labels).reshape(3, _SIDE, _SIDE)
            picture = png(planes.transpose(1, 2, 0))
            name = f"{parts[-1].removesuffix('.bin')}-{number:05d}.png"
            yield (split, names[label], name), io.BytesIO(picture)
            number += 1
