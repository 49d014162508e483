r"""Graded rewards: each group's empirical law, with standard errors from its influence function: approximations.

With \(w_1 = \rho/(1+\lambda\rho)\),
\(w_2 = \rho w_1\) and \(y = (x - \bar r)/\tau\) the influence of a reward x on lambda is
\(d\lambda = (\rho(x) - 1 - y\,E w_1)/E w_2\), and on \(E g(\rho, r)\), with g' = dg/d rho, it is
\(g(x) - E g - d\lambda\,E[g' w_2] - y\,E[g' w_1]\).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.lambertw import branch_tilt
from pmdtheory.rollouts._measures import Measures, measure
from pmdtheory.rollouts._solve import solve_groups

__all__ = [
    "Graded",
    "corrected",
    "empirical_measures",
    "extrapolated",
    "graded_groups",
    "halves",
    "repeat_chance",
    "unbiased_no_signal",
]

_DRAWS: Final = 64  # groups drawn from each empirical law for the collapse probability
_BLOCK: Final = 1 << 20
_LEAST: Final = 4  # rollouts from which halves of a group can tell the bias of the whole


@dataclass(frozen=True, eq=False)
class Graded:
    """Groups of one size: measures of their empirical laws, standard errors, and measures less the bias of order 1/n.

    Attributes:
        measures: of each empirical law.
        errors: first-order standard error of pass_rate, new_pass_rate, gain, multiplier and kl, `[g]`; NaN for
            constant rewards.
        corrected: the same with chi2_share, corrected by halves of the group.
        collapse: chance of a partition baseline beyond C14's threshold, on the empirical law.
    """

    measures: Measures
    errors: dict[str, FloatArray]
    corrected: dict[str, FloatArray]
    collapse: FloatArray


def empirical_measures(rewards: FloatArray, tau: float) -> tuple[Measures, FloatArray]:
    """Measures of PMD-mean's step on each row's empirical law, and its log-ratios `[g, n]`."""
    a = (rewards - rewards.mean(axis=1, keepdims=True)) / tau
    a -= a.mean(axis=1, keepdims=True)
    a[rewards.min(axis=1) == rewards.max(axis=1)] = 0.0
    v, multiplier = solve_groups(a)
    mass = np.full((1, rewards.shape[1]), 1.0 / rewards.shape[1])
    return measure(mass, rewards, tau, v, multiplier), v


def graded_groups(rewards: FloatArray, tau: float) -> Graded:
    """Everything about groups of one size, rewards `[g, n]`; equal groups are solved once (C10)."""
    table, inverse = np.unique(np.sort(rewards, axis=1), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    found, v = empirical_measures(table, tau)
    errors = _errors(table, tau, v, found)
    collapse = _collapse(table, tau)
    return Graded(
        found.take(inverse),
        {name: error[inverse] for name, error in errors.items()},
        corrected(rewards, tau, found.take(inverse)),
        collapse[inverse],
    )


def _named(m: Measures) -> dict[str, FloatArray]:
    return {
        "new_pass_rate": m.expected_reward,
        "gain": m.improvement,
        "multiplier": m.multiplier,
        "kl": m.kl,
        "chi2_share": m.chi2_share,
    }


def corrected(rewards: FloatArray, tau: float, measures: Measures) -> dict[str, FloatArray]:
    """Each measure of the empirical laws less its bias of order 1/n, by the two halves in the order of sampling."""
    n, start, parts = rewards.shape[1], 0, []
    for size in halves(n):
        parts.append(_named(empirical_measures(rewards[:, start : start + size], tau)[0]))
        start += size
    return {name: extrapolated(n, value, *(part[name] for part in parts)) for name, value in _named(measures).items()}


def halves(n: int) -> tuple[int, ...]:
    """Sizes of the two halves of a group from which the bias of the whole is told; none for small groups."""
    return (n // 2, n - n // 2) if n >= _LEAST else ()


def extrapolated(n: int, whole: FloatArray, *parts: FloatArray) -> FloatArray:
    """Richardson's extrapolation from a group and its halves: the bias of order 1/n cancels."""
    if not parts:
        return whole
    one, two = halves(n)
    excess = 0.5 * (1.0 / one + 1.0 / two) - 1.0 / n
    return np.asarray(whole - (0.5 * (parts[0] + parts[1]) - whole) / (n * excess))


