"""A plain Keras classifier as a `.tflite`: float32, or full-integer from a few calibration images.

Paper: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018: the integer arithmetic (section 2) and folding of BatchNorm (section 3.2), which the converter does.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from squeezekit import files
from squeezekit.compress.graph.nested_layers import HookedBlock
from squeezekit.compress.hooked_layers import KernelHook
from squeezekit.compress.transform import Inserted
from squeezekit.export import metadata
from squeezekit.export.audit import audit
from squeezekit.export.ranges import check_ranges, set_ranges
from squeezekit.preprocess import Preprocess
from squeezekit.quiet import quiet_native

__all__ = ["litert"]

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_ANYTHING = re.compile(b"")


def litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    calibration: Iterable[np.ndarray] | None = None,
    labels: Sequence[str] = (),
    preprocess: Preprocess | None = None,
    provenance: Mapping[str, Any] | None = None,
    per_channel: bool = False,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Write a network as a `.tflite` with static shapes, labels and settings inside.

    Without `calibration`: float32 (1, height, width, 3) in [0, 255] to float32 probabilities (1, classes).
    With it, integers throughout: raw uint8 pixels (scale 1, zero point 0) to uint8 probabilities (scale
    1/256, zero point 0), int8 weights q = round(127 w / max|w|), int32 biases. One scale a tensor keeps the
    values of shared and quantized weights: w = k max|w| / 127 becomes exactly k. One scale a channel is more
    accurate for networks that were never trained for it, and larger.

    A BatchNorm after a convolution is folded into it. Fold before sharing or quantizing weights
    (`models.fold_batch_norm`), because folding changes them. Not thread-safe: the process's standard error is held
    back while the converter runs, and shown only when it fails.

    Args:
        model: a functional model on the TensorFlow backend: one [0, 255] RGB image in, softmax out. A model of
            another precision is exported in float32.
        path: the file to write; it is replaced as a whole.
        calibration: float32 batches (b, height, width, 3) in [0, 255], some 100 images in all that are typical of
            what the network will see. Held in memory. In the first image the darkest value is set to 0 and the
            brightest to 255, so that the input's range is exactly that of a pixel.
        labels: one label an output, in order; none means "0", "1", ...
        preprocess: what the network expects of an image; by default the whole picture squashed to the input's size.
        provenance: where the network comes from; plain JSON values, stored in the file.
        per_channel: one weight scale an output channel instead of one a tensor. Only with `calibration`.
        ranges: trained ranges of activations (`compress.activation_ranges`), by layer, used exactly; the others
            are calibrated. Only with `calibration`.

    Raises:
        ValueError: the model is not such a classifier, still has hooks of `compress`, or cannot be expressed
            in LiteRT's operations; labels, preprocess, calibration or ranges do not fit it.
        OSError: the path cannot be written.

    Example:
        >>> import tempfile
        >>> from squeezekit.models import squeezenet
        >>> path = os.path.join(tempfile.mkdtemp(), "tiny.tflite")
        >>> litert(squeezenet((32, 32, 3), 2, width=0.1), path, labels=["cat", "dog"])
        >>> os.path.getsize(path) < 100_000
        True
    """
    height, width = _check_classifier(model)
    labels = _check_labels(labels, model.output_shape[-1])
    preprocess = preprocess or Preprocess(height, width)
    if (preprocess.height, preprocess.width) != (height, width):
        raise ValueError(
            f"Expected a preprocess for the input of {height}x{width}. "
            f"Received: {preprocess.height}x{preprocess.width}."
        )
    if (per_channel or ranges) and calibration is None:
        setting = "per_channel=True" if per_channel else "ranges"
        raise ValueError(f"Expected calibration images with {setting}: a float network has no scales.")
    check_ranges(ranges or {})
    associated = metadata.associated_files(labels, preprocess, provenance or {})
    images = None if calibration is None else _exact_range(_check_calibration(calibration, height, width))
    tflite = _convert(_as_float32(model), images, ranges or {}, per_channel=per_channel)
    _check_result(tflite, integer=images is not None)
    files.write_bytes(path, metadata.attach(tflite, model.name, associated))


