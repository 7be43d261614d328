"""The callback that lets schedules proceed while a model trains."""

from typing import Any

import keras

from squeezekit.compress.apply import advance, hooked_layers
from squeezekit.compress.transforms import Moment

__all__ = ["Schedule"]


class Schedule(keras.callbacks.Callback):
    """Updates the transforms of `model` between training steps, each when its settings say that it is due.

    Masks are chosen anew `every` so often, sharing begins at its step, all counted in `total_steps`.

    What happens at a step depends on the number of that step and on the weights alone. So a training
    that was killed and goes on from a checkpoint (a saved model, which holds masks and codebooks) with
    `initial_step` set to the checkpoint's step ends exactly like one that was never broken.

    Args:
        model: what `apply` returned. It may be fitted itself or be part of the model that is fitted.
        total_steps: number of batches of the whole stage, at least 1.
        initial_step: number of batches done before this `fit`, in [0, total_steps].

    Raises:
        ValueError: a number is out of range, or the model has no transforms.

    Example:
        >>> import numpy as np
        >>> from squeezekit.compress import Prune, apply
        >>> model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(10)])
        >>> model = apply(model, Prune(0.75, end=0.8))
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 32), "float32"), np.ones((8, 10), "float32")
        >>> _ = model.fit(x, y, batch_size=1, verbose=0, callbacks=[Schedule(model, total_steps=8)])
        >>> int((model.layers[0].effective_kernel() == 0).sum())
        240
    """

    def __init__(self, model: keras.Model, *, total_steps: int, initial_step: int = 0) -> None:
        super().__init__()
        if total_steps < 1:
            raise ValueError(f"Expected total_steps of at least 1. Received: total_steps={total_steps}.")
        if not 0 <= initial_step <= total_steps:
            raise ValueError(
                f"Expected initial_step in [0, {total_steps}]. Received: initial_step={initial_step}."
            )
        self.transforms = [transform for _, layer in hooked_layers(model) for transform in layer.transforms]
        if not self.transforms:
            raise ValueError(f"Expected a model that apply returned. Received: {model.name}, no transforms.")
        self.hooked = model
        self.total_steps = total_steps
        self.step = initial_step
        self._first_of_epoch = initial_step
        self._stride = 1

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Learn how many batches pass between two calls of this callback."""
        self._stride = self.model.steps_per_execution

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Batches are numbered anew in each epoch, steps are not."""
        self._first_of_epoch = self.step

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Update what has become due since the batch before."""
        step = self._first_of_epoch + batch
        moment, since = Moment(step, self.total_steps), step - self._stride
        if any(transform.due(moment, since) for transform in self.transforms):
            self._advance(moment, since)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count, and bring every schedule to its end with the last step."""
        self.step = self._first_of_epoch + batch + 1
        if self.step >= self.total_steps:
            self._advance(Moment(self.step, self.total_steps))

    def _advance(self, moment: Moment, since: int | None = None) -> None:
        # On JAX the variables lie in the trainer's hands during an epoch; asking the callback for its
        # model brings them back, and the next step takes up what is assigned here.
        if self.model is not None:
            advance(self.hooked, moment, since=since)
