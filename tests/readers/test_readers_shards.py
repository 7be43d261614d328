"""Shards: what is found in them is what the writers put in, and what lies gives one clear error."""

import contextlib
import json
import struct
import tarfile

import numpy as np
import pytest

from shards import example, png, write_records, write_tar
from squeezekit.data import Split, batches, open_dataset
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.readers import find_files, open_parts
from squeezekit.readers.tfrecord import _masked_crc

X = np.random.default_rng(0).integers(0, 256, (24, 12, 12, 3), np.uint8)
Y = np.arange(24) % 3
PNG = [png(picture) for picture in X]


def tar_shards(root):
    for number, rows in enumerate((range(12), range(12, 20))):
        members = []
        for row in rows:
            members += [(f"a/{row:04d}.cls", str(Y[row]).encode()), (f"a/{row:04d}.png", PNG[row])]
        write_tar(root / f"train-{number:06d}.tar", members)
    # Descriptions instead of numbers, a caption, a hidden file.
    members = [(".0.png", PNG[0])]
    for row in range(20, 24):
        said = json.dumps({"caption": "x", "label": int(Y[row])}).encode()
        members += [(f"{row}.txt", b"a caption"), (f"{row}.PNG", PNG[row]), (f"{row}.json", said)]
    write_tar(root / "val-000000.tar", members)


def record_shards(root):
    for number, rows in enumerate((range(12), range(12, 20))):
        write_records(
            root / f"set-train.tfrecord-{number:05d}-of-00002",
            [(PNG[row], int(Y[row])) for row in rows],
        )
    write_records(
        root / "set-test.tfrecord-00000-of-00001", [(PNG[row], int(Y[row])) for row in range(20, 24)]
    )


@pytest.mark.parametrize("write", [tar_shards, record_shards])
def test_images_and_labels_are_those_that_were_written(tmp_path, write):
    write(tmp_path)
    parts = open_parts(find_files(tmp_path))
    held_out = parts.validation if write is tar_shards else parts.test
    assert (len(parts.train), len(parts.validation) + len(parts.test), len(held_out)) == (20, 4, 4)
    for places, rows in ((parts.train, range(20)), (held_out, range(20, 24))):
        images = parts.images.take(places)
        assert [data for _, data in images.pictures()] == [PNG[row] for row in rows]
        assert images.labels.tolist() == Y[rows].tolist()
    assert parts.images.class_names == ("0", "1", "2")
    assert parts.images.sides(5) == [(12, 12)] * 6
    order = parts.images.shuffled(3, 0, window=7)
    assert sorted(order.tolist()) == list(range(24)) != order.tolist()
    assert order.tolist() != parts.images.shuffled(3, 1, window=7).tolist()


def test_shards_are_a_set_with_the_batches_of_files(tmp_path):
    members = []
    for row in range(24):
        (tmp_path / f"{row}.png").write_bytes(PNG[row])
        label = ("ant", "bee", "cow")[Y[row]].encode()
        members += [(f"{row}.png", PNG[row]), (f"{row}.cls", label)]
    write_tar(tmp_path / "a.tar", [*members, ("x.png", b"\x89PNG broken"), ("x.cls", b"ant")])
    dataset = open_dataset(tmp_path / "a.tar", test=0.25, validation=0.2)
    assert dataset.class_names == ("ant", "bee", "cow")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [15, 3, 6]
    assert [reason for _, reason in dataset.skipped] == ["unreadable image (not of any known format)"]
    paths = [str(tmp_path / f"{PNG.index(data)}.png") for _, data in dataset.train.pictures()]
    split, preprocess = Split(paths, dataset.train.labels), Preprocess(8, 8, 10, 10)
    options = {"batch_size": 4, "training": True, "seed": 1, "epochs": 2}
    for (pixels, labels), (expected, right) in zip(
        batches(dataset.train, preprocess, **options), batches(split, preprocess, **options), strict=True
    ):
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(labels, right)
    whole = Preprocess(10, 10)
    streamed = [pixels.numpy() for pixels, _ in batches(dataset.train, whole, batch_size=4, cache_bytes=0)]
    np.testing.assert_array_equal(
        np.concatenate(streamed), [resized(open_rgb(data), whole) for _, data in dataset.train.pictures()]
    )
    first, again = (
        [labels.numpy() for _, labels in batches(dataset.train, whole, cache_bytes=0, **options, **start)]
        for start in ({}, {"start_epoch": 1, "start_step": 1})
    )
    np.testing.assert_array_equal(first[4:], again)


