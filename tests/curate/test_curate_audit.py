"""What an audit must find in folders made wrong on purpose, and what it must not."""

import os

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data_pictures import make_classes, picture, save
from squeezekit.curate import audit_folder, render_audit
from squeezekit.curate.image_check import Fault, check_image
from squeezekit.curate.perceptual_hash import correlation, join, near_pairs, picture_hash, small
from squeezekit.data import open_dataset
from squeezekit.errors import DataError


@pytest.fixture
def parted(tmp_path):
    root = tmp_path / "parted"
    make_classes(root / "train", {"a": 6, "b": 6})
    for number, name in enumerate(("a", "b")):
        save(root / "test" / name / "t.jpg", number=500 + number)
    return root


def photo(number, side=96):
    return Image.fromarray(picture(side, side + 30, number))


def found(audit):
    return {tuple(image.relative for image in group.images) for group in audit.groups}


def test_a_sound_folder_has_no_findings(parted):
    audit = audit_folder(parted)
    assert not audit.has_problems
    assert audit.classes() == {"a": {"train": 6, "test": 1}, "b": {"train": 6, "test": 1}}
    assert audit.to_dict()["sizes"] == {
        "distinct": 1,
        "smallest": [24, 20],
        "median": [24, 20],
        "largest": [24, 20],
        "commonest": [[24, 20, 14]],
    }


