"""Argument checks with one voice: every message names the argument, its value and the remedy.

Letters used in the package: `A` actions, `K` reward levels, `G` groups (prompts), `n` rollouts of one group.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

__all__ = ["FloatArray", "finite_scalar", "positive_scalar", "real_vector", "shown", "unit_interval"]


def shown(value: object) -> str:
    """A value as it appears in an error message: one line, never longer than 60 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def finite_scalar(name: str, value: Any, remedy: str) -> float:
    """The value as a Python float; TypeError for what is no real number, ValueError for NaN and infinities."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or np.ndim(value) != 0 or np.iscomplexobj(value):
        raise TypeError(f"{name} must be a real number, got {shown(value)}; {remedy}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a real number, got {shown(value)}; {remedy}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}; {remedy}")
    return number


def positive_scalar(name: str, value: Any, remedy: str) -> float:
    """Like `finite_scalar`, and greater than zero."""
    number = finite_scalar(name, value, remedy)
    if number <= 0.0:
        raise ValueError(f"{name} must be greater than zero, got {number}; {remedy}")
    return number


def unit_interval(name: str, value: Any, remedy: str) -> float:
    """Like `finite_scalar`, and in [0, 1]."""
    number = finite_scalar(name, value, remedy)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {number}; {remedy}")
    return number


def real_vector(
    name: str, value: ArrayLike | Sequence[float], remedy: str, *, ndim: int = 1
) -> tuple[FloatArray, float]:
    """The value as a contiguous float64 copy `[A]`, with the machine epsilon of the dtype it came in.

    TypeError for strings, complex numbers and objects; ValueError for another rank, no entries or NaN.
    Infinities are left to the caller, for whom -inf can be a legal log-probability.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is ragged, got {shown(value)}; {remedy}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got {shown(value)}; {remedy}")
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name} must be a non-empty array of {ndim} axes, got shape {array.shape}; {remedy}")
    eps = float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else float(np.finfo(np.float64).eps)
    result = np.array(array, dtype=np.float64, order="C")  # a copy: what is checked must not change behind our back
    if np.isnan(result).any():
        index = tuple(int(i) for i in np.argwhere(np.isnan(result))[0])
        raise ValueError(f"{name} holds NaN at index {index if ndim > 1 else index[0]}; {remedy}")
    return result, eps
