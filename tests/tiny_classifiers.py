"""Small `.tflite` classifiers from TensorFlow's own converter, each made once a session when first asked for."""

import functools
import io
import warnings
import zipfile
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

LABELS = ("red", "green", "blue")
COLOURS = {"red": (230, 30, 20), "green": (20, 200, 40), "blue": (30, 40, 220)}
HEIGHT, WIDTH = 16, 12


def _colours(shape, *, softmax=True, batch=1):
    """Says which channel is strongest on average."""
    dense = keras.layers.Dense(3, activation="softmax" if softmax else None)
    pictures = keras.Input(shape, batch_size=batch)
    scaled = keras.layers.Rescaling(1 / 255)(pictures)
    model = keras.Model(pictures, dense(keras.layers.GlobalAveragePooling2D()(scaled)))
    dense.set_weights([8 * np.eye(shape[-1], 3, dtype=np.float32), np.zeros(3, np.float32)])
    return model


def _places(classes=7):
    """Random weights that look at every pixel, so that a picture turned or shifted gives another answer."""
    keras.utils.set_random_seed(4)
    layers = [
        keras.Input((HEIGHT, WIDTH, 3), batch_size=1),
        keras.layers.Rescaling(1 / 127.5, -1),
        keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(classes, activation="softmax"),
    ]
    return keras.Sequential(layers)


def _two_inputs():
    first, second = (keras.Input((HEIGHT, WIDTH, 3), batch_size=1) for _ in range(2))
    total = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([first, second]))
    return keras.Model([first, second], keras.layers.Dense(3, activation="softmax")(total))


def _picture_to_picture():
    picture = keras.Input((HEIGHT, WIDTH, 3), batch_size=1)
    return keras.Model(picture, keras.layers.Conv2D(2, 3)(picture))


_MODELS = {
    "colours": lambda: _colours((HEIGHT, WIDTH, 3)),
    "logits": lambda: _colours((HEIGHT, WIDTH, 3), softmax=False),
    "any batch": lambda: _colours((HEIGHT, WIDTH, 3), batch=None),
    "batch of 2": lambda: _colours((HEIGHT, WIDTH, 3), batch=2),
    "any size": lambda: _colours((None, None, 3)),
    "grey": lambda: _colours((HEIGHT, WIDTH, 1)),
    "places": _places,
    "two inputs": _two_inputs,
    "picture to picture": _picture_to_picture,
}


@functools.cache
def tflite(name: str, integers: str = "") -> bytes:
    """A model's bytes; `integers` is "uint8" or "int8" for a full-integer file with such input and output."""
    converter = tf.lite.TFLiteConverter.from_keras_model(_MODELS[name]())
    if integers:
        generator = np.random.default_rng(5)
        batches = generator.integers(0, 256, (20, 1, HEIGHT, WIDTH, 3)).astype(np.float32)
        batches[0], batches[1] = 0, 255
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([batch] for batch in batches)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(integers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bytes(converter.convert())


def with_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Append a ZIP archive as TFLite Metadata does."""
    whole = io.BytesIO(model)
    whole.seek(0, io.SEEK_END)
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return whole.getvalue()


def with_labels(model: bytes, labels=LABELS) -> bytes:
    return with_files(model, {"labels.txt": "".join(f"{label}\n" for label in labels).encode()})
