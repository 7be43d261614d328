import pytest
from PIL import Image

import tiny_classifiers
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
