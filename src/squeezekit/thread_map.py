"""Call a function for many items in several threads: decoding and hashing happen outside Python's lock."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

Item = TypeVar("Item")
Found = TypeVar("Found")

# Items a thread takes at once: handing out a million one by one takes a gigabyte.
_CHUNK = 16


def in_threads(
    function: Callable[[Item], Found],
    items: Sequence[Item],
    progress: Callable[[int, int], None] | None = None,
) -> list[Found]:
    """Call a function for every item, two or more at a time; results come in the order of the items.

    An error of the function ends it: all items before that one are done, of those after it perhaps some.

    Args:
        function: what to call.
        items: what to call it with.
        progress: called with (items done, items in all).

    Example:
        >>> in_threads(len, ["a", "bc"])
        [1, 2]
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    found: list[Found] = []
    executor = ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 2)))
    try:
        # Decoding silences warnings for the process; this restores the caller's filters.
        with warnings.catch_warnings():
            for some in executor.map(lambda chunk: [function(item) for item in chunk], chunks):
                for one in some:
                    found.append(one)
                    if progress is not None:
                        progress(len(found), len(items))
    finally:
        executor.shutdown(cancel_futures=True)
    return found
