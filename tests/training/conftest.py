"""The small set of images, opened for training."""

import pytest

from squeezekit import data
from squeezekit.preprocess import Preprocess


@pytest.fixture(scope="session")
def stripes(stripes_folder):
    return data.open_dataset(stripes_folder)


@pytest.fixture(scope="session")
def small():
    return Preprocess(32, 32, 36, 36)