def _errors(rewards: FloatArray, tau: float, v: FloatArray, m: Measures) -> dict[str, FloatArray]:
    """Standard errors `[g]` from the influence functions; NaN where there is nothing to tell them from."""
    n = rewards.shape[1]
    names = ("pass_rate", "new_pass_rate", "gain", "multiplier", "kl")
    if n < 2:
        return {name: np.full(rewards.shape[0], np.nan) for name in names}
    y = (rewards - m.mean_reward[:, None]) / tau
    with np.errstate(under="ignore", over="ignore"):
        ratio = np.exp(v)
        w1 = ratio / (1.0 + m.multiplier[:, None] * ratio)
        w2 = w1 * ratio

    def mean(x: FloatArray) -> FloatArray:
        return np.asarray(x.mean(axis=1, keepdims=True))

    d_multiplier = (ratio - 1.0 - y * mean(w1)) / mean(w2)

    def influence(value: FloatArray, slope: FloatArray) -> FloatArray:
        return np.asarray(value - mean(value) - d_multiplier * mean(slope * w2) - y * mean(slope * w1))

    reward = influence(rewards * ratio, rewards)
    parts = (tau * y, reward, reward - tau * y, d_multiplier, influence(ratio * v, v + 1.0))
    still = m.multiplier == 0.0
    scale = 1.0 / (n * (n - 1.0))
    return {
        name: np.where(still, np.nan, np.sqrt((part**2).sum(axis=1) * scale))
        for name, part in zip(names, parts, strict=True)
    }


def _collapse(rewards: FloatArray, tau: float) -> FloatArray:
    """Share of resampled groups whose others' log-mean-exp exceeds log Z of the row's law by C14's threshold."""
    groups, n = rewards.shape
    if n < 2:
        return np.zeros(groups)
    depth = (rewards.max(axis=1, keepdims=True) - rewards) / tau
    with np.errstate(under="ignore"):
        weight = np.exp(-depth)
        log_z = np.log(weight.mean(axis=1))
        edge = np.log((weight * np.exp(branch_tilt(depth))).sum(axis=1) / weight.sum(axis=1))
    rng = np.random.default_rng(0)
    result = np.empty(groups)
    each = max(1, _BLOCK // (_DRAWS * n))
    for start in range(0, groups, each):
        rows = slice(start, start + each)
        size = weight[rows].shape[0]
        drawn = rng.integers(0, n, size=(size, _DRAWS * (n - 1)))
        with np.errstate(divide="ignore"):
            b = np.log(np.take_along_axis(weight[rows], drawn, axis=1).reshape(size, _DRAWS, n - 1).mean(axis=2))
        result[rows] = (b > (log_z + edge)[rows][:, None]).mean(axis=1)
    return result


def _runs(rewards: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """For every distinct reward of every row: the row, and how often it holds that reward."""
    ordered = np.sort(rewards, axis=1)
    groups, size = ordered.shape
    new = np.concatenate([np.ones((groups, 1), dtype=bool), np.diff(ordered, axis=1) != 0.0], axis=1)
    flat: NDArray[np.intp] = np.flatnonzero(new)
    return flat // size, np.diff(np.append(flat, groups * size)).astype(np.float64)


def repeat_chance(rewards: FloatArray) -> FloatArray:
    """Chance `[g]` that n draws with replacement from a row of n rewards agree."""
    groups, n = rewards.shape
    row, counts = _runs(rewards)
    with np.errstate(under="ignore"):
        return np.asarray(np.bincount(row, (counts / n) ** n, minlength=groups), dtype=np.float64)


def unbiased_no_signal(rewards: FloatArray, n: int) -> FloatArray:
    """Chance `[g]` that n of a row's rewards, drawn without replacement, agree: unbiased for groups of n <= row."""
    groups, size = rewards.shape
    row, counts = _runs(rewards)
    enough = np.maximum(counts, n)
    # C(c, n)/C(size, n), by C(a, b) = 1/((a + 1) B(a - b + 1, b + 1))
    log_share = special.betaln(size - n + 1.0, n + 1.0) - special.betaln(enough - n + 1.0, n + 1.0)
    share = np.where(counts >= n, np.exp(log_share) * (size + 1.0) / (enough + 1.0), 0.0)
    return np.asarray(np.bincount(row, share, minlength=groups), dtype=np.float64)
