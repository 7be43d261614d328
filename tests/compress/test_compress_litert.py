"""The integers that LiteRT's converter stores are the grid that the network was trained on."""

import contextlib

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from squeezekit import compress, export

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter needs TensorFlow"
)


@pytest.mark.parametrize("per_channel", [False, True])
def test_eight_bits_reach_the_file_as_they_were_trained(per_channel, tmp_path):
    keras.utils.set_random_seed(0)
    entry = keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, activation="relu", name="conv")(layers.Rescaling(1 / 255)(entry))
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3, name="depthwise")(x))
    x = layers.Softmax()(layers.Dense(7, name="fc")(x))
    recipe = compress.Recipe(
        compress.Prune(0.5, schedule="constant", smallest=0), compress.Quantize(8, per_channel)
    )
    plain = compress.strip(compress.apply(keras.Model(entry, x), recipe))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3)).astype("float32")
    export.litert(plain, tmp_path / "net.tflite", calibration=[pixels], per_channel=per_channel)

    stored = integer_weights(tmp_path / "net.tflite")
    for name, order, channels in (
        ("conv", (3, 0, 1, 2), 0),
        ("depthwise", (3, 0, 1, 2), 3),
        ("fc", (1, 0), 0),
    ):
        kernel = keras.ops.convert_to_numpy(plain.get_layer(name).kernel.value)
        trained = kernel.transpose(order).astype(np.float64)  # to LiteRT's order: (out, height, width, in)
        others = tuple(axis for axis in range(trained.ndim) if axis != channels) if per_channel else None
        steps = trained / np.abs(trained).max(axis=others, keepdims=True) * 127
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert any(np.array_equal(np.rint(steps), values) for values in stored), name


def integer_weights(path):
    """The int8 constants of a `.tflite`."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    found = []
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] is np.int8:
            with contextlib.suppress(ValueError):  # an activation, not a constant
                found.append(interpreter.get_tensor(tensor["index"]))
    return found
