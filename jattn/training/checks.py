"""Refuses options out of range: the rule, what came and the cure, in one sentence."""

import math


def whole(owner: str, name: str, value: int, least: int, cure: str) -> None:
    """Refuses what is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{owner}.{name} must be a whole number of at least {least}, got {value!r}; {cure}.")


def between(owner: str, name: str, value: float, low: float, high: float, cure: str) -> None:
    """Refuses what is not a number with low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{owner}.{name} must lie between {low:.10g} and {high:.10g}, got {value!r}; {cure}.")


def positive(owner: str, name: str, value: float, cure: str) -> None:
    """Refuses what is not a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{owner}.{name} must be a finite number above 0, got {value!r}; {cure}.")


def one_of(owner: str, name: str, value: str, choices: tuple[str, ...], cure: str) -> None:
    """Refuses what is none of the choices."""
    if value not in choices:
        named = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{owner}.{name} must be {named}, got {value!r}; {cure}.")
