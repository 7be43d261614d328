"""Layers whose kernel passes through transforms on its way into the convolution or product.

`Conv2D.call`, `Dense.call` and their like read their kernel only through the attribute `kernel`. These
subclasses make it a property that computes it, so the transforms are part of every forward pass, of its
gradient, of compiled steps on every backend, and of the saved model.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from squeezekit.compress.transforms import Transform, to_numpy

__all__ = ["HOOKED", "REMEDIES", "HookedConv2D", "HookedDense", "HookedDepthwiseConv2D", "KernelHook"]


class KernelHook(layers.Layer):
    """What the hooked layers have in common; abstract, to be mixed in before the stock layer.

    The stored kernel is never autocast: under a mixed policy the transforms see float32, and only their
    result is cast to the compute dtype. It is not trained while a transform ignores it.

    Args:
        *args: as for the stock layer.
        transforms: transforms, or their serialized form, in the order in which they act.
        **kwargs: as for the stock layer.
    """

    stock: ClassVar[type[layers.Layer]]
    """The class that `strip` puts back."""

    channel_axes: ClassVar[tuple[int, ...]]
    """The kernel's axes that together number the output channels."""

    def __init__(
        self, *args: Any, transforms: Sequence[Transform | Mapping[str, Any]] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.transforms = _transforms(transforms)

    @classmethod
    def axes_of(cls, layer: layers.Layer) -> tuple[int, ...]:
        """Return the axes of the kernel of `layer`, stock or hooked, that number the output channels."""
        return cls.channel_axes

    @classmethod
    def take_over(cls, layer: layers.Layer, transforms: Sequence[Transform | Mapping[str, Any]]) -> None:
        """Make a built layer of the stock class one of this class where it stands.

        So every reference to it in the code of a block stays right. Its weights are made anew: copy or
        load them afterwards.

        Args:
            layer: built, and exactly of the class `stock`.
            transforms: transforms, or their serialized form, in the order in which they act.
        """
        shape, path = layer.get_build_config()["input_shape"], layer.path
        # A built layer takes no new state; Keras unlocks it for LoRA in the same way.
        layer._tracker.unlock()
        for variable in layer.variables:
            layer._untrack_variable(variable)
        # `kernel` is to be found in the new class, and so are the methods that Keras wraps in each instance.
        for name in ("kernel", "build", "quantize"):
            vars(layer).pop(name, None)
        layer.__class__ = cls
        layer.transforms = _transforms(transforms)
        with contextlib.ExitStack() as scopes:
            for name in path.split("/"):
                scopes.enter_context(keras.name_scope(name))
            layer.build(shape)
        layer._tracker.lock()

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Build the stock layer, then the transforms for its kernel."""
        super().build(input_shape)
        for transform in self.transforms:
            if not transform.built:  # one that was deserialized is
                transform.build(tuple(self._kernel.shape))

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        """Make the stored kernel a variable that no policy casts, frozen if nothing depends on it."""
        if name == "kernel":
            kwargs["autocast"] = False
            kwargs["trainable"] = not any(transform.ignores_input for transform in self.transforms)
        return super().add_weight(*args, name=name, **kwargs)

    @property
    def kernel(self) -> Any:
        """The effective kernel in the compute dtype: what the layer multiplies by."""
        weight = ops.cast(self._kernel, "float32")
        for transform in self.transforms:
            weight = transform(weight)
        return ops.cast(weight, self.compute_dtype)

    @kernel.setter
    def kernel(self, variable: Any) -> None:
        # Depthwise layers assign the variable that they make to `kernel`, others to `_kernel`.
        self._kernel = variable

    @property
    def stored_kernel(self) -> Any:
        """The variable under the transforms."""
        return self._kernel

    @property
    def stock_weights(self) -> list[Any]:
        """The variables that the stock layer has too."""
        return [self._kernel] if self.bias is None else [self._kernel, self.bias]

    def effective_kernel(self) -> np.ndarray:
        """Return what all transforms make of the stored kernel, float32, whatever the policy."""
        return self._numbers_after(len(self.transforms))

    def input_of(self, transform: Transform) -> np.ndarray:
        """Return what enters one of this layer's transforms now, float32."""
        position = next(i for i, item in enumerate(self.transforms) if item is transform)
        return self._numbers_after(position)

    def _numbers_after(self, count: int) -> np.ndarray:
        """As `kernel` goes, without what Keras does around a layer's call."""
        kernel = self._kernel
        as_stored = keras.backend.standardize_dtype(kernel.dtype) == "float32"
        weight = to_numpy(kernel if as_stored else ops.cast(kernel, "float32"))
        for transform in self.transforms[:count]:
            weight = transform.in_numpy(weight)
        return weight

    def save_own_variables(self, store: Any) -> None:
        """Store the kernel under the transforms; the stock layers would store the property."""
        store["kernel"] = to_numpy(self._kernel)
        if self.bias is not None:
            store["bias"] = to_numpy(self.bias)

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` stored."""
        self._kernel.assign(store["kernel"])
        if self.bias is not None:
            self.bias.assign(store["bias"])

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: Keras's own quantization would replace the kernel under the transforms."""
        raise ValueError(
            f"Expected a plain layer to quantize. Received: {self.name}, which has transforms; strip first."
        )

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: LoRA would add to the kernel behind the transforms."""
        raise ValueError(
            f"Expected a plain layer for LoRA. Received: {self.name}, which has transforms; strip first."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the stock layer's config with the transforms'."""
        transforms = [keras.saving.serialize_keras_object(transform) for transform in self.transforms]
        return super().get_config() | {"transforms": transforms}

    def stock_config(self) -> dict[str, Any]:
        """Return the stock layer's config alone."""
        return super().get_config()


def _transforms(items: Sequence[Transform | Mapping[str, Any]]) -> list[Transform]:
    return [
        keras.saving.deserialize_keras_object(item) if isinstance(item, Mapping) else item for item in items
    ]


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv1D(KernelHook, layers.Conv1D):
    """Conv1D with transforms before its kernel (width, in, out)."""

    stock = layers.Conv1D
    channel_axes = (-1,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv2D(KernelHook, layers.Conv2D):
    """Conv2D with transforms before its kernel (height, width, in, out)."""

    stock = layers.Conv2D
    channel_axes = (-1,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv3D(KernelHook, layers.Conv3D):
    """Conv3D with transforms before its kernel (depth, height, width, in, out)."""

    stock = layers.Conv3D
    channel_axes = (-1,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv1DTranspose(KernelHook, layers.Conv1DTranspose):
    """Conv1DTranspose with transforms before its kernel (width, out, in)."""

    stock = layers.Conv1DTranspose
    channel_axes = (-2,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv2DTranspose(KernelHook, layers.Conv2DTranspose):
    """Conv2DTranspose with transforms before its kernel (height, width, out, in)."""

    stock = layers.Conv2DTranspose
    channel_axes = (-2,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv3DTranspose(KernelHook, layers.Conv3DTranspose):
    """Conv3DTranspose with transforms before its kernel (depth, height, width, out, in)."""

    stock = layers.Conv3DTranspose
    channel_axes = (-2,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedDepthwiseConv1D(KernelHook, layers.DepthwiseConv1D):
    """DepthwiseConv1D with transforms before its kernel (width, in, multiplier)."""

    stock = layers.DepthwiseConv1D
    channel_axes = (-2, -1)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedDepthwiseConv2D(KernelHook, layers.DepthwiseConv2D):
    """DepthwiseConv2D with transforms before its kernel (height, width, in, multiplier)."""

    stock = layers.DepthwiseConv2D
    channel_axes = (-2, -1)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedDense(KernelHook, layers.Dense):
    """Dense with transforms before its kernel (in, out)."""

    stock = layers.Dense
    channel_axes = (-1,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedEinsumDense(KernelHook, layers.EinsumDense):
    """EinsumDense with transforms before its kernel, whose axes the equation names."""

    stock = layers.EinsumDense

    @classmethod
    def axes_of(cls, layer: layers.Layer) -> tuple[int, ...]:
        """Return the axes of the kernel that are axes of the output too: in "abc,cde->abde" d and e."""
        terms, output = layer.equation.split("->")
        kernel = terms.split(",")[1]
        return tuple(axis - len(kernel) for axis, label in enumerate(kernel) if label in output)


HOOKED: dict[type[layers.Layer], type[KernelHook]] = {
    hooked.stock: hooked
    for hooked in (
        HookedConv1D,
        HookedConv2D,
        HookedConv3D,
        HookedConv1DTranspose,
        HookedConv2DTranspose,
        HookedConv3DTranspose,
        HookedDepthwiseConv1D,
        HookedDepthwiseConv2D,
        HookedDense,
        HookedEinsumDense,
    )
}
"""The stock classes that can be hooked; a subclass of one of these may do anything and is not among them."""

REMEDIES: dict[type[layers.Layer], tuple[str, ...]] = {
    layers.SeparableConv1D: ("write it as DepthwiseConv1D then Conv1D",),
    layers.SeparableConv2D: ("write it as DepthwiseConv2D then Conv2D",),
}
"""What to write in place of stock layers that hold two kernels."""
