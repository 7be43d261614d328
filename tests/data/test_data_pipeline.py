import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_pictures import assert_same, make_classes, picture, read
from squeezekit import imaging
from squeezekit.data import Split, cache, open_dataset
from squeezekit.data.augment import Augment
from squeezekit.data.pipeline import batches, steps_per_epoch
from squeezekit.preprocess import Fit, Preprocess

SMALL = Preprocess(12, 12, 16, 16)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """22 small JPEGs of 24 x 20."""
    root = make_classes(tmp_path_factory.mktemp("pipeline") / "set", {"a": 11, "b": 11})
    return open_dataset(root, test=0, validation=0).train


@pytest.mark.parametrize("cache_bytes", [cache.CACHE_BYTES, 0])
def test_evaluation_is_in_order_and_complete(split, cache_bytes):
    pixels, labels = read(batches(split, SMALL, batch_size=8, cache_bytes=cache_bytes))
    assert [len(batch) for batch in pixels] == [8, 8, 6]
    assert pixels[0].shape == (8, 12, 12, 3)
    assert pixels[0].dtype == np.float32
    assert labels[0].dtype == np.int32
    np.testing.assert_array_equal(np.concatenate(labels), split.labels)
    expected = np.stack([imaging.fit(imaging.open_rgb(path), SMALL) for path in split.paths])
    assert np.abs(np.concatenate(pixels) - expected).max() <= 2


def test_an_empty_split_is_an_empty_stream():
    nothing = Split([], np.zeros(0, np.int32))
    assert not list(batches(nothing, SMALL, batch_size=8))


def test_evaluation_repeats_by_epoch(split):
    pixels, _ = read(batches(split, SMALL, batch_size=8, epochs=2))
    assert [len(batch) for batch in pixels] == [8, 8, 6, 8, 8, 6]


def test_training_gives_whole_batches_of_each_epoch(split):
    assert steps_per_epoch(split, 8) == 2
    stream = batches(split, SMALL, batch_size=8, training=True, epochs=3)
    assert stream.element_spec[0].shape == (8, 12, 12, 3)
    pixels, labels = read(stream)
    assert len(pixels) == 6
    assert pixels[0].min() >= 0
    assert pixels[0].max() <= 255
    assert labels[0].dtype == np.int32


def test_every_epoch_is_a_permutation_of_all_images(split):
    plain = Augment(crop=False, flip=False, brightness=0, contrast=0, saturation=0)
    pixels, labels = read(batches(split, SMALL, batch_size=11, training=True, epochs=2, augment=plain))
    inputs, targets = read(batches(split, SMALL, batch_size=22))
    inputs = {image.tobytes(): label for image, label in zip(inputs[0], targets[0], strict=True)}
    epochs = [np.concatenate(pixels[:2]), np.concatenate(pixels[2:])]
    orders = [[image.tobytes() for image in epoch] for epoch in epochs]
    assert set(orders[0]) == set(orders[1]) == set(inputs)
    assert orders[0] != orders[1]
    assert [inputs[key] for key in orders[0]] == np.concatenate(labels[:2]).tolist()


def test_stream_is_deterministic_and_seeded(split):
    first = read(batches(split, SMALL, batch_size=4, training=True, seed=3, epochs=2))
    assert_same(first, read(batches(split, SMALL, batch_size=4, training=True, seed=3, epochs=2)))
    other = read(batches(split, SMALL, batch_size=4, training=True, seed=4, epochs=2))
    assert any((one != two).any() for one, two in zip(first[0], other[0], strict=True))


def test_stream_does_not_depend_on_cores_or_cache(split):
    def with_threads(count, cache_bytes):
        options = tf.data.Options()
        options.threading.private_threadpool_size = count
        stream = batches(split, SMALL, batch_size=4, training=True, epochs=2, cache_bytes=cache_bytes)
        return read(stream.with_options(options))

    first = with_threads(1, 0)
    assert_same(first, with_threads(5, 0))
    assert_same(first, with_threads(1, cache.CACHE_BYTES))
    assert_same(first, with_threads(5, cache.CACHE_BYTES))


