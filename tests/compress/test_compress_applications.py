"""Three real networks that were not written here, through all techniques and out to a `.tflite`."""

import keras
import numpy as np
import pytest
from keras import applications, layers, ops

from squeezekit import compress
from squeezekit.compress.apply import hooked_layers

pytestmark = pytest.mark.slow

SIZE, CLASSES = 32, 10
SETTINGS = {"input_shape": (SIZE, SIZE, 3), "weights": None, "classes": CLASSES}

NETWORKS = {
    "MobileNetV3Small": (lambda: applications.MobileNetV3Small(**SETTINGS, alpha=0.35), 54),
    "ResNet50": (lambda: applications.ResNet50(**SETTINGS), 54),
    "EfficientNetB0": (lambda: applications.EfficientNetB0(**SETTINGS), 82),
}
"""How to make each, and how many kernels the paper's tables give it: convolutions, squeezes, the classifier."""

STOCK = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def images():
    """Black, white, noise and a gradient: what differs for a network of random weights too."""
    x = np.zeros((4, SIZE, SIZE, 3), "float32")
    x[1] = 255
    x[2] = np.random.default_rng(0).uniform(0, 255, x[2].shape)
    x[3] = np.linspace(0, 255, SIZE)[:, np.newaxis, np.newaxis]
    return x


@pytest.mark.parametrize("network", NETWORKS)
def test_a_real_network_is_pruned_shared_quantized_trained_stripped_and_exported(network, tmp_path):
    make, count = NETWORKS[network]
    keras.utils.set_random_seed(0)
    model, x = make(), images()
    normalize(model, x)
    names = [layer.name for layer in model.layers[1:]]

    squeezed = compress.apply(model, "prune(0.5, 'constant') | share(3) | quantize(8)")
    assert len(list(hooked_layers(squeezed))) == count
    before = {name: layer.effective_kernel() for name, layer in hooked_layers(squeezed)}
    # An entry of a codebook gets the gradients of all its weights: the step is kept small as a whole.
    squeezed.compile(
        keras.optimizers.SGD(1.0, global_clipnorm=1e-3),
        "sparse_categorical_crossentropy",
        run_eagerly=True,
        jit_compile=False,
    )
    squeezed.train_on_batch(x, np.arange(len(x)))

    plain = compress.strip(squeezed)
    assert [layer.name for layer in plain.layers[1:]] == names
    outputs = ops.convert_to_numpy(plain(x))
    np.testing.assert_allclose(outputs, ops.convert_to_numpy(squeezed(x)), atol=1e-6)
    assert np.ptp(outputs, axis=0).max() > 0.05, "all images are the same to this network"
    check_kernels(plain, before)
    if keras.backend.backend() == "tensorflow":
        check_export(plain, x, outputs, tmp_path / "net.tflite")


def normalize(model, x):
    """Make a deep network of random weights say something, and something different of each image, but not too surely.

    Without that BatchNorm knows its inputs all probabilities are the same or one of them is 1; and large logits
    would make large differences of the last bits of float32.
    """
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
    logits = np.log(np.maximum(ops.convert_to_numpy(model(x)), 1e-30))
    head = [layer for layer in model.layers if type(layer) in STOCK][-1]
    head.kernel.assign(head.kernel / logits.std())


def check_kernels(plain, before):
    trained = []
    for layer in plain.layers:
        if type(layer) in STOCK:
            kernel = ops.convert_to_numpy(ops.convert_to_tensor(layer.kernel))
            trained.append(not np.array_equal(kernel, before[layer.name]))
            assert np.unique(kernel).size <= 8, layer.name
            steps = kernel.astype(np.float64) / np.abs(kernel).max() * 127
            np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
            if kernel.size >= 256:  # smaller ones are not pruned
                assert np.count_nonzero(kernel == 0) >= np.floor(kernel.size / 2 + 0.5), layer.name
    assert len(trained) == len(before)
    assert any(trained)


def check_export(plain, x, outputs, path):
    export = pytest.importorskip("squeezekit.export")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    export.litert(plain, path)
    network = interpreter(str(path))
    network.allocate_tensors()
    (entry,), (result,) = network.get_input_details(), network.get_output_details()
    for image, expected in zip(x, outputs, strict=True):
        network.set_tensor(entry["index"], image[np.newaxis])
        network.invoke()
        # Float32 sums in another order; layers of random weights pass on large numbers.
        np.testing.assert_allclose(network.get_tensor(result["index"])[0], expected, atol=1e-3)
