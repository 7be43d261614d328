"""On PyTorch a resume must restore the randomness of Dropout, which comes from PyTorch's own generator."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from squeezekit.training.fitting import _SeedEveryEpoch


def test_a_training_with_dropout_resumes_bitwise_on_pytorch(stripes_folder, tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: pip install 'squeezekit[torch]'")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("torch_resume.py"), stripes_folder, tmp_path],
        env=os.environ | {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "torch: the same"


def test_an_epochs_randomness_follows_from_seed_and_number_alone():
    def drawn(seed, epoch):
        np.random.seed(7)
        np.random.random(epoch)  # whatever was drawn before
        seeding = _SeedEveryEpoch(seed)
        seeding.on_epoch_begin(epoch)
        np.random.random()  # a loader, as it begins
        seeding.on_train_batch_begin(0)
        first = np.random.random()
        seeding.on_train_batch_begin(1)
        return first, np.random.random()

    assert drawn(3, 1) == drawn(3, 1)
    assert len(set(drawn(3, 1))) == 2
    assert len({drawn(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
