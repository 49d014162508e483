r"""Means over prompts of nonlinear functions of their pass rates, from n rollouts each, with their sampling error.

The plug-in mean of f(k/n) does not tend to E f(p) as prompts are added: its bias is that of the Bernstein polynomial
of f, of order 1/n, and does not fall with their number. Here the coefficient of k is f(k/n) after j rounds of
\(c \leftarrow c + f - B_n c\), \(B_n c(p) = \sum_k c_k \binom nk p^k (1-p)^{n-k}\); what bias is left is the mean
of the known function \(B_n c - f\) over the unknown law of p, and is bounded over all laws that agree with the counts
(`Band`). The interval is the central limit theorem's over prompts, widened by these bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._mixture import GRID, Band, binomial_table

__all__ = ["BAND", "Counts", "Pooled", "clustered_error", "coefficients", "over_prompts", "pooled_mean"]

_ROUNDS: Final = 12
BAND: Final = 0.2  # share of the error probability that goes to the band, the rest to the central limit theorem


@dataclass(frozen=True)
class Pooled:
    """A mean over prompts with its interval.

    Attributes:
        value: the estimate; NaN without data.
        low, high: ends of the interval.
        standard_error: over prompts.
        bias_low, bias_high: bounds of the bias that is left in the estimate, already part of the interval.
        plug_in: the mean of the function at the observed pass rates, for comparison.
        exact: False where the bounds of the bias are not proven: those of graded rewards hold for mixtures of a
            finite set of laws.
    """

    value: float
    low: float
    high: float
    standard_error: float
    bias_low: float = 0.0
    bias_high: float = 0.0
    plug_in: float = float("nan")
    exact: bool = True


@dataclass(frozen=True, eq=False)
class Counts:
    """Groups of one size: successes `[G]`, their number of rollouts n, and the number of the prompt `[G]`."""

    successes: NDArray[np.int64]
    n: int
    prompt: NDArray[np.int64]

    @property
    def histogram(self) -> FloatArray:
        """How many groups had k successes, `[n + 1]`."""
        return np.bincount(self.successes, minlength=self.n + 1).astype(np.float64)


def coefficients(values: FloatArray, curve: FloatArray, n: int, groups: int) -> FloatArray:
    """Coefficients `[n + 1]` of the estimator, from f at k/n `[n + 1]` and on `GRID`.

    The number of rounds is the one with the smallest worst-case error over all p: bias plus two standard errors. It
    depends on f, n and the number of groups only, never on the counts.
    """
    nodes, table = binomial_table(np.arange(n + 1.0) / n, n), binomial_table(GRID, n)
    best, least, c = values, np.inf, values.copy()
    for _ in range(_ROUNDS):
        mean = c @ table
        spread = np.sqrt(np.maximum((c * c) @ table - mean**2, 0.0)).max()
        worst = np.abs(mean - curve).max() + 2.0 * spread / np.sqrt(groups)
        if worst < least:
            best, least = c, float(worst)
        c = c + values - c @ nodes
    return np.asarray(best)


def pooled_mean(
    strata: Sequence[Counts],
    curves: Sequence[tuple[FloatArray, FloatArray]],
    level: float,
    bands: Sequence[Band] | None,
    *,
    exactly: bool = False,
) -> tuple[Pooled, list[FloatArray]]:
    """Mean of f(p) over all groups, and the numbers per stratum `[G]` that it is the mean of.

    Args:
        strata: the groups by size.
        curves: per stratum f at k/n `[n + 1]` and on `GRID`.
        level: of the interval.
        bands: per stratum; None bounds the bias by its extremes over all p.
        exactly: whether the values at k/n are already the coefficients of an unbiased estimator.

    The interval is cut to the range of f, where every mean of f lies.
    """
    total = sum(one.successes.size for one in strata)
    plug = bias_low = bias_high = 0.0
    parts, owners = [], []
    for index, (one, (values, curve)) in enumerate(zip(strata, curves, strict=True)):
        c = values if exactly else coefficients(values, curve, one.n, total)
        k = one.successes
        left = c @ binomial_table(GRID, one.n) - curve
        low, high = (left.min(), left.max()) if bands is None else bands[index].extremes(left)
        weight = one.successes.size / total
        plug += weight * float(values[k].mean())
        bias_low, bias_high = bias_low + weight * float(low), bias_high + weight * float(high)
        parts.append(c[k])
        owners.append(one.prompt)
    least, most = min(float(f.min()) for _, f in curves), max(float(f.max()) for _, f in curves)
    share = 0.0 if bands is None else BAND
    found = over_prompts(
        np.concatenate(parts),
        np.concatenate(owners),
        level,
        bias=(bias_low, bias_high),
        share=share,
        ends=(least, most),
    )
    return replace(found, plug_in=plug), parts


def clustered_error(values: FloatArray, owner: NDArray[np.int64]) -> tuple[float, int]:
    """Standard error of the mean of values whose owners (prompts) are independent, and how many owners there are."""
    _, index = np.unique(owner, return_inverse=True)
    clusters = int(index.max()) + 1
    if clusters < 2:
        return float("nan"), clusters
    sums = np.bincount(index, values - values.mean())
    return float(np.sqrt(np.sum(sums**2) * clusters / (clusters - 1))) / values.size, clusters


def over_prompts(
    values: FloatArray,
    owner: NDArray[np.int64],
    level: float,
    *,
    bias: tuple[float, float] = (0.0, 0.0),
    share: float = 0.0,
    ends: tuple[float, float] = (-np.inf, np.inf),
    exact: bool = True,
) -> Pooled:
    r"""Mean of one number per group, with Student's interval over prompts.

    What none of m prompts has shown may still have the probability \(u = 1 - (\alpha/2)^{1/m}\). So the interval
    reaches at least the share u of the way to each finite end: where all prompts agree, the standard error is zero.

    Args:
        values: `[G]`.
        owner: prompt of each `[G]`.
        level: of the interval.
        bias: bounds of the bias of the mean, which widen the interval.
        share: of the error probability, spent on these bounds.
        ends: between which the mean lies; the interval is cut to them.
        exact: whether the numbers are unbiased, or the bounds of their bias proven.
    """
    error, clusters = clustered_error(values, owner)
    tail = 0.5 * (1.0 - level) * (1.0 - share)
    reach = error * float(special.stdtrit(max(clusters - 1, 1), 1.0 - tail)) if clusters > 1 else np.inf
    value, unseen = float(values.mean()), 1.0 - tail ** (1.0 / clusters)
    inside = min(max(value, ends[0]), ends[1])  # a corrected estimate need not lie between the ends
    reaches = [max(reach, unseen * abs(end - inside)) if np.isfinite(end) else reach for end in ends]
    low, high = max(value - reaches[0] - bias[1], ends[0]), min(value + reaches[1] - bias[0], ends[1])
    return Pooled(value, low, high, error, *bias, exact=exact)
