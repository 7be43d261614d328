"""Known sets, unpacked from made archives of their exact layout; and archives that mean harm."""

import bz2
import dataclasses
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import shards
from data_pictures import picture
from squeezekit.curate import CATALOGUE, fetch, is_fetched
from squeezekit.curate.archive import complete_folder, members
from squeezekit.curate.download import Wanted
from squeezekit.data import open_dataset
from squeezekit.errors import DataError, FormatError
from squeezekit.readers import FETCHABLE


def png(number=0):
    return shards.png(picture(8, 8, number))


def tar(files, kinds=()):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind, target in kinds:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return written.getvalue()


def pack(files, modes=()):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        for name, mode, content in modes:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return written.getvalue()


@pytest.fixture
def known(monkeypatch):
    """Forget the checksums of the real archives: known("cifar-10")."""

    def forget(name):
        entry = dataclasses.replace(CATALOGUE[name], wanted=Wanted())
        monkeypatch.setitem(CATALOGUE, name, entry)
        return name

    return forget


def fetched(tmp_path, name, archive, **options):
    path = tmp_path / "archive"
    path.write_bytes(archive)
    return fetch(name, tmp_path / "sets", file=path, **options)


def read_all(path):
    for _, stream in members(path):
        while stream.read(1000):
            pass


