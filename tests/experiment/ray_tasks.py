"""What the tests of the Ray executor have workers do: functions of a module, because workers find them by name."""

import os
import threading
import time
from pathlib import Path

import ray
import study_run

from squeezekit import models
from squeezekit.errors import DataError
from squeezekit.experiment.stage_cache import train_stage

SECONDS = 300


def wait_for(path):
    """Until a file is there."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)


def meet(folder, name, other, *, progress):
    """Ends only if the other one runs at the same time."""
    (folder / name).touch()
    wait_for(folder / other)
    (folder / f"{name} ended").touch()
    return ray.get_runtime_context().get_node_id()


def after(folder, names, *, progress):
    """Whether all of them have ended."""
    return [(folder / f"{name} ended").exists() for name in names]


def touch(folder, name, *, progress):
    """A trace of having run."""
    (folder / name).touch()
    return os.environ["TF_NUM_INTRAOP_THREADS"], os.getcwd()


def refuse(*, progress):
    """Images that cannot serve."""
    raise DataError("photos: fewer than two classes")


def die(folder, times, *, progress):
    """Kill the worker, so many times."""
    turns = len(list(folder.glob("turn*")))
    (folder / f"turn{turns}").touch()
    if turns < times:
        os._exit(1)
    return turns


def linger(folder, *, progress):
    """Work until it is stopped, then put things in order."""
    try:
        # Within: Ray interrupts between any two lines of Python, also right after somebody sees this.
        (folder / "began").touch()
        wait_for(folder / "never")
    except KeyboardInterrupt:
        # Not in a `finally`: that also runs when nobody interrupts and the wait is over.
        (folder / "in order").touch()
        raise


def train_small(site, stage, *, progress):
    """`train_stage` with the small networks; AlexNet's first worker dies when its first epoch is on disk."""
    models.MODELS.update(study_run.SMALL)
    died = site.out / "died"
    if stage.network == "alexnet" and not died.exists():
        threading.Thread(target=_die_at, args=(site.folder(stage.key), died), daemon=True).start()
    return train_stage(site, stage, progress=progress)


def _die_at(folder: Path, died: Path):
    wait_for(folder / "alexnet.checkpoint.npz")
    died.touch()
    os._exit(1)
