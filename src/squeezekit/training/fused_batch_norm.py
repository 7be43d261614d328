"""BatchNorm in TensorFlow's fused kernel during a training."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

__all__ = ["fused_batch_norm"]


@contextlib.contextmanager
def fused_batch_norm(model: keras.Model) -> Iterator[None]:
    """Let the BatchNorms of `model` compute in one kernel inside the `with` block; other backends do nothing.

    Keras 3 makes BatchNorm of a dozen operations, each of which reads or writes a whole feature map. With BatchNorm
    behind every convolution a step of SqueezeNet at 32 pixels then takes 2.0 times as long
    (`benchmarks/batch_norm.py`: 289 ms against 144; two cores, batches of 128 in bfloat16). Results differ in the
    last bits of sums only.

    Args:
        model: its layers that normalize the last of four axes are changed in place, and restored at the end.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    changed = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and not layer.synchronized
    ]
    try:
        for layer in changed:
            layer.call = _fused(layer, layer.call)
        yield
    finally:
        for layer in changed:
            # So that the class's own method is called again.
            del layer.call


def _fused(layer: keras.layers.BatchNormalization, usual: Callable[..., Any]) -> Callable[..., Any]:
    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not layer.trainable or mask is not None or len(inputs.shape) != 4:
            return usual(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(layer.gamma, tf.float32),
            offset=tf.cast(layer.beta, tf.float32),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=layer.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        # The kernel estimates the population's variance; Keras keeps the batch's own.
        variance *= (count - 1) / count
        for kept, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            kept.assign(kept * layer.momentum + new * (1 - layer.momentum))
        return outputs

    return call
