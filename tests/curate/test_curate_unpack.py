"""Archives and arrays become folders that training reads; what cannot be understood is asked about."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from data_pictures import picture
from shards import png
from squeezekit.curate import unpack_images
from squeezekit.data import open_dataset
from squeezekit.errors import DataError

PNG = png(picture(8, 8))


def archive(path, names):
    with tarfile.open(path, "w:xz") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(PNG)
            file.addfile(info, io.BytesIO(PNG))
    return path


def found(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/1.png", "dog/1.png"], ["cat/1.png", "dog/1.png"]),
        (["a/b/cat/1.png", "a/b/dog/1.png"], ["cat/1.png", "dog/1.png"]),
        (["x/train/cat/1.png", "x/Val/cat/2.png"], ["train/cat/1.png", "validation/cat/2.png"]),
        (
            ["train/cat/1.png", "test/cat/2.png", "__MACOSX/train/cat/._1.png", "README.md", "train/.x.png"],
            ["test/cat/2.png", "train/cat/1.png"],
        ),
        (["only/1.png", "only/2.png"], ["only/1.png", "only/2.png"]),
    ],
)
def test_folders_around_the_classes_do_not_matter(tmp_path, names, expected):
    path = archive(tmp_path / "a.tar.xz", names)
    assert unpack_images([path], tmp_path / "out") == len(expected)
    assert found(tmp_path / "out") == expected


@pytest.mark.parametrize(
    "names", [[], ["1.png", "2.png"], ["cat/1.png", "train/dog/1.png"], ["one/cat/1.png", "two/cat/1.png"]]
)
def test_an_archive_without_class_folders(tmp_path, names):
    path = archive(tmp_path / "a.tar.xz", names)
    with pytest.raises(DataError, match=r"expected CLASS/\*"):
        unpack_images([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arrays_pixel_for_pixel(tmp_path):
    pixels = np.stack([picture(12, 10, number) for number in range(12)])
    for number in range(2):
        rows = slice(6 * number, 6 * number + 6)
        np.savez_compressed(tmp_path / f"{number}.npz", x=pixels[rows], y=np.arange(12)[rows] % 3)
    sources = [tmp_path / "0.npz", tmp_path / "1.npz"]
    assert unpack_images(sources, tmp_path / "out", class_names=["a", "b", "c"]) == 12
    for number in range(12):
        path = tmp_path / "out" / "abc"[number % 3] / f"{number:02d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels[number])
    assert open_dataset(tmp_path / "out", validation=0).class_names == ("a", "b", "c")


@pytest.mark.parametrize("names", [["a", "a"], ["a", ".b"], ["a", "b/c"], ["a", "../b"]])
def test_class_names_that_are_no_folders(tmp_path, names):
    np.savez(tmp_path / "0.npz", x=np.zeros((2, 8, 8), np.uint8), y=np.arange(2))
    with pytest.raises(ValueError, match="Expected class names"):
        unpack_images([tmp_path / "0.npz"], tmp_path / "out", class_names=names)


def test_mixed_sources(tmp_path):
    with pytest.raises(ValueError, match="Expected one archive"):
        unpack_images(["a.npz", "b.tar"], tmp_path / "out")
    with pytest.raises(ValueError, match=r"for \.npz"):
        unpack_images(["b.tar"], tmp_path / "out", images="x")
