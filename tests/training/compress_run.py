"""For the test of kills: the same recipe on the same small network, in a process of its own."""

import sys
from pathlib import Path

import keras
import numpy as np

from squeezekit import compress, data, training
from squeezekit.preprocess import Preprocess


def main(images: str, folder: str) -> None:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(pixels)
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Dense(2, name="classes")(x)
    model = keras.Model(pixels, keras.layers.Softmax(dtype="float32")(x))
    done = training.compress_in_stages(
        model,
        compress.parse("prune(0.6, smallest=0) | share(bits=3) | quantize(8)"),
        data.open_dataset(images),
        Preprocess(32, 32, 36, 36),
        training.Settings(epochs=4, batch_size=8, precision=training.Precision.FLOAT32),
        folder=Path(folder),
    )
    np.savez(Path(folder) / "weights.npz", *done.model.get_weights())


if __name__ == "__main__":
    main(*sys.argv[1:])
