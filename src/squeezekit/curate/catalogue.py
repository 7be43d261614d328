"""Known datasets: their addresses, checksums, licences, and which of their folders are classes.

The checksums are those that TensorFlow Datasets and torchvision publish. Nothing is downloaded until `fetch` is called.
"""

import dataclasses
import functools
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from squeezekit import files
from squeezekit.curate.archive import complete_folder, members
from squeezekit.curate.download import Wanted, check_file, download
from squeezekit.curate.shapes import SHAPE_CLASSES, write_shapes
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import is_image_name, png

__all__ = ["CATALOGUE", "Entry", "fetch", "is_fetched"]

Progress = Callable[[str, int, int], None]

# Hidden, so that it is no class and no image; whoever removes it fetches anew.
MARK = ".squeezekit.json"
_SIDE = 32  # of CIFAR's images


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A known dataset.

    Args:
        title: what it is.
        classes: how many.
        images: how many, in all parts.
        licence: what is known of it.
        urls: addresses of the archive, tried in order; none where a login is needed.
        wanted: the archive's size and checksum.
        folders: (folder in the archive, folder in the dataset) of what is taken. Class folders lie under it.
        left_out: class folders that are not taken.
        inner: file in the archive that is the archive proper.
        cifar_labels: number of labels before the pixels of a row, of CIFAR's binary batches; the last label is taken.
        drawn: shapes a class for training and for the test, where nothing is downloaded.
        login: what the user must do to download it.
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
    """Whether `fetch` has put the dataset there."""
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
    """Download, check and unpack a dataset to `folder/name`, which is returned, as class folders with or without parts.

    Args:
        name: in `CATALOGUE`; `shapes` are drawn.
        folder: folder of all datasets.
        mirror: address of a folder that is tried first, with the archive's own file name.
        file: the archive, downloaded already; needed where a login is.
        keep: do not remove the archive after unpacking.
        progress: called with (activity, done so far, in all; 0 when unknown).
        wait_seconds: before a second attempt.

    Raises:
        DataError: no such dataset, a login is needed, no address gives it, or something else lies at its place.
        FormatError: the archive has another size or checksum, or is damaged.
    """
    if name not in CATALOGUE:
        raise DataError(f"No set named {name!r}; there are {', '.join(sorted(CATALOGUE))}")
    entry, target = CATALOGUE[name], Path(folder) / name
    if is_fetched(name, folder):
        return target
    if any(entry.drawn):
        train, test = entry.drawn
        told = functools.partial(progress, "drawing") if progress else None
        write_shapes(target, per_class_train=train, per_class_test=test, progress=told)
        files.write_json(target / MARK, {"name": name, "images": entry.images, "source": []})
        return target
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
        told = functools.partial(progress, "downloading") if progress else None
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


def _unpack(name: str, entry: Entry, archive: Path, target: Path, progress: Progress | None) -> None:
    """Write the images of an archive, and a mark that says that they are complete."""
    count = 0
    with complete_folder(target) as write:
        source = _cifar_images(entry, archive) if entry.cifar_labels else _images(entry, archive, target)
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
    """The images of an archive of class folders, under their names in the dataset."""
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
    names = [name for name in names if name]
    if len(names) != entry.classes or any("/" in name or name.startswith(".") for name in names):
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
            image = png(planes.transpose(1, 2, 0))
            name = f"{parts[-1].removesuffix('.bin')}-{number:05d}.png"
            yield (split, names[label], name), io.BytesIO(image)
            number += 1
