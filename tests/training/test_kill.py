"""A real `kill -9` in the middle of a real command."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import compress_run
import numpy as np
import pytest


def words(data, out):
    options = "--width 0.25 --epochs 6 --batch-size 16 --size 32 --precision float32 --json"
    return [sys.executable, "-m", "squeezekit", "train", str(data), "-o", str(out), *options.split()]


@pytest.mark.slow
def test_killed_and_called_again_a_training_ends_bitwise_the_same(stripes_folder, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(words(stripes_folder, whole), check=True, capture_output=True, timeout=300)

    process = subprocess.Popen(
        words(stripes_folder, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def checkpoint():
        return any(broken.glob("stages/*/squeezenet-1.1.checkpoint.npz"))

    deadline = time.monotonic() + 300
    while not checkpoint() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint()
    assert not (broken / "model.keras").exists()

    again = subprocess.run(words(stripes_folder, broken), check=True, capture_output=True, timeout=300)
    assert 0 < json.loads(again.stdout)["trainings"][0]["resumed_at"] < 6
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (whole, broken))
    assert one["trainings"][0]["curves"] == other["trainings"][0]["curves"]
    assert (whole / "model.tflite").read_bytes() == (broken / "model.tflite").read_bytes()


def weights(folder):
    with np.load(folder / "weights.npz") as stored:
        return [stored[name] for name in stored.files]


def checkpoints(folder):
    """The times at which checkpoints were written, by file name."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.checkpoint.npz")}


@pytest.mark.slow
def test_a_recipe_killed_at_any_moment_goes_on_to_the_same_weights(stripes_folder, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    compress_run.main(str(stripes_folder), str(whole))
    run = [sys.executable, compress_run.__file__, str(stripes_folder), str(broken)]

    # Some checkpoints after the start, and anywhere on the way to the next: within a step, a validation, a write.
    seed = random.randrange(1000)
    moments = random.Random(seed)
    for _ in range(2):
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen, left = checkpoints(broken), moments.randint(1, 4)
        deadline = time.monotonic() + 300
        while left and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
            now = checkpoints(broken)
            if now != seen:
                seen, left = now, left - 1
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"not killed in time with seed {seed}"
    assert not (broken / "weights.npz").exists()

    subprocess.run(run, check=True, capture_output=True, timeout=300)
    np.testing.assert_equal(weights(whole), weights(broken), err_msg=f"seed {seed}")
    assert not list(Path(broken).glob(".*.npz")), "half-written checkpoints are left"
