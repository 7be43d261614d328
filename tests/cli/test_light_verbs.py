import io
import json

import numpy as np
import pytest
from PIL import Image

import tiny_classifiers
from squeezekit import codec, runtime
from tiny_classifiers import tflite, with_labels


@pytest.fixture
def packed(model, tmp_path):
    path = tmp_path / "colours.sqz"
    path.write_bytes(codec.pack(model.read_bytes()))
    return path


def one_line(text: str) -> bool:
    return text.startswith("squeezekit: ") and text.count("\n") == 1


@pytest.mark.parametrize("integers", ["", "uint8"])
@pytest.mark.parametrize("coder", list(codec.CODERS))
def test_pack_and_unpack_give_the_exact_bytes(integers, coder, squeezekit, tmp_path):
    first, packed, second = tmp_path / "x.tflite", tmp_path / "x.sqz", tmp_path / "new" / "y.tflite"
    first.write_bytes(tflite("places", integers))
    status, out, err = squeezekit("pack", first, "-o", packed, "--coder", coder)
    assert (status, err) == (0, "")
    assert out.startswith(f"{packed}: {packed.stat().st_size:,} bytes")
    status, out, err = squeezekit("unpack", packed, "-o", second)
    assert (status, out, err) == (0, f"{second}: {first.stat().st_size:,} bytes\n", "")
    assert second.read_bytes() == first.read_bytes()


def test_pack_and_unpack_json(model, squeezekit, tmp_path):
    packed, size = tmp_path / "x.sqz", model.stat().st_size
    _, out, _ = squeezekit("pack", model, "-o", packed, "--json")
    expected = {"input_bytes": size, "output_bytes": packed.stat().st_size, "coder": codec.DEFAULT_CODER}
    assert json.loads(out) == expected
    _, out, _ = squeezekit("unpack", packed, "-o", tmp_path / "y.tflite", "--json")
    assert json.loads(out) == {"input_bytes": packed.stat().st_size, "output_bytes": size}


def test_pack_labels_a_file_that_has_none(squeezekit, tmp_path, photos):
    bare, packed, labels = tmp_path / "x.tflite", tmp_path / "x.sqz", tmp_path / "labels.txt"
    bare.write_bytes(tflite("colours"))
    labels.write_text("rot\ngrün\nblau\n", "utf-8")
    assert squeezekit("pack", bare, "-o", packed, "--labels", labels)[0] == 0
    assert runtime.load(packed).labels == ("rot", "grün", "blau")
    _, out, _ = squeezekit("predict", packed, photos / "blue" / "one.png", "--json")
    assert json.loads(out)[0]["label"] == "blau"


