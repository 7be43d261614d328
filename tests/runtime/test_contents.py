import json
import struct

import pytest

from squeezekit import codec
from squeezekit.errors import FormatError
from squeezekit.preprocess import Fit, Preprocess
from squeezekit.runtime import contents, parse_labels, read_contents
from tiny_classifiers import LABELS, tflite, with_files, with_labels

SETTINGS = {
    "preprocess": Preprocess(16, 12, 20, 20, Fit.COVER).to_dict(),
    "provenance": {"recipe": "prune(0.8)"},
}


@pytest.fixture(scope="module")
def whole():
    return with_files(
        tflite("colours"),
        {"labels.txt": b"red\ngreen\nblue\n", "squeezekit.json": json.dumps(SETTINGS).encode()},
    )


def test_a_tflite_brings_labels_and_settings_in_its_archive(whole):
    found = read_contents(whole)
    assert found.tflite == whole
    assert found.labels == LABELS
    assert found.preprocess == Preprocess(16, 12, 20, 20, Fit.COVER)
    assert found.provenance == {"recipe": "prune(0.8)"}


def test_a_sqz_brings_those_of_its_tflite(whole):
    assert read_contents(codec.pack(whole)) == read_contents(whole)


def test_the_header_of_a_sqz_comes_first_item_by_item(whole):
    found = read_contents(codec.pack(whole, info={"labels": ["a", "b", "c"]}))
    assert found.labels == ("a", "b", "c")
    assert found.preprocess == Preprocess(16, 12, 20, 20, Fit.COVER)
    other = Preprocess(16, 12).to_dict()
    found = read_contents(codec.pack(whole, info={"preprocess": other, "provenance": {"by": "hand"}}))
    assert (found.labels, found.preprocess, found.provenance) == (LABELS, Preprocess(16, 12), {"by": "hand"})


def test_a_bare_tflite_says_nothing():
    found = read_contents(tflite("colours"))
    assert (found.labels, found.preprocess, found.provenance) == ((), None, {})


def test_a_foreign_archive_names_its_only_text_as_it_likes():
    data = with_files(tflite("colours"), {"labelmap.txt": b"red\r\ngreen\r\nblue"})
    assert read_contents(data).labels == LABELS
    two = with_files(tflite("colours"), {"vocabulary.txt": b"x", "labels.txt": b"red\ngreen\nblue"})
    assert read_contents(two).labels == LABELS
    unclear = with_files(tflite("colours"), {"vocabulary.txt": b"x", "labelmap.txt": b"red\ngreen\nblue"})
    assert read_contents(unclear).labels == ()


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n\r\n", ("cat", "dog")),
        ("fjärd\n海 岸".encode(), ("fjärd", "海 岸")),
        ("one\x0btwo\u2028three\nfour".encode(), ("one\x0btwo\u2028three", "four")),
        (b"background\n\ncat\n", ("background", "", "cat")),
    ],
)
def test_labels_are_one_a_line(text, labels):
    assert parse_labels(text) == labels


@pytest.mark.parametrize("text", [b"", b"\n\n", b"\xff\xfe\x00", b"caf\xe9\n"])
def test_labels_that_are_none_are_refused(text):
    with pytest.raises(FormatError, match="label"):
        parse_labels(text)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"GIF89a" * 9, b"PK\x03\x04" + b"\0" * 90])
def test_other_files_are_refused(data):
    with pytest.raises(FormatError, match="neither"):
        read_contents(data)


def _settings(text: bytes) -> dict[str, bytes]:
    return {"squeezekit.json": text}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"labels.txt": b"\xff\xff"}, "UTF-8"),
        (_settings(b"{"), "not JSON"),
        (_settings(b"\xff"), "not JSON"),
        (_settings(b"[" * 100_000), "not JSON"),
        (_settings(b"[]"), "not a JSON object"),
        (_settings(b'{"preprocess": 5}'), "image settings"),
        (_settings(b'{"preprocess": {"height": 16}}'), "image settings"),
        (_settings(json.dumps({"preprocess": {**SETTINGS["preprocess"], "height": 0.5}}).encode()), "side"),
        (_settings(json.dumps({"preprocess": {**SETTINGS["preprocess"], "fit": "spin"}}).encode()), "spin"),
        (_settings(b'{"provenance": [1]}'), "provenance"),
    ],
)
def test_nonsense_in_the_archive_is_one_error(files, words):
    with pytest.raises(FormatError, match=words):
        read_contents(with_files(tflite("colours"), files))


@pytest.mark.parametrize("labels", ["cat", [1, 2], {"0": "cat"}])
def test_nonsense_in_the_header_is_one_error(labels):
    with pytest.raises(FormatError, match="labels"):
        read_contents(codec.pack(tflite("colours"), info={"labels": labels}))


def test_a_damaged_archive_is_an_error_wherever_the_damage_is(whole):
    bare = len(tflite("colours"))
    expected = read_contents(whole)
    for position in range(bare, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x20
        try:
            found = read_contents(bytes(damaged))
        except FormatError:
            continue
        # Dates, attributes and the like are not ours; what is ours must be right or absent.
        assert found.labels in (expected.labels, ())
        assert found.preprocess in (expected.preprocess, None)


def test_a_label_file_that_claims_to_be_huge_is_not_read():
    data = bytearray(with_labels(tflite("colours")))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", contents.MAX_MEMBER_BYTES + 1)
    with pytest.raises(FormatError, match="at most"):
        read_contents(bytes(data))
