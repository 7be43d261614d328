"""Five hundred things that lie in a folder of images and should not, each with what must become of it.

Everything comes from one seed and from Pillow; bombs are made by their headers, so that nothing large is written.
"""

import dataclasses
import io
import os
import pickle
import shutil
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

# What must become of a file: it is read as a viewer shows it, it is refused with a line, either (damage that a decoder
# may bear), or it is no file at all and training passes it over.
READ, REFUSED, EITHER, NO_FILE = "read", "refused", "either", "no file"
COUNT = 500

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
_KINDS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "BMP": "bmp",
    "WEBP": "webp",
    "TIFF": "tif",
    "PPM": "ppm",
}


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A name in the folder, as bytes, and what must become of it."""

    name: bytes
    fate: str


def picture(seed: int = 0) -> Image.Image:
    """Red with grain, 40 x 30."""
    grain = np.random.default_rng(seed).integers(0, 40, (30, 40, 3), np.uint8)
    return Image.fromarray(grain + np.array([200, 0, 0], np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make(folder: Path) -> list[Hostile]:
    """Fill a class folder that does not exist yet; beside its dataset comes a folder "outside" that links lead to."""
    folder.mkdir(parents=True)
    outside = folder.parent.parent / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(encoded(picture(99), "PNG"))
    (outside / "deep").mkdir()
    (outside / "deep" / "buried.png").write_bytes(encoded(picture(98), "PNG"))
    made = []
    for name, content, fate in (*_modes(), *_renamed(), *_bombs(), *_named()):
        raw = name if isinstance(name, bytes) else name.encode()
        with open(os.path.join(os.fsencode(folder), raw), "wb") as file:
            file.write(content)
        made.append(Hostile(raw, fate))
    made += _links(folder, outside)
    for number, (suffix, content, fate) in enumerate(_damaged(COUNT - len(made))):
        name = f"damaged {number:03d}.{suffix}"
        (folder / name).write_bytes(content)
        made.append(Hostile(name.encode(), fate))
    return made


def _modes() -> Iterator[tuple[str, bytes, str]]:
    """Odd, but any viewer shows them."""
    red = picture()
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = Image.fromarray(np.asarray(red.convert("L")).astype(np.uint16) * 257)
        yield f"mode {mode}.png", encoded(image if mode == "I;16" else red.convert(mode), "PNG"), READ
    for mode in ("CMYK", "YCbCr", "L", "F", "I", "LAB"):
        image = Image.new("LAB", (9, 9)) if mode == "LAB" else red.convert("L" if mode in "FI" else mode)
        image = image.convert(mode) if mode in "FI" else image
        yield f"mode {mode}.tif", encoded(image, "TIFF"), READ
    yield "ink.jpg", encoded(red.convert("CMYK"), "JPEG"), READ
    nan = Image.fromarray(np.full((5, 5), np.nan, np.float32))
    yield "not a number.tif", encoded(nan, "TIFF"), READ
    yield "clear.png", encoded(red.quantize(8), "PNG", transparency=3), READ
    yield "clear.gif", encoded(red.quantize(8), "GIF", transparency=3), READ
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        film = encoded(red, kind, save_all=True, append_images=[picture(1), picture(2)])
        yield f"film.{_KINDS[kind]}", film, READ
    for turn in range(10):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield f"turn {turn}.jpg", encoded(red, "JPEG", exif=exif), READ
    whole = encoded(red, "JPEG")
    for number, body in enumerate(
        (b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 90)
    ):
        segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        yield f"exif {number}.jpg", whole[:2] + segment + whole[2:], READ
    for width, height in ((1, 1), (1, 2), (2, 1), (1, 5000), (5000, 1)):
        yield f"thin {width}x{height}.png", encoded(red.resize((width, height)), "PNG"), READ
    yield "more.jpg", whole + b"more" * 999, READ


def _renamed() -> Iterator[tuple[str, bytes, str]]:
    """Good files under names of others."""
    red = picture()
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        for suffix in ("JPG" if kind != "JPEG" else "PNG", "tiff" if kind != "TIFF" else "gif"):
            yield f"really {kind}.{suffix}", encoded(red, kind), READ
    for kind in ("EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "XBM"):
        image = red.convert("1") if kind == "XBM" else red
        yield f"foreign {kind}.jpg", encoded(image, kind), REFUSED
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("../../escaped.jpg")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    yield "tar.jpg", archive.getvalue(), REFUSED
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../escaped.jpg", b"hello")
    yield "zip.jpg", archive.getvalue(), REFUSED
    yield "zip.png", archive.getvalue(), REFUSED
    yield "pickle.jpg", pickle.dumps({"escaped": [1, 2]}), REFUSED
    array = io.BytesIO()
    np.save(array, np.arange(9))
    yield "array.png", array.getvalue(), REFUSED
    texts = {
        "html": "<!doctype html><html><body><h1>404 Not Found</h1></body></html>",
        "svg": '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "json": "{}",
        "ps": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
        "escape": ESCAPE,
        "python": "import os\n",
        "zeros": "\0" * 5000,
        "lines": "\n" * 5000,
    }
    for name, text in texts.items():
        for suffix in ("jpg", "png", "gif"):
            yield f"{name}.{suffix}", text.encode(), REFUSED


def png(width: int, height: int, pixels: bytes = b"", *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims a size, whatever is in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bombs() -> Iterator[tuple[str, bytes, str]]:
    """Small files that claim to be giants, each of them refused before its pixels are made."""
    for number, (width, height) in enumerate(
        ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 0), (1, 0), (20_000, 20_000))
    ):
        yield f"giant {number}.png", png(width, height), REFUSED
    yield "text bomb.png", _with_text(png(4, 4, bytes(52))), EITHER
    whole = bytearray(encoded(picture(), "JPEG"))
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    yield "giant.jpg", bytes(whole), REFUSED
    whole = bytearray(encoded(picture(), "GIF"))
    whole[6:10] = b"\xff\xff\xff\xff"
    yield "giant.gif", bytes(whole), REFUSED
    for number, side in enumerate((2**31 - 1, -(2**31), 0, -1)):
        whole = bytearray(encoded(picture(), "BMP"))
        whole[18:26] = struct.pack("<ii", side, side)
        yield f"giant {number}.bmp", bytes(whole), REFUSED
    for number, header in enumerate(
        (b"P6 99999999 99999999 255\n", b"P3 99999 99999 255\n1 1 1", b"P6 0 0 255\n")
    ):
        yield f"giant {number}.ppm", header, REFUSED
    riff = bytearray(encoded(picture(), "WEBP", lossless=True))
    riff[21:25] = b"\xff\xff\xff\x0f"
    yield "giant.webp", bytes(riff), REFUSED
    tiff = bytearray(encoded(picture(), "TIFF"))
    at = tiff.index(struct.pack("<HHII", 256, 4, 1, 40))
    tiff[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    yield "giant.tif", bytes(tiff), REFUSED


def _with_text(data: bytes) -> bytes:
    """A PNG with a comment of 200 MB in 200 KB; the picture itself is sound."""
    body = b"zTXt" + b"comment\0\0" + zlib.compress(bytes(200 << 10), 9)
    bomb = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + bomb + data[33:]


def _named() -> Iterator[tuple[str | bytes, bytes, str]]:
    """Sound and broken files under names that mean harm."""
    names: list[str | bytes] = [
        "new\nline.png",
        "return\rsquezekit: all is well.png",
        f"{ESCAPE}.png",
        "\x9b2J.png",
        "bell\x07.png",
        "-rf.png",
        "--json.png",
        "--.png",
        "~.png",
        "$HOME.png",
        "`id`.png",
        "$(id).png",
        "%s%n.png",
        "{0}.png",
        "*.png",
        " .png",
        "a b.png",
        "a\tb.png",
        "'.png",
        '".png',
        "\\..\\x.png",
        "<script>alert(1)</script>.png".replace("/", "\N{DIVISION SLASH}"),
        "<img src=x onerror=alert(1)>.png",
        "&amp;.png",
        "{{ 7 * 7 }}.png",
        "x.png.png",
        "CON.png",
        "\N{SNOWMAN}.png",
        "a\N{COMBINING ACUTE ACCENT}.png",
        "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe.png",
        "\N{ZERO WIDTH SPACE}.png",
        "\N{LINE SEPARATOR}.png",
        "l" * 251 + ".png",
        b"\xff\xfe.png",
        b"\xed\xa0\x80.png",
        b"caf\xe9.png",
        b"\xc3(.png",
    ]
    for number, name in enumerate(names):
        yield name, encoded(picture(100 + number), "PNG"), READ
    for name in names:
        # The same again, broken: an error that names the file speaks to the terminal too.
        broken = name.replace(b".png", b".gif") if isinstance(name, bytes) else name.replace(".png", ".gif")
        yield broken, b"no picture", REFUSED


def _links(folder: Path, outside: Path) -> Iterator[Hostile]:
    """Links, and what is no file but is called like one."""
    secret = outside / "secret.png"
    links = {
        "to outside.png": (secret, READ),
        "far outside.png": (Path("../../outside/../outside/secret.png"), READ),
        "link to link.png": (Path("to outside.png"), READ),
        "dangling.png": (Path("nowhere.png"), NO_FILE),
        "dangling far.png": (Path("/nowhere/at/all.png"), NO_FILE),
        "loop.png": (Path("loop.png"), NO_FILE),
        "loop one.png": (Path("loop two.png"), NO_FILE),
        "loop two.png": (Path("loop one.png"), NO_FILE),
        "zero.png": (Path("/dev/zero"), NO_FILE),
        "full.png": (Path("/dev/full"), NO_FILE),
        "null.png": (Path("/dev/null"), NO_FILE),
        "random.png": (Path("/dev/random"), NO_FILE),
        "stdin.png": (Path("/dev/ptmx"), NO_FILE),
        "status.png": (Path("/proc/self/status"), EITHER),
        "memory.png": (Path("/proc/self/mem"), EITHER),
        "here.png": (Path("."), NO_FILE),
        "up.png": (Path("../.."), NO_FILE),
        "root.png": (Path("/"), NO_FILE),
    }
    for name, (target, fate) in links.items():
        (folder / name).symlink_to(target)
        yield Hostile(name.encode(), fate)
    os.mkfifo(folder / "pipe.png")
    yield Hostile(b"pipe.png", NO_FILE)
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a socket may not be long.
        here = os.open(folder, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    yield Hostile(b"socket.png", NO_FILE)
    (folder / "directory.png").mkdir()
    shutil.copy(secret, folder / "directory.png" / "inner.png")
    yield Hostile(b"directory.png", NO_FILE)
    (folder / "empty.png").write_bytes(b"")
    yield Hostile(b"empty.png", REFUSED)
    with open(folder / "sparse.png", "wb") as sparse:
        sparse.truncate(1 << 40)
    yield Hostile(b"sparse.png", REFUSED)


def _damaged(count: int) -> Iterator[tuple[str, bytes, str]]:
    """Pictures cut short, overwritten here and there, doubled, or with a hole."""
    generator = np.random.default_rng(7)
    kinds = list(_KINDS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        data = bytearray(encoded(picture(number), kind))
        way = number // len(kinds) % 4
        if way == 0:
            yield _KINDS[kind], bytes(data[: int(generator.integers(1, len(data) // 2))]), REFUSED
            continue
        if way == 1:
            for place in generator.integers(0, len(data), 6):
                data[place] = generator.integers(256)
        elif way == 2:
            start = int(generator.integers(len(data)))
            data[start : start + 200] = bytes(len(data[start : start + 200]))
        else:
            start = int(generator.integers(len(data)))
            data[start:start] = generator.bytes(50)
        yield _KINDS[kind], bytes(data), EITHER
