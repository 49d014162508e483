r"""The multiplier of a law with very many reward levels: binned first, then refined over every level.

A first \(\lambda\) comes from at most 4,096 bins, each with its conditional mean and variance, with an error of the
fourth power of the bin width. Two passes over all levels, seldom three, then correct it. Within a pass the tilt is not
computed by `wrightomega` (50-95 ns a level) but started from a table of \(\log\omega\) with linear interpolation, good
to 5e-5, and finished by one step of fourth order, whose error is below rounding. Everything runs in blocks that stay
in cache.
"""

import math
from functools import cache
from typing import Final

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory._multiplier import Root, positive_root
from pmdtheory._series import blocks, exp_remainder, log_mean_exp

__all__ = ["LARGE", "large_root"]

LARGE: Final = 4_096
_BINS: Final = 4_096
_LOW: Final = -24.0  # below: log omega = z - e^z within 1e-21
_HIGH: Final = 600.0  # above, or where masses are subnormal, the caller takes the general path
_STEP: Final = 1.0 / 24.0
_PASSES: Final = 12


@cache
def _table() -> tuple[FloatArray, FloatArray]:
    """Intercepts and slopes of the piecewise linear log omega(z), z in [_LOW, _HIGH]."""
    knots = _LOW + _STEP * np.arange(round((_HIGH - _LOW) / _STEP) + 2)
    value = np.log(special.wrightomega(knots))
    slope = np.diff(value) / _STEP
    return value[:-1] - slope * knots[:-1], slope


def large_root(mass: FloatArray, log_mass: FloatArray, x: FloatArray, shift: float) -> Root | None:
    """Root of E e^v = 1 for many levels, or None where the law lies outside the table's range.

    Args:
        mass: `[K]`, all normal floats.
        log_mass: `[K]`, their logarithms.
        x: `[K]`, targets r/tau - b, nats.
        shift: -E x, nats (zero for PMD-mean).
    """
    low, high = float(x.min()), float(x.max())
    if high - low > 0.5 * _HIGH or float(mass.min()) < 1e-290:
        return None
    u = _binned(mass, x, low, high, shift)
    if u is None or not _LOW < high + u < _HIGH:
        return None
    intercept, slope = _table()
    v, rise = np.empty_like(x), np.empty_like(x)
    first, last, moved = True, False, 0.0
    for evaluations in range(1, _PASSES + 1):
        weight = math.exp(u)
        sums = []
        for block in blocks(x.size):
            start = _started(x[block], u, intercept, slope) if first else v[block] - rise[block] * moved
            v[block], rise[block] = _refined(start, x[block], u)
            sums.append(_measured(mass[block], v[block], rise[block]))
        excess, reverse, pull = (math.fsum(column) for column in zip(*sums, strict=True))
        first = False
        defect = (reverse - weight - shift) / (1.0 + weight) if 0.0 <= shift <= weight else excess
        total = math.log1p(defect)
        if last:
            return Root(u, 1.0, v, total, evaluations, True)
        moved = total / pull
        last = abs(moved) < 1e-7
        u += moved
    return None


def _binned(mass: FloatArray, x: FloatArray, low: float, high: float, shift: float) -> float | None:
    """Log lambda of the law with its levels gathered into bins, each at its conditional mean and with its variance.

    The variance within a bin adds half of it times rho'' = rho/(1 + w)^3 to the bin's mass; one Newton step for that
    leaves an error of the fourth power of the bin width.
    """
    bins = min(_BINS, max(64, x.size // 32))
    scale = (bins - 1) / (high - low)
    held, moment, square = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    for block in blocks(x.size):
        position = (x[block] - low) * scale
        index = position.astype(np.intp)
        offset = position - index  # from the bin's lower edge, in bin widths
        weighted = mass[block] * offset
        held += np.bincount(index, weights=mass[block], minlength=bins)
        moment += np.bincount(index, weights=weighted, minlength=bins)
        square += np.bincount(index, weights=weighted * offset, minlength=bins)
    some = held > 0.0
    m = held[some]
    offset = moment[some] / m
    centre = low + (np.flatnonzero(some) + offset) / scale
    gap = log_mean_exp(m, np.log(m), centre)
    if gap <= 0.0:
        return None
    root = positive_root(m, np.log(m), centre, gap=gap, shift=shift, settled=1e-4)
    if not root.converged:
        return None
    w = np.exp(root.log_ratio + root.log_multiplier)
    ratio = m * np.exp(root.log_ratio)
    variance = np.maximum(square[some] / m - offset**2, 0.0) / scale**2
    spread = 0.5 * float(np.dot(ratio, variance / (1.0 + w) ** 3))
    return root.log_multiplier + math.log1p(spread) / float(np.dot(ratio, w / (1.0 + w)))


def _started(x: FloatArray, u: float, intercept: FloatArray, slope: FloatArray) -> FloatArray:
    """A log-ratio within 5e-5 of the tilt, from the table."""
    z = np.maximum(x + u, _LOW)
    index = ((z - _LOW) * (1.0 / _STEP)).astype(np.intp)
    y = slope.take(index)
    y *= z
    y += intercept.take(index)
    y -= u
    return np.where(x + u < _LOW, x, y)


def _refined(v: FloatArray, x: FloatArray, u: float) -> tuple[FloatArray, FloatArray]:
    """One fourth-order step on v + e^(u+v) = x; returns v and w/(1+w), w = e^(u+v) at the refined v."""
    w = np.exp(v + u)
    inverse = 1.0 / (1.0 + w)
    delta = (x - v - w) * inverse
    q = w * inverse
    delta *= 1.0 - delta * (0.5 * q - delta * (0.5 * q * q - q * (1.0 / 6.0)))
    # w/(1+w) moves by q(1-q) delta; its own error only slows the outer Newton iteration
    return v + delta, q + q * inverse * delta


def _measured(m: FloatArray, v: FloatArray, rise: FloatArray) -> tuple[float, float, float]:
    """Sums of a block: E(e^v - 1), E(e^v - 1 - v), E e^v w/(1+w)."""
    remainder = exp_remainder(v)
    weighted = m * (v + remainder)
    reverse = float(np.dot(m, remainder))
    return float(weighted.sum()), reverse, float(np.dot(weighted, rise)) + float(np.dot(m, rise))
