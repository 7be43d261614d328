"""How sparsity grows while a stage trains: the schedules of pruning.

Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression",
2017, equation 1; in rounds of pruning and retraining: Han et al., "Learning both weights and
connections for efficient neural networks", 2015, section 3.
"""

from collections.abc import Callable

__all__ = ["SCHEDULES", "ramp_sparsity"]


def _polynomial(done: float, rounds: int) -> float:
    return 1.0 - (1.0 - done) ** 3


def _constant(done: float, rounds: int) -> float:
    return 1.0


def _iterative(done: float, rounds: int) -> float:
    # The first round opens the window, each has an equal part of it to retrain; 1e-9 forgives 0.6 / 3 < 0.2.
    return min(rounds, 1 + int(done * rounds + 1e-9)) / rounds


SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "polynomial": _polynomial,
    "constant": _constant,
    "iterative": _iterative,
}
"""By name: (share of the window from start to end, rounds) -> share of the way to the final sparsity."""


def ramp_sparsity(
    progress: float,
    final: float,
    start: float,
    end: float,
    initial: float = 0.0,
    *,
    schedule: str = "polynomial",
    rounds: int = 1,
) -> float:
    """Return the sparsity due at `progress`; the polynomial is f + (i - f) (1 - (p - start) / (end - start))^3.

    Args:
        progress: share of the stage's training that is done, in [0, 1].
        final: sparsity from `end` on, in [0, 1); exactly this number.
        start: progress at which the schedule begins; before it the sparsity is `initial`.
        end: progress at which it is complete.
        initial: sparsity at the beginning.
        schedule: one of `SCHEDULES`. Constant is complete at `start`.
        rounds: number of equal steps of the iterative schedule, the first at `start`.

    Returns:
        Sparsity in [0, 1). The polynomial is steep at first, while the network has weights to spare.

    Example:
        >>> [round(ramp_sparsity(p, 0.8, 0.0, 0.5), 3) for p in (0.0, 0.1, 0.25, 0.5, 1.0)]
        [0.0, 0.39, 0.7, 0.8, 0.8]
        >>> [ramp_sparsity(p, 0.8, 0.0, 0.5, schedule="iterative", rounds=2) for p in (0.0, 0.2, 0.25, 0.5)]
        [0.4, 0.4, 0.8, 0.8]
    """
    if progress < start:
        return initial
    done = 1.0 if progress >= end else (progress - start) / (end - start)
    way = SCHEDULES[schedule](done, rounds)
    return final if way >= 1.0 else initial + (final - initial) * way
