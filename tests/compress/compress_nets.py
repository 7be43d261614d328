"""Small networks with everything that real ones have, and a few steps of training."""

import keras
import numpy as np
from keras import layers

from squeezekit import compress

CLASSES = 5


def fire_net(seed=0, batch_norm=False):
    """A fire module's concat, a depthwise layer, a nested functional block and a nested sequential head."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((10, 10, 3))
    x = layers.Conv2D(16, 3, activation="relu", name="conv1")(pixels)
    if batch_norm:
        x = layers.BatchNormalization(name="norm")(x)
    left = layers.Conv2D(16, 1, activation="relu", name="expand1x1")(x)
    right = layers.Conv2D(16, 3, padding="same", activation="relu", name="expand3x3")(x)
    x = layers.Concatenate(name="concat")([left, right])
    inside = keras.Input((8, 8, 32))
    block = keras.Model(inside, layers.DepthwiseConv2D(3, name="depthwise")(inside), name="block")
    x = layers.GlobalAveragePooling2D()(block(x))
    head = keras.Sequential(
        [keras.Input((32,)), layers.Dense(CLASSES, name="fc")],
        name="head",
    )
    return keras.Model(pixels, keras.ops.softmax(head(x)), name="net")


def tiny_net(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation="softmax", name="fc"),
        ],
        name="tiny",
    )


KERNELS = ("conv1", "expand1x1", "expand3x3", "block/depthwise", "head/fc")


def batch(count=8, seed=1):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 10, 10, 3)).astype("float32"), random.integers(0, CLASSES, count)


EAGER = {"run_eagerly": True, "jit_compile": False}
"""Tracing a step costs more than running four: compiled steps are tried where compiling is the question."""
GRAPH = {"jit_compile": False}
COMPILED = {"jit_compile": keras.backend.backend() == "jax"}
"""As the backend compiles steps fastest: a TensorFlow graph, JAX's jit; PyTorch has none that is quick to make."""
JIT = {"jit_compile": True}


def compiled(model, how=EAGER):
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", **how)
    return model


def fit(model, steps=4, how=EAGER):
    """Train `steps` steps of two images each, with the schedule that the model's techniques need."""
    x, y = batch(2 * steps)
    schedule = compress.Schedule(model, total_steps=steps)
    compiled(model, how).fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=[schedule])
    return model


def outputs(model):
    return np.asarray(keras.ops.convert_to_numpy(model(batch()[0])))


def plain_kernels(model, prefix=""):
    """{name: kernel} of a stripped model, float32 arrays."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= plain_kernels(layer, f"{prefix}{layer.name}/")
        elif type(layer) in (layers.Conv2D, layers.Dense, layers.DepthwiseConv2D):
            found[prefix + layer.name] = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(layer.kernel))
    return found


def fit_plain(model, how=EAGER):
    """One step of training of a model without transforms."""
    x, y = batch(2)
    before = outputs(model)
    compiled(model, how).fit(x, y, verbose=0)
    assert not np.array_equal(before, outputs(model))
    return model
