"""Arrays of images in files: what is read is what `numpy.load` would have read, in any layout, without its memory."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from squeezekit.data import Augment, batches, open_arrays
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import fit
from squeezekit.preprocess import Preprocess
from squeezekit.readers import arrays_in

SAVERS = {"stored": np.savez, "deflated": np.savez_compressed}


def pictures(count, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def whole(arrays, images=0):
    pixels, labels = zip(*arrays.blocks(images), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


@pytest.mark.parametrize("saver", SAVERS)
def test_imagenet_batch_files_are_one_set(tmp_path, saver):
    """Its layout: flat planes, labels from 1, a mean; the last class is only in the second file."""
    images = pictures(20)
    labels = np.array([1, 2, 3, 1, 2] * 2 + [2, 4, 3, 4, 2] * 2)
    for number in (0, 1):
        rows = slice(10 * number, 10 * number + 10)
        flat = images[rows].transpose(0, 3, 1, 2).reshape(10, -1)
        mean = images.mean(axis=0).transpose(2, 0, 1).ravel()
        SAVERS[saver](tmp_path / f"{number}.npz", data=flat, labels=labels[rows], mean=mean)
    arrays = open_arrays(tmp_path / "0.npz", tmp_path / "1.npz")
    assert (len(arrays), arrays.shape, arrays.class_names) == (20, (8, 8, 3), ("1", "2", "3", "4"))
    pixels, read = whole(arrays, images=3)
    np.testing.assert_array_equal(pixels, images)
    np.testing.assert_array_equal(read, labels - 1)
    assert pixels.mean() == images.mean()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (pictures(4).transpose(0, 3, 1, 2), pictures(4)),
        (pictures(4)[..., :1], np.repeat(pictures(4)[..., :1], 3, axis=-1)),
        (pictures(4)[..., 0], np.repeat(pictures(4)[..., :1], 3, axis=-1)),
        (pictures(4).astype(np.float32) / 255, pictures(4)),
        (pictures(4).astype(">u2") * 257, pictures(4)),
    ],
    ids=["planes", "grey", "grey without channel", "floats", "big-endian 16 bit"],
)
def test_layouts_and_types(tmp_path, stored, expected):
    np.save(tmp_path / "x.npy", np.ascontiguousarray(stored))
    np.save(tmp_path / "y.npy", np.array([[0], [1], [0], [2]], np.uint8))
    pixels, labels = whole(open_arrays(tmp_path / "x.npy", labels=tmp_path / "y.npy"))
    np.testing.assert_array_equal(pixels, expected)
    assert labels.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("window_bytes", [1 << 30, 40 * 768, 1], ids=["all", "some", "none"])
def test_shuffle_gives_each_image_once_and_can_be_resumed(tmp_path, saver, window_bytes):
    images = pictures(300, side=16)
    for number in range(3):
        rows = slice(100 * number, 100 * number + 100)
        SAVERS[saver](tmp_path / f"{number}.npz", x=images[rows], y=np.arange(300)[rows])
    arrays = open_arrays(*(tmp_path / f"{number}.npz" for number in range(3)))

    def stream(seed, epoch, skip=0):
        found = list(arrays.shuffled(seed, epoch, window_bytes=window_bytes, skip=skip))
        return [np.concatenate(part) for part in zip(*found, strict=True)]

    pixels, labels, places = stream(1, 0)
    assert sorted(places.tolist()) == list(range(300))
    np.testing.assert_array_equal(pixels, images[places])
    np.testing.assert_array_equal(labels, places)
    np.testing.assert_array_equal(stream(1, 0)[2], places)
    assert stream(1, 1)[2].tolist() != places.tolist()
    for skip in (1, 57, 150, 299):
        resumed = stream(1, 0, skip)
        np.testing.assert_array_equal(resumed[2], places[skip:])
        np.testing.assert_array_equal(resumed[0], pixels[skip:])
    if window_bytes > 1:
        assert np.abs(np.diff(places)).mean() > 10


def test_window_shuffles_what_is_not_deflated_by_blocks_too(tmp_path):
    images = np.zeros((64, 256, 256, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x=images, y=np.arange(64))
    places = np.concatenate([part[2] for part in open_arrays(tmp_path / "a.npz").shuffled(0, window_bytes=1)])
    assert sorted(places.tolist()) == list(range(64))
    assert places[:5].tolist() != [0, 1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_memory_stays_flat_over_200_mb(tmp_path, compression):
    """A batch file as that of ImageNet at 64 pixels, 17,000 images in 209 MB; labels, sums and order are right."""
    images, row = 17_000, 3 * 64 * 64
    with (
        zipfile.ZipFile(tmp_path / "big.npz", "w", compression, compresslevel=1) as archive,
        archive.open("data.npy", "w", force_zip64=True) as member,
    ):
        head = {"descr": "|u1", "fortran_order": False, "shape": (images, row)}
        np.lib.format.write_array_header_1_0(member, head)
        for number in range(images):
            member.write(bytes([number % 251]) * row)
    with zipfile.ZipFile(tmp_path / "big.npz", "a") as archive, archive.open("labels.npy", "w") as member:
        np.lib.format.write_array(member, np.arange(images) % 1000 + 1)
    arrays = open_arrays(tmp_path / "big.npz")
    tracemalloc.start()
    try:
        place = 0
        for pixels, labels in arrays.blocks():
            numbers = np.arange(place, place + len(labels))
            assert (pixels[:, 0, 0, 0] == numbers % 251).all()
            assert (pixels[:, -1, -1, -1] == numbers % 251).all()
            assert (labels == numbers % 1000).all()
            place += len(labels)
        in_order = tracemalloc.get_traced_memory()[1]
        seen = np.zeros(images, bool)
        for pixels, _, places in arrays.shuffled(0, window_bytes=10 << 20):
            assert (pixels[:, 0, 0, 0] == places % 251).all()
            seen[places] = True
        shuffled = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert place == images
    assert seen.all()
    assert in_order < 8 << 20
    assert shuffled < 24 << 20


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "escaped"), "w"))

    np.savez(tmp_path / "a.npz", x=pictures(1), y=np.array([Bomb()], object))
    with pytest.raises(FormatError, match="never unpickled"):
        open_arrays(tmp_path / "a.npz")
    assert not (tmp_path / "escaped").exists()


def npy(descr="|u1", shape="(4, 8, 8, 3)", data=768):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(data)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (npy(shape="(1000000000000, 8, 8, 3)"), "are not those of"),
        (npy(shape="(-4, 8, 8, 3)"), "damaged .npy header"),
        (npy(shape="(4, 0)", data=0), "rows of 0 bytes"),
        (npy(shape="(1, 1000000, 1000000, 3)", data=0), "are not those of"),
        (npy(data=767), "are not those of"),
        (npy(descr="|O"), "never unpickled"),
        (npy(shape="__import__('os').getcwd()"), "damaged .npy header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "damaged .npy header"),
        (b"\x93NUMPY\x09\x00\x01\x00{", "version"),
        (b"PK\x03\x04 no archive", "damaged .npz"),
        (b"", "neither a .npy nor a .npz"),
        (b"\x80\x04K\x01.", "neither a .npy nor a .npz"),
    ],
)
def test_hostile_files(tmp_path, content, line):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=line):
        arrays_in(path)


@pytest.mark.parametrize("saver", SAVERS)
def test_a_file_damaged_in_the_middle(tmp_path, saver):
    path = tmp_path / "a.npz"
    SAVERS[saver](path, x=pictures(50, side=16), y=np.arange(50))
    data = bytearray(path.read_bytes())
    del data[2000:6000]
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"damaged|ends early|are not those"):
        whole(open_arrays(path))


@pytest.mark.parametrize(
    ("saved", "options", "line"),
    [
        ({"a": pictures(2), "b": pictures(2), "y": np.arange(2)}, {}, "which array holds the images"),
        ({"a": pictures(2), "y": np.arange(3)}, {}, "which array holds the 2 labels"),
        ({"a": pictures(2), "y": np.arange(2), "z": np.arange(2)}, {}, "which array holds the 2 labels"),
        ({"a": pictures(2), "y": np.array([5, 6])}, {}, "from 0 or from 1 on, found 5 to 6"),
        ({"a": pictures(2), "y": np.array([0, 2**31 - 2])}, {}, "more than 65,536 classes"),
        ({"a": pictures(2), "y": np.array([1, 2**63 - 1])}, {}, "more than 65,536 classes"),
        ({"a": pictures(2), "y": np.arange(2)}, {"images": "q"}, "no array named 'q'"),
        ({"y": np.arange(2)}, {}, "which array holds the images"),
    ],
)
def test_what_cannot_be_guessed_is_asked(tmp_path, saved, options, line):
    np.savez(tmp_path / "a.npz", **saved)
    with pytest.raises(DataError, match=line):
        open_arrays(tmp_path / "a.npz", **options)


def test_arrays_can_be_named_and_values_out_of_range_are_refused(tmp_path):
    images = pictures(2).astype(np.float64)
    np.savez(tmp_path / "a.npz", a=images, b=images / 255, y=np.arange(2), z=np.arange(2)[::-1])
    arrays = open_arrays(tmp_path / "a.npz", images="b", labels="z", class_names=["cat", "dog"])
    np.testing.assert_array_equal(whole(arrays)[0], images)
    assert arrays.labels.tolist() == [1, 0]
    with pytest.raises(FormatError, match="scale="):
        whole(open_arrays(tmp_path / "a.npz", images="a", labels="z"))
    np.testing.assert_array_equal(
        whole(open_arrays(tmp_path / "a.npz", images="a", labels="z", scale=1))[0], images
    )


@pytest.fixture
def made(tmp_path):
    np.savez(tmp_path / "a.npz", x=pictures(50, side=12), y=np.arange(50))
    return open_arrays(tmp_path / "a.npz")


def collect(stream):
    found = [(pixels.numpy(), labels.numpy()) for pixels, labels in stream]
    return np.concatenate([pixels for pixels, _ in found]), np.concatenate([labels for _, labels in found])


def test_batches_in_order_are_what_the_runtime_sees(made):
    preprocess = Preprocess(8, 8, 10, 10)
    pixels, labels = collect(batches(made, preprocess, cache_bytes=0, batch_size=7))
    expected = np.stack([fit(Image.fromarray(picture), preprocess) for picture in pictures(50, side=12)])
    np.testing.assert_array_equal(pixels, expected)
    assert labels.tolist() == list(range(50))
    rest, _ = collect(batches(made, preprocess, cache_bytes=0, batch_size=7, start_step=3))
    np.testing.assert_array_equal(rest, expected[21:])


def test_training_batches_are_whole_seeded_and_resumable(made):
    def stream(**options):
        options = {"batch_size": 8, "training": True, "epochs": 2, "seed": 4, "cache_bytes": 0, **options}
        return collect(batches(made, Preprocess(10, 10, 12, 12), **options))

    pixels, labels = stream()
    assert len(labels) == 96
    for epoch in (labels[:48], labels[48:]):
        assert len(set(epoch.tolist())) == 48
    np.testing.assert_array_equal(stream()[0], pixels)
    for start in ({"start_step": 2}, {"start_epoch": 1}, {"start_epoch": 1, "start_step": 5}):
        done = 8 * start.get("start_step", 0) + 48 * start.get("start_epoch", 0)
        resumed = stream(**start)
        np.testing.assert_array_equal(resumed[1], labels[done:])
        np.testing.assert_array_equal(resumed[0], pixels[done:])
    assert stream(augment=Augment(crop=False, flip=False))[0].tolist() != pixels.tolist()