@pytest.mark.parametrize("text", [b"a\nb\n", b"", b"\xff\xff"])
def test_pack_refuses_labels_that_do_not_fit(text, model, squeezekit, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_bytes(text)
    status, out, err = squeezekit("pack", model, "-o", tmp_path / "x.sqz", "--labels", labels)
    assert (status, out) == (2, "")
    assert one_line(err)
    assert "labels.txt: " in err
    assert not (tmp_path / "x.sqz").exists()


@pytest.mark.parametrize("verb", ["pack", "unpack"])
def test_the_input_is_never_overwritten(verb, model, packed, squeezekit, tmp_path):
    source = model if verb == "pack" else packed
    before = source.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(source)
    for output in (source, link):
        status, _, err = squeezekit(verb, source, "-o", output)
        assert status == 2
        assert one_line(err)
    assert source.read_bytes() == before


def test_info_json(model, packed, squeezekit):
    for path in (model, packed):
        status, out, err = squeezekit("info", path, "--json")
        assert (status, err) == (0, "")
        found = json.loads(out)
        assert found["bytes"] == path.stat().st_size == sum(found["sections"].values())
        assert found["tflite_bytes"] == model.stat().st_size
        assert found["labels"] == ["red", "green", "blue"]
        assert found["tensors"]
        for tensor in found["tensors"]:
            assert set(tensor) == {
                "name", "shape", "dtype", "coder", "bytes", "entropy_bound_bytes", "overhead_bytes", "raw_bytes",
                "elements", "bits_per_element",
            }  # fmt: skip
            assert tensor["overhead_bytes"] == tensor["bytes"] - tensor["entropy_bound_bytes"]
        if path == packed:
            assert sum(found["skeleton"].values()) == found["sections"]["skeleton"]


def test_info_table(packed, squeezekit):
    status, out, err = squeezekit("info", packed)
    assert (status, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split() == ["tensor", "shape", "type", "coder", "bytes", "bits/weight", "bound", "over"]
    assert any(line.startswith("in all") for line in lines)
    assert any(line.startswith("skeleton: texts") for line in lines)
    assert any("3x3" in line and "float32" in line for line in lines)
    assert "labels  red, green, blue" in lines
    assert len({line.index("float32") for line in lines if "float32" in line}) == 1


def test_info_of_arrays(squeezekit, tmp_path):
    path = tmp_path / "weights.sqz"
    path.write_bytes(
        codec.encode_tensors({"kernel": np.zeros((3, 3), np.float32)}, info={"framework": "none"})
    )
    status, out, err = squeezekit("info", path)
    assert (status, err) == (0, "")
    assert "kernel" in out
    assert "framework  none" in out
    found = json.loads(squeezekit("info", path, "--json")[1])
    assert found["bytes"] == path.stat().st_size == sum(found["sections"].values())
    assert squeezekit("unpack", path, "-o", tmp_path / "x.tflite")[0] == 2


def test_info_of_a_network_that_is_no_classifier(squeezekit, tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(tflite("two inputs"))
    assert "none in the file" in squeezekit("info", path)[1]


def test_predict_json(packed, photos, squeezekit):
    images = [photos / "red" / "one.png", photos / "blue" / "one.png"]
    status, out, err = squeezekit("predict", packed, *images, "--json")
    assert (status, err) == (0, "")
    answers = json.loads(out)
    model = runtime.load(packed)
    for answer, image in zip(answers, images, strict=True):
        expected = model.predict(image)
        assert answer == {
            "image": str(image),
            "label": expected.label,
            "probability": expected.probability,
            "top": [list(entry) for entry in expected.top],
        }


def test_predict_table(packed, photos, squeezekit):
    image = photos / "red" / "one.png"
    _, out, _ = squeezekit("predict", packed, image, image)
    header, first, second = out.splitlines()
    assert header.split() == ["image", "label", "probability"]
    assert first == second
    assert first.split()[:2] == [str(image), "red"]
    _, out, _ = squeezekit("predict", packed, image, "--top", "3")
    assert len(out.splitlines()) == 4


def test_predict_goes_on_past_a_broken_image(packed, photos, squeezekit, tmp_path):
    broken, good = tmp_path / "broken.jpg", photos / "red" / "one.png"
    broken.write_bytes(good.read_bytes()[:60])
    status, out, err = squeezekit("predict", packed, broken, tmp_path / "none.jpg", good, "--json")
    assert status == 2
    assert [answer["image"] for answer in json.loads(out)] == [str(good)]
    first, second = err.splitlines()
    assert first.startswith(f"squeezekit: {broken}: unreadable image")
    assert second == f"squeezekit: {tmp_path / 'none.jpg'}: No such file or directory"


def test_labels_cannot_speak_to_the_terminal(squeezekit, tmp_path, photos):
    path = tmp_path / "x.tflite"
    path.write_bytes(with_labels(tflite("colours"), ["\x1b[2Jred", "g", "b"]))
    _, out, _ = squeezekit("predict", path, photos / "red" / "one.png")
    assert "\x1b" not in out
    assert "[2Jred" in out


def test_evaluate_json(packed, photos, squeezekit):
    status, out, err = squeezekit("evaluate", packed, photos, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert {key: found[key] for key in ("images", "top1", "top5", "per_class")} == {
        "images": 2,
        "top1": 1.0,
        "top5": 1.0,
        "per_class": {"red": 1.0, "blue": 1.0},
    }
    assert found["skipped"] == []


def test_evaluate_table(packed, photos, squeezekit):
    (photos / "blue" / "two.png").write_bytes((photos / "red" / "one.png").read_bytes())
    status, out, err = squeezekit("evaluate", packed, photos)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["red", "1", "100.0", "%"] in lines
    assert ["blue", "2", "50.0", "%"] in lines
    assert ["top-1", "66.7", "%"] in lines
    assert ["worst", "class", "50.0", "%", "(blue)"] in lines


def test_evaluate_names_what_it_skips(packed, photos, squeezekit):
    for number in range(20):
        (photos / "red" / f"{number}.png").write_bytes((photos / "red" / "one.png").read_bytes())
    (photos / "red" / "broken.png").write_bytes(b"x")
    status, out, err = squeezekit("evaluate", packed, photos)
    assert status == 0
    assert ["skipped", "1"] in [line.split() for line in out.splitlines()]
    assert err.startswith("skipped: ")
    assert "broken.png" in err


def test_evaluate_refuses_an_unknown_class(packed, photos, squeezekit):
    (photos / "blue").rename(photos / "mauve")
    status, out, err = squeezekit("evaluate", packed, photos)
    assert (status, out) == (2, "")
    assert one_line(err)
    assert "mauve" in err


@pytest.mark.parametrize(
    "words",
    [
        ["info", "{file}"],
        ["predict", "{file}", "{image}"],
        ["evaluate", "{file}", "{photos}"],
        ["unpack", "{file}", "-o", "{out}"],
        ["pack", "{file}", "-o", "{out}"],
    ],
)
@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty", "cut"])
def test_a_bad_model_file_is_one_line(words, kind, packed, photos, squeezekit, tmp_path):
    file, out = tmp_path / "bad", tmp_path / "out"
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_bytes({"text": b"hello", "empty": b"", "cut": packed.read_bytes()[:-20]}[kind])
    places = {"file": file, "image": photos / "red" / "one.png", "photos": photos, "out": out}
    status, shown, err = squeezekit(*(word.format(**places) for word in words))
    assert (status, shown) == (2, "")
    assert one_line(err)
    assert str(file) in err
    assert not out.exists()


def test_a_flipped_byte_anywhere_is_one_line(packed, squeezekit, tmp_path):
    whole, path, out = packed.read_bytes(), tmp_path / "flipped.sqz", tmp_path / "out.tflite"
    for position in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        status, shown, err = squeezekit("unpack", path, "-o", out)
        assert (status, shown) == (2, "")
        assert one_line(err)
        assert not out.exists()


@pytest.mark.parametrize("verb", ["pack", "unpack"])
def test_an_unwritable_output_is_one_line(verb, model, packed, squeezekit, tmp_path):
    source = model if verb == "pack" else packed
    before = sorted(tmp_path.iterdir())
    for output in (model / "x", model / "y" / "x", tmp_path, tmp_path / ("n" * 300)):
        status, out, err = squeezekit(verb, source, "-o", output)
        assert (status, out) == (2, "")
        assert one_line(err)
    assert sorted(tmp_path.iterdir()) == before


def test_predict_a_folder(packed, photos, squeezekit):
    _, out, _ = squeezekit("predict", packed, photos, "--json")
    assert [answer["image"] for answer in json.loads(out)] == [
        str(photos / label / "one.png") for label in ("blue", "red")
    ]
    (photos / "none").mkdir()
    status, _, err = squeezekit("predict", packed, photos / "none")
    assert status == 2
    assert "no images" in err


def test_predict_below_a_threshold_is_unsure(packed, photos, squeezekit):
    image = photos / "red" / "one.png"
    certain = runtime.load(packed).predict(image).probability
    _, out, _ = squeezekit("predict", packed, image, "--threshold", certain - 0.01)
    assert out.splitlines()[1].split()[1] == "red"
    _, out, _ = squeezekit("predict", packed, image, "--threshold", min(1.0, certain + 0.001))
    assert out.splitlines()[1].split()[1] == "unsure"
    _, out, _ = squeezekit("predict", packed, image, "--threshold", min(1.0, certain + 0.001), "--json")
    assert json.loads(out)[0]["label"] is None


def test_predict_standard_input_line_by_line(packed, squeezekit, monkeypatch):
    red, blue = (io.BytesIO() for _ in range(2))
    Image.new("RGB", (300, 200), tiny_classifiers.COLOURS["red"]).save(red, "JPEG")
    Image.new("RGB", (300, 200), tiny_classifiers.COLOURS["blue"]).save(blue, "JPEG")
    stream = red.getvalue() + red.getvalue()[:-100] + blue.getvalue()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stream)))
    status, out, err = squeezekit("predict", packed, "-", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answers[0]["label"], answers[-1]["label"]] == ["red", "blue"]
    assert status == 2
    assert err.startswith("squeezekit: frame 2: unreadable image")


@pytest.mark.parametrize("words", [[], ["-", "x.jpg"], ["x.jpg", "--camera", "0"], ["--watch", ".", "-"]])
def test_predict_wants_one_source(packed, squeezekit, words):
    status, out, err = squeezekit("predict", packed, *words)
    assert (status, out) == (2, "")
    assert one_line(err)
