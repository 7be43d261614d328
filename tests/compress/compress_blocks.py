"""Blocks: layers of a user's own class with stock layers in them, of many kinds."""

import compress_nets as nets
import keras
from keras import layers, ops


def registered(kind):
    return keras.saving.register_keras_serializable(package="blocks")(kind)


@registered
class Fire(layers.Layer):
    """Layers made in `__init__` and built by the first call, names left to Keras."""

    def __init__(self, squeeze, expand, **kwargs):
        super().__init__(**kwargs)
        self.squeeze = layers.Conv2D(squeeze, 1, activation="relu")
        self.expand = [layers.Conv2D(expand, size, padding="same", activation="relu") for size in (1, 3)]
        self.settings = {"squeeze": squeeze, "expand": expand}

    def call(self, x):
        x = self.squeeze(x)
        return ops.concatenate([branch(x) for branch in self.expand], axis=-1)

    def get_config(self):
        return super().get_config() | self.settings


@registered
class Late(layers.Layer):
    """Layers made and built in `build`, a weight and a shape rule of its own, and something to do in training."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        self.gain = self.add_weight(name="gain", shape=(input_shape[-1],), initializer="ones")
        self.down = layers.Conv2D(self.filters, 3, strides=2, use_bias=False)
        self.down.build(input_shape)  # the sizes of what comes after are not worked out:
        self.mix = layers.DepthwiseConv2D(3, padding="same")
        self.mix.build((None, None, None, self.filters))
        self.norm = layers.BatchNormalization()
        self.norm.build((None, None, None, self.filters))
        self.drop = layers.Dropout(0.2, seed=7)

    def call(self, x, training=False):
        return self.drop(self.norm(self.mix(self.down(x * self.gain)), training=training))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], (input_shape[1] - 1) // 2, (input_shape[2] - 1) // 2, self.filters)

    def get_config(self):
        return super().get_config() | {"filters": self.filters}


@registered
class Tower(keras.Model):
    """A sub-classed model with a block, a sequential model and a dict of layers in it."""

    def __init__(self, width):
        super().__init__(name="tower")
        self.width = width
        self.fire = Fire(width, width)
        self.body = keras.Sequential([layers.Conv2D(width, 3), layers.GlobalAveragePooling2D()])
        self.heads = {"class": layers.Dense(nets.CLASSES, activation="softmax")}

    def call(self, x):
        return self.heads["class"](self.body(self.fire(x)))

    def get_config(self):
        return {"width": self.width}


@registered
class Apart(layers.Layer):
    """Takes two tensors and a setting, gives back two."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(4), layers.EinsumDense("bc,cd->bd", 4)

    def call(self, x, other, *, sign=1.0):
        return self.left(x) + sign * self.right(other), self.right(x)


@registered
class Perceptron(layers.Layer):
    """Without a single setting; compiles fast."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.outer = layers.Dense(8, activation="relu"), layers.Dense(nets.CLASSES)

    def call(self, x):
        return self.outer(self.hidden(x))


class Closed(layers.Layer):
    """Cannot be made again: what it is made of is no setting."""

    def __init__(self, conv):
        super().__init__(name="closed")
        self.conv = conv

    def call(self, x):
        return self.conv(x)


class Forgetful(Fire):
    """Is made again with other sizes."""

    def get_config(self):
        return super().get_config() | {"expand": 3}


class Generous(Closed):
    """Its config holds the layer itself: the copy would be the original."""

    def get_config(self):
        return {"conv": self.conv}


class Wrong(Closed):
    def get_config(self):
        return {"name": "closed"}


class Scaled(Fire):
    """A matrix of its own besides the layers in it."""

    def build(self, input_shape):
        self.matrix = self.add_weight(name="matrix", shape=(input_shape[-1], 2))
        self.squeeze.build(input_shape)

    def call(self, x):
        return super().call(x)


@registered
class Mixed(layers.Layer):
    """A block with a layer that no technique takes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(4, 1)
        self.apart = layers.SeparableConv2D(4, 1)

    def call(self, x):
        return self.apart(self.conv(x))