def test_faults_of_files(parted):
    folder = parted / "train" / "a"
    whole = save(folder / "whole.jpg", 200, 200, number=77).read_bytes()
    (folder / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.gif").write_text("no picture")
    (folder / "liar.jpg").write_bytes(save(parted / "x.png", number=78).read_bytes())
    (folder / "gone.jpg").symlink_to(parted / "nowhere.jpg")
    audit = audit_folder(parted)
    assert {image.relative: image.check.fault for image in audit.faulty} == {
        "train/a/short.jpg": Fault.TRUNCATED,
        "train/a/empty.png": Fault.TRUNCATED,
        "train/a/text.gif": Fault.UNREADABLE,
        "train/a/liar.jpg": Fault.WRONG_SUFFIX,
        "train/a/gone.jpg": Fault.UNREADABLE,
    }
    assert audit.to_dict()["strays"]["images"] == ["x.png"]


def test_readable_means_what_it_means_in_training(parted):
    """The audit and the training call the same files broken, but for a dead link, which training passes over."""
    make_classes(parted / "train", {"a": 60, "b": 60})
    whole = save(parted / "train" / "a" / "000.jpg", number=3).read_bytes()
    for cut in (1, 2, 3):
        (parted / "train" / "a" / f"cut{cut}.jpg").write_bytes(whole[: len(whole) * cut // 4])
    audited = {image.path for image in audit_folder(parted, near=False).faulty}
    assert audited == {path for path, _ in open_dataset(parted).skipped}
    assert len(audited) == 3


def test_equal_files_by_gravity(parted):
    train, test = parted / "train", parted / "test"
    for source, copy in (
        (train / "a" / "000.jpg", train / "a" / "copy.jpg"),
        (train / "a" / "001.jpg", train / "b" / "other.jpg"),
        (train / "b" / "002.jpg", test / "b" / "seen.jpg"),
    ):
        copy.write_bytes(source.read_bytes())
    groups = audit_folder(parted, near=False).groups
    assert [
        ([image.relative for image in group.images], group.two_labels, group.train_and_test)
        for group in groups
    ] == [
        (["train/a/001.jpg", "train/b/other.jpg"], True, False),
        (["train/b/002.jpg", "test/b/seen.jpg"], False, True),
        (["train/a/000.jpg", "train/a/copy.jpg"], False, False),
    ]
    assert audit_folder(parted, near=False).counts()["duplicates"] == {
        "groups": 3,
        "images": 6,
        "two_labels": 1,
        "train_and_test": 1,
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((60, 48), Image.Resampling.LANCZOS),
        lambda image: ImageEnhance.Brightness(image).enhance(1.15),
        lambda image: ImageEnhance.Color(image).enhance(0.5),
        lambda image: image,  # only saved again, at a third of the bytes
    ],
    ids=["resized", "brighter", "paler", "saved again"],
)
def test_near_duplicates(parted, change):
    folder = parted / "train" / "a"
    photo(1).save(folder / "one.png")
    change(photo(1)).save(folder / "two.jpg", quality=50)
    (parted / "test" / "a" / "three.jpg").write_bytes((folder / "two.jpg").read_bytes())
    audit = audit_folder(parted)
    group = next(group for group in audit.groups if not group.exact)
    names = [image.relative for image in group.images]
    assert names == ["train/a/one.png", "train/a/two.jpg", "test/a/three.jpg"]
    assert group.train_and_test
    assert not [group for group in audit_folder(parted, near=False).groups if not group.exact]


def test_pictures_without_structure_are_not_alike(tmp_path):
    for label, level in (("black", 0), ("white", 255)):
        (tmp_path / label).mkdir()
        Image.new("L", (30, 30), level).save(tmp_path / label / "1.png")
    assert not audit_folder(tmp_path).groups


def test_modes_rotations_and_odd_names(parted):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(5).save(parted / "train" / "a" / "turned \N{SNOWMAN}\n.jpg", exif=exif)
    photo(6).convert("CMYK").save(parted / "train" / "a" / "ink.jpg")
    odd = parted / "train" / "b" / os.fsdecode(b"\xff\xfe<b>.png")
    photo(7).save(parted / "train" / "b" / "copy.png")
    odd.write_bytes((parted / "train" / "b" / "copy.png").read_bytes())
    audit = audit_folder(parted)
    facts = audit.to_dict()
    assert facts["modes"] == {"RGB": 17, "CMYK": 1}
    assert facts["rotated"] == ["train/a/turned \N{SNOWMAN}\n.jpg"]
    page = render_audit(audit)
    page.encode("utf-8")
    assert "<b>.png" not in page
    assert page.count('<img src="data:image/jpeg;base64,') == 2


def test_hidden_nested_and_foreign_files_are_ignored(parted):
    save(parted / "train" / "a" / ".hidden.jpg")
    save(parted / "train" / "a" / "deeper" / "x.jpg", number=40)
    save(parted / "extra" / "c" / "y.jpg", number=41)
    (parted / "train" / "a" / "notes.txt").write_text("hm")
    (parted / "train" / "c").mkdir()
    os.mkfifo(parted / "train" / "a" / "pipe")
    audit = audit_folder(parted)
    assert len(audit.images) == 14
    assert audit.classes()["c"] == {"train": 0, "test": 0}
    assert dict(audit.strays) == {
        "extra/c/y.jpg": "JPEG",
        "train/a/deeper/x.jpg": "JPEG",
        "train/a/notes.txt": "",
        "train/a/pipe": "",
    }


def test_nothing_to_check_image(tmp_path):
    with pytest.raises(DataError, match="No such folder"):
        audit_folder(tmp_path / "missing")
    with pytest.raises(DataError, match="no images in class folders"):
        audit_folder(tmp_path)


def test_hash_of_a_changed_picture_is_near_and_of_another_far(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hashes = [check.hash for check in map(_check, (photo(1), photo(1).resize((50, 50)), photo(2)))]
    assert (hashes[0] ^ hashes[1]).bit_count() <= 7 < (hashes[0] ^ hashes[2]).bit_count()
    assert correlation(small(photo(1)), small(photo(1).resize((50, 50)))) > 0.98
    assert abs(correlation(small(photo(1)), small(photo(2)))) < 0.9


def _check(image):
    path = f"{id(image)}.png"
    image.save(path)
    try:
        return check_image(path)
    finally:
        os.unlink(path)


def test_near_pairs_are_those_that_comparing_all_finds():
    random = np.random.default_rng(0)
    centres = random.integers(0, 2**63, 40, np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << random.integers(0, 63, (40, 9), np.uint64), axis=1)
    hashes = np.concatenate([centres, centres ^ flips, random.integers(0, 2**63, 200, np.uint64)])
    distances = np.array(
        [[int(one ^ other).bit_count() for one in hashes.tolist()] for other in hashes.tolist()]
    )
    for distance in (0, 3, 7):
        expected = np.argwhere(np.triu(distances <= distance, k=1))
        assert near_pairs(hashes, distance).tolist() == expected.tolist()
    assert len(near_pairs(hashes, 7)) >= 2


def test_many_equal_hashes_make_few_pairs():
    pairs = near_pairs(np.zeros(1000, np.uint64))
    assert len(pairs) < 2000
    assert len(join(map(tuple, pairs.tolist()), lambda one, other: True)[0]) == 1000


def test_cosine_hash_against_scipy():
    fft = pytest.importorskip("scipy.fft")
    grey = picture(32, 32, 9)[:, :, 0]
    low = fft.dctn(grey.astype(float), norm="ortho")[:8, :8].copy()
    # Ours is not normalised: the first row and column are larger by the square root of two.
    low[0] *= 2**0.5
    low[:, 0] *= 2**0.5
    above = low.ravel()[1:] > np.median(low.ravel()[1:])
    assert picture_hash(grey) == int.from_bytes(np.packbits(above).tobytes(), "big")
