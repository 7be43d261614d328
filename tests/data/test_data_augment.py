import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data_pictures import make_classes, picture, read, save
from squeezekit import imaging
from squeezekit.data import Split, cache, open_dataset
from squeezekit.data import augment as changes
from squeezekit.data.augment import Augment
from squeezekit.data.pipeline import batches
from squeezekit.preprocess import Preprocess


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """22 small JPEGs of 24 x 20."""
    root = make_classes(tmp_path_factory.mktemp("augment") / "set", {"a": 11, "b": 11})
    return open_dataset(root, test=0, validation=0).train


def test_augmentation_reaches_every_crop_and_both_directions(tmp_path):
    # Red counts rows, green counts columns: the first pixel tells the crop, the slope tells the flip.
    rows, columns = np.mgrid[:8, :8].astype(np.uint8)
    path = tmp_path / "ramp.png"
    Image.fromarray(np.stack([rows * 20, columns * 20, rows * 0], axis=-1)).save(path)
    one = Split([str(path)] * 8, np.zeros(8, np.int32))
    plain = Augment(brightness=0, contrast=0, saturation=0)
    stream = batches(one, Preprocess(6, 6, 8, 8), batch_size=8, training=True, epochs=40, augment=plain)
    pixels = np.concatenate(read(stream)[0])
    flipped = pixels[:, 0, 0, 1] > pixels[:, 0, -1, 1]
    left = pixels[:, :, :, 1].min(axis=(1, 2)) / 20
    top = pixels[:, 0, 0, 0] / 20
    found = set(zip(top.tolist(), left.tolist(), flipped.tolist(), strict=True))
    assert found == {(y, x, turn) for y in (0, 1, 2) for x in (0, 1, 2) for turn in (False, True)}


def shifts_of(folder, **options):
    """How far each picture of a stream is shifted and whether it is mirrored, and all that could be."""
    path = save(folder / "a.png", 20, 14)
    sides = Preprocess(20, 14)
    many = Split([str(path)] * 600, np.zeros(600, np.int32))
    plain = Augment(brightness=0, contrast=0, saturation=0)
    pixels, _ = read(batches(many, sides, batch_size=600, training=True, augment=plain, **options))
    padded = np.pad(imaging.fit(imaging.open_rgb(path), sides), [(2, 2), (1, 1), (0, 0)], "edge")
    possible = {}
    for top in range(5):
        for left in range(3):
            cut = padded[top : top + 20, left : left + 14].astype(np.float32)
            possible[cut.tobytes()] = (top - 2, left - 1, False)
            possible[cut[:, ::-1].tobytes()] = (top - 2, left - 1, True)
    assert len(possible) == 2 * 5 * 3
    return [possible[image.tobytes()] for image in pixels[0]], set(possible.values())


@pytest.mark.parametrize("cache_bytes", [cache.CACHE_BYTES, 0])
def test_a_picture_without_a_margin_is_shifted_with_its_border_repeated(tmp_path, cache_bytes):
    seen, possible = shifts_of(tmp_path, cache_bytes=cache_bytes)
    assert set(seen) == possible


def test_without_cropping_nothing_is_shifted(split):
    plain = Augment(crop=False, flip=False, brightness=0, contrast=0, saturation=0)
    sides = Preprocess(12, 12)
    pixels, _ = read(batches(split, sides, batch_size=22, training=True, augment=plain))
    inputs, _ = read(batches(split, sides, batch_size=22))
    assert {image.tobytes() for image in pixels[0]} == {image.tobytes() for image in inputs[0]}


def changed(pixels, draws, augment):
    """The pictures of a batch with their colours changed, float32."""
    after = np.empty(pixels.shape, np.float32)
    change = changes.changing(draws, augment)
    for number, (image, target) in enumerate(zip(pixels, after, strict=True)):
        change(number, image, target)
    return after


