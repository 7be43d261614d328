"""What every test relies on, set before anything imports Keras, TensorFlow or Hypothesis' settings."""

import os

import hypothesis
import numpy as np
import pytest
from PIL import Image

# Unless a tester chooses otherwise: a ~/.keras must not change the backend, nor a graphics card the arithmetic.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Tests never assert on time: a shared core can stall any of them.
hypothesis.settings.register_profile("squeezekit", deadline=None, print_blob=True)
hypothesis.settings.load_profile("squeezekit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a long one that begins last keeps one process waiting for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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
