r"""Binary rewards, vectorised: the gain in log-odds u = log(rho_1/rho_0) of a step, for arrays of masses and strengths.

With m = e^u - 1, D = 1 - p + p e^u: \(\rho_0 = 1/D\), \(\rho_1 = e^u/D\), \(\lambda = (1/\tau - u) D/m\). The u
of PMD-mean solves \(u + (\log D - pu)\,m/D = 1/\tau\) (C9), that of PMD(b) \(\log D - (1/\tau - u)/m = b\). Success
mass is carried as its log-odds, so that p within 1e-300 of either end keeps its digits.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import special
from scipy.optimize import elementwise

from pmdtheory._checks import FloatArray

__all__ = ["baseline_gain", "gain_terms", "mean_gain"]

_LARGE: Final = 30.0  # beyond, e^-u is below rounding next to one


def gain_terms(log_odds: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log D, log D - p u and m/D for log-odds and gain `[...]`, each without overflow or cancellation.

    For p above one half log D = u + log(1 + q (e^-u - 1)), q = 1 - p, so that u cancels from log D - p u exactly.
    """
    success, failure = special.expit(log_odds), special.expit(-log_odds)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        near = np.log1p(success * np.expm1(np.minimum(u, _LARGE)))
        far = np.logaddexp(special.log_expit(-log_odds), special.log_expit(log_odds) + u)
        low = np.where(u < _LARGE, near, far)
        bend = np.log1p(failure * np.expm1(-u))  # log D - u
        slope = -np.expm1(-u) / (failure * np.exp(-u) + success)
    high = log_odds > 0.0
    return np.where(high, u + bend, low), np.where(high, failure * u + bend, low - success * u), slope


def _root(excess: Callable[[FloatArray, FloatArray], FloatArray], strength: FloatArray) -> FloatArray:
    """Roots u of an increasing function excess(u, index), elementwise between 0 and 1/tau."""
    found = elementwise.find_root(
        excess,
        (np.zeros(strength.size), strength.ravel() * (1.0 + 1e-12)),  # the root is 1/tau itself as p -> 1
        args=(np.arange(strength.size),),
        tolerances={"xatol": 0.0, "xrtol": 4e-16, "fatol": 0.0, "frtol": 0.0},
    )
    return np.asarray(found.x).reshape(strength.shape)


def mean_gain(log_odds: FloatArray, strength: FloatArray) -> FloatArray:
    """PMD-mean's gain u `[...]` for success log-odds and strength 1/tau, both `[...]`."""
    log_odds, strength = (np.array(x, dtype=np.float64) for x in np.broadcast_arrays(log_odds, strength))
    odds, target = log_odds.ravel(), strength.ravel()

    def excess(u: FloatArray, index: FloatArray) -> FloatArray:
        _, bend, slope = gain_terms(odds[index], u)
        return np.asarray(u + bend * slope - target[index])

    return _root(excess, strength)


def baseline_gain(log_odds: FloatArray, strength: FloatArray, baseline: FloatArray) -> FloatArray:
    """PMD(b)'s gain u `[...]` for baselines in nats between mean/tau and log Z, `[...]`."""
    arrays = np.broadcast_arrays(log_odds, strength, baseline)
    odds, target, b = (np.array(x, dtype=np.float64).ravel() for x in arrays)

    def excess(u: FloatArray, index: FloatArray) -> FloatArray:
        log_d, _, _ = gain_terms(odds[index], u)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            pull = np.where(u > 0.0, (target[index] - u) / np.expm1(np.minimum(u, 700.0)), np.inf)
        return np.asarray(np.maximum(log_d - pull - b[index], -1e300))

    return _root(excess, target.reshape(arrays[0].shape))
