r"""Binary rewards as functions of the pass rate p: every measure of the step, and what groups of n rollouts meet.

Rewards 0 and 1 only: two levels a < b at strength tau are 0 and 1 at strength tau/(b - a) (C10).
"""

import math

import numpy as np
from scipy import special

from pmdtheory._binary import gain_terms, mean_gain
from pmdtheory._checks import FloatArray
from pmdtheory.lambertw import branch_tilt
from pmdtheory.rollouts._measures import Measures, measure

__all__ = ["binary_measures", "collapse_probability", "no_signal_probability"]


def binary_measures(p: FloatArray, tau: float) -> Measures:
    """Measures of PMD-mean's step at pass rates `[P]` for rewards 0 and 1; all of them continuous in p on [0, 1]."""
    p = np.asarray(p, dtype=np.float64)
    inside = (p > 0.0) & (p < 1.0)
    v, multiplier = np.zeros((p.size, 2)), np.zeros(p.size)
    if inside.any():
        odds = special.logit(p[inside])
        u = mean_gain(odds, np.full(odds.shape, 1.0 / tau))
        log_d, bend, _ = gain_terms(odds, u)
        v[inside] = np.stack([-log_d, u - log_d], axis=1)
        multiplier[inside] = bend
    mass = np.stack([1.0 - p, p], axis=1)
    return measure(mass, np.broadcast_to([0.0, 1.0], v.shape), tau, v, multiplier)


def no_signal_probability(p: FloatArray, n: int) -> FloatArray:
    """p^n + (1 - p)^n: the chance that all n rewards of a group agree, and that it moves nothing (C1)."""
    return np.asarray(p**n + (1.0 - p) ** n)


def collapse_probability(p: FloatArray, n: int, tau: float) -> FloatArray:
    r"""Chance `[P]` that the others' partition baseline exceeds log Z by more than C14 allows.

    Formula: \(P(\log(1 + \tfrac km(e^{1/\tau} - 1)) > \log Z + e)\), \(k \sim \mathrm{Bin}(m, p)\), \(m = n - 1\), e
    the excess `collapse.local_threshold` beyond which the population has no symmetric minimum.
    """
    p = np.asarray(p, dtype=np.float64)
    m, strength = n - 1, 1.0 / tau
    if m < 1:
        return np.zeros_like(p)
    with np.errstate(divide="ignore", under="ignore", over="ignore"):
        ideal = special.expit(special.logit(p) + strength)
        edge = np.log(ideal * math.e + (1.0 - ideal) * np.exp(float(branch_tilt(strength))))
        # log Z - 1/tau, and the share of successes among the others beyond which b exceeds log Z + edge
        rest = np.log(p + (1.0 - p) * math.exp(-strength))
        share = (np.exp(rest + edge) - math.exp(-strength)) / -math.expm1(-strength)
        most = np.floor(np.minimum(m * share, m + 1.0))
        return np.asarray(np.where(most >= m, 0.0, special.bdtrc(np.minimum(most, m - 1.0), m, p)))