def header(**fields):
    info = tarfile.TarInfo("0.png")
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def record(data, size=None):
    head = struct.pack("<Q", len(data) if size is None else size)
    return head + struct.pack("<I", _masked_crc(head)) + data + b"\0\0\0\0"


GOOD_TAR = header(size=len(PNG[0])) + PNG[0].ljust(-len(PNG[0]) % 512 + len(PNG[0]), b"\0")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.tar", b"", "damaged or compressed tar"),
        ("a.tar", b"\x1f\x8b" + b"x" * 600, "damaged or compressed tar"),
        ("a.tar", GOOD_TAR[:600], "ends early|damaged"),
        ("a.tar", header(size=-512) + b"\0" * 1024, "damaged tar"),
        ("a.tar", header(size=1 << 40), "ends early|damaged"),
        ("a.tar", header(size=1 << 40, type=tarfile.XHDTYPE), "damaged tar"),
        ("a.tar", header(size=1 << 40, type=tarfile.GNUTYPE_LONGNAME), "damaged tar"),
        (
            "a.tar",
            header(type=tarfile.SYMTYPE, linkname="/etc/passwd") + b"\0" * 1024,
            "no images with labels",
        ),
        ("a.tar", GOOD_TAR + b"\0" * 1024, "0.cls or .json says what 0 is"),
        ("a.tfrecord", b"no records", "damaged TFRecord"),
        ("a.tfrecord", record(b"", 1 << 60), "over 268,435,456"),
        ("a.tfrecord", record(b"", 1 << 20), "ends early"),
        ("a.tfrecord", record(b"\xff" * 30), "no Example"),
        ("a.tfrecord", record(b"\x0a\x7fabc"), "no Example"),
        ("a.tfrecord", record(b""), "without image/encoded"),
        ("a.tfrecord", record(example(PNG[0], b"")), "without image/class/label"),
    ],
)
def test_hostile_shards(tmp_path, name, content, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((FormatError, DataError), match=line) as caught:
        open_dataset(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_labels_that_lie(tmp_path):
    for said, line in (
        ((b"7" * 2_000_000, b"0"), "a label of 2,000,000 bytes"),
        ((b"5", b"6"), "from 0 or from 1 on"),
        ((b"0", b"cat"), "some labels are numbers"),
        ((b"0", b"2"), "of which 1 have no image"),
        ((b"0", b"200000000"), "more than 65,536 classes"),
    ):
        members = [
            (f"{n}.{kind}", data)
            for n, cls in enumerate(said)
            for kind, data in (("png", PNG[n]), ("cls", cls))
        ]
        write_tar(tmp_path / "a.tar", members)
        with pytest.raises((FormatError, DataError), match=line):
            open_dataset(tmp_path / "a.tar")
    write_tar(tmp_path / "a.tar", [("0.png", PNG[0]), ("0.json", b"[" * 100_000)])
    with pytest.raises(FormatError):
        open_dataset(tmp_path / "a.tar")


@pytest.mark.parametrize("write", [tar_shards, record_shards])
def test_changed_bytes_never_crash(tmp_path, write):
    write(tmp_path)
    file = find_files(tmp_path)[0]
    whole = file.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole[: generator.integers(1, len(whole))] if generator.random() < 0.3 else whole)
        for place in generator.integers(0, min(len(data), 2000), generator.integers(1, 4)):
            data[place] = generator.integers(0, 256)
        file.write_bytes(data)
        # Whatever else it raises fails the test.
        with contextlib.suppress(FormatError, DataError):
            images = open_parts([file]).images
            assert all(len(image) < len(whole) for _, image in images.pictures())
