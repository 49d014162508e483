"""Means over prompts as functions of tau, and the chance of no signal as a function of the group size."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._binary_law import binary_measures, no_signal_probability
from pmdtheory.rollouts._graded import corrected, empirical_measures, unbiased_no_signal
from pmdtheory.rollouts._graded_bias import GRADED_ENDS, GradedBias
from pmdtheory.rollouts._grouping import Groups, Scale
from pmdtheory.rollouts._mixture import GRID, Band, estimate
from pmdtheory.rollouts._per_group import binary_bands, binary_strata
from pmdtheory.rollouts._pooled import BAND, Counts, Pooled, over_prompts, pooled_mean
from pmdtheory.rollouts._record import Rollouts
from pmdtheory.rollouts._tau_slopes import corrected_slopes, plug_in_slopes

__all__ = ["BinaryResponse", "GradedResponse", "GroupSize"]

_SIZES: Final = (2, 4, 8, 16, 32, 64, 128, 256)
_MOST: Final = 4_000  # groups of graded rewards that are used, drawn at random from more
_FIELDS: Final = {"kl": "kl", "gain": "improvement"}


@dataclass(frozen=True)
class GroupSize:
    """How often a group of n rollouts has no signal.

    Attributes:
        n: rollouts.
        probability: estimated share of groups without signal; NaN where the data cannot tell.
        low, high: bounds that hold for every law of pass rates that agrees with the counts.
    """

    n: int
    probability: float
    low: float
    high: float


class BinaryResponse:
    """Means over prompts of functions of their pass rates."""

    def __init__(self, rollouts: Rollouts, groups: Groups, scale: Scale, level: float) -> None:
        self._span = scale.span
        self._level = level
        self._kept: dict[tuple[str, float], FloatArray] = {}
        self._strata: list[Counts] = [one for _, one in binary_strata(rollouts, groups, scale)]
        self._bands = binary_bands(self._strata, level)
        sizes = np.array([one.successes.size for one in self._strata], dtype=np.float64)
        self._weight = sizes / sizes.sum()
        laws = [estimate(one.histogram) for one in self._strata]
        self._law = sum((w * law for w, law in zip(self._weight, laws, strict=True)), np.zeros(GRID.size))
        seen = [np.unique(one.successes) / one.n for one in self._strata]
        self._seen = np.unique(np.concatenate(seen))

    def value(self, target: str, tau: float) -> float:
        strength = tau / self._span
        if target == "max_ratio":
            return float(np.exp(binary_measures(self._seen, strength).log_max_ratio.max()))
        return float(self._law @ self._curve(target, strength))

    def _curve(self, target: str, strength: float) -> FloatArray:
        """A measure on `GRID`, kept."""
        if (target, strength) not in self._kept:
            self._kept[target, strength] = getattr(binary_measures(GRID, strength), _FIELDS[target])
        return self._kept[target, strength]

    def interval(self, target: str, tau: float) -> Pooled:
        strength, field = tau / self._span, _FIELDS[target]
        curve = self._curve(target, strength)
        pairs = [
            (getattr(binary_measures(np.arange(one.n + 1.0) / one.n, strength), field), curve) for one in self._strata
        ]
        return pooled_mean(self._strata, pairs, self._level, self._bands)[0]

    def sizes(self, level: float) -> tuple[GroupSize, ...]:
        found = []
        alpha = (1.0 - level) / len(self._strata)
        bands = [Band(one.histogram, alpha, float(np.unique(one.prompt).size)) for one in self._strata]
        least = min(one.n for one in self._strata)
        for n in _SIZES:
            if n <= least:  # n of the rollouts at hand, drawn without replacement: unbiased
                shares = np.concatenate([_drawn(one, n) for one in self._strata])
                mean = over_prompts(
                    shares, np.concatenate([one.prompt for one in self._strata]), level, ends=(0.0, 1.0)
                )
                found.append(GroupSize(n, mean.value, mean.low, mean.high))
                continue
            chance = no_signal_probability(GRID, n)
            ends = np.array([band.extremes(chance) for band in bands])
            low, high = self._weight @ ends
            found.append(GroupSize(n, float(self._law @ chance), float(low), float(high)))
        return tuple(found)


def _drawn(counts: Counts, n: int) -> FloatArray:
    """Chance `[G]` that n of a group's rollouts agree."""
    k = counts.successes.astype(np.float64)
    agree = special.comb(k, n) + special.comb(counts.n - k, n)
    return np.asarray(agree / special.comb(counts.n, n))


class GradedResponse:
    """Means over groups of their empirical laws, less the bias of order 1/n; what is left of it widens intervals."""

    def __init__(self, rollouts: Rollouts, groups: Groups, scale: Scale, level: float) -> None:
        del scale
        self._level = level
        count = groups.size.size
        used = np.ones(count, dtype=bool)
        if count > _MOST:  # the interval is that of the groups used
            used[np.random.default_rng(0).permutation(count)[_MOST:]] = False
        parts = [(chosen[used[chosen]], members[used[chosen]]) for _, chosen, members in groups.by_size()]
        strata = [(rollouts.reward[members], groups.prompt[chosen]) for chosen, members in parts if chosen.size]
        self._rewards = [rewards for rewards, _ in strata]
        self._prompt = np.concatenate([prompt for _, prompt in strata])
        self._left = GradedBias(strata, level)
        self._kept: dict[tuple[str, float], FloatArray] = {}

    def _estimates(self, target: str, tau: float) -> FloatArray:
        if (target, tau) not in self._kept:
            found = [corrected(one, tau, empirical_measures(one, tau)[0])[target] for one in self._rewards]
            self._kept[target, tau] = np.concatenate(found)
        return self._kept[target, tau]

    def value(self, target: str, tau: float) -> float:
        if target == "max_ratio":
            ratios = [empirical_measures(one, tau)[0].log_max_ratio.max() for one in self._rewards]
            return float(np.exp(max(ratios)))
        return float(self._estimates(target, tau).mean())

    def slope(self, target: str, tau: float) -> float:
        """Derivative of the value in log tau."""
        if target == "max_ratio":
            found = [(empirical_measures(one, tau)[0].log_max_ratio, one) for one in self._rewards]
            largest, rewards = max(((v.max(), one[v.argmax()]) for v, one in found), key=lambda pair: pair[0])
            return float(np.exp(largest) * plug_in_slopes(rewards[None], tau)["log_max_ratio"][0])
        return float(np.concatenate([corrected_slopes(one, tau)[target] for one in self._rewards]).mean())

    def interval(self, target: str, tau: float) -> Pooled:
        ((least, most),) = self._left.bounds([_FIELDS[target]], tau).tolist()
        ends = GRADED_ENDS[target]
        values = self._estimates(target, tau)
        return over_prompts(values, self._prompt, self._level, bias=(least, most), share=BAND, ends=ends, exact=False)

    def sizes(self, level: float) -> tuple[GroupSize, ...]:
        """Up to the size of the groups at hand; beyond, graded rewards tell nothing."""
        found = []
        for n in _SIZES:
            if all(one.shape[1] >= n for one in self._rewards):
                shares = np.concatenate([unbiased_no_signal(one, n) for one in self._rewards])
                mean = over_prompts(shares, self._prompt, level, ends=(0.0, 1.0))
                found.append(GroupSize(n, mean.value, mean.low, mean.high))
            else:
                found.append(GroupSize(n, math.nan, math.nan, math.nan))
        return tuple(found)
