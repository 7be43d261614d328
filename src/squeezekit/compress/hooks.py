"""Layers whose kernel passes through transforms on its way into the convolution or product.

`Conv2D.call` and `Dense.call` read their kernel only through the property `kernel`. These subclasses
compute it there, so the transforms are part of every forward pass, of its gradient, of compiled steps
on every backend, and of the saved model.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from squeezekit.compress.base import Transform, to_numpy

__all__ = ["HOOKED", "HookedConv2D", "HookedDense", "HookedDepthwiseConv2D", "KernelHook"]


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
        self.transforms: list[Transform] = [
            keras.saving.deserialize_keras_object(item) if isinstance(item, Mapping) else item
            for item in transforms
        ]

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
        return ops.cast(self._through(len(self.transforms)), self.compute_dtype)

    @kernel.setter
    def kernel(self, variable: Any) -> None:
        # Depthwise layers assign the variable that they make to `kernel`, others to `_kernel`.
        self._kernel = variable

    @property
    def stored_kernel(self) -> Any:
        """The variable under the transforms."""
        return self._kernel

    def effective_kernel(self) -> np.ndarray:
        """Return what all transforms make of the stored kernel, float32, whatever the policy."""
        return to_numpy(self._through(len(self.transforms)))

    def input_of(self, transform: Transform) -> np.ndarray:
        """Return what enters one of this layer's transforms now, float32."""
        position = next(i for i, item in enumerate(self.transforms) if item is transform)
        return to_numpy(self._through(position))

    def _through(self, count: int) -> Any:
        weight = ops.cast(self._kernel, "float32")
        for transform in self.transforms[:count]:
            weight = transform(weight)
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


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedConv2D(KernelHook, layers.Conv2D):
    """Conv2D with transforms before its kernel (height, width, in, out)."""

    stock = layers.Conv2D
    channel_axes = (-1,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedDense(KernelHook, layers.Dense):
    """Dense with transforms before its kernel (in, out)."""

    stock = layers.Dense
    channel_axes = (-1,)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedDepthwiseConv2D(KernelHook, layers.DepthwiseConv2D):
    """DepthwiseConv2D with transforms before its kernel (height, width, in, multiplier)."""

    stock = layers.DepthwiseConv2D
    channel_axes = (-2, -1)


HOOKED: dict[type[layers.Layer], type[KernelHook]] = {
    hooked.stock: hooked for hooked in (HookedConv2D, HookedDense, HookedDepthwiseConv2D)
}
"""The stock classes that can be hooked; a subclass of one of these may do anything and is not among them."""
