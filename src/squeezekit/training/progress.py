"""What a person sees of a long job: one line that is rewritten, on a terminal only."""

import os
import shutil
import sys
import time
from typing import TextIO

import keras

__all__ = ["EpochProgress", "Progress"]


class Progress:
    """A line on standard error for whatever is under way; silent where nobody watches.

    Args:
        stream: where to write; standard error by default.
        enabled: True or False; None means "when the stream is a terminal". `SQUEEZEKIT_PROGRESS=1`
            turns it on for logs too, one line a step.

    Example:
        >>> progress = Progress(enabled=False)
        >>> progress.update("packing", 1, 4)
    """

    def __init__(self, stream: TextIO | None = None, *, enabled: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        wanted = os.environ.get("SQUEEZEKIT_PROGRESS") == "1"
        self.enabled = self._terminal or wanted if enabled is None else enabled
        self._started: dict[str, float] = {}
        self._shown_at = 0.0

    def update(self, what: str, done: float, total: float, note: str = "") -> None:
        """Show that `done` of `total` of `what` is done, with the time left at the pace so far."""
        if not self.enabled:
            return
        now = time.monotonic()
        finished = done >= total
        # Ten times a second is as fast as a person reads; logs get whole lines, so far fewer.
        if not finished and now - self._shown_at < (0.1 if self._terminal else 10.0):
            self._started.setdefault(what, now - 1e-9)
            return
        self._shown_at = now
        elapsed = now - self._started.setdefault(what, now)
        share = done / total if total else 1.0
        left = f"{_clock(elapsed / share - elapsed)} left" if 0 < share < 1 and elapsed > 1 else ""
        text = f"{what}  {share:4.0%}  {note}  {left}".rstrip()
        self._write(f"{what}  done in {_clock(elapsed)}  {note}".rstrip() if finished else text, finished)
        if finished:
            # A run may do a thing of this name again.
            del self._started[what]

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.enabled:
            self._write(text, True)

    def _write(self, text: str, stays: bool) -> None:
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            self._stream.write("\r\x1b[2K" + text[: columns - 1] + ("\n" if stays else ""))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


class EpochProgress(keras.callbacks.Callback):
    """Feeds a `Progress` from a Keras training.

    Args:
        progress: where to show it.
        name: what is being trained.
        steps_per_epoch: steps an epoch.
        epochs: epochs in all, those before a resume included.
        start_epoch: epochs already done.
    """

    def __init__(
        self, progress: Progress, name: str, steps_per_epoch: int, epochs: int, start_epoch: int
    ) -> None:
        super().__init__()
        self._progress = progress
        self._name = name
        self._steps_per_epoch = steps_per_epoch
        self._total = (epochs - start_epoch) * steps_per_epoch
        self._epochs = epochs
        self._start_epoch = start_epoch
        self._epoch = start_epoch
        self._validation = ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remember which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Show the running figures."""
        done = (self._epoch - self._start_epoch) * self._steps_per_epoch + batch + 1
        loss = f"loss {logs['loss']:.3f}" if logs and "loss" in logs else ""
        note = f"epoch {self._epoch + 1}/{self._epochs}  {loss}{self._validation}"
        # The last step is shown by the epoch's end, with its validation figure.
        if done < self._total:
            self._progress.update(self._name, done, self._total, note)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Show the epoch's validation accuracy from here on."""
        accuracy = (logs or {}).get("val_accuracy")
        self._validation = f"  validation {accuracy:.1%}" if accuracy is not None else ""
        done = (epoch + 1 - self._start_epoch) * self._steps_per_epoch
        self._progress.update(
            self._name, done, self._total, f"epoch {epoch + 1}/{self._epochs}{self._validation}"
        )


def _clock(seconds: float) -> str:
    """Seconds as a person reads them: 0:07, 12:30, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
