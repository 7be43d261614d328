"""A dataset of class folders, arrays or shards in three parts: train, validation and test. No TensorFlow."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from squeezekit.data.folder import Checked, check_folder
from squeezekit.data.labelled_images import Images
from squeezekit.data.splits import Splitter
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import MAX_SKIPPED_SHARE, open_rgb
from squeezekit.readers import (
    PARTS,
    TEST,
    VALIDATION,
    ArrayImages,
    ShardImages,
    find_files,
    find_folder,
    open_parts,
)
from squeezekit.thread_map import in_threads

__all__ = ["Dataset", "open_dataset"]

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """A dataset, checked and split.

    Args:
        class_names: names of the class folders, sorted, or the classes of the arrays; a label is a position in it.
        train: what the network learns from.
        validation: what choices are made by; never part of `train` or `test`.
        test: what is reported.
        skipped: (path, reason) of every unreadable image; none of them is in a part.
        fingerprint: sha256 of every usable image, its class and, of a file, its relative path: the same data
            has the same fingerprint on any machine.
        train_per_class: how many images of every class were taken for training and validation; 0 for a share.
        notes: one sentence for each thing that was guessed or ignored.
    """

    class_names: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    skipped: tuple[tuple[str, str], ...]
    fingerprint: str
    train_per_class: int = 0
    notes: tuple[str, ...] = ()


def open_dataset(
    source: str | os.PathLike[str],
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    train_per_class: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Read class folders, arrays or shards of images, check them and split them.

    Every image is decoded once, so that a broken one shows here and not hours into a training. Parts that names tell
    (`readers.named_splits`) are used as they are. A missing part is drawn from the training images by a hash of the
    seed and the image's name, class by class: an image stays in its part when others are added, but for the few at the
    edge of the share. The test is drawn first.

    Args:
        source: a folder of class folders; a `.npz`, `.tar` or `.tfrecord` file, a folder of such or of `.npy` files,
            or a pattern of their names; or the name of one of these in `data_folder()`.
        validation: share of each class's training images, in [0, 1); 0 for none, else at least one a class; without
            effect where there is a validation part.
        test: the same for the test.
        seed: chooses the drawn parts.
        train_per_class: so many images of every class for training and validation, as in the protocol of the Caltech
            datasets. All others are the test; where there is a test part they are left out. 0 for shares.
        progress: called with (images checked, images in all).

    Returns:
        The dataset; at least two classes, each with at least one training image.

    Raises:
        ValueError: a share is out of range.
        DataError: no such folder, fewer than two classes, a class without images or with too few to split,
            parts with different classes, or more than 5 % of the images unreadable.
        FormatError: a file of arrays or a shard is damaged.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     for number in range(10):
        ...         Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name / f"{number}.png")
        >>> dataset = open_dataset(root)
        >>> dataset.class_names, len(dataset.train), len(dataset.validation), len(dataset.test)
        (('cat', 'dog'), 14, 2, 4)
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"Expected a share in [0, 1). Received: {name}={share}.")
    if train_per_class < 0:
        raise ValueError(f"Expected at least 0 images a class. Received: {train_per_class=}.")
    found = find_files(source)
    checked = _check_files(found, progress) if found else check_folder(find_folder(source), progress)
    _require_readable(checked)
    images = checked.images
    splitter = Splitter(images.labels, checked.class_names, checked.hashed, checked.where)
    broken = np.array(list(checked.skipped), np.int64)
    usable = [np.setdiff1d(checked.parts[part], broken) for part in PARTS]
    train, validated, tested = splitter.complete(
        *usable, validation_share=validation, test_share=test, seed=seed, train_per_class=train_per_class
    )
    return Dataset(
        class_names=checked.class_names,
        train=images.take(train),
        validation=images.take(validated),
        test=images.take(tested),
        skipped=tuple(checked.skipped.values()),
        fingerprint=checked.fingerprint,
        train_per_class=train_per_class,
        notes=(*checked.notes, *_drawn(checked, test)),
    )


def _drawn(checked: Checked, test: float) -> list[str]:
    """A sentence where a validation part without a test part can be taken for one."""
    if not test or len(checked.parts[TEST]) or not len(checked.parts[VALIDATION]):
        return []
    return ["there is a validation part but no test part, so the test is drawn from the training images"]


def _require_readable(checked: Checked) -> None:
    """Refuse a dataset of which more than `MAX_SKIPPED_SHARE` is unreadable: it is damaged as a whole."""
    images = len(checked.images)
    if len(checked.skipped) > MAX_SKIPPED_SHARE * images:
        path, reason = next(iter(checked.skipped.values()))
        raise DataError(
            f"{checked.where}: {len(checked.skipped)} of {images} images are unreadable; the first: {path} ({reason})"
        )


def _check_files(files: Sequence[Path], progress: Progress | None) -> Checked:
    """Read images in arrays or shards once, for their fingerprint and to see that they are whole."""
    parts = open_parts(files)
    images = parts.images
    where = os.path.commonpath(files)
    if len(images.class_names) < 2:
        raise DataError(f"{where}: expected at least two classes, found {len(images.class_names)}")
    skipped: dict[int, tuple[str, str]] = {}
    if isinstance(images, ArrayImages):
        fingerprint = _read_arrays(images, progress)
    else:
        fingerprint = _decode_shards(images, skipped, progress)
    return Checked(
        images=images,
        class_names=images.class_names,
        parts={part: getattr(parts, part) for part in PARTS},
        hashed=lambda places: images.take(places).names(),
        skipped=skipped,
        fingerprint=fingerprint,
        where=where,
    )


def _read_arrays(images: ArrayImages, progress: Progress | None) -> str:
    """SHA-256 of classes, labels and RGB pixels, however they are stored."""
    digest = hashlib.sha256("\0".join((*map(str, images.shape), *images.class_names)).encode())
    digest.update(np.ascontiguousarray(images.labels, "<i4").tobytes())
    done = 0
    for pixels, labels in images.blocks():
        digest.update(np.ascontiguousarray(pixels).data)
        done += len(labels)
        if progress is not None:
            progress(done, len(images))
    return digest.hexdigest()


def _decode_shards(
    images: ShardImages, skipped: dict[int, tuple[str, str]], progress: Progress | None
) -> str:
    """Decode every image: SHA-256 of the usable ones; the others go into `skipped`."""
    digest = hashlib.sha256("\0".join(images.class_names).encode())

    def check(place: int) -> tuple[bytes, str]:
        data = images.read(place)
        try:
            open_rgb(data)
        except FormatError as error:
            return b"", str(error).removeprefix("image: ")
        return hashlib.sha256(data).digest(), ""

    names, labels = images.names(), images.labels.tolist()
    for place, (sum_of, reason) in enumerate(in_threads(check, range(len(images)), progress)):
        if reason:
            skipped[place] = (names[place], reason)
        else:
            digest.update(f"{images.class_names[labels[place]]}\0".encode() + sum_of)
    return digest.hexdigest()
