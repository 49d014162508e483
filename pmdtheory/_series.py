"""Elementary functions and weighted sums that stay exact where the textbook forms cancel, over- or underflow."""

import math
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray

__all__ = ["BLOCK", "blocks", "exp_remainder", "log_mean_exp", "weighted_exp"]

BLOCK: Final = 8_192
"""Elements handled at once: a handful of temporaries of this size stay in the second-level cache, and a dot product
of them stays on one core (BLAS would start threads for longer ones, and wait for each of them on a busy machine)."""

_SWITCH: Final = 0.5
_COEFFICIENTS: Final = tuple(1.0 / math.factorial(k) for k in range(15, 1, -1))
_LARGE: Final = 600.0  # e^x and m e^x are both safe in float64 for x below it and any normal m
_TINY: Final = 1e-290


def blocks(size: int) -> list[slice]:
    """Consecutive slices of at most `BLOCK` elements that cover `range(size)`."""
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


def exp_remainder(x: FloatArray) -> FloatArray:
    r"""Return \(e^x - 1 - x \ge 0\) with a small relative error for every x, tiny ones included.

    The subtraction cancels for small x (it loses every digit at x = 1e-8), so there the Taylor series is
    summed; both parts are good to a few units in the last place. Overflows to inf beyond x = 709 like e^x.
    """
    x = np.asarray(x, dtype=np.float64)
    small = np.abs(x) < _SWITCH
    if small.all():
        return _taylor(x)
    with np.errstate(over="ignore"):
        direct = np.exp(x) - 1.0 - x
    if not small.any():
        return np.asarray(direct)
    return np.where(small, _taylor(np.where(small, x, 0.0)), direct)


def _taylor(x: FloatArray) -> FloatArray:
    total = x * _COEFFICIENTS[0]
    total += _COEFFICIENTS[1]
    for coefficient in _COEFFICIENTS[2:]:
        total *= x
        total += coefficient
    total *= x
    total *= x
    return total


def weighted_exp(mass: FloatArray, log_mass: FloatArray, x: FloatArray) -> FloatArray:
    """Return `mass * exp(x)` elementwise; in log space wherever one of the two factors leaves float64's range.

    `log_mass` is the logarithm of `mass`; the linear product is preferred because exp(log_mass + x) loses
    |log_mass| units in the last place. Inf only where the product itself overflows.
    """
    product = np.empty_like(x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for block in blocks(x.size):
            np.exp(x[block], out=product[block])
            product[block] *= mass[block]
            extreme = (x[block] > _LARGE) | (mass[block] < _TINY)
            if extreme.any():
                product[block] = np.where(extreme, np.exp(log_mass[block] + x[block]), product[block])
    return product


def log_mean_exp(mass: FloatArray, log_mass: FloatArray, x: FloatArray, blind: float = 0.0) -> float:
    r"""Return \(\log \sum_k m_k e^{x_k}\), masses summing to 1 - blind; exact also when the result is near zero.

    Near zero the sum is taken as \(\log(1 - \text{blind} + \sum_k m_k (e^{x_k} - 1))\) so that no digit is lost.
    """
    top = float(np.max(x))
    if top <= 1.0:
        gain = float(np.sum(mass * np.expm1(x))) - blind
        if gain > -0.5:
            return math.log1p(gain)
    terms = log_mass + x
    shift = float(np.max(terms))
    with np.errstate(under="ignore", over="ignore"):
        total = shift + math.log(float(np.sum(np.exp(terms - shift))))
        if abs(total) > 0.5:
            return total
        excess = weighted_exp(mass, log_mass, x) - mass
        excess = np.where(np.abs(x) < 1.0, mass * np.expm1(x), excess)
    return math.log1p(float(np.sum(excess)) - blind)
