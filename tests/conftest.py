"""What every test relies on, set before anything imports Keras, TensorFlow or Hypothesis' settings."""

import os

import hypothesis

# Unless a tester chooses otherwise: a ~/.keras must not change the backend, nor a graphics card the arithmetic.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Tests never assert on time: a shared core can stall any of them.
hypothesis.settings.register_profile("squeezekit", deadline=None, print_blob=True)
hypothesis.settings.load_profile("squeezekit")
