"""What LiteRT's own switches and XNNPACK's sparse kernels give: processor time of an inference, in turns, one thread.

    python benchmarks/kernels.py [--zeros 0.8]

The separable SqueezeNet 1.1 (96 x 96, 6 classes, random weights), and a network of the only shape that XNNPACK's sparse
path is made for: a first convolution of stride 2, then depthwise and 1x1 convolutions, no concatenation and no pool.
Of both a share of the 1x1 weights is zero; `sparse` is the converter's EXPERIMENTAL_SPARSITY: it writes sparse tensors.
"""

import argparse
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

from squeezekit import models
from squeezekit.cli.output import table

SIZE, CLASSES = 96, 6
SWITCHES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "latest features": {"experimental_default_delegate_latest_features": True},
    "no XNNPACK": {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zeros", type=float, default=0.8, help="Share of the weights of 1x1 convolutions.")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    squeezenet = models.build("squeezenet-1.1-separable-bypass", (SIZE, SIZE, 3), CLASSES)
    variants = []
    for name, model in (("separable SqueezeNet", squeezenet), ("only 1x1 and depthwise", plain())):
        make_zeros(model, options.zeros)
        for kind in ("dense", "sparse"):
            tflite = converted(model, sparse=kind == "sparse")
            variants += [(name, kind, switch, len(tflite), opened(tflite, switch)) for switch in SWITCHES]
    times = in_turns([variant[-1] for variant in variants], options.rounds)
    body = [
        (name, kind, switch, f"{size:,}", f"{np.median(own):.2f}")
        for (name, kind, switch, size, _), own in zip(variants, times, strict=True)
    ]
    print(table(("network", "tensors", "switch", "bytes", "CPU ms"), body, right=(3, 4)))


def plain() -> keras.Model:
    """Padded by layers of their own, as the sparse path wants it."""
    entry = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(32, 3, strides=2, activation="relu")(layers.ZeroPadding2D(1)(entry))
    for channels, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1)):
        padding = "same"
        if strides == 2:
            x, padding = layers.ZeroPadding2D(1)(x), "valid"
        x = layers.DepthwiseConv2D(3, strides=strides, padding=padding, activation="relu")(x)
        x = layers.Conv2D(channels, 1, activation="relu")(x)
    x = layers.Conv2D(CLASSES, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(entry, layers.Softmax()(layers.Flatten()(x)))


def make_zeros(model: keras.Model, share: float) -> None:
    draws = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer) is layers.Conv2D and layer.kernel_size == (1, 1):
            kernel, *rest = layer.get_weights()
            layer.set_weights([kernel * (draws.random(kernel.shape) >= share), *rest])


def converted(model: keras.Model, *, sparse: bool) -> bytes:
    # As constants: of variables the converter sees no zeros.
    trainable = [tf.constant(variable.numpy()) for variable in model.trainable_variables]
    others = [tf.constant(variable.numpy()) for variable in model.non_trainable_variables]
    module = tf.Module()
    module.run = tf.function(
        lambda image: {"answer": model.stateless_call(trainable, others, image, training=False)[0]},
        input_signature=[tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32)],
        autograph=False,
    )
    concrete = module.run.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if sparse:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    return converter.convert()


def opened(tflite: bytes, switch: str) -> Interpreter:
    interpreter = Interpreter(model_content=tflite, num_threads=1, **SWITCHES[switch])
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    picture = np.random.default_rng(0).integers(0, 256, entry["shape"]).astype(np.float32)
    interpreter.set_tensor(entry["index"], picture)
    return interpreter


def in_turns(interpreters: list[Interpreter], rounds: int, runs: int = 5) -> np.ndarray:
    """Milliseconds of the processor, (interpreters, rounds)."""
    times = np.empty((len(interpreters), rounds))
    for turn in range(rounds):
        for step in range(len(interpreters)):
            place = (turn + step) % len(interpreters)
            interpreters[place].invoke()  # the caches are another's
            before = time.process_time()
            for _ in range(runs):
                interpreters[place].invoke()
            times[place, turn] = 1000 * (time.process_time() - before) / runs
    return times


if __name__ == "__main__":
    main()
