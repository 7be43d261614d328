import dataclasses

import keras
import pytest
from keras import layers
from PIL import Image

import tiny_classifiers
from squeezekit import models
from squeezekit.cli import main


@pytest.fixture
def squeezekit(capfd):
    """Run a command in this process: squeezekit("info", path) -> (status, stdout, stderr)."""

    def run(*words):
        capfd.readouterr()
        status = main([str(word) for word in words])
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def model(tmp_path):
    """A `.tflite` that tells colours apart and names them."""
    path = tmp_path / "colours.tflite"
    path.write_bytes(tiny_classifiers.with_labels(tiny_classifiers.tflite("colours")))
    return path


@pytest.fixture
def photos(tmp_path):
    """A class folder of one red and one blue image each, in their classes."""
    folder = tmp_path / "photos"
    for label in ("red", "blue"):
        (folder / label).mkdir(parents=True)
        Image.new("RGB", (30, 20), tiny_classifiers.COLOURS[label]).save(folder / label / "one.png")
    return folder


def small(input_shape, classes, **_):
    """A network that trains in no time."""
    pixels = keras.Input(input_shape)
    x = layers.Rescaling(1 / 64, offset=-2.0)(pixels)
    x = layers.ReLU()(layers.Conv2D(16, 3, strides=4, name="conv")(x))
    x = layers.Dense(classes, name="fc")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, layers.Softmax(dtype="float32")(x), name="small")


@pytest.fixture(scope="session")
def net(tmp_path_factory):
    """A file with a small network of two classes, and beside it one of three, "3.keras"."""
    folder = tmp_path_factory.mktemp("nets")
    keras.utils.set_random_seed(0)
    for classes in (2, 3):
        small((32, 32, 3), classes).save(folder / f"{classes}.keras")
    return folder / "2.keras"


@pytest.fixture
def small_squeezenet(monkeypatch):
    """What the catalogue has under squeezenet-1.1 is the small network."""
    entry = dataclasses.replace(models.MODELS["squeezenet-1.1"], build=small)
    monkeypatch.setitem(models.MODELS, "squeezenet-1.1", entry)
