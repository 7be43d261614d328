"""Blocks: layers of a user's own class that hold further layers, and how transforms get into them.

A block's `call` is the user's code, so the block is kept: a `HookedBlock` around it turns its stock layers into
hooked ones in place. A layer in a block is known by the attribute that holds it, because Keras's own names differ from
copy to copy: `"fire2/squeeze"`, `"fire2/expand/0"` for the first of a list or of a sequential model.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras import layers
from keras.src import backend  # `compute_output_spec` traces any function; it is not exported
from keras.src.models.functional import Functional  # the class of keras.Model(inputs, outputs), not exported

from squeezekit.compress.hooked_layers import HOOKED, Chain, KernelHook

__all__ = ["HookedBlock", "is_block", "is_model", "own_variables", "parts", "plain_block", "trace"]


def _bookkeeping() -> set[str]:
    """The attributes that any layer with a layer in it has, from Keras and the backend."""
    probe = layers.Layer(name="probe")
    probe.inside = layers.Layer(name="inside")
    # On PyTorch the layers that are attributes lie in `_modules`.
    return set(vars(probe)) - {"inside", "_modules"}


_BOOKKEEPING = _bookkeeping()


def is_model(layer: layers.Layer) -> bool:
    """Whether the graph inside `layer` is known: a functional or sequential model."""
    return isinstance(layer, Functional | keras.Sequential)


def is_block(layer: layers.Layer) -> bool:
    """Whether `layer` is of a class that is not Keras's, with layers among its attributes."""
    if isinstance(layer, HookedBlock):
        return True
    if is_model(layer) or isinstance(layer, KernelHook) or type(layer).__module__.split(".")[0] == "keras":
        return False
    return next(_children(layer), None) is not None


def parts(block: layers.Layer) -> Iterator[tuple[str, layers.Layer]]:
    """Yield (path, layer) for each layer in a block that is no block or model itself, each once."""
    seen = set()

    def walk(inside: layers.Layer, prefix: str) -> Iterator[tuple[str, layers.Layer]]:
        for name, child in _children(inside):
            if id(child) in seen:
                continue
            seen.add(id(child))
            if is_block(child) or is_model(child):
                yield from walk(child, f"{prefix}{name}/")
            else:
                yield prefix + name, child

    yield from walk(block.block if isinstance(block, HookedBlock) else block, "")


def own_variables(block: layers.Layer) -> list[Any]:
    """Return the variables of a block that are in none of its parts."""
    inside = {id(variable) for _, part in parts(block) for variable in part.variables}
    return [variable for variable in block.variables if id(variable) not in inside]