def _check_classifier(model: keras.Model) -> tuple[int, int]:
    """Height and width of the input, in pixels, of a model that can be exported."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Expected Keras on TensorFlow (KERAS_BACKEND). Received: {keras.backend.backend()}."
        )
    # A subclassed model has no `inputs`, and a Sequential that was never built raises AttributeError.
    if len(getattr(model, "inputs", None) or ()) != 1 or len(model.outputs) != 1:
        raise ValueError("Expected a functional Keras model with one input and one output.")
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, KernelHook | HookedBlock | Inserted):
            raise ValueError(
                f"Expected a plain Keras model: strip it first (compress.strip). Received: hooks on {layer.name!r}."
            )
    image, output = model.inputs[0], model.outputs[0]
    if len(image.shape) != 4 or None in image.shape[1:] or image.shape[3] != 3 or "float" not in image.dtype:
        raise ValueError(
            f"Expected a float input of shape (batch, height, width, 3). Received: {image.dtype} {image.shape}."
        )
    if len(output.shape) != 2 or output.shape[1] is None:
        raise ValueError(f"Expected an output of shape (batch, classes). Received: {output.shape}.")
    for variable in model.weights:
        if "float" in variable.dtype and not np.isfinite(variable.numpy().astype(np.float32)).all():
            raise ValueError(f"Expected finite weights. Received: NaN or infinity in {variable.path}.")
    return image.shape[1], image.shape[2]


def _check_labels(labels: Sequence[str], classes: int) -> list[str]:
    labels = list(labels) or [str(index) for index in range(classes)]
    if len(labels) != classes:
        raise ValueError(f"Expected {classes} labels, one an output. Received: {len(labels)}.")
    for label in labels:
        if not label or label != label.strip() or len(label.splitlines()) != 1:
            raise ValueError(f"Expected labels of one line, without space around. Received: {label!r}.")
    if len(set(labels)) != classes:
        raise ValueError(f"Expected labels that differ. Received: {sorted(labels)}.")
    return labels


def _check_calibration(calibration: Iterable[np.ndarray], height: int, width: int) -> list[np.ndarray]:
    images: list[np.ndarray] = []
    for batch in calibration:
        pixels = np.asarray(batch, np.float32)
        if pixels.ndim != 4 or pixels.shape[1:] != (height, width, 3):
            raise ValueError(
                f"Expected batches of shape (b, {height}, {width}, 3). Received: {pixels.shape}."
            )
        # Written so that a NaN fails too.
        if not ((pixels >= 0) & (pixels <= 255)).all():
            raise ValueError("Expected calibration pixels in [0, 255]. Received: a value outside.")
        images.extend(pixels)
    if not images:
        raise ValueError("Expected at least one calibration image. Received: none.")
    return images


def _exact_range(images: list[np.ndarray]) -> list[np.ndarray]:
    """The images, with two values of the first changed to 0 and 255."""
    first = images[0].copy()
    darkest, brightest = int(first.argmin()), int(first.argmax())
    if darkest == brightest:  # all values are equal: any two will do
        brightest = first.size - 1
    first.flat[darkest], first.flat[brightest] = 0.0, 255.0
    return [first] + images[1:]


def _as_float32(model: keras.Model) -> keras.Model:
    """The model itself, or the same weights in layers that compute in float32."""
    layers = model._flatten_layers(include_self=False)
    if all(layer.compute_dtype == layer.variable_dtype == "float32" for layer in layers):
        return model

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    plain = keras.models.clone_model(model, clone_function=clone, recursive=True)
    plain.set_weights(model.get_weights())
    return plain


def _convert(
    model: keras.Model,
    images: list[np.ndarray] | None,
    ranges: Mapping[str, tuple[float, float]],
    *,
    per_channel: bool,
) -> bytes:
    # Weights as constants: the model's variables would stay variables in the file, unfolded.
    trainable = [tf.constant(variable.numpy()) for variable in model.trainable_variables]
    others = [tf.constant(variable.numpy()) for variable in model.non_trainable_variables]

    def classify(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs, _ = model.stateless_call(trainable, others, image, training=False)
        return {"probabilities": outputs}

    module = tf.Module()
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    module.classify = tf.function(classify, input_signature=[signature], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.classify.get_concrete_function()], module
    )
    if images is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
        # The converter still uses float where an operation has no integer kernel; `_check_result` refuses that.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        # There is no public switch for this.
        converter._experimental_disable_per_channel = not per_channel
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
        if ranges:
            # The converter's own two steps, with the ranges set in between. Its own way to set ranges, fake
            # quantization in the graph, takes no calibration for the others, and only weights per channel.
            converter._experimental_calibrate_only = True
            calibrated = set_ranges(bytes(_quietly(converter.convert)), model, ranges, images)
            return _quietly(
                lambda: mlir_quantize(
                    calibrated,
                    disable_per_channel=not per_channel,
                    disable_per_channel_for_dense_layers=not per_channel,
                    input_data_type=tf.uint8,
                    output_data_type=tf.uint8,
                )
            )
    return _quietly(converter.convert)


def _quietly(convert: Callable[[], bytes]) -> bytes:
    """Run the converter; what it prints matters only when it fails."""
    with quiet_native(_ANYTHING) as log:
        try:
            return convert()
        # The converter's own errors have no public class; whatever it raises is about this network.
        except Exception as error:
            log.seek(0)
            lines = [*str(error).splitlines(), *log.read().decode("utf-8", "replace").splitlines()]
            reason = next((line.strip() for line in lines if "error:" in line), (lines or [repr(error)])[0])
            raise ValueError(
                f"Expected a network that LiteRT can express. The converter says: {reason}"
            ) from error


def _check_result(tflite: bytes, *, integer: bool) -> None:
    """Raise a `ValueError` unless the converter wrote what `litert` describes."""
    graph = audit(tflite)
    steps = [name for name in graph.names if name not in _CONVERSIONS]
    if not steps or steps[-1] != "SOFTMAX":
        raise ValueError(
            f"Expected a classifier that ends in softmax. Received: {(steps or ['nothing'])[-1]}."
        )
    if not integer:
        return
    floating = [step.name for step in graph.float_operations]
    if floating:
        # The conversions around it follow from it.
        cause = next((name for name in floating if name not in _CONVERSIONS), floating[0])
        raise ValueError(
            f"Expected operations that LiteRT has for integers. Received: {cause}, which is float."
        )
    for tensor, scale in ((graph.inputs[0], 1.0), (graph.outputs[0], 1 / 256)):
        if (tensor.dtype, tensor.scales, tensor.zero_points) != ("uint8", (scale,), (0,)):
            raise ValueError(
                f"Expected {tensor.name} as uint8 with scale {scale} and zero point 0. "
                f"Received: {tensor.dtype}, {tensor.scales}, {tensor.zero_points}."
            )