@pytest.mark.parametrize("cache_bytes", [cache.CACHE_BYTES, 0])
@pytest.mark.parametrize("start", [1, 3, 4])
def test_resumed_stream_is_the_tail_of_an_unbroken_one(split, start, cache_bytes):
    options = {"batch_size": 4, "training": True, "seed": 7, "epochs": 4, "cache_bytes": cache_bytes}
    pixels, labels = read(batches(split, SMALL, **options))
    skipped = start * steps_per_epoch(split, 4)
    assert_same(
        (pixels[skipped:], labels[skipped:]), read(batches(split, SMALL, start_epoch=start, **options))
    )


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 23, "training": True},
        {"batch_size": 4, "start_epoch": 2},
        {"batch_size": 4, "start_epoch": -1},
        {"batch_size": 4, "seed": -1},
        {"batch_size": 4, "start_step": 6},
        {"batch_size": 4, "start_step": -1},
        {"batch_size": 4, "start_epoch": 1, "start_step": 1},
        {"batch_size": 4, "worker": (2, 2)},
        {"batch_size": 4, "worker": (0, 0)},
        {"batch_size": 1, "worker": (1, 3)},
        {"batch_size": 8, "worker": (0, 3), "training": True},
    ],
)
def test_batches_refuses(split, options):
    with pytest.raises(ValueError, match="Expected"):
        batches(split, SMALL, **options)


def test_pictures_are_decoded_once_per_split_and_let_go_with_it(split, monkeypatch):
    mine = Split(split.paths, split.labels)
    read(batches(mine, SMALL, batch_size=4))
    kept = cache._cached[mine][1]
    read(batches(mine, Preprocess(10, 10, 16, 16), batch_size=4, training=True))
    assert cache._cached[mine][1] is kept
    read(batches(mine, Preprocess(10, 10), batch_size=4))
    assert cache._cached[mine][1].shape == (22, 10, 10, 3)
    gone = weakref.ref(mine)
    del mine, kept
    gc.collect()
    assert gone() is None


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    Image.fromarray(picture(40, 40)).save(tmp_path / "x.jpg")
    many = Split([str(tmp_path / "x.jpg")] * 3000, np.zeros(3000, np.int32))
    preprocess = Preprocess(128, 128)  # 3,000 of these are 590 MB as float32, 147 MB as uint8
    stream = iter(batches(many, preprocess, batch_size=30, training=True, cache_bytes=0))
    next(stream)
    before = resident_bytes()
    peak = before
    for _ in stream:
        peak = max(peak, resident_bytes())
    assert peak - before < 100e6


def resident_bytes():
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def as_split(paths):
    return Split([str(path) for path in paths], np.zeros(len(paths), np.int32))


def difference(paths, preprocess):
    """Levels between what training sees and what the runtime sees, an array."""
    stream = batches(as_split(paths), preprocess, batch_size=32, cache_bytes=0)
    ours = np.concatenate(read(stream)[0])
    theirs = np.stack([imaging.fit(imaging.open_rgb(path), preprocess) for path in paths])
    return np.abs(ours - theirs.astype(np.float32))


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("sides", [(110, 110), (96, 120), (31, 17)])
def test_training_and_runtime_see_the_same_pixels(tmp_path, fit, suffix, sides):
    paths = []
    # Odd sides, shrinking three times and more, enlarging, the very size, slivers.
    for number, (height, width) in enumerate(
        [(150, 150), (333, 331), (47, 61), (110, 110), (500, 90), (1, 7), (201, 400)]
    ):
        paths.append(tmp_path / f"{number}{suffix}")
        Image.fromarray(picture(height, width, number)).save(paths[-1])
    preprocess = Preprocess(sides[0] - 10, sides[1] - 5, *sides, fit=fit)
    assert difference(paths, preprocess).max() == 0


