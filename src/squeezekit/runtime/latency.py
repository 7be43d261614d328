"""How long one image takes inside the network: one model alone, or several in turn, and threads side by side."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from squeezekit.runtime.model import Model

__all__ = ["Latency", "Ratio", "latencies", "latency_ms", "noise", "ratio"]

WARM_UP_RUNS = 5
_DRAWS = 2000


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Latency:
    """What a model's inferences took.

    Args:
        rounds: milliseconds, float64 (rounds, runs of a round), in the order in which they were taken.

    Example:
        >>> taken = Latency(np.array([[2.0, 3.0], [4.0, 90.0]]))
        >>> taken.median_ms, taken.round_medians_ms.tolist()
        (3.5, [2.5, 47.0])
    """

    rounds: np.ndarray

    @property
    def round_medians_ms(self) -> np.ndarray:
        """The median of each round, float64 (rounds,): one slow run of a round does not count."""
        return np.median(self.rounds, axis=1)

    @property
    def median_ms(self) -> float:
        """Half of the runs took no longer."""
        return float(np.median(self.rounds))

    @property
    def p90_ms(self) -> float:
        """Nine runs of ten took no longer."""
        return float(np.percentile(self.rounds, 90))

    @property
    def p99_ms(self) -> float:
        """99 runs of a hundred took no longer."""
        return float(np.percentile(self.rounds, 99))


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one model takes as another.

    Args:
        median: of the rounds.
        low: 2.5 % of the medians of rounds drawn anew (bootstrap) lie below.
        high: 2.5 % lie above.
    """

    median: float
    low: float
    high: float


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
    (found,) = latencies([model], rounds=1, runs=runs)
    return found.median_ms


def latencies(
    models: Sequence[Model],
    *,
    rounds: int = 20,
    runs: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> list[Latency]:
    """Time models in turn: in each round every one runs some times, and the next round begins with another.

    Whatever slows the machine for a while slows all of them, so that ratios hold where milliseconds do not.

    Args:
        models: what to run.
        rounds: how many rounds, at least 1.
        runs: inferences of a model in a round, at least 1.
        progress: called with the rounds done and all.

    Returns:
        One a model, in their order.

    Raises:
        ValueError: `rounds` or `runs` is below 1.
    """
    for name, count in (("round", rounds), ("run", runs)):
        if count < 1:
            raise ValueError(f"Expected at least 1 {name}. Received: {name}s={count}.")
    pictures = [noise(model.input_shape) for model in models]
    found = [np.empty((rounds, runs)) for _ in models]
    for model, pixels in zip(models, pictures, strict=True):
        for _ in range(WARM_UP_RUNS):
            model.probabilities(pixels)
    for turn in range(rounds):
        for step in range(len(models)):
            place = (turn + step) % len(models)
            # One run after another's leaves the caches to it: it does not count.
            if len(models) > 1:
                models[place].probabilities(pictures[place])
            for run in range(runs):
                start = time.perf_counter()
                models[place].probabilities(pictures[place])
                found[place][turn, run] = 1000 * (time.perf_counter() - start)
        if progress is not None:
            progress(turn + 1, rounds)
    return [Latency(times) for times in found]


def ratio(one: Latency, other: Latency) -> Ratio:
    """How many times as long the first takes as the second, both of one call of `latencies`.

    Args:
        one: the numerator.
        other: the denominator; of as many rounds.

    Example:
        >>> fast, slow = Latency(np.full((20, 5), 2.0)), Latency(np.full((20, 5), 6.0))
        >>> ratio(slow, fast)
        Ratio(median=3.0, low=3.0, high=3.0)
    """
    pairs = one.round_medians_ms / other.round_medians_ms
    # Seeded, so that the same measurements give the same interval.
    drawn = np.random.default_rng(0).choice(pairs, (_DRAWS, len(pairs)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return Ratio(statistics.median(pairs.tolist()), float(low), float(high))


def noise(shape: tuple[int, int, int, int]) -> np.ndarray:
    """A picture of nothing, the same every time: uint8 of a shape (1, height, width, 3)."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
