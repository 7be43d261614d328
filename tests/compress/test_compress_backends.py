"""The battery on the other backends, each in a process of its own: Keras has one backend for life."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BATTERY = "tests/compress/test_compress_battery.py"
TESTS = ("test_each_technique_alone", "test_every_ordered_pair", "test_all_three_in_one_order")

# Compiling well costs more than these few steps: JAX shall compile fast.
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "extra"), [("jax", QUICK), ("torch", {})])
def test_the_battery_holds(backend, extra):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install 'squeezekit[{backend}]'")
    # No conftest: it is TensorFlow's, and needs what the battery does not.
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"{BATTERY}::{name}" for name in TESTS)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"} | extra,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "19 passed" in done.stdout
