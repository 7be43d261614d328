"""The display of a long job: one line that is rewritten, on a terminal only."""

import os
import shutil
import sys
import time
from typing import TextIO

import keras

__all__ = ["EpochProgress", "Progress"]


class Progress:
    """Shows on one line what is under way and how far it is.

    Args:
        stream: where to write; standard error by default.
        enabled: None shows it if the stream is a terminal, or with `SQUEEZEKIT_PROGRESS=1` in the environment, for
            logs.

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
            # A later job may have the same name.
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
    """Shows a Keras training on a `Progress`.

    Args:
        progress: the display.
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
        self._done = 0
        self._validation = ""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Show the running loss."""
        self._done += 1
        # The end of the epoch shows the last step, with its validation accuracy.
        if self._done < self._total:
            self._show(f"  loss {logs['loss']:.3f}" if logs and "loss" in logs else "")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Show the validation accuracy from here on."""
        accuracy = (logs or {}).get("val_accuracy")
        self._validation = f"  validation {accuracy:.1%}" if accuracy is not None else ""
        self._show()

    def _show(self, note: str = "") -> None:
        epoch = self._start_epoch + (self._done - 1) // self._steps_per_epoch + 1
        note = f"epoch {epoch}/{self._epochs}{note}{self._validation}"
        self._progress.update(self._name, self._done, self._total, note)


def _clock(seconds: float) -> str:
    """Seconds as a person reads them: 0:07, 12:30, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
