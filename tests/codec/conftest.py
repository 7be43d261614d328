"""Real `.tflite` files from TensorFlow's converter, made once a session."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def keras_model():
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Input((24, 24, 3), batch_size=1),
        keras.layers.Conv2D(16, 3, activation="relu", strides=2),
        keras.layers.DepthwiseConv2D(3, activation="relu"),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(6, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    # Prune one kernel, share another, as the compression techniques do.
    generator = np.random.default_rng(5)
    convolution = model.layers[2]
    kernel, bias = convolution.get_weights()
    # Plus zero, because a negative weight times a mask's zero is -0.0, a second zero to code.
    kernel = np.round(kernel * 60) / 60 * (generator.random(kernel.shape) < 0.2) + 0.0
    convolution.set_weights([kernel.astype(np.float32), bias + generator.normal(size=64)])
    return model


def _convert(model, *, integer: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integer:
        generator = np.random.default_rng(7)
        batches = generator.random((8, 1, 24, 24, 3), np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([batch] for batch in batches)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
        return bytes(converter.convert())


@pytest.fixture(scope="session")
def float_tflite(keras_model) -> bytes:
    return _convert(keras_model, integer=False)


@pytest.fixture(scope="session")
def int8_tflite(keras_model) -> bytes:
    return _convert(keras_model, integer=True)
