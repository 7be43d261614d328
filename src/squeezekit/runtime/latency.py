"""How long the network takes for one image: one model alone, or several in turns."""

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
    """The times of a model's inferences.

    Args:
        rounds: milliseconds, float64 (rounds, runs per round), in the order of measurement.

    Example:
        >>> taken = Latency(np.array([[2.0, 3.0], [4.0, 90.0]]))
        >>> taken.median_ms, taken.round_medians_ms.tolist()
        (3.5, [2.5, 47.0])
    """

    rounds: np.ndarray

    @property
    def round_medians_ms(self) -> np.ndarray:
        """The median of each round, float64 (rounds,), which ignores single slow runs."""
        return np.median(self.rounds, axis=1)

    @property
    def median_ms(self) -> float:
        """Median over all runs."""
        return float(np.median(self.rounds))

    @property
    def p90_ms(self) -> float:
        """90th percentile over all runs."""
        return float(np.percentile(self.rounds, 90))

    @property
    def p99_ms(self) -> float:
        """99th percentile over all runs."""
        return float(np.percentile(self.rounds, 99))


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """The time of one model divided by that of another.

    Args:
        median: median over the rounds.
        low: lower end of the 95 % interval, from a bootstrap over the rounds.
        high: upper end.
    """

    median: float
    low: float
    high: float


def latency_ms(model: Model, runs: int = 50) -> float:
    """Measure the median time of one inference, from pixels in memory to probabilities.

    It does not include decoding and resizing a photo. The first runs are slower (memory allocation, caches) and do
    not count. Compare only figures that were measured together on one machine.

    Args:
        model: the model to run.
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
    """Time models in turns: in each round every model runs a few times; each round starts with another model.

    Whatever slows the machine for a while slows all of them, so ratios are more stable than milliseconds.

    Args:
        models: the models to run.
        rounds: how many rounds, at least 1.
        runs: inferences of a model in a round, at least 1.
        progress: called with (rounds done, all rounds).

    Returns:
        One for each model, in order.

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
            # A run that does not count brings the model into the caches after another one.
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
    """The ratio of two latencies from one call of `latencies`.

    Args:
        one: the numerator.
        other: the denominator, with the same number of rounds.

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
    """A picture of noise, always the same: uint8 (1, height, width, 3)."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
