r"""PMD-mean and KL-PMD for many laws at once, in NumPy; rewards are in units of tau.

Letters: `N` laws, `K` actions of each. All mass is positive.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, wrightomega

from pmdtheory._checks import FloatArray

__all__ = ["centred", "excess", "jensen_gaps", "log_tilts", "matched_scales", "mean_steps", "relative"]

_ROUNDS: Final = 200
_CLOSE: Final = 1e-13
Residual = Callable[[FloatArray, NDArray[np.intp]], tuple[FloatArray, FloatArray]]


def centred(mass: FloatArray, reward: FloatArray) -> FloatArray:
    """`[N, K]`, the rewards minus their mean: first minus that of the heaviest action, whose own then stays exact."""
    first = reward - np.take_along_axis(reward, mass.argmax(1)[:, None], axis=1)
    return np.asarray(first - (mass * first).sum(1, keepdims=True))


def excess(x: FloatArray) -> FloatArray:
    """e^x - 1 - x without cancellation."""
    small = np.where(np.abs(x) < 0.05, x, 0.0)
    series = small**2 * (
        1 / 2 + small * (1 / 6 + small * (1 / 24 + small * (1 / 120 + small * (1 / 720 + small / 5040))))
    )
    with np.errstate(over="ignore", under="ignore"):
        return np.where(np.abs(x) < 0.05, series, np.expm1(x) - x)


def relative(x: FloatArray) -> FloatArray:
    """The number x e^x - e^x + 1 without cancellation."""
    small = np.abs(x) < 0.05
    near = np.where(small, x, 0.0)
    with np.errstate(over="ignore", under="ignore"):
        return np.where(small, np.exp(near) * excess(-near), x * np.exp(x) - np.expm1(x))


def jensen_gaps(log_mass: FloatArray, a: FloatArray) -> FloatArray:
    """`[N]`, J = log E e^a for rewards of mean zero: log1p(E(e^a - 1 - a)), or by its largest term."""
    usual = a.max(1) < 500.0
    with np.errstate(under="ignore"):
        small = np.log1p((np.exp(log_mass) * excess(np.where(usual[:, None], a, 0.0))).sum(1))
    return np.where(usual, small, logsumexp(log_mass + a, axis=1))


def log_tilts(log_mass: FloatArray, reward: FloatArray) -> FloatArray:
    """`[N, K]`, log-ratios of KL-PMD."""
    a = centred(np.exp(log_mass), reward)
    return np.asarray(a - jensen_gaps(log_mass, a)[:, None])


def rising_root(function: Residual, at: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Where increasing functions of one number each are zero, by Newton inside brackets; laws that are done drop out.

    `function` takes places and the indices of the laws that they belong to, and returns values and slopes.
    """
    at, low, high = at.copy(), low.copy(), high.copy()
    last = np.full(at.shape, np.inf)
    active = np.arange(at.size)
    for _ in range(_ROUNDS):
        if active.size == 0:
            break
        place = at[active]
        value, slope = function(place, active)
        low[active] = np.where(value < 0.0, place, low[active])
        high[active] = np.where(value < 0.0, high[active], place)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            wanted = place - value / slope
        inside = np.isfinite(wanted) & (wanted >= low[active]) & (wanted <= high[active])
        inside &= np.abs(value) < 0.5 * last[active]  # otherwise Newton has stopped to converge: halve the bracket
        last[active] = np.abs(value)
        at[active] = np.where(inside, wanted, 0.5 * (low[active] + high[active]))
        left = np.minimum(np.abs(at[active] - place), high[active] - low[active])
        active = active[(left > _CLOSE * np.maximum(1.0, np.abs(place))) & (value != 0.0)]
    return at


def mean_steps(log_mass: FloatArray, reward: FloatArray) -> tuple[FloatArray, FloatArray]:
    r"""`[N, K]` log-ratios and `[N]` multipliers of PMD-mean: \(\log\rho + \lambda\rho = a\), \(E\rho = 1\).

    The unknown is log lambda, inside the bracket of C7; zero and no step where the reward is constant.
    """
    mass = np.exp(log_mass)
    a = centred(mass, reward)
    gap = jensen_gaps(log_mass, a)
    moves = gap > 0.0
    high = np.log(np.where(moves, gap, 1.0))
    spread = np.maximum(logsumexp(log_mass + 2.0 * (a - gap[:, None]), axis=1), 0.0)

    def missing(place: FloatArray, which: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        logs = _log_ratios(a[which], place)
        with np.errstate(over="ignore", under="ignore"):
            surplus = (mass[which] * np.expm1(logs)).sum(1)
            pull = np.exp(place[:, None] + logs)
            slope = (mass[which] * np.exp(logs) * pull / (1.0 + pull)).sum(1) / (1.0 + surplus)
        return -np.log1p(surplus), slope

    place = rising_root(missing, high - 0.5 * np.minimum(spread, 4.0), high - spread - 1e-9, high + 1e-9)
    with np.errstate(under="ignore"):
        multiplier = np.where(moves, np.exp(place), 0.0)
    return np.where(moves[:, None], _log_ratios(a, place), 0.0), multiplier


def _log_ratios(a: FloatArray, log_multiplier: FloatArray) -> FloatArray:
    """The solution of log rho + lambda rho = a, in whichever of two forms does not cancel."""
    with np.errstate(under="ignore"):
        omega = wrightomega(a + log_multiplier[:, None])
    large = omega > 1.0
    return np.where(large, np.log(np.where(large, omega, 1.0)) - log_multiplier[:, None], a - omega)


def matched_scales(log_mass: FloatArray, reward: FloatArray, kl: FloatArray) -> FloatArray:
    """`[N]`, the scale s at which the tilt by s times the reward lies at this KL(new||old).

    Infinite where every tilt stays below, as the KL is at least that of the best actions alone.
    """
    mass = np.exp(log_mass)
    a = centred(mass, reward)
    best = a >= a.max(1, keepdims=True)
    success, failure = (mass * best).sum(1), (mass * ~best).sum(1)
    reach = np.where(failure < 0.5, -np.log1p(-np.minimum(failure, 0.5)), -np.log(success))
    reachable = (kl > 0.0) & (kl < reach * (1 - 1e-12))
    target = np.log(np.where(reachable, kl, 1.0))
    unit = np.sqrt((mass * a**2).sum(1))
    unit = np.where(unit > 0.0, unit, 1.0)

    def beyond(place: FloatArray, which: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        tilted = a[which] * (np.exp(place) / unit[which])[:, None]
        logs = log_tilts(log_mass[which], tilted)
        with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
            new = np.exp(log_mass[which] + logs)
            found = (mass[which] * relative(logs)).sum(1)
            slope = (new * centred(new, tilted) ** 2).sum(1) / found
            return np.log(found) - target[which], slope

    start = 0.5 * (target + np.log(2.0))
    wide = np.full(kl.shape, 60.0)
    place = rising_root(
        beyond, np.where(reachable, start, 0.0), np.where(reachable, -wide, 0.0), np.where(reachable, wide, 0.0)
    )
    return np.where(reachable, np.exp(place) / unit, np.inf)
