"""Train with Dropout on PyTorch, whole and broken off after the first epoch: python torch_resume.py IMAGES OUT.

In a process of its own: Keras has one backend for life.
"""

import sys
from pathlib import Path

import keras
import numpy as np

from squeezekit import data, training
from squeezekit.preprocess import Preprocess
from squeezekit.training.checkpoint import Checkpoint


class Killed(Exception):
    """Stands for a `kill -9`."""


def train(dataset, folder):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(16, activation="relu")(x))
    model = keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(x))
    settings = training.Settings(epochs=2, batch_size=16, precision=training.Precision.FLOAT32)
    training.fit(model, dataset, Preprocess(16, 16, 18, 18), settings, folder=folder, name="net")
    return model.get_weights()


def main(images, out):
    dataset = data.open_dataset(images)
    whole = train(dataset, out / "whole")
    save = Checkpoint.save

    def save_and_die(self, path):
        save(self, path)
        raise Killed

    Checkpoint.save = save_and_die
    try:
        train(dataset, out / "broken")
    except Killed:
        Checkpoint.save = save
    resumed = train(dataset, out / "broken")
    same = all(np.array_equal(one, other) for one, other in zip(whole, resumed, strict=True))
    print(f"{keras.backend.backend()}: {'the same' if same else 'another result'}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