def test_colour_change_matches_pillow():
    image = Image.fromarray(
        np.clip(picture(16, 16), 60, 190)
    )  # far from the ends, so that nothing is clipped
    augment = Augment(brightness=0.0, contrast=0.2, saturation=0.2)
    draws = np.full((1, changes._HIDE_ROW), 0.5, np.float32)
    draws[0, changes._CONTRAST], draws[0, changes._SATURATION] = 1.0, 0.0
    ours = changed(np.asarray(image)[np.newaxis], draws, augment)
    theirs = ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(0.8)).enhance(1.2)
    assert np.abs(ours[0] - np.asarray(theirs, np.float32)).max() <= 2.0


def test_colour_change_is_the_formula_whatever_the_size():
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (2, 190, 130, 3)).astype(np.uint8)
    assert pixels[0].size / 3 > changes._BAND
    draws = generator.random((2, changes._HIDE_ROW))
    ours = changed(pixels, draws.astype(np.float32), Augment())
    for image, draw, found in zip(pixels.astype(np.float64), 2 * draws - 1, ours, strict=True):
        contrast, saturation = 1 + 0.2 * draw[changes._CONTRAST], 1 + 0.2 * draw[changes._SATURATION]
        luma = (image @ (0.299, 0.587, 0.114))[..., np.newaxis]
        expected = contrast * (luma + saturation * (image - luma) - luma.mean()) + luma.mean()
        expected += 25.5 * draw[changes._BRIGHTNESS]
        np.testing.assert_allclose(found, expected.clip(0, 255), atol=1e-3)


def test_brightness_shifts_all_alike():
    pixels = np.full((1, 4, 4, 3), 100, np.uint8)
    draws = np.full((1, changes._HIDE_ROW), 1.0, np.float32)
    lighter = changed(pixels, draws, Augment(brightness=0.1, contrast=0, saturation=0))
    np.testing.assert_allclose(lighter, 125.5, rtol=1e-6)
    same = changed(pixels, draws, Augment(brightness=0, contrast=0, saturation=0))
    np.testing.assert_array_equal(same, 100.0)


def test_cutout_hides_one_square_whose_centre_is_anywhere():
    plain = Augment(brightness=0, contrast=0, saturation=0, cutout=0.5)
    draws = np.random.default_rng(2).random((300, plain.draws), np.float32)
    draws[:2, changes._HIDE_ROW :] = [[0.5, 0.5], [0, 0.999]]
    pixels = np.full((300, 8, 12, 3), 200, np.uint8)
    found = changed(pixels, draws, plain)
    hidden = (found == 127.5).all(axis=-1)
    assert set(np.unique(found)) == {127.5, 200.0}
    # Of its 4 x 4 places those beyond the picture are lost.
    assert hidden[0].nonzero()[0].tolist() == np.repeat((2, 3, 4, 5), 4).tolist()
    assert hidden[0].nonzero()[1].tolist() == [4, 5, 6, 7] * 4
    assert np.argwhere(hidden[1]).tolist() == [[row, column] for row in (0, 1) for column in (9, 10, 11)]
    sizes = hidden.sum(axis=(1, 2))
    assert (sizes.min(), sizes.max()) == (4, 16)
    assert hidden.any(axis=0).all()


def test_cutout_is_the_same_wherever_pictures_come_from(split):
    def stream(**options):
        options = {"training": True, "seed": 1, "augment": Augment(cutout=0.5), **options}
        return np.concatenate(
            [
                pixels.numpy()
                for pixels, _ in batches(split, Preprocess(12, 12, 16, 16), batch_size=4, **options)
            ]
        )

    hidden = stream()
    assert ((hidden == 127.5).all(axis=-1).mean(axis=(1, 2)) > 0.05).all()
    np.testing.assert_array_equal(hidden, stream(cache_bytes=0))
    # And what is not asked for draws as ever.
    assert Augment().draws == 6


@pytest.mark.parametrize(
    "amount", [{"brightness": -0.1}, {"contrast": 1.5}, {"saturation": float("nan")}, {"cutout": 2}]
)
def test_augment_refuses(amount):
    with pytest.raises(ValueError, match=r"Expected an amount in \[0, 1\]"):
        Augment(**amount)
