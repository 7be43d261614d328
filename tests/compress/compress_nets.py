"""Small networks with everything that real ones have, a few steps of training, and single transforms on a kernel."""

import keras
import numpy as np
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.hooked_layers import KernelHook
from squeezekit.compress.techniques.share import Codebook

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
    hooked = any(isinstance(layer, KernelHook) for layer in model._flatten_layers())
    schedules = [compress.Schedule(model, total_steps=steps)] if hooked else []
    compiled(model, how).fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=schedules)
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


def shaken(model, seed=0):
    """The model with biases and statistics that are not zero: a removed channel must take them with it."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(size=shape) * 0.1)
            layer.moving_variance.assign(random.uniform(0.5, 2, shape))
            if layer.beta is not None:
                layer.beta.assign(random.normal(size=shape))
        elif isinstance(layer, layers.Conv2D | layers.Dense | layers.DepthwiseConv2D) and layer.use_bias:
            layer.bias.assign(random.normal(size=layer.bias.shape) * 0.1)
    return model


def residual_net(seed=0):
    """An inverted residual with BatchNorm and depthwise layers, squeeze and excite, and ops in the graph."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((10, 10, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(pixels)
    x = trunk = layers.BatchNormalization(name="stem_norm")(x)
    for index in (1, 2):
        y = layers.Conv2D(24, 1, activation="hard_silu", name=f"expand{index}")(x)
        y = layers.ZeroPadding2D()(y)
        y = layers.DepthwiseConv2D(3, use_bias=index == 1, name=f"depthwise{index}")(y)
        y = layers.LeakyReLU()(layers.BatchNormalization(name=f"norm{index}")(y))
        z = layers.Reshape((1, 1, 24))(layers.GlobalAveragePooling2D()(y))
        z = layers.Conv2D(8, 1, activation="relu", name=f"excite{index}")(z)
        z = layers.Conv2D(24, 1, name=f"gate{index}")(z)
        y = layers.Multiply()([y, layers.ReLU(6.0)(z + 3.0) * (1 / 6)])
        x = layers.Add()([layers.Conv2D(16, 1, name=f"project{index}")(y), x])
    x = ops.concatenate([x, trunk], axis=-1)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="twice")(layers.MaxPooling2D(2)(x))
    x = layers.Dense(20, activation="tanh", name="everywhere")(x)
    x = layers.Dense(12, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(pixels, layers.Dense(CLASSES, name="fc")(layers.Dropout(0.1)(x)))


def logits(model, seed=1):
    """Outputs before a softmax: it would hide differences."""
    images = np.random.default_rng(seed).normal(size=(4, *model.input_shape[1:])).astype("float32")
    inside = model
    if model.layers[-1].__class__ is layers.Softmax:
        inside = keras.Model(model.input, model.layers[-1].input)
    return ops.convert_to_numpy(inside(images))


def widths(model):
    """{name: number of output channels} of every convolution and product, nested ones too."""
    return {
        layer.name: layer.kernel.shape[-1]
        for layer in model._flatten_layers()
        if isinstance(layer, layers.Conv2D | layers.Dense) and not isinstance(layer, layers.DepthwiseConv2D)
    }


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(transform, weight):
    transform.build(weight.shape)
    transform.adapt(weight)
    return transform


def book(weight, *args, **settings):
    return built(Codebook(compress.ShareWeights(*args, **settings)), weight)


def kernel_gradient(transform, weight, upstream):
    return gradient(transform, weight, upstream, of="kernel")


def gradient(transform, weight, upstream, of=None):
    """What SGD with rate 1 takes from the kernel (or codebook) for the loss sum(upstream * kernel).

    Through a whole Keras step, so that it runs on every backend.
    """
    size = weight.size
    model = keras.Sequential([keras.Input((size,)), layers.Dense(1, use_bias=False, name="fc")])
    hooked = compress.apply(model, compress.Quantize(8))
    layer = hooked.get_layer("fc")
    layer = type(layer).from_config(layer.stock_config() | {"transforms": [transform]})
    hooked = keras.Sequential([keras.Input((size,)), layer])
    layer.stored_kernel.assign(weight.reshape(size, 1))
    hooked.compile(keras.optimizers.SGD(1.0), loss=lambda _, guess: ops.sum(guess), jit_compile=False)
    variable = transform.codebook if isinstance(transform, Codebook) and of is None else layer.stored_kernel
    before = ops.convert_to_numpy(variable.value).copy()
    hooked.train_on_batch(upstream.reshape(1, size), np.zeros((1, 1), "float32"))
    return before - ops.convert_to_numpy(variable.value)
