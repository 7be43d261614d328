import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image

from squeezekit import imaging
from squeezekit.errors import FormatError
from squeezekit.imaging import fit, open_rgb, to_rgb
from squeezekit.preprocess import Fit, Preprocess


@pytest.fixture(scope="module")
def pixels():
    """A picture without any symmetry, uint8 (24, 36, 3)."""
    small = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((36, 24), Image.Resampling.BICUBIC))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    result = open_rgb(encoded(image, kind, **options))
    assert result.mode == "RGB"
    return np.asarray(result)


def test_path_and_bytes_are_the_same(pixels, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(np.asarray(open_rgb(source)), pixels)


# EXIF 2.32, 4.6.4.A: where the stored rows and columns lie in the picture as it is to be seen.
AS_SEEN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", AS_SEEN)
def test_orientation(pixels, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = opened(Image.fromarray(pixels), kind, exif=exif)
    np.testing.assert_array_equal(found, AS_SEEN[orientation](pixels))


@pytest.mark.parametrize("orientation", AS_SEEN)
def test_orientation_of_a_jpeg(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = opened(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0, exif=exif)
    expected = AS_SEEN[orientation](pixels)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\1\0\0\0\x06\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\1\0\0\0\x63\0\0\0\0\0\0\0",
    ],
)
def test_broken_metadata_does_not_break_a_picture(pixels, exif):
    assert opened(Image.fromarray(pixels), "JPEG", exif=exif).shape == pixels.shape


def test_grey(pixels):
    grey = Image.fromarray(pixels).convert("L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, 2)
    np.testing.assert_array_equal(opened(grey), expected)
    bits = grey.convert("1")
    np.testing.assert_array_equal(opened(bits), np.repeat(np.asarray(bits)[..., None] * np.uint8(255), 3, 2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_upper_eight(kind):
    wide = np.arange(0, 65536, 64, np.uint16).reshape(32, 32)
    found = opened(Image.fromarray(wide), kind)
    np.testing.assert_array_equal(found[..., 0], np.round(wide / 257).astype(np.uint8))
    np.testing.assert_array_equal(found[..., 1], found[..., 2])


def test_float_samples_are_read_as_eight_or_sixteen_bits():
    eight = np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(opened(Image.fromarray(eight), "TIFF")[..., 0], np.round(eight))
    np.testing.assert_array_equal(opened(Image.fromarray(eight * 257), "TIFF")[..., 0], np.round(eight))


def test_float_samples_that_are_no_numbers_do_no_harm():
    odd = np.array([[np.nan, np.inf], [-np.inf, 65535]], np.float32)
    found = opened(Image.fromarray(odd), "TIFF")[..., 0]
    np.testing.assert_array_equal(found, [[0, 255], [0, 255]])


def test_palette(pixels):
    palette = Image.fromarray(pixels).quantize(8)
    expected = np.array(palette.getpalette()[:24], np.uint8).reshape(8, 3)[np.asarray(palette)]
    np.testing.assert_array_equal(opened(palette), expected)
    np.testing.assert_array_equal(opened(palette, "GIF"), expected)


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return pixels * share + 255 * (1 - share)


def test_transparency_lies_over_white(pixels):
    alpha = np.linspace(0, 255, 24 * 36).reshape(24, 36).astype(np.uint8)
    rgba = Image.fromarray(np.dstack([pixels, alpha]))
    assert np.abs(opened(rgba) - over_white(pixels, alpha)).max() <= 1
    grey = Image.fromarray(pixels).convert("L")
    grey_alpha = Image.merge("LA", [grey, Image.fromarray(alpha)])
    expected = over_white(np.repeat(np.asarray(grey)[..., None], 3, 2), alpha)
    assert np.abs(opened(grey_alpha) - expected).max() <= 1


def test_a_transparent_colour_is_white(pixels):
    palette = Image.fromarray(pixels).quantize(8)
    found = opened(palette, transparency=3)
    assert (found[np.asarray(palette) == 3] == 255).all()
    flat = Image.new("RGB", (4, 4), (10, 20, 30))
    assert (opened(flat, transparency=(10, 20, 30)) == 255).all()


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk(kind):
    # No ink, full ink of one colour each, and black: what any viewer makes of them without a colour profile.
    inks = np.zeros((5, 1, 4), np.uint8)
    inks[[1, 2, 3, 4], 0, [0, 1, 2, 3]] = 255
    seen = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    image = Image.frombytes("CMYK", (16, 80), np.repeat(np.repeat(inks, 16, 0), 16, 1).tobytes())
    found = opened(image, kind)[8::16, 8].astype(int)
    assert np.abs(found - seen).max() <= (0 if kind == "TIFF" else 3)


def test_other_colour_spaces_are_converted(pixels):
    for mode in ("YCbCr", "HSV", "LAB"):
        image = (
            Image.fromarray(pixels).convert(mode)
            if mode != "LAB"
            else Image.new("LAB", (4, 4), (255, 128, 128))
        )
        assert to_rgb(image).mode == "RGB"


def test_only_the_first_picture_of_an_animation_counts(pixels):
    first = Image.fromarray(pixels).quantize(8)
    data = encoded(first, "GIF", save_all=True, append_images=[Image.new("P", first.size)])
    np.testing.assert_array_equal(np.asarray(open_rgb(data)), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_picture_cut_short_is_an_error(pixels, kind):
    data = encoded(Image.fromarray(pixels), kind)
    with pytest.raises(FormatError, match=r"^image: unreadable image"):
        open_rgb(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM" + b"\xff" * 60]
)
def test_what_is_no_picture_is_an_error(data):
    with pytest.raises(FormatError) as caught:
        open_rgb(data)
    assert str(caught.value).startswith("image: unreadable image (")
    assert "0x" not in str(caught.value)


def test_the_error_names_the_file(tmp_path):
    (tmp_path / "notes.jpg").write_text("hello")
    with pytest.raises(FormatError, match=r"notes\.jpg: unreadable image \(not of any known format\)"):
        open_rgb(tmp_path / "notes.jpg")
    with pytest.raises(FileNotFoundError):
        open_rgb(tmp_path / "none.jpg")


def test_damage_is_an_error_or_a_picture_but_nothing_else(pixels):
    generator = np.random.default_rng(3)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        data = encoded(Image.fromarray(pixels), kind)
        for _ in range(60):
            damaged = bytearray(data)
            for position in generator.integers(0, len(data), 3):
                damaged[position] = generator.integers(256)
            try:
                assert open_rgb(bytes(damaged)).mode == "RGB"
            except FormatError:
                continue


def png_of(width: int, height: int) -> bytes:
    """A tiny PNG that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(13_378, 13_378), (60_000, 60_000)])
def test_a_memory_bomb_is_refused(size):
    assert size[0] * size[1] > imaging.MAX_PIXELS
    with pytest.raises(FormatError, match=r"unreadable image|more than"):
        open_rgb(png_of(*size))


def test_our_limit_holds_where_pillows_is_lifted(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(FormatError, match="more than the"):
        open_rgb(png_of(60_000, 60_000))


def painted_again(picture: Image.Image, times: int) -> bytes:
    """A progressive JPEG whose last scan, which refines every block, comes so many times more."""
    data = encoded(picture, "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * times + data[end:]


def test_an_image_gets_so_much_time_and_no_more(pixels, monkeypatch):
    """A clock of our own: an image that wants more bytes once its time is over gets none."""
    now = [0.0]
    asked = []

    def clock():
        now[0] += 1
        asked.append(now[0])
        return now[0]

    data = painted_again(Image.fromarray(pixels), 9000)
    monkeypatch.setattr(imaging.time, "thread_time", clock)
    monkeypatch.setattr(imaging, "MAX_SECONDS", 1e9)
    imaging.open_header(data).close()
    before = len(asked)
    assert open_rgb(data).size == (36, 24)
    # Asked again and again while it is decoded, not only while it is opened.
    assert len(asked) - 2 * before >= len(data) // imaging._READ_BYTES > 9
    monkeypatch.setattr(imaging, "MAX_SECONDS", before + 5)
    with pytest.raises(
        FormatError, match=r"^image: unreadable image \(not decoded within \d+ s of processor"
    ):
        open_rgb(data)


def test_programs_in_a_picture_are_not_run(tmp_path, monkeypatch):
    """Pillow would give PostScript to Ghostscript, whatever the file is called."""
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **options: pytest.fail("ran something"))
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (5, 5)).save(path, "EPS")
    with pytest.raises(FormatError, match="not of any known format"):
        open_rgb(path)


def test_wide_samples_are_the_same_by_strips(monkeypatch):
    samples = np.random.default_rng(1).integers(0, 65536, (50, 30), np.uint16)
    whole = opened(Image.fromarray(samples))
    monkeypatch.setattr(imaging, "_SAMPLES", 70)
    np.testing.assert_array_equal(opened(Image.fromarray(samples)), whole)
    np.testing.assert_array_equal(whole[..., 0], np.round(samples * (255 / 65535)).astype(np.uint8))
    # One bright sample at the end decides for all strips.
    dark = np.ones((50, 30), np.float32)
    assert (opened(Image.fromarray(dark), "TIFF") == 1).all()
    dark[-1, -1] = 65535
    assert opened(Image.fromarray(dark), "TIFF").sum() == 3 * 255


def test_the_callers_picture_is_left_alone(pixels):
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    turned = to_rgb(image)
    assert turned.size == (24, 36)
    np.testing.assert_array_equal(np.asarray(image), pixels)


def triangle(line: np.ndarray, size: int) -> np.ndarray:
    """Resize along the first axis by the textbook: a triangle as wide as a target pixel, in floats."""
    length = line.shape[0]
    scale = max(1.0, length / size)
    rows = []
    for target in range(size):
        centre = (target + 0.5) * length / size
        weights = np.maximum(0, 1 - np.abs((np.arange(length) + 0.5 - centre) / scale))
        rows.append(np.tensordot(weights / weights.sum(), line, 1))
    return np.array(rows)


@pytest.mark.parametrize("size", [(7, 5), (24, 36), (50, 60), (10, 70), (1, 1)])
def test_the_resize_is_an_antialiased_triangle(pixels, size):
    expected = triangle(triangle(pixels.astype(float), size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    found = fit(Image.fromarray(pixels), Preprocess(*size))
    assert found.dtype == np.uint8
    assert found.shape == (*size, 3)
    # Each of the two passes rounds to whole values.
    assert np.abs(found - expected).max() <= 1.01


def test_the_crop_is_the_centre(pixels):
    image = Image.fromarray(pixels)
    whole = fit(image, Preprocess(20, 30))
    np.testing.assert_array_equal(fit(image, Preprocess(11, 14, 20, 30)), whole[4:15, 8:22])


@pytest.mark.parametrize(("size", "columns"), [((10, 10), slice(6, 30)), ((12, 6), slice(12, 24))])
def test_cover_cuts_the_excess_before_it_resizes(pixels, size, columns):
    found = fit(Image.fromarray(pixels), Preprocess(*size, fit=Fit.COVER))
    expected = fit(Image.fromarray(np.ascontiguousarray(pixels[:, columns])), Preprocess(*size))
    np.testing.assert_array_equal(found, expected)
