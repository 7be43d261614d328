"""The same images in a folder, an archive, arrays or shards are in the same parts, unpacked or not."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from shards import png, write_records, write_tar
from squeezekit import imaging
from squeezekit.curate import audit_folder, unpack_images
from squeezekit.data import open_dataset
from squeezekit.errors import DataError
from squeezekit.readers import PARTS
from squeezekit.runtime import evaluation

CLASSES = ("ant", "bee")
SIZES = {"train": 20, "validation": 6, "test": 4}
# By part: what each kind of name is called; "" is a training part without a name.
NAMED = {
    "all three": {"train": "train", "validation": "val", "test": "test"},
    "other names": {"train": "Training", "validation": "dev", "test": "EVAL"},
    "no test": {"train": "train", "validation": "valid"},
    "no validation": {"train": "train", "test": "testing"},
    "no names": {"train": ""},
}


def images_of(part):
    """Labelled images of a part, each different: (label, uint8 pixels)."""
    generator = np.random.default_rng(PARTS.index(part))
    return [(number % 2, generator.integers(0, 256, (9, 8, 3), np.uint8)) for number in range(SIZES[part])]


def tree(names):
    """Paths and PNG files of class folders."""
    for part, name in names.items():
        for number, (label, pixels) in enumerate(images_of(part)):
            yield "/".join(filter(None, (name, CLASSES[label], f"{number:02d}.png"))), png(pixels)


def folder(root, names):
    for path, data in tree(names):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def archive(root, names):
    with tarfile.open(root / "photos.tar.gz", "w:gz") as file:
        for path, data in tree(names):
            info = tarfile.TarInfo(f"photos/{path}")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return root / "photos.tar.gz"


def plain_tar(root, names):
    write_tar(root / "photos.tar", list(tree(names)))
    return root / "photos.tar"


def zipped(root, names):
    with zipfile.ZipFile(root / "photos.zip", "w") as file:
        for path, data in tree(names):
            file.writestr(path, data)
    return root / "photos.zip"


def npz(root, names):
    arrays = {"class_names": np.array(CLASSES)}
    for part, name in names.items():
        labels, pixels = zip(*images_of(part), strict=True)
        arrays |= {f"{name}_images": np.stack(pixels), f"{name}_labels": np.array(labels)}
    np.savez(root / "photos.npz", **arrays)
    return root / "photos.npz"


def npy(root, names):
    for part, name in names.items():
        labels, pixels = zip(*images_of(part), strict=True)
        (root / name).mkdir(exist_ok=True)
        np.save(root / name / "images.npy", np.stack(pixels))
        np.save(root / name / "labels.npy", np.array(labels))
        (root / name / "classes.txt").write_text("\n".join(CLASSES))
    return root


def webdataset(root, names):
    for part, name in names.items():
        members = []
        for number, (label, pixels) in enumerate(images_of(part)):
            members += [(f"{number:02d}.png", png(pixels)), (f"{number:02d}.cls", CLASSES[label].encode())]
        write_tar(root / f"photos-{name}-0000.tar", members)
    return root


def records(root, names):
    for part, name in names.items():
        rows = [(png(pixels), label) for label, pixels in images_of(part)]
        write_records(root / f"photos-{name}.tfrecord-00000-of-00001", rows)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def unpacked(write):
    def write_and_unpack(root, names):
        (root / "packed").mkdir()
        source = write(root / "packed", names)
        files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
        unpack_images([path for path in files if path.name != "classes.txt"], root / "out")
        return root / "out"

    write_and_unpack.__name__ = f"unpacked {write.__name__}"
    return write_and_unpack


FORMS = (folder, npz, npy, webdataset, records)
PACKED = (archive, plain_tar, zipped, npz, npy, webdataset, records)


def contents(part):
    """Class and pixels of each image."""
    found = set()
    for (_, image), label in zip(part.pictures(), part.labels.tolist(), strict=True):
        pixels = image if isinstance(image, np.ndarray) else np.asarray(imaging.open_rgb(image))
        found.add((label, pixels.tobytes()))
    assert len(found) == len(part)
    return found


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("write", [*FORMS, *map(unpacked, PACKED)], ids=lambda write: write.__name__)
def test_the_same_images_are_in_the_same_parts(tmp_path, write, named):
    names = NAMED[named]
    dataset = open_dataset(write(tmp_path, names), validation=0.25, test=0.2)
    assert dataset.class_names == CLASSES
    found = {part: contents(getattr(dataset, part)) for part in PARTS}
    expected = {part: {(label, pixels.tobytes()) for label, pixels in images_of(part)} for part in names}
    drawn = [part for part in PARTS if part not in names]
    for part in names:
        if part != "train":
            assert found[part] == expected[part]
    # What no name tells is drawn from the training images, so many of each class.
    assert found["train"].union(*(found[part] for part in drawn)) == expected["train"]
    assert sum(map(len, found.values())) == sum(map(len, expected.values()))
    counts = {part: np.bincount(getattr(dataset, part).labels).tolist() for part in drawn}
    assert counts == {part: [2, 2] for part in drawn}
    assert len(dataset.notes) == (named == "no test")


@pytest.mark.parametrize("form", FORMS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("named", NAMED)
def test_evaluation_takes_the_test_part_else_the_validation_part(tmp_path, monkeypatch, form, named):
    seen = {}

    def count(model, pictures, labels, progress=None):
        seen["images"] = len(labels)
        return evaluation.Evaluation(1, 1, 1, {}, (), ())

    monkeypatch.setattr(evaluation, "evaluate_images", count)
    model = type("Model", (), {"labels": CLASSES})()
    result = evaluation.evaluate(model, form(tmp_path, NAMED[named]))
    part = next((part for part in ("test", "validation") if part in NAMED[named]), "train")
    assert seen["images"] == SIZES[part]
    assert len(result.notes) == (part == "validation")


def test_a_folder_of_images_with_a_parts_name_is_a_class(tmp_path):
    for name in ("bus", "train", "test"):
        folder(tmp_path / "vehicles", {"train": name})
        for label in CLASSES:
            for path in (tmp_path / "vehicles" / name / label).iterdir():
                path.rename(tmp_path / "vehicles" / name / path.name)
            (tmp_path / "vehicles" / name / label).rmdir()
    dataset = open_dataset(tmp_path / "vehicles")
    assert dataset.class_names == ("bus", "test", "train")
    assert dataset.notes == audit_folder(tmp_path / "vehicles").notes
    assert dataset.notes == tuple(
        f"{name!r} holds images of its own, so it is a class" for name in ("test", "train")
    )


def test_what_lies_beside_parts_is_named(tmp_path):
    folder(tmp_path, {"train": "train", "validation": "val"})
    folder(tmp_path, {"test": "extra"})
    (tmp_path / "test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "test" / "1.png")
    (tmp_path / "train" / "ant" / "night").mkdir()
    (tmp_path / "train" / "ant" / "1.heic").write_bytes(b"")
    dataset = open_dataset(tmp_path)
    assert len(dataset.validation) == SIZES["validation"]
    assert [note.split(" (")[0] for note in dataset.notes] == [
        "not read: 'extra', 'test' beside 'train', 'val'",
        "not read in class folders: 1 .heic, 1 folders",
        "there is a validation part but no test part, so the test is drawn from the training images",
    ]


def test_parts_without_training_images_are_refused(tmp_path):
    folder(tmp_path, {"validation": "val", "test": "test"})
    with pytest.raises(DataError, match="val/, test/ but no train/"):
        open_dataset(tmp_path)
