r"""The bias that is left in overall means of graded rewards, bounded over laws that agree with the counts.

The mean over prompts of a nonlinear functional f of their laws is estimated with a bias that does not fall with the
number of prompts: that of a group of n rollouts, \(b(F) = E_F T - f(F)\), averaged over the unknown mixture of laws.
Here b is computed for a set of laws on a few rewards, exactly: T depends on the counts of a group alone, and its mean
is a sum over all counts. The mixtures of these laws that agree with how the groups' counts below each threshold are
distributed (the Dvoretzky-Kiefer-Wolfowitz inequality for each threshold) bound the mean of b by linear programming, as
for binary rewards, up to an allowance for laws that are not in the set. Rewards of more levels are represented by a
few, so that there the bounds are approximations.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._bands import cells_of
from pmdtheory.rollouts._extremes import laws
from pmdtheory.rollouts._graded import extrapolated, halves
from pmdtheory.rollouts._measures import Measures
from pmdtheory.rollouts._mixture import Agreeing, binomial_table
from pmdtheory.rollouts._pooled import BAND

__all__ = ["GRADED_ENDS", "GradedBand", "GradedBias", "counts_of"]

_STRATA: Final = 8  # group sizes that are kept apart
_LEVELS: Final = 5
_TABLE: Final = 7_000  # different groups at most
_LAWS: Final = 600  # drawn at random, besides those of one and two levels
_ODDS: Final = np.concatenate([np.linspace(-12.0, -3.0, 9), np.linspace(-2.4, 2.4, 9), np.linspace(3.0, 12.0, 9)])
GRADED_ENDS: Final = {  # of means over prompts; of the new mean reward, those of the rewards
    "gain": (0.0, math.inf),
    "multiplier": (0.0, math.inf),
    "kl": (0.0, math.inf),
    "chi2_share": (0.0, 1.0),
}
_COUNTS: Final = 8  # constraints for each threshold
_ALLOWANCE: Final = 1.0 / 16.0  # of the width of the bounds, for laws between these: ten times as many widen it by less


@lru_cache(maxsize=64)
def counts_of(n: int, levels: int) -> NDArray[np.int64]:
    """All groups of n rewards on so many levels, as counts `[C, levels]`."""
    size = n + levels - 1
    bars = np.array(list(combinations(range(size), levels - 1)), dtype=np.int64)
    edges = np.concatenate([np.full((bars.shape[0], 1), -1), bars, np.full((bars.shape[0], 1), size)], axis=1)
    return np.diff(edges, axis=1) - 1


@lru_cache(maxsize=8)
def _library(levels: int) -> FloatArray:
    """Laws on so many levels `[J, levels]`: those of one, of two, and many of all, down to very small masses."""
    rng, rows = np.random.default_rng(0), [np.eye(levels)]
    for i, j in combinations(range(levels), 2):
        pair = np.zeros((_ODDS.size, levels))
        pair[:, i], pair[:, j] = special.expit(_ODDS), special.expit(-_ODDS)
        rows.append(pair)
    if levels > 2:
        spread = np.exp(-rng.uniform(0.0, 12.0, (_LAWS // 2, levels)))
        rows += [spread / spread.sum(axis=1, keepdims=True), rng.dirichlet(np.full(levels, 0.5), _LAWS - _LAWS // 2)]
    return np.concatenate(rows)


class GradedBias:
    """Bounds of the mean bias over groups of all sizes.

    Args:
        strata: rewards `[g, n]` and prompts `[g]` of the groups of each size.
        level: of the interval, of whose error probability a share goes to these bounds.

    Beyond a few sizes those between two powers of two are taken together: the first rollouts of each group, as many as
    the lower power, tell the law, and the bias is bounded by what it is there and nought.
    """

    def __init__(self, strata: Sequence[tuple[FloatArray, NDArray[np.int64]]], level: float) -> None:
        self._rounded = len(strata) > _STRATA
        parts: dict[int, list[tuple[FloatArray, NDArray[np.int64]]]] = {}
        for rewards, prompt in strata:
            n = rewards.shape[1]
            n = 1 << (n.bit_length() - 1) if self._rounded else n
            parts.setdefault(n, []).append((rewards[:, :n], prompt))
        alpha = BAND * (1.0 - level) / len(parts)
        self._bands, sizes = [], []
        for pieces in parts.values():
            table, prompts = (np.concatenate(one) for one in zip(*pieces, strict=True))
            self._bands.append(GradedBand(table, np.unique(prompts).size, alpha))
            sizes.append(table.shape[0])
        self._weight = np.array(sizes) / sum(sizes)

    def bounds(self, fields: Sequence[str], tau: float) -> NDArray[np.float64]:
        """Least and largest bias of each measure's corrected estimate, averaged over groups `[F, 2]`."""
        each = np.array([band.extremes(fields, tau) for band in self._bands])
        if self._rounded:
            each[..., 0], each[..., 1] = np.minimum(each[..., 0], 0.0), np.maximum(each[..., 1], 0.0)
        return np.asarray(np.tensordot(self._weight, each, axes=1))

    @property
    def consistent(self) -> bool:
        """Whether mixtures of the laws agree with the groups; bounds that were asked for use no counts where not."""
        return all(band.consistent for band in self._bands)


