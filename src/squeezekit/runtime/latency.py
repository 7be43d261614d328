"""How long one image takes inside the network."""

import statistics
import time

import numpy as np

from squeezekit.runtime.model import Model

__all__ = ["latency_ms"]

WARM_UP_RUNS = 5


def latency_ms(model: Model, runs: int = 50) -> float:
    """Measure the median time of one inference, from pixels in memory to probabilities.

    Decoding and resizing a photo are not in it. The first runs are slower (memory is laid out, caches
    fill) and do not count. Compare figures of one machine and one sitting only.

    Args:
        model: what to run.
        runs: how many inferences to time, at least 1.

    Returns:
        Milliseconds.

    Raises:
        ValueError: `runs` is below 1.
    """
    if runs < 1:
        raise ValueError(f"Expected at least 1 run. Received: runs={runs}.")
    pixels = np.random.default_rng(0).integers(0, 256, model.input_shape, np.uint8)
    seconds = []
    for _ in range(WARM_UP_RUNS + runs):
        start = time.perf_counter()
        model.probabilities(pixels)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP_RUNS:])
