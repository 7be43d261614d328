"""Layers whose kernel passes through transforms on its way into the convolution or product.

`Conv2D.call`, `Dense.call` and their like read their kernel only through the attribute `kernel`. These
subclasses make it a property that computes it, so the transforms are part of every forward pass, its
gradient, compiled steps on every backend, and the saved model.
"""

import contextlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from squeezekit.compress.transform import Transform, to_numpy

__all__ = ["HOOKED", "REMEDIES", "Chain", "KernelHook", "hook_class"]


Chain = Sequence[Transform | Mapping[str, Any]]
"""Transforms, or their serialized form, in the order in which they act."""


class KernelHook(layers.Layer):
    """What the hooked layers have in common; abstract, to be mixed in before the stock layer.

    The stored kernel is never autocast: under a mixed policy the transforms see float32, and only their
    result is cast to the compute dtype. It is not trained while a transform ignores it.

    Args:
        *args: as for the stock layer.
        transforms: in the order in which they act.
        **kwargs: as for the stock layer.
    """

    stock: ClassVar[type[layers.Layer]]
    """The class that `strip` puts back."""

    channel_axes: ClassVar[tuple[int, ...]]
    """The kernel's axes that together number the output channels."""

    def __init__(self, *args: Any, transforms: Chain = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.transforms = _transforms(transforms)

    @classmethod
    def axes_of(cls, layer: layers.Layer) -> tuple[int, ...]:
        """Return the axes of the kernel of `layer`, stock or hooked, that number the output channels."""
        return cls.channel_axes

    @classmethod
    def take_over(cls, layer: layers.Layer, transforms: Chain) -> None:
        """Turn a built layer of exactly the class `stock` into one of this class, in place.

        Every reference to it in the code of a block stays valid. Copy or load its weights afterwards: they are new.
        """
        shape, path = layer.get_build_config()["input_shape"], layer.path
        # A built layer takes no new state; Keras unlocks it for LoRA in the same way.
        layer._tracker.unlock()
        for variable in layer.variables:
            layer._untrack_variable(variable)
        # The new class has `kernel` and the methods that Keras wraps in each instance.
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
        """Make the stored kernel a variable that no policy casts, frozen if no result depends on it."""
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
        """The first `count` transforms of the stored kernel, without what Keras does around a layer's call."""
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
        raise self._has_transforms("quantize")

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: LoRA would add to the kernel behind the transforms."""
        raise self._has_transforms("add LoRA to")

    def _has_transforms(self, purpose: str) -> ValueError:
        return ValueError(
            f"Expected a plain layer to {purpose}. Received: {self.name}, which has transforms; strip first."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the stock layer's config with the transforms'."""
        transforms = [keras.saving.serialize_keras_object(transform) for transform in self.transforms]
        return super().get_config() | {"transforms": transforms}

    def stock_config(self) -> dict[str, Any]:
        """Return the stock layer's config alone."""
        return super().get_config()


def _transforms(items: Chain) -> list[Transform]:
    return [
        keras.saving.deserialize_keras_object(item) if isinstance(item, Mapping) else item for item in items
    ]


def _hooked(stock: type[layers.Layer], *channel_axes: int) -> type[KernelHook]:
    """Make the class with transforms before the kernel of `stock`; saved models know it by this name."""
    name = f"Hooked{stock.__name__}"
    content = {
        "stock": stock,
        "channel_axes": channel_axes,
        "__module__": __name__,
        "__doc__": f"{stock.__name__} with transforms before its kernel.",
    }
    made = types.new_class(name, (KernelHook, stock), exec_body=lambda space: space.update(content))
    registered: type[KernelHook] = keras.saving.register_keras_serializable(package="squeezekit")(made)
    return registered


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
    **{
        stock: _hooked(stock, *channel_axes)
        for channel_axes, stocks in (
            ((-1,), (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)),
            ((-2,), (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)),
            ((-2, -1), (layers.DepthwiseConv1D, layers.DepthwiseConv2D)),
        )
        for stock in stocks
    },
    layers.EinsumDense: HookedEinsumDense,
}
"""The stock classes that can be hooked. A subclass of one may do anything, so it is not among them."""


def hook_class(layer: layers.Layer) -> type[KernelHook] | None:
    """Return the hooked class for a stock or hooked layer; None if techniques cannot transform its kernel."""
    return type(layer) if isinstance(layer, KernelHook) else HOOKED.get(type(layer))


REMEDIES: dict[type[layers.Layer], tuple[str, ...]] = {
    layers.SeparableConv1D: ("write it as DepthwiseConv1D then Conv1D",),
    layers.SeparableConv2D: ("write it as DepthwiseConv2D then Conv2D",),
}
"""What to write in place of stock layers that hold two kernels."""
