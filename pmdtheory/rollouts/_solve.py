r"""PMD-mean for many laws of one size at once: Newton's method in \(\log\lambda\) on arrays `[G, K]`.

The root of \(E[e^v - 1 - v] = \lambda\) is sought, which is (1 + lambda)(mass - 1) = 0 by the mean of the equation and
has terms of one sign (C1, C4), between the two ends of C7's bracket.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory._series import exp_remainder
from pmdtheory.lambertw import tilt

__all__ = ["log_mean_exp", "solve_groups"]

_STEPS: Final = 100
_BLOCK: Final = 1 << 18  # entries of the groups that are solved together: their temporaries stay small


def log_mean_exp(mass: FloatArray, a: FloatArray) -> FloatArray:
    r"""\(\log\sum_j m_j e^{a_j}\) `[G]` for centred `[G, K]`; the digits of weak signals are kept."""
    held = np.where(mass > 0.0, a, -np.inf)
    top = held.max(axis=1)
    with np.errstate(under="ignore", over="ignore"):
        far = top + np.log((mass * np.exp(held - top[:, None])).sum(axis=1))
        near = np.log1p((mass * exp_remainder(np.clip(a, -1.0, 1.0))).sum(axis=1))  # the mean of a is zero
    weak = np.where(mass > 0.0, np.abs(a), 0.0).max(axis=1) < 1.0
    return np.asarray(np.where(weak, near, far))


def solve_groups(
    advantage: FloatArray, mass: FloatArray | None = None, guess: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    r"""Log-ratios `[G, K]` and multipliers `[G]` of PMD-mean on many laws.

    Args:
        advantage: `[G, K]`, \((r - \bar r)/\tau\), centred under every law, nats.
        mass: `[G, K]`, summing to one, zeros allowed; None is 1/K each, the law of a group of K rollouts.
        guess: `[G]`, multipliers to begin at, where they lie in C7's bracket; None begins at its upper end.
    """
    groups, n = advantage.shape
    weight = np.broadcast_to(np.float64(1.0 / n), advantage.shape) if mass is None else mass
    log_ratio, multiplier = np.zeros_like(advantage), np.zeros(groups)
    moving = np.flatnonzero(np.where(weight > 0.0, np.abs(advantage), 0.0).max(axis=1) > 0.0)
    each = max(1, _BLOCK // n)
    for start in range(0, moving.size, each):
        rows = moving[start : start + each]
        begin = np.full(rows.size, np.inf) if guess is None else guess[rows]
        log_ratio[rows], multiplier[rows] = _newton(weight[rows], advantage[rows], begin)
    return log_ratio, multiplier


def _newton(mass: FloatArray, a: FloatArray, guess: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Every law of one block; those that have converged leave the iteration."""
    gap = log_mean_exp(mass, a)
    moving = gap > 0.0
    low, high, u = np.zeros(gap.size), np.zeros(gap.size), np.full(gap.size, -np.inf)
    with np.errstate(divide="ignore"):
        high[:] = np.log(gap)
    ideal = log_mean_exp(mass, 2.0 * a) - 2.0 * gap  # log(1 + chi2) of the KL step
    low[:] = high - np.maximum(ideal, 0.0)
    with np.errstate(divide="ignore"):
        u[moving] = np.clip(np.log(guess[moving]), low[moving], high[moving])
    active: NDArray[np.intp] = np.flatnonzero(moving)
    low, high = low - 1e-9, high + 1e-9
    for _ in range(_STEPS):
        if active.size == 0:
            break
        at = u[active]
        v = tilt(a[active], at[:, None])
        with np.errstate(over="ignore", under="ignore"):
            m = mass[active]
            remainder = (m * exp_remainder(v)).sum(axis=1)
            fall = (m * np.expm1(v) * special.expit(at[:, None] + v)).sum(axis=1) / remainder
        value, slope = np.log(remainder) - at, -fall - 1.0
        above = value > 0.0
        low[active], high[active] = np.where(above, at, low[active]), np.where(above, high[active], at)
        newton = at - value / slope
        inside = (newton >= low[active]) & (newton <= high[active])
        u[active] = np.where(inside, newton, 0.5 * (low[active] + high[active]))
        settled = (np.abs(u[active] - at) <= 1e-14 * np.maximum(1.0, np.abs(at))) | (
            high[active] - low[active] <= 4e-16 * np.maximum(1.0, np.abs(at))
        )
        # Newton's error is squared by each step, so one that moves by 1e-8 was the last
        settled |= inside & (np.abs(newton - at) <= 1e-8)
        active = active[~settled]
    return tilt(a, u[:, None]), np.exp(u)
