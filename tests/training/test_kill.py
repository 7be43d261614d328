"""A real `kill -9` in the middle of a real command."""

import json
import signal
import subprocess
import sys
import time

import pytest


def words(data, out):
    command = [sys.executable, "-m", "squeezekit", "train", str(data), "-o", str(out), "--width", "0.25"]
    return [
        *command,
        "--epochs",
        "6",
        "--batch-size",
        "16",
        "--size",
        "32",
        "--precision",
        "float32",
        "--json",
    ]


@pytest.mark.slow
def test_killed_and_called_again_a_training_ends_bitwise_the_same(stripes_folder, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(words(stripes_folder, whole), check=True, capture_output=True, timeout=300)

    process = subprocess.Popen(
        words(stripes_folder, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoint = broken / "work" / "squeezenet-1.1.checkpoint.npz"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (broken / "model.keras").exists()

    again = subprocess.run(words(stripes_folder, broken), check=True, capture_output=True, timeout=300)
    assert 0 < json.loads(again.stdout)["trainings"][0]["resumed_at"] < 6
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (whole, broken))
    assert one["trainings"][0]["curves"] == other["trainings"][0]["curves"]
    assert (whole / "model.tflite").read_bytes() == (broken / "model.tflite").read_bytes()
