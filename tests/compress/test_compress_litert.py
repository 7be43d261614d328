"""The integers that LiteRT stores and computes are the grids that the network was trained on."""

import contextlib
from collections import defaultdict

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

from squeezekit import compress, export
from squeezekit.compress.techniques.activations import ActivationGrid

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


def two_branches():
    """Concatenation, addition, depthwise convolution, pools and a dense end, with an activation in each form."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((16, 16, 3), name="image")
    x = layers.Rescaling(1 / 64, -2.0)(entry)
    x = layers.Conv2D(8, 3, strides=2, name="conv", activation="relu")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    one = layers.ReLU(name="one_relu")(layers.Conv2D(8, 1, name="one")(x))
    three = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    three = layers.Conv2D(8, 1, activation="relu", name="three")(three)
    x = layers.Concatenate(name="concat")([one, three])
    y = layers.Conv2D(16, 3, padding="same", name="residual")(layers.Dropout(0.1)(x))
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Conv2D(8, 1, name="linear")(x))
    return keras.Model(entry, layers.Dense(4, activation="softmax", name="fc")(x))


LITERT_CALLS = {  # operation: what Keras calls its outputs, in order
    "CONV_2D": ("conv", "one_relu", "three", "residual", "linear"),
    "DEPTHWISE_CONV_2D": ("depthwise",),
    "CONCATENATION": ("concat",),
    "ADD": ("sum_relu",),
    "MEAN": ("mean",),
    "FULLY_CONNECTED": ("fc",),
}


def discs(count, seed):
    """A disc of one of four colours on noise, and its colour's number."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 4
    images = random.integers(60, 196, (count, 16, 16, 3))
    rows, columns = np.mgrid[:16, :16]
    for image, colour in zip(images, truth, strict=True):
        inside = np.hypot(*(random.uniform(4, 12, 2)[:, None, None] - np.stack([rows, columns]))) < 5
        image[inside] = (20, 20, 20) if colour == 3 else 200 * (np.arange(3) == colour)
    return images.astype("float32"), truth


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that was trained on grids, still with them, and its integer file."""
    hooked = compress.apply(two_branches(), "quantize(8, activations=8)")
    images, truth = discs(256, seed=1)
    hooked.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    schedule = compress.Schedule(hooked, total_steps=48)
    hooked.fit(images, truth, batch_size=16, epochs=3, verbose=0, callbacks=[schedule])
    path = tmp_path_factory.mktemp("file") / "net.tflite"
    ranges = compress.activation_ranges(hooked)
    export.litert(compress.strip(hooked), path, calibration=[images[:8]], ranges=ranges)
    return hooked, ranges, path.read_bytes()


def test_the_file_has_exactly_the_ranges_that_were_trained(trained):
    _, ranges, tflite = trained
    graph = export.audit(tflite)
    assert set(graph.names) == {*LITERT_CALLS, "QUANTIZE", "MAX_POOL_2D", "SOFTMAX"}
    for kind, names in LITERT_CALLS.items():
        steps = [step for step in graph.operations if step.name == kind]
        assert len(steps) == len(names)
        # Branches may come in another order: one and three have the same range.
        for step, name in zip(steps, names, strict=True):
            low, high = ranges[name]
            (output,) = step.outputs
            assert output.scales == pytest.approx([(high - low) / 255], rel=1e-6), name
            assert output.zero_points == (round(-low / ((high - low) / 255)) - 128,), name
    (joined,) = [step for step in graph.operations if step.name == "CONCATENATION"]
    assert len({tensor.scales + tensor.zero_points for tensor in joined.inputs + joined.outputs}) == 1


def test_litert_computes_the_steps_of_the_grids(trained):
    """Tensor by tensor, in steps: LiteRT rounds its sums and biases as integers, so single steps may differ."""
    hooked, _, tflite = trained
    images, _ = discs(20, seed=2)
    grids = {layer.of[0]: layer for layer in hooked.layers if isinstance(layer, ActivationGrid)}
    names = [name for names in LITERT_CALLS.values() for name in names if name in grids]
    tap = keras.Model(hooked.input, [grids[name].output for name in names])
    expected = dict(zip(names, map(keras.ops.convert_to_numpy, tap(images)), strict=True))
    outputs = defaultdict(list)
    for step in export.audit(tflite).operations:
        outputs[step.name].append(step.outputs[0].name)
    interpreter = Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    details = {tensor["name"]: tensor for tensor in interpreter.get_tensor_details()}
    off = defaultdict(list)
    for number, image in enumerate(images):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis].astype("uint8"))
        interpreter.invoke()
        for kind, calls in LITERT_CALLS.items():
            for name, tensor in zip(calls, outputs[kind], strict=True):
                if name in expected:
                    scale, zero = details[tensor]["quantization"]
                    steps = interpreter.get_tensor(details[tensor]["index"])[0].astype(int) - zero
                    off[name].append(steps - np.rint(expected[name][number] / scale))
    assert off.keys() == expected.keys()
    assert len(off) == 8
    for name, differences in off.items():
        sizes = np.abs(differences)
        assert sizes.max() <= 3, name
        assert (sizes > 1).mean() < 0.01, name
        assert (sizes > 0).mean() < 0.15, name


def test_the_file_agrees_with_the_network_that_was_trained(trained):
    hooked, _, tflite = trained
    images, truth = discs(400, seed=3)
    expected = hooked.predict(images, verbose=0)
    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    received = []
    for image in images.astype("uint8"):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        received.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0] / 256)
    agreement = np.mean(expected.argmax(axis=1) == np.argmax(received, axis=1))
    assert np.mean(expected.argmax(axis=1) == truth) > 0.5  # it tells classes apart, so agreeing is not easy
    assert agreement >= 0.99
    assert np.abs(expected - received).mean() < 1 / 256


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
