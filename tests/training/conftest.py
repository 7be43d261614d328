"""A small set of images, opened for training, and trainings that die."""

import contextlib

import pytest

from squeezekit import data
from squeezekit.preprocess import Preprocess
from squeezekit.training.checkpoint import Checkpoint


class Killed(Exception):
    """Stands for a `kill -9` right after a checkpoint was written."""


@pytest.fixture
def killed_at(monkeypatch):
    """killed_at(n): a `with` block in which the training dies when its n-th checkpoint is written."""

    @contextlib.contextmanager
    def killed(count):
        save, saved = Checkpoint.save, []

        def save_and_die(self, path):
            save(self, path)
            saved.append(path)
            if len(saved) == count:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", save_and_die)
            try:
                yield
            except Killed:
                return
        pytest.fail(f"{len(saved)} checkpoints and no kill")

    return killed


@pytest.fixture(scope="session")
def stripes(stripes_folder):
    return data.open_dataset(stripes_folder)


@pytest.fixture(scope="session")
def small():
    return Preprocess(32, 32, 36, 36)