def real_images():
    for root in (os.environ.get("SQUEEZEKIT_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if root and (Path(root) / "intel" / "test").is_dir():
            return sorted((Path(root) / "intel" / "test").glob("*/*.jpg"))[::10]
    return []


@pytest.mark.skipif(not real_images(), reason="needs the Intel images in SQUEEZEKIT_DATA")
@pytest.mark.parametrize("fit", Fit)
def test_same_pixels_on_real_photos(fit):
    assert difference(real_images(), Preprocess(96, 96, 110, 110, fit=fit)).max() == 0


def test_odd_kinds_reach_the_network_as_the_runtime_sees_them(tmp_path):
    image = Image.fromarray(picture(30, 40))
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "turned.jpg", exif=turned)
        image.convert("CMYK").save(tmp_path / name / "cmyk.jpg")
        image.convert("L").save(tmp_path / name / "grey.jpg")
        image.convert("P").save(tmp_path / name / "palette.png")
        image.convert("LA").save(tmp_path / name / "alpha.png")
        Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(
            tmp_path / name / "wide.png"
        )
    split = open_dataset(tmp_path, test=0, validation=0).train
    preprocess = Preprocess(20, 20, 24, 24)
    ours = np.concatenate(read(batches(split, preprocess, batch_size=5))[0])
    theirs = np.stack([imaging.fit(imaging.open_rgb(path), preprocess) for path in split.paths])
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("worker", [(0, 1), (1, 2)])
def test_a_stream_resumed_at_a_step_is_the_tail_and_reads_nothing_before_it(
    split, monkeypatch, training, worker
):
    steps = steps_per_epoch(split, 3, worker[1]) if training else -(-len(split) // (3 * worker[1]))
    options = {
        "batch_size": 3,
        "training": training,
        "seed": 7,
        "epochs": 3,
        "worker": worker,
        "cache_bytes": 0,
    }
    pixels, labels = read(batches(split, SMALL, **options))
    opened = []
    monkeypatch.setattr(cache, "resized", lambda *arguments: opened.append(1) or imaging.resized(*arguments))
    tail = read(batches(split, SMALL, start_epoch=1, start_step=2, **options))
    assert_same((pixels[steps + 2 :], labels[steps + 2 :]), tail)
    assert len(opened) == sum(map(len, tail[1]))


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_together_train_on_what_one_alone_would(split, workers):
    options = {"training": True, "seed": 3, "epochs": 2}
    alone = read(batches(split, SMALL, batch_size=3 * workers, **options))
    parts = [
        read(batches(split, SMALL, batch_size=3, worker=(one, workers), **options)) for one in range(workers)
    ]
    for kind in (0, 1):
        together = [np.concatenate(step) for step in zip(*(part[kind] for part in parts), strict=True)]
        assert_same((alone[kind],), (together,))


@pytest.mark.parametrize(
    ("images", "batch_size", "workers"), [(22, 4, 2), (17, 4, 2), (9, 2, 4), (13, 5, 4), (3, 8, 3)]
)
def test_workers_in_order_are_disjoint_complete_and_equally_long(split, images, batch_size, workers):
    some = Split(split.paths[:images], np.arange(images, dtype=np.int32))
    parts = [
        read(batches(some, SMALL, batch_size=batch_size, worker=(one, workers)))[1] for one in range(workers)
    ]
    assert sorted(np.concatenate([label for part in parts for label in part]).tolist()) == list(range(images))
    assert len({len(part) for part in parts}) == 1
    assert max(len(label) for part in parts for label in part) <= batch_size
    # The worker with the fewest images, resumed at its very last batch.
    last = batches(
        some, SMALL, batch_size=batch_size, worker=(workers - 1, workers), start_step=len(parts[0]) - 1
    )
    np.testing.assert_array_equal(read(last)[1][0], parts[-1][-1])


def test_pictures_in_a_file_are_decoded_once_and_leave_nothing_behind(split, tmp_path, monkeypatch):
    mine = Split(split.paths, split.labels)
    options = {"batch_size": 4, "training": True, "epochs": 2}
    expected = read(batches(mine, SMALL, **options))
    opened = []
    monkeypatch.setattr(cache, "resized", lambda *arguments: opened.append(1) or imaging.resized(*arguments))
    for _ in range(2):
        assert_same(expected, read(batches(mine, SMALL, cache_bytes=0, cache_folder=tmp_path, **options)))
    assert len(opened) == len(mine)
    assert not list(tmp_path.iterdir())


def test_without_room_on_the_disk_pictures_are_decoded_anew(split, tmp_path, monkeypatch):
    mine = Split(split.paths, split.labels)
    expected = read(batches(split, SMALL, batch_size=8))
    monkeypatch.setattr(cache, "_SHARE_OF_DISK", 0)
    assert_same(expected, read(batches(mine, SMALL, batch_size=8, cache_bytes=0, cache_folder=tmp_path)))
    monkeypatch.setattr(cache, "_SHARE_OF_DISK", 1)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", full)
    assert_same(expected, read(batches(mine, SMALL, batch_size=8, cache_bytes=0, cache_folder=tmp_path)))
    assert mine not in cache._cached
