import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from squeezekit import codec, runtime
from squeezekit.errors import FormatError
from squeezekit.imaging import fit
from squeezekit.preprocess import Fit, Preprocess
from tiny_classifiers import COLOURS, HEIGHT, LABELS, WIDTH, tflite, with_files, with_labels


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("label", LABELS)
def test_the_colour_is_recognized(colours, label):
    prediction = colours.predict(Image.new("RGB", (30, 20), COLOURS[label]))
    assert prediction.label == label == prediction.top[0][0]
    assert 0.9 < prediction.probability == prediction.top[0][1] <= 1
    assert {name for name, _ in prediction.top} == set(LABELS)
    assert sum(share for _, share in prediction.top) == pytest.approx(1, abs=1e-6)


def test_path_bytes_picture_and_array_are_the_same(places, photo, tmp_path):
    image = Image.fromarray(photo)
    path = tmp_path / "photo.png"
    image.save(path)
    answers = {places.predict(source) for source in (path, str(path), path.read_bytes(), image, photo)}
    assert len(answers) == 1


def test_predict_is_pillow_and_litert_by_hand(places, photo):
    pixels = np.asarray(Image.fromarray(photo).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
    expected = places.network.probabilities(pixels[None])[0]
    prediction = places.predict(photo, top=3)
    assert [name for name, _ in prediction.top] == [str(index) for index in np.argsort(-expected)[:3]]
    assert [share for _, share in prediction.top] == sorted(expected, reverse=True)[:3]


def test_sqz_and_tflite_give_the_same(places, photo, model_file):
    packed = runtime.load(model_file(codec.pack(tflite("places")), "places.sqz"))
    assert packed.predict(photo) == places.predict(photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_seen_upright_whatever_its_orientation(places, photo, orientation):
    image = Image.fromarray(photo)
    stored = {
        1: image,
        2: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: image.transpose(Image.Transpose.ROTATE_180),
        4: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: image.transpose(Image.Transpose.TRANSPOSE),
        6: image.transpose(Image.Transpose.ROTATE_90),
        7: image.transpose(Image.Transpose.TRANSVERSE),
        8: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert places.predict(encoded(stored, exif=exif)) == places.predict(photo)


def test_grey_palette_cmyk_wide_and_alpha_photos_are_seen_as_a_viewer_shows_them(places, photo):
    image = Image.fromarray(photo)
    grey = image.convert("L")
    as_shown = places.predict(grey.convert("RGB"))
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert places.predict(encoded(grey)) == places.predict(encoded(wide)) == as_shown
    palette = image.quantize(16)
    assert places.predict(encoded(palette)) == places.predict(palette.convert("RGB"))
    cmyk = encoded(image.convert("CMYK"), "TIFF")
    assert places.predict(cmyk).label == places.predict(photo).label
    clear = image.convert("RGBA")
    clear.putalpha(Image.new("L", image.size, 0))
    assert places.predict(encoded(clear)) == places.predict(Image.new("RGB", image.size, "white"))


def test_labels_and_settings_come_from_the_file(model_file, photo):
    preprocess = Preprocess(HEIGHT, WIDTH, 20, 20, Fit.COVER)
    settings = json.dumps({"preprocess": preprocess.to_dict(), "provenance": {"seed": 3}}).encode()
    data = with_files(tflite("colours"), {"labels.txt": b"a\nb\nc\n", "squeezekit.json": settings})
    model = runtime.load(model_file(data))
    assert (model.labels, model.preprocess) == (("a", "b", "c"), preprocess)
    assert model.provenance == {"seed": 3}
    assert model.path.name == "model.tflite"
    np.testing.assert_array_equal(model.pixels(photo), fit(Image.fromarray(photo), preprocess))


def test_a_file_that_says_nothing_gets_numbers_and_a_squash(places):
    assert places.labels == ("0", "1", "2", "3", "4", "5", "6")
    assert places.preprocess == Preprocess(HEIGHT, WIDTH)
    assert places.input_shape == (1, HEIGHT, WIDTH, 3)


def test_settings_give_a_network_of_any_size_its_size(model_file):
    data = codec.pack(tflite("any size"), info={"preprocess": Preprocess(10, 14).to_dict()})
    model = runtime.load(model_file(data, "any.sqz"))
    assert model.input_shape == (1, 10, 14, 3)
    assert model.predict(Image.new("RGB", (5, 5), COLOURS["blue"])).label == "2"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: b"", FormatError, "neither"),
        (lambda: b"GIF89a", FormatError, "neither"),
        (lambda: tflite("colours")[:900], FormatError, "LiteRT"),
        (lambda: codec.pack(tflite("colours"))[:-7], FormatError, ""),
        (lambda: with_labels(tflite("colours"), ["a", "b"]), FormatError, "2 labels for 3 classes"),
        (lambda: tflite("two inputs"), ValueError, "2 inputs"),
    ],
)
def test_an_error_names_the_file(make, error, words, model_file):
    path = model_file(make(), "odd.bin")
    with pytest.raises(error, match=rf"odd\.bin: .*{words}"):
        runtime.load(path)


def test_a_missing_file_and_a_folder_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.sqz"):
        runtime.load(tmp_path / "none.sqz")
    with pytest.raises(IsADirectoryError):
        runtime.load(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_arrays_of_another_shape_or_type(colours, wrong):
    with pytest.raises(ValueError, match="Expected uint8 RGB pixels"):
        colours.predict(wrong)


def test_broken_images(colours, tmp_path):
    with pytest.raises(FormatError, match="unreadable image"):
        colours.predict(b"no image")
    with pytest.raises(FileNotFoundError):
        colours.predict(tmp_path / "none.jpg")


def test_top(colours):
    red = Image.new("RGB", (4, 4), "red")
    assert len(colours.predict(red, top=1).top) == 1
    assert len(colours.predict(red, top=9).top) == 3
    with pytest.raises(ValueError, match="top=0"):
        colours.predict(red, top=0)


def test_results_cannot_be_changed(colours):
    with pytest.raises(dataclasses.FrozenInstanceError):
        colours.labels = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        colours.predict(Image.new("RGB", (4, 4))).label = "x"
