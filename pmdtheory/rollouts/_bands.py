r"""Exact bands for the distribution function of one prompt's rewards, at a few thresholds.

The values of the distribution function F at the thresholds have Clopper and Pearson's intervals, at a level that makes
all of them hold together with the stated probability, for every n and every law. Thresholds that are known beforehand
(rewards of a few levels) take Bonferroni's level or, where it is better, the level at which Clopper and Pearson's
intervals hold at *all* rewards at once: with uniform order statistics \(U_{(k)}\) these are the 2n events
\(a_k \le U_{(k)} \le b_k\), and the chance of all of them is computed exactly, from the counts along the sorted ends.
Thresholds that were chosen with the data in sight take the latter, which does not care where they lie.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._intervals import clopper_pearson

__all__ = ["Cells", "all_hold", "cells_of", "outward", "simultaneous_level"]

_EVERY: Final = 16
_LARGE: Final = 256  # rollouts beyond which the union bound over order statistics is used
_CANDIDATES: Final = 32  # quantiles, and as many points at even distances, that thresholds are chosen from
_GRID: Final = np.concatenate([[0.0], special.expit(np.linspace(-12.0, 12.0, 49)), [1.0]])


@dataclass(frozen=True, eq=False)
class Cells:
    """Consecutive intervals of rewards, each closed; what a group tells is how many of its rewards are in each.

    Attributes:
        first, last: `[K]`, ends of the cells, `last[i] <= first[i + 1]`; equal where a cell is one level.
        known: whether the cells do not depend on the data but for which levels there are.
    """

    first: FloatArray
    last: FloatArray
    known: bool

    @property
    def closed(self) -> bool:
        """Whether the cells leave no gap, in which there would be no reward."""
        return self.last.size > 1 and bool(np.all(self.first[1:] <= self.last[:-1]))

    def below(self, rewards: FloatArray) -> NDArray[np.int64]:
        """How many of each group's rewards `[g, n]` are at most the threshold above each cell but the last."""
        place = np.searchsorted(self.last, rewards)
        counts = [(place <= j).sum(axis=1) for j in range(self.last.size - 1)]
        return np.stack(counts, axis=1) if counts else np.zeros((rewards.shape[0], 0), dtype=np.int64)

    def band(self, below: NDArray[np.int64], n: int, level: float) -> tuple[FloatArray, FloatArray]:
        """Ends `[g, K - 1]` of the distribution function at the thresholds; they hold together at `level`."""
        local = simultaneous_level(n, level)
        if self.known:
            local = min(local, 1.0 - (1.0 - level) / max(self.last.size - 1, 1))
        return clopper_pearson(below, n, local)


def cells_of(reward: FloatArray, n: float, most: int) -> Cells:
    """At most `most` cells that hold all rewards `[N]`: the levels themselves, or intervals.

    Rewards count as levels where the square of their number is at most N. Else, or where they are more than `most`,
    the thresholds are those that make the sum of (share + 1/n) width over the cells least, which is what the laws
    of a band leave open about the mean reward: a share 1/n of a cell goes unseen in a group of n.
    """
    levels, counts = np.unique(reward, return_counts=True)
    known = levels.size**2 <= reward.size
    if known and levels.size <= most:
        return Cells(levels, levels, known=True)
    share = np.cumsum(counts / reward.size)
    if levels.size <= 2 * _CANDIDATES:
        chosen = np.arange(levels.size)
    else:
        even = np.searchsorted(levels, np.linspace(levels[0], levels[-1], _CANDIDATES + 1))
        middle = np.searchsorted(share, np.linspace(0.0, 1.0, _CANDIDATES + 1))
        chosen = np.unique(np.minimum(np.concatenate([even, middle, [0, levels.size - 1]]), levels.size - 1))
    ends = chosen[_split(levels, share, chosen, n, most)]
    above = np.append(0, ends[:-1] + 1) if known else np.append(0, ends[:-1])
    return Cells(levels[above], levels[ends], known=False)


def _split(levels: FloatArray, share: FloatArray, chosen: NDArray[np.intp], n: float, most: int) -> NDArray[np.intp]:
    """Last place of each cell, by dynamic programming over the places in `chosen`."""
    size = chosen.size
    start = np.append(0, chosen[:-1])  # a cell after place i - 1 begins there: closed, as rewards may lie between
    before = np.append(0.0, share[chosen[:-1]])
    width = levels[chosen][None, :] - levels[start][:, None]
    cost = np.where(
        np.triu(np.ones((size, size), dtype=bool)), (share[chosen] - before[:, None] + 1.0 / n) * width, np.inf
    )
    best, came = cost[0], []
    for _ in range(min(most, size) - 1):
        total = np.append(np.inf, best[:-1])[:, None] + cost
        came.append(total.argmin(axis=0))
        best = total.min(axis=0)
    places = [size - 1]
    for step in came[::-1]:
        places.append(int(step[places[-1]]) - 1)
    return np.array(places[::-1])


def outward(low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A band that contains the given one, of few distinct values, for groups of too many kinds."""
    return _GRID[np.searchsorted(_GRID, low, "right") - 1], _GRID[np.searchsorted(_GRID, high, "left")]


def simultaneous_level(n: int, level: float) -> float:
    """The level at which Clopper and Pearson's intervals for F hold at all rewards at once with chance `level`.

    Beyond 16 draws that of the next of a few larger n, which is higher.
    """
    if n > _LARGE:
        return 1.0 - (1.0 - level) / n  # the union bound over the order statistics
    return _level(n if n <= _EVERY else round(2.0 ** (math.ceil(4.0 * math.log2(n)) / 4.0)), level)


@lru_cache(maxsize=256)
def _level(n: int, level: float) -> float:
    """The same for one n, higher by at most a ten thousandth of what it leaves out."""
    if n == 1:
        return level
    least = (1.0 - level) / n
    found = optimize.brentq(lambda miss: all_hold(n, 1.0 - miss) - level, least, 1.0 - level, xtol=1e-5 * least)
    return 1.0 - (1.0 - 1e-4) * float(found)


def all_hold(n: int, local: float) -> float:
    r"""Chance that Clopper and Pearson's intervals of level `local` hold at all points for n uniform draws.

    The counts below the sorted ends of the order statistics' intervals are those of a Poisson process with n points,
    from which every count that violates an end is removed as its end is passed.
    """
    tail, k = 0.5 * (1.0 - local), np.arange(1.0, n + 1.0)
    ends = np.concatenate([special.betaincinv(k, n - k + 1.0, tail), special.betaincinv(k, n - k + 1.0, 1.0 - tail)])
    counts = np.arange(n + 1.0)
    chance, at = np.zeros(n + 1), 0.0
    chance[0] = 1.0

    def poisson(mean: float) -> FloatArray:
        return np.asarray(np.exp(special.xlogy(counts, mean) - mean - special.gammaln(counts + 1.0)))

    with np.errstate(under="ignore"):
        for place in np.argsort(ends, kind="stable").tolist():
            chance = np.convolve(chance, poisson(n * (float(ends[place]) - at)))[: n + 1]
            at = float(ends[place])
            if place < n:
                chance[place + 1 :] = 0.0  # at the lower end of the k-th fewer than k lie below
            else:
                chance[: place - n + 1] = 0.0  # at its upper end at least k do
        total = np.convolve(chance, poisson(n * (1.0 - at)))[n]
    return float(total / poisson(float(n))[n])
