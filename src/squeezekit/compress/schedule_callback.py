"""The callback that lets schedules proceed while a model trains."""

from typing import Any

import keras

from squeezekit.compress.apply import advance, hooked_layers
from squeezekit.compress.transform import TrainingProgress

__all__ = ["Schedule"]


class Schedule(keras.callbacks.Callback):
    """Updates the transforms of `model` between training steps, each when its settings say so.

    An update depends on the number of the step and the weights alone. So a training that goes on from a checkpoint
    (a saved model, which holds masks and codebooks) with its `initial_step` ends exactly like one never interrupted.

    Args:
        model: what `apply` returned; fitted itself, or part of the model that is fitted.
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
        """Read how many batches pass between two calls of this callback."""
        self._stride = self.model.steps_per_execution

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch's first step: batches are counted from 0 in each epoch."""
        self._first_of_epoch = self.step

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Update what is due since the last batch."""
        step = self._first_of_epoch + batch
        progress, since = TrainingProgress(step, self.total_steps), step - self._stride
        if any(transform.due(progress, since) for transform in self.transforms):
            self._advance(progress, since)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count steps, and end every schedule with the last one."""
        self.step = self._first_of_epoch + batch + 1
        if self.step >= self.total_steps:
            self._advance(TrainingProgress(self.step, self.total_steps))

    def _advance(self, progress: TrainingProgress, since: int | None = None) -> None:
        # On JAX the trainer holds the variables during an epoch; reading the callback's model brings them back, and
        # the next step takes what is assigned here.
        if self.model is not None:
            advance(self.hooked, progress, since=since)