def found(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_caltech_256_without_its_clutter(tmp_path, known):
    names = [f"{number:03d}.thing/{number:03d}_{image:04d}.jpg" for number in (1, 2, 257) for image in (1, 2)]
    files = {f"256_ObjectCategories/{name.replace('257.thing', '257.clutter')}": png() for name in names}
    files |= {"256_ObjectCategories/198.spider/RENAME2": b"#!/bin/sh", "README": b"hm"}
    folder = fetched(tmp_path, known("caltech-256"), tar(files))
    assert found(folder) == [".squeezekit.json", *names[:4]]
    assert json.loads((folder / ".squeezekit.json").read_text())["images"] == 4
    assert open_dataset(folder, validation=0).class_names == ("001.thing", "002.thing")


def test_caltech_101_is_an_archive_in_an_archive(tmp_path, known):
    names = ["accordion/image_0001.jpg", "yin_yang/image_0001.jpg"]
    inner = {f"101_ObjectCategories/{name}": png() for name in [*names, "BACKGROUND_Google/image_0001.jpg"]}
    outer = {
        "caltech-101/Annotations.tar": b"",
        "caltech-101/101_ObjectCategories.tar.gz": gzip.compress(tar(inner)),
    }
    folder = fetched(tmp_path, known("caltech-101"), pack(outer))
    assert found(folder) == [".squeezekit.json", *names]
    assert sorted(os.listdir(tmp_path / "sets")) == ["caltech-101"]


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_imagenette_has_val_for_test(tmp_path, known, packed):
    names = ["train/n01/a_1.JPEG", "val/n01/a_2.JPEG", "train/n02/b_1.JPEG", "val/n02/b_2.JPEG"]
    files = {f"./imagenette2-160/{name}": png() for name in names} | {"imagenette2-160/noisy.csv": b""}
    folder = fetched(tmp_path, known("imagenette"), packed(tar(files)))
    assert found(folder)[1:] == sorted(name.replace("val/", "test/") for name in names)


@pytest.mark.parametrize(("name", "labels"), [("cifar-10", 1), ("cifar-100", 2)])
def test_cifar_batches_become_class_folders_pixel_for_pixel(tmp_path, known, name, labels):
    classes = CATALOGUE[known(name)].classes
    pixels = np.stack([picture(32, 32, number) for number in range(6)])
    rows = [
        bytes([7] * (labels - 1) + [number % 3]) + pixels[number].transpose(2, 0, 1).tobytes()
        for number in range(6)
    ]
    names = "\n".join(f"thing{number}" for number in range(classes)).encode() + b"\n\n"
    base = f"{name}-batches-bin/"
    files = {
        base + ("data_batch_1.bin" if labels == 1 else "train.bin"): b"".join(rows[:4]),
        base + ("test_batch.bin" if labels == 1 else "test.bin"): b"".join(rows[4:]),
        base + ("batches.meta.txt" if labels == 1 else "fine_label_names.txt"): names,
    }
    folder = fetched(tmp_path, name, gzip.compress(tar(files)))
    stems = ("data_batch_1", "test_batch") if labels == 1 else ("train", "test")
    for number in range(6):
        part, stem = ("train", stems[0]) if number < 4 else ("test", stems[1])
        path = folder / part / f"thing{number % 3}" / f"{stem}-{number % 4:05d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels[number])
    assert len(found(folder)) == 7
    again = tmp_path / "again"
    again.mkdir()
    files[base + "data_batch_2.bin"] = b"\xff\xff" + bytes(3072)
    with pytest.raises(FormatError, match=r"data_batch_2\.bin is damaged"):
        fetched(again, name, tar(files))


def test_what_needs_a_login_says_what_to_do_and_takes_the_file(tmp_path):
    with pytest.raises(DataError, match=r"nobody but you .*kaggle\.com.*--file"):
        fetch("intel", tmp_path)
    files = {
        f"seg_{part}/seg_{part}/sea/{number}.jpg": png() for part in ("train", "test") for number in (1, 2)
    }
    folder = fetched(tmp_path, "intel", pack(files | {"seg_pred/seg_pred/1.jpg": png()}))
    assert found(folder)[1:] == ["test/sea/1.jpg", "test/sea/2.jpg", "train/sea/1.jpg", "train/sea/2.jpg"]
    assert is_fetched("intel", tmp_path / "sets")
    assert fetch("intel", tmp_path / "sets") == folder
    with pytest.raises(DataError, match="is DATA for every verb"):
        fetched(tmp_path, "imagenet-64", pack(files))


def test_refusals(tmp_path, known):
    with pytest.raises(DataError, match="No set named 'nothing'; there are caltech-101"):
        fetch("nothing", tmp_path)
    with pytest.raises(FormatError, match="instead of 98,948,031"):
        fetched(tmp_path, "imagenette", tar({"a": b""}))
    with pytest.raises(FormatError, match="none of the images of imagewoof"):
        fetched(tmp_path, "imagewoof", tar({"a/b/c.jpg": png()}))
    assert os.listdir(tmp_path / "sets") == []
    (tmp_path / "sets" / "imagewoof").mkdir()
    with pytest.raises(DataError, match="something already"):
        fetched(tmp_path, "imagewoof", tar({"imagewoof2-160/train/a/1.jpg": png()}))


@pytest.mark.parametrize("name", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "C:/x.jpg", "a\\..\\x.jpg"])
@pytest.mark.parametrize("maker", [tar, pack])
def test_names_that_lead_elsewhere(tmp_path, name, maker):
    path = tmp_path / "archive"
    path.write_bytes(maker({"good/1.jpg": b"", name: b""}))
    with pytest.raises(FormatError, match="leads out of its folder"):
        list(members(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(tmp_path, kind):
    path = tmp_path / "archive"
    path.write_bytes(tar({}, [("a/link.jpg", kind, "/etc/hostname")]))
    with pytest.raises(FormatError, match=r"'a/link\.jpg' is a link or a device"):
        list(members(path))


def test_links_in_a_zip(tmp_path):
    path = tmp_path / "archive"
    path.write_bytes(pack({}, [("a.jpg", stat.S_IFLNK | 0o777, b"/etc/hostname")]))
    with pytest.raises(FormatError, match="is a link or a device"):
        list(members(path))


def test_bombs(tmp_path):
    path, zeros = tmp_path / "archive", bytes(100 << 20)
    for content in (gzip.compress(tar({"a.jpg": zeros}), 1), pack({"a.jpg": zeros})):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="more than 30 times its own size"):
            list(members(path))
    # A tar's extended header of 100 MB, which tarfile would read into memory.
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(zeros)
    path.write_bytes(gzip.compress(header.tobuf() + zeros, 1))
    with pytest.raises(FormatError, match="where a few were to be expected"):
        list(members(path))


@pytest.mark.parametrize(
    "maker", [lambda: gzip.compress(tar({"a.jpg": png()})), lambda: pack({"a.jpg": png()})]
)
def test_damage(tmp_path, maker):
    path, whole = tmp_path / "archive", maker()
    for content in (whole[: len(whole) // 2], whole[:60] + bytes(60) + whole[120:], b"", b"no archive" * 100):
        path.write_bytes(content)
        with pytest.raises(FormatError):
            read_all(path)


def test_two_members_of_one_name_and_nothing_left_behind(tmp_path):
    with complete_folder(tmp_path / "x") as write:
        write(("a", "1"), io.BytesIO(b""))
        with pytest.raises(FormatError, match="two members named 'a/1'"):
            write(("a", "1"), io.BytesIO(b""))
    with pytest.raises(DataError, match="something already"), complete_folder(tmp_path / "x"):
        pass
    with pytest.raises(KeyError), complete_folder(tmp_path / "y"):
        raise KeyError
    assert os.listdir(tmp_path) == ["x"]


def test_shapes_are_drawn_and_not_twice(tmp_path):
    told = []
    folder = fetch("shapes", tmp_path, progress=lambda *what: told.append(what))
    assert told[-1] == ("drawing", 2000, 2000)
    assert is_fetched("shapes", tmp_path)
    dataset = open_dataset(folder)
    assert len(dataset.class_names) == CATALOGUE["shapes"].classes
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == CATALOGUE["shapes"].images
    told.clear()
    assert fetch("shapes", tmp_path, progress=lambda *what: told.append(what)) == folder
    assert not told


def test_a_drawing_that_was_interrupted_at_its_mark_is_finished(tmp_path):
    folder = fetch("shapes", tmp_path)
    (folder / ".squeezekit.json").unlink()
    assert not is_fetched("shapes", tmp_path)
    assert fetch("shapes", tmp_path) == folder
    assert is_fetched("shapes", tmp_path)


def test_what_a_missing_folder_suggests_to_fetch_can_be_fetched():
    assert set(FETCHABLE) == set(CATALOGUE)
