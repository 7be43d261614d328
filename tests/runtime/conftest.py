import numpy as np
import pytest
from PIL import Image

import tiny_classifiers
from squeezekit import runtime


@pytest.fixture
def model_file(tmp_path):
    """Writes a model's bytes to a file of its own: model_file(data) -> path."""

    def write(data: bytes, name: str = "model.tflite"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def colours(model_file):
    return runtime.load(model_file(tiny_classifiers.with_labels(tiny_classifiers.tflite("colours"))))


@pytest.fixture
def places(model_file):
    return runtime.load(model_file(tiny_classifiers.tflite("places"), "places.tflite"))


@pytest.fixture
def photo():
    """A picture with structure everywhere, uint8 (40, 56, 3)."""
    generator = np.random.default_rng(8)
    small = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
    return np.asarray(small.resize((56, 40), Image.Resampling.BICUBIC))