def plain_block(name: str, block: layers.Layer) -> layers.Layer:
    """Return a new block of the user's class, without transforms, not built yet.

    Args:
        name: for the error message.
        block: the user's, or a `HookedBlock` around it.

    Raises:
        ValueError: the class cannot be made again from what its `get_config` returns.
    """
    origin = block.origin if isinstance(block, HookedBlock) else _Origin.of(name, block)
    try:
        copy = origin.kind.from_config(dict(origin.config))
    except Exception as error:  # whatever the user's code raises is about its config
        raise _no_config(name, origin.kind, error) from error
    if not {id(part) for _, part in parts(copy)}.isdisjoint(id(part) for _, part in parts(block)):
        raise _no_config(name, origin.kind, "the config holds the very layers of the block")
    copy.name = block.name  # not every class takes a name
    if not block.trainable:
        copy.trainable = False
    return copy


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function on symbolic tensors of the backend, in place of the `KerasTensor` among its arguments."""
    return backend.compute_output_spec(function, *args, **kwargs)


@keras.saving.register_keras_serializable(package="squeezekit")
class HookedBlock(layers.Layer):
    """A user's block with transforms before the kernels of layers in it.

    The layers are hooked at the first call, when all of them exist. To load a saved model with such a block,
    register the block's class with Keras.

    Args:
        block: a new block, not built, or its serialized form.
        transforms: {path of a layer in the block: transforms or their serialized form}.
        **kwargs: as for any layer.
    """

    def __init__(
        self, block: layers.Layer | Mapping[str, Any], transforms: Mapping[str, Chain], **kwargs: Any
    ) -> None:
        if isinstance(block, Mapping):
            block = keras.saving.deserialize_keras_object(block)
        settings = {"name": block.name, "trainable": block.trainable, "dtype": block.dtype_policy} | kwargs
        # The block casts what it is given as it sees fit.
        super().__init__(**settings | {"autocast": False})
        # Taken now, because a config that holds layers would hold hooked ones later.
        self.origin = _Origin.of(self.name, block)
        self._serialized = _Untracked(keras.saving.serialize_keras_object(block))
        # Keras must not track the transforms here: they are state of the layers that they go to.
        self._waiting = _Untracked({path: list(chain) for path, chain in transforms.items()})
        self.supports_masking = block.supports_masking
        self.block = block

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Hook the layers if this is the first call, then do what the block does."""
        if self._waiting.content:
            self._hook((inputs, *args), kwargs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what the block does."""
        return self.block(inputs, *args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return shape and dtype of what the block returns."""
        return self.block.compute_output_spec(*args, **kwargs)

    def compute_output_shape(self, *shapes: Any) -> Any:
        """Return the shape of what the block returns, also for a block without a rule of its own."""
        inputs = keras.tree.map_shape_structure(
            lambda shape: keras.KerasTensor(shape, self.compute_dtype), shapes
        )
        outputs = self.block.compute_output_spec(*inputs)
        return keras.tree.map_structure(lambda tensor: tensor.shape, outputs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """Return the mask of what the block returns."""
        return self.block.compute_mask(inputs, previous_mask)

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Leave building to the first call, which knows all arguments of the block."""

    def get_config(self) -> dict[str, Any]:
        """Return the plain block's config with the transforms'."""
        chains = self._waiting.content or {
            path: part.transforms for path, part in parts(self) if isinstance(part, KernelHook)
        }
        serialize = keras.saving.serialize_keras_object
        return super().get_config() | {
            "block": self._serialized.content,
            "transforms": {
                path: [item if isinstance(item, Mapping) else serialize(item) for item in chain]
                for path, chain in chains.items()
            },
        }

    def _hook(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        args, kwargs = keras.tree.map_structure(_symbolic, (args, dict(kwargs)))
        self.block(*args, **kwargs)
        if any(not part.built for _, part in parts(self)):
            # A block with a shape rule of its own was not called to know what it returns.
            trace(self.block, *args, **kwargs)
        found = dict(parts(self))
        for path, chain in self._waiting.content.items():
            part = found.get(path)
            kind = HOOKED.get(type(part))
            if part is None or kind is None:
                raise ValueError(
                    f"Expected a block that its config rebuilds. Received: {self.name} of the kind "
                    f"{type(self.block).__name__}, without the layer {path}."
                )
            kind.take_over(part, chain)
        self._waiting.content = {}


@dataclasses.dataclass(slots=True)
class _Untracked:
    """Hides its content from Keras, which tracks and wraps lists and dicts."""

    content: Any


@dataclasses.dataclass(frozen=True, slots=True)
class _Origin:
    """What makes a new block like the one that the user made."""

    kind: type[layers.Layer]
    config: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, block: layers.Layer) -> "_Origin":
        try:
            return cls(type(block), block.get_config())
        except Exception as error:  # whatever the user's code raises is about its config
            raise _no_config(name, type(block), error) from error


def _no_config(name: str, kind: type[layers.Layer], reason: Any) -> ValueError:
    words = " ".join(str(reason).split()).partition(" Example:")[0]  # Keras adds one of many lines
    return ValueError(
        "Expected a block whose class can be made again from its get_config(). "
        f"Received: {name} of the kind {kind.__name__} ({words})"
    )


def _symbolic(argument: Any) -> Any:
    """A symbolic tensor like `argument`, with no place in the graph of a model; other values as they are."""
    if isinstance(argument, keras.KerasTensor) or keras.ops.is_tensor(argument):
        return keras.KerasTensor(argument.shape, backend.standardize_dtype(argument.dtype))
    return argument


def _children(layer: layers.Layer) -> Iterator[tuple[str, layers.Layer]]:
    """Yield (name, layer) for the layers that `layer` holds directly, in lists and dicts too."""
    if is_model(layer):
        for position, child in enumerate(layer.layers):
            yield str(position), child
        return

    def walk(name: str, value: Any) -> Iterator[tuple[str, layers.Layer]]:
        if isinstance(value, layers.Layer):
            yield name, value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from walk(f"{name}/{key}", item)
        elif isinstance(value, list | tuple):
            for position, item in enumerate(value):
                yield from walk(f"{name}/{position}", item)

    for name, value in vars(layer).items():
        if name == "_modules":
            for inner, item in value.items():
                yield from walk(inner, item)
        elif name not in _BOOKKEEPING:
            yield from walk(name, value)