class GradedBand:
    """Mixtures of laws that agree with groups of one size.

    Args:
        rewards: `[g, n]`.
        prompts: how many of the groups are independent.
        alpha: chance that the true mixture is not among them.
    """

    def __init__(self, rewards: FloatArray, prompts: int, alpha: float) -> None:
        n = rewards.shape[1]
        self._n = n
        most = next((k for k in range(_LEVELS, 2, -1) if math.comb(n + k - 1, k - 1) <= _TABLE), 2)
        cells = cells_of(rewards.ravel(), float(n), most)
        place = np.searchsorted(cells.last, rewards)
        size = cells.last.size
        self._reward = np.bincount(place.ravel(), rewards.ravel(), size) / np.bincount(place.ravel(), minlength=size)
        self._laws = _library(size)
        tables, shares = [np.zeros((0, self._laws.shape[0]))], [np.zeros(0)]
        for j in range(size - 1):
            below = np.bincount((place <= j).sum(axis=1), minlength=n + 1) / rewards.shape[0]
            chosen = np.unique(np.rint(np.linspace(0, n - 1, _COUNTS)).astype(np.int64))
            under = np.clip(self._laws[:, : j + 1].sum(axis=1), 0.0, 1.0)
            tables.append(np.cumsum(binomial_table(under, n), axis=0)[chosen])
            shares.append(np.cumsum(below)[chosen])
        radius = math.sqrt(math.log(2.0 * max(size - 1, 1) / alpha) / (2.0 * prompts))
        self._agreeing = Agreeing(np.concatenate(tables), np.concatenate(shares), radius)

    @property
    def consistent(self) -> bool:
        """Whether a mixture of the laws agrees with the groups."""
        return self._agreeing.consistent

    def extremes(self, fields: Sequence[str], tau: float) -> NDArray[np.float64]:
        """Least and largest bias of the corrected estimate of each measure `[F, 2]`."""
        true = self._measures(self._laws, tau)
        expected = {n: self._expected(n, tau, fields) for n in {self._n, *halves(self._n)}}
        found = []
        for field in fields:
            mean = extrapolated(self._n, expected[self._n][field], *(expected[m][field] for m in halves(self._n)))
            found.append(self._agreeing.extremes(mean - getattr(true, field)))
        ends = np.array(found)
        return ends + _ALLOWANCE * np.diff(ends, axis=1) * [-1.0, 1.0]

    def _expected(self, n: int, tau: float, fields: Sequence[str]) -> dict[str, FloatArray]:
        """Mean of each plug-in measure over groups of n from every law `[J]`."""
        counts = counts_of(n, self._reward.size)
        found = self._measures(counts / n, tau)
        chance = _multinomial(n, self._reward.size)
        return {field: chance @ getattr(found, field) for field in fields}

    def _measures(self, mass: FloatArray, tau: float) -> Measures:
        return laws(mass, np.broadcast_to(self._reward, mass.shape), tau)


@lru_cache(maxsize=8)
def _multinomial(n: int, levels: int) -> FloatArray:
    """Chance of every group of n under every law `[J, C]`."""
    counts = counts_of(n, levels).astype(np.float64)
    choices = special.gammaln(n + 1.0) - special.gammaln(counts + 1.0).sum(axis=1)
    with np.errstate(divide="ignore", under="ignore"):
        logs = np.maximum(np.log(_library(levels)), -1e5)
        return np.asarray(np.exp(choices + logs @ counts.T))
