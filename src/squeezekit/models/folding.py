"""BatchNorm folded into the convolution before it: the same function in fewer layers."""

from typing import Any

import keras
import numpy as np
from keras import layers

__all__ = ["fold_batch_norm", "foldable_batch_norms"]

_FOLDABLE = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """Fold every BatchNorm that directly follows a convolution or dense layer into that layer.

    With scale s = gamma / sqrt(variance + epsilon): kernel' = kernel * s, bias' = (bias - mean) * s + beta.
    Do it before sharing or quantizing weights: folding changes them.

    Args:
        model: a functional model of stock layers.

    Returns:
        A new model with the same outputs within float error. It keeps the BatchNorms that follow other layers.

    Example:
        >>> from squeezekit.models import squeezenet
        >>> model = squeezenet((64, 64, 3), 4, norm="squeeze")
        >>> folded = fold_batch_norm(model)
        >>> any(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
        False

    Paper: Jacob et al., "Quantization and Training of Neural Networks", 2018, section 3.2.
    """
    folded_into = {norm.name: source for norm, source in _foldable_pairs(model)}
    sources = {source.name for source in folded_into.values()}

    def clone(layer: layers.Layer) -> layers.Layer:
        config: dict[str, Any] = layer.get_config()
        if layer.name in sources:
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in folded_into else layer(*args, **kwargs)

    folded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        weights = layer.get_weights()
        if weights and layer.name not in folded_into and layer.name not in sources:
            folded.get_layer(layer.name).set_weights(weights)
    for name, source in folded_into.items():
        kernel, bias = _folded_weights(source, model.get_layer(name))
        folded.get_layer(source.name).set_weights([kernel, bias])
    return folded


def foldable_batch_norms(model: keras.Model) -> list[str]:
    """The names of the BatchNorms that `fold_batch_norm` would fold.

    Example:
        >>> from squeezekit.models import squeezenet
        >>> len(foldable_batch_norms(squeezenet((64, 64, 3), 4, norm="squeeze")))
        8
    """
    return [norm.name for norm, _ in _foldable_pairs(model)]


def _foldable_pairs(model: keras.Model) -> list[tuple[layers.Layer, layers.Layer]]:
    """Each BatchNorm with the linear layer before it, where that layer feeds nothing else."""
    pairs = []
    for norm in model.layers:
        if not isinstance(norm, layers.BatchNormalization) or len(norm._inbound_nodes) != 1:
            continue
        (source, _, _) = norm.input._keras_history
        single_use = len(source._outbound_nodes) == 1
        linear = isinstance(source, _FOLDABLE) and source.activation is keras.activations.linear
        channels_last = norm.axis in (-1, len(norm.input.shape) - 1)
        if single_use and linear and channels_last:
            pairs.append((norm, source))
    return pairs


def _folded_weights(source: layers.Layer, norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of one layer that computes what `source` and then `norm` compute."""
    kernel, *rest = (np.asarray(weight, np.float64) for weight in source.get_weights())
    mean = np.asarray(keras.ops.convert_to_numpy(norm.moving_mean), np.float64)
    variance = np.asarray(keras.ops.convert_to_numpy(norm.moving_variance), np.float64)
    gamma = keras.ops.convert_to_numpy(norm.gamma) if norm.scale else np.ones_like(mean)
    beta = keras.ops.convert_to_numpy(norm.beta) if norm.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    bias = (rest[0] if rest else 0.0) - mean
    # Depthwise kernels are (h, w, channels, multiplier); outputs run channel by channel, multiplier fastest.
    scales = scale.reshape(kernel.shape[2:]) if isinstance(source, layers.DepthwiseConv2D) else scale
    return (kernel * scales).astype(np.float32), (bias * scale + beta).astype(np.float32)
