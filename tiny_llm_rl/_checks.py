"""Checks of configurations: one line that names the field, its value and the remedy, before anything is compiled."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pmdtheory._checks import finite_scalar, positive_scalar, shown, unit_interval

__all__ = ["choice", "finite_scalar", "positive_scalar", "shown", "unit_interval", "whole"]


def whole(name: str, value: Any, remedy: str, *, least: int = 1, most: int | None = None) -> int:
    """The value as an int in [least, most]; TypeError for what is no integer."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {shown(value)}; {remedy}")
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be {limits}, got {value}; {remedy}")
    return int(value)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """The value, which must be one of the known names."""
    names = tuple(known)
    if value not in names:
        raise ValueError(f"{name} must be a known name, got {shown(value)}; choose one of {', '.join(names)}")
    return str(value)
