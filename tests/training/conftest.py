"""A small set of images that a network can learn in seconds."""

import numpy as np
import pytest
from PIL import Image

from squeezekit import data
from squeezekit.preprocess import Preprocess


@pytest.fixture(scope="session")
def stripes_folder(tmp_path_factory):
    """Two classes: stripes that run across, and stripes that run down."""
    root = tmp_path_factory.mktemp("stripes")
    generator = np.random.default_rng(0)
    for label, axis in (("across", 0), ("down", 1)):
        (root / label).mkdir()
        for index in range(40):
            wave = np.sin(np.arange(40) * generator.uniform(0.6, 1.2) + generator.uniform(0, 6))
            picture = np.broadcast_to(np.expand_dims(wave, 1 - axis), (40, 40))
            noisy = 128 + 70 * picture + generator.normal(0, 20, (40, 40))
            grey = np.clip(noisy, 0, 255).astype(np.uint8)
            Image.fromarray(grey).convert("RGB").save(root / label / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def stripes(stripes_folder):
    return data.open_dataset(stripes_folder)


@pytest.fixture(scope="session")
def small():
    return Preprocess(32, 32, 36, 36)
