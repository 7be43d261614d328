"""Checks of the settings of techniques."""

import numbers
from collections.abc import Iterable
from typing import Any

__all__ = ["expect_bits", "expect_choice", "expect_flag", "expect_point", "expect_share", "expect_whole"]


def expect_share(name: str, value: Any, *, below_one: bool = False) -> None:
    """Raise ValueError unless `value` is a number in [0, 1], or in [0, 1) with `below_one`."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= float(value) <= 1 or (below_one and float(value) == 1):
        raise ValueError(f"Expected {name} in [0, 1{')' if below_one else ']'}. Received: {name}={value!r}.")


def expect_point(name: str, value: Any, *, least: int = 0) -> None:
    """Raise ValueError unless `value` is a whole number of steps from `least` on, or a share of a stage."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if (whole and value >= least) or (isinstance(value, float) and 0 <= value <= 1):
        return
    raise ValueError(
        f"Expected {name} as a whole number of steps from {least} on, or as a share of the stage in [0.0, 1.0]. "
        f"Received: {name}={value!r}."
    )


def expect_whole(name: str, value: Any, *, least: int = 0) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"Expected {name} as a whole number, at least {least}. Received: {name}={value!r}.")


def expect_flag(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"Expected {name} as True or False. Received: {name}={value!r}.")


def expect_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in tuple(choices):
        known = ", ".join(map(str, choices))
        raise ValueError(f"Expected {name} as one of {known}. Received: {name}={value!r}.")


def expect_bits(value: Any, bounds: Iterable[int]) -> None:
    """Raise ValueError unless `value` is a whole number between the two `bounds`, both included."""
    low, high = bounds
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not low <= int(value) <= high:
        raise ValueError(f"Expected bits as a whole number from {low} to {high}. Received: bits={value!r}.")
