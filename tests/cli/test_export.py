import io
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner
from keras import layers
from PIL import Image

import net_files
from squeezekit import codec, compress, export
from squeezekit.cli.host.export import command
from squeezekit.errors import FormatError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder without its run.json, the same network with hooks, and a class folder of images."""
    root = tmp_path_factory.mktemp("run")
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(12, 3, strides=4, activation="relu")(image)
    model = keras.Model(image, layers.Softmax()(layers.Dense(2)(layers.GlobalAveragePooling2D()(x))))
    model.save(root / "model.keras")
    compress.apply(model, "prune(0.5, schedule='constant')").save(root / "hooked.keras")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "images" / name).mkdir(parents=True)
        for index in range(8):
            pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{index}.png")
    return root


def call(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)


def inside(path):
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return archive.read("labels.txt").decode().split(), json.loads(archive.read("squeezekit.json"))


def test_a_bare_network_gets_numbers_for_labels(folder, tmp_path):
    result = call(folder / "model.keras", "-o", tmp_path / "m.tflite")
    assert result.exit_code == 0, result.exception
    size = (tmp_path / "m.tflite").stat().st_size
    assert result.output == f"{tmp_path / 'm.tflite'}: {size:,} bytes, float32, 2 classes\n"
    labels, settings = inside(tmp_path / "m.tflite")
    assert labels == ["0", "1"]
    assert settings["preprocess"]["fit"] == "squash"
    assert settings["preprocess"]["height"] == 32
    assert set(settings["provenance"]) == {"squeezekit", "keras"}


def test_integers_with_labels_and_settings_of_the_run(folder, tmp_path):
    preprocess = {"height": 32, "width": 32, "resize_height": 36, "resize_width": 36, "fit": "cover"}
    run = folder / "run.json"
    run.write_text(json.dumps({"labels": ["cat", "dog"], "preprocess": preprocess, "seed": 1}))
    try:
        arguments = ["--int8", "--calibrate", folder / "images", "--json"]
        result = call(folder / "hooked.keras", "-o", tmp_path / "m.tflite", *arguments)
    finally:
        run.unlink()
    assert result.exit_code == 0, result.exception
    tflite = (tmp_path / "m.tflite").read_bytes()
    printed = json.loads(result.output)
    assert printed["bytes"] == len(tflite)
    assert printed["dtype"] == "uint8"
    assert printed["input_shape"] == [1, 32, 32, 3]
    assert 0 < printed["calibration_images"] < 16
    labels, settings = inside(tmp_path / "m.tflite")
    assert labels == ["cat", "dog"]
    assert settings["preprocess"] == preprocess
    assert export.audit(tflite).float_operations == ()


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_have_a_scale_a_tensor_or_one_a_channel(folder, tmp_path, per_channel):
    options = ["--int8", "--calibrate", folder / "images", *(["--per-channel"] if per_channel else [])]
    result = call(folder / "model.keras", "-o", tmp_path / "m.tflite", *options)
    assert result.exit_code == 0, result.exception
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    scales = {
        tuple(detail["shape"]): detail["quantization_parameters"]["scales"].size
        for detail in interpreter.get_tensor_details()
    }
    assert scales[12, 3, 3, 3] == (12 if per_channel else 1)


def test_the_input_is_never_replaced(folder):
    result = call(folder / "model.keras", "-o", folder / "model.keras")
    assert isinstance(result.exception, ValueError)


def test_a_labels_file_wins(folder, tmp_path):
    (tmp_path / "labels.txt").write_text("\ufeffhot dog\r\nçat\n\n", "utf-8")
    result = call(folder / "model.keras", "-o", tmp_path / "m.tflite", "--labels", tmp_path / "labels.txt")
    assert result.exit_code == 0, result.exception
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.read("labels.txt").decode() == "hot dog\nçat\n"


def test_the_published_network_brings_its_own_settings(folder, tmp_path):
    layers = net_files.weights(net_files.published_shapes())
    (tmp_path / "compressed.net").write_bytes(net_files.write(layers))
    (tmp_path / "labels.txt").write_text("".join(f"class {index}\n" for index in range(1000)))
    # One image a class, as a sample of ImageNet has: nothing is split off.
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "0.png").write_bytes((folder / "images" / name / "0.png").read_bytes())
    options = ["--int8", "--calibrate", tmp_path / "images", "--labels", tmp_path / "labels.txt", "--json"]
    result = call(tmp_path / "compressed.net", "-o", tmp_path / "m.tflite", *options)
    assert result.exit_code == 0, result.exception
    printed = json.loads(result.output)
    assert printed["input_shape"] == [1, 227, 227, 3]
    assert (printed["classes"], printed["calibration_images"]) == (1000, 2)
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines()[999] == "class 999"
        preprocess = json.loads(archive.read("squeezekit.json"))["preprocess"]
    assert preprocess == {
        "height": 227,
        "width": 227,
        "resize_height": 256,
        "resize_width": 256,
        "fit": "squash",
    }


@pytest.mark.parametrize("start", list(export.Start))
def test_a_new_target_takes_one_line(folder, tmp_path, monkeypatch, start):
    given = []

    def write(network, path, options):
        given.append((network, list(options.labels)))
        Path(path).write_text("toy")

    monkeypatch.setitem(
        export.TARGETS, "toy", export.Target("toy", ".toy", "For a test.", write, start=start)
    )
    assert "toy          For a test. (.toy)" in call("--help").output
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    options = ["-o", tmp_path / "m.toy", "--target", "toy"]
    result = call(folder / "hooked.keras", *options, "--labels", tmp_path / "labels.txt")
    assert result.exit_code == 0, result.exception
    assert result.output.endswith("m.toy: 3 bytes, float32, 2 classes\n")
    ((network, labels),) = given
    assert labels == ["cat", "dog"]
    if start is export.Start.KERAS:
        assert not any("Hooked" in type(layer).__name__ for layer in network.layers)
        return
    # Through a .tflite; a finished one is taken as it is, also out of a .sqz.
    assert export.audit(network).inputs[0].dtype == "float32"
    (tmp_path / "whole.tflite").write_bytes(network)
    (tmp_path / "packed.sqz").write_bytes(codec.pack(network))
    for name in ("whole.tflite", "packed.sqz"):
        result = call(tmp_path / name, *options, "--json")
        assert result.exit_code == 0, result.exception
        assert given[-1] == (network, [])
        assert json.loads(result.output)["input_shape"] == [1, 32, 32, 3]


@pytest.mark.parametrize("words", [["--int8"], ["--target", "tflite-int8"]])
def test_a_target_is_chosen_by_int8_or_by_name(folder, tmp_path, words):
    result = call(
        folder / "model.keras", "-o", tmp_path / "m.tflite", *words, "--calibrate", folder / "images"
    )
    assert result.exit_code == 0, result.exception
    assert export.audit((tmp_path / "m.tflite").read_bytes()).inputs[0].dtype == "uint8"


@pytest.mark.parametrize(
    ("name", "network", "calibration", "message"),
    [
        ("tflite-int8", None, None, "Expected calibration images"),
        ("tflite", None, [], "Expected no calibration images"),
        ("tflite", b"", None, "Expected a Keras network"),
        ("wax", None, None, "a target of tflite, tflite-int8"),
    ],
)
def test_what_does_not_fit_a_target_is_refused(tmp_path, name, network, calibration, message):
    with pytest.raises(ValueError, match=message):
        export.write(name, network, tmp_path / "m", export.ExportOptions(calibration=calibration))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("model.keras", ["--target", "wax"], ValueError, "a target of tflite, tflite-int8"),
        ("model.keras", ["--target", "tflite", "--int8"], ValueError, "--int8 with a target of integers"),
        ("model.keras", ["--target", "tflite-int8"], ValueError, "--calibrate DATA together"),
        ("model.tflite", [], ValueError, "Expected a .keras or .net file"),
        ("model.keras", ["--int8"], ValueError, "--calibrate DATA together"),
        ("model.keras", ["--calibrate", "x"], ValueError, "--calibrate DATA together"),
        ("model.keras", ["--per-channel"], ValueError, "--per-channel with --int8"),
        ("model.h5", [], ValueError, "Expected a .keras or .net file"),
        ("missing.net", [], FileNotFoundError, "No such file"),
        ("cut.net", [], FormatError, "cut.net: not a Deep Compression SqueezeNet"),
        ("missing.keras", [], FileNotFoundError, "No such file"),
        ("cut.keras", [], FormatError, "not a .keras file"),
        ("other.keras", [], FormatError, "not a network that Keras can load"),
        ("model.keras", ["--labels", "cut.keras"], FormatError, "UTF-8"),
        ("model.keras", ["--labels", "three.txt"], ValueError, "2 labels"),
    ],
)
def test_mistakes_are_named(folder, tmp_path, monkeypatch, name, options, error, message):
    monkeypatch.chdir(folder)
    (folder / "cut.keras").write_bytes((folder / "model.keras").read_bytes()[:3000])
    (folder / "cut.net").write_bytes(bytes(1000))
    (folder / "three.txt").write_text("a\nb\nc\n")
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("something", "else")
    result = call(name, "-o", tmp_path / "m.tflite", *options)
    assert isinstance(result.exception, error), result.exception
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", '{"preprocess": {"height": 3}}', '{"labels": 3}', "[1]"])
def test_a_broken_record_of_the_run_is_named(folder, tmp_path, text):
    (folder / "run.json").write_text(text)
    try:
        result = call(folder / "model.keras", "-o", tmp_path / "m.tflite")
    finally:
        (folder / "run.json").unlink()
    if text == "[1]":
        assert result.exit_code == 0, result.exception
    else:
        assert isinstance(result.exception, FormatError), result.exception
