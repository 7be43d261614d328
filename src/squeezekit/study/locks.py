"""One study at a time in a folder, one training at a time of a stage. The kernel's locks: a kill takes them along."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

__all__ = ["lock_stage", "lock_study"]

# Seconds between two looks at a lock that another study holds for minutes.
_LOOK_AGAIN = 0.5


@contextlib.contextmanager
def lock_study(out: Path) -> Iterator[None]:
    """Be the only study that writes to a folder.

    Args:
        out: the study's folder; created when missing.

    Raises:
        ValueError: another study is writing there.
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / "study.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(
            f"{out}: another study is writing there. Wait for its end or take another output folder; "
            "--cache lets both share what they train."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def lock_stage(folder: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Be the only one that trains a stage; wait for whoever does.

    Args:
        folder: the stage's.
        waiting: called once if there is someone to wait for.

    Raises:
        OSError: the folder cannot be written.
    """
    lock = filelock.FileLock(folder / "stage.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        waiting()
        lock.acquire(poll_interval=_LOOK_AGAIN)
    try:
        yield
    finally:
        lock.release()
