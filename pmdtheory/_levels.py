"""Reward levels: actions of equal reward merged into one, with exactly centred advantages (C10)."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory._series import blocks

__all__ = ["Levels", "Merge", "merge_levels"]

_PROBE: Final = 4096  # rewards looked at before deciding whether a large problem has few levels
_TINY: Final = 1e-290


@dataclass(frozen=True, eq=False)
class Merge:
    """The law of the reward: `[K]` levels with mass, and for each action `[A]` the level it belongs to.

    `inverse` is None when every action is its own level (then the arrays are the problem's own, not copies);
    an entry of -1 marks an action without mass.
    """

    reward: FloatArray
    mass: FloatArray
    log_mass: FloatArray
    inverse: NDArray[Any] | None

    def expand(self, per_level: FloatArray, size: int, missing: float) -> FloatArray:
        """Values `[K]` of the levels as values `[A]` of the actions."""
        if self.inverse is None:
            return per_level
        result = np.empty(size)
        padded = np.append(per_level, missing)  # index -1 picks the last entry
        np.take(padded, self.inverse, out=result, mode="wrap")
        return result


def merge_levels(policy: FloatArray, log_policy: FloatArray, reward: FloatArray, equal: bool = True) -> Merge:
    """Merge actions of equal reward and drop actions without mass; large problems are probed before sorting."""
    alive = log_policy > -math.inf
    everything = bool(alive.all())
    if not equal:
        if everything:
            return Merge(reward, policy, log_policy, None)
        position = np.where(alive, np.cumsum(alive) - 1, -1)
        return Merge(reward[alive], policy[alive], log_policy[alive], position)
    if everything and reward.size > _PROBE:
        probe = np.unique(reward[:: reward.size // _PROBE])
        if probe.size > _PROBE // 2:
            return Merge(reward, policy, log_policy, None)
        inverse = _match(reward, probe)
        if inverse is not None:
            return _summed(probe, inverse, policy, log_policy)
    values, found = np.unique(reward[alive], return_inverse=True)
    if everything:
        if values.size == reward.size:
            return Merge(reward, policy, log_policy, None)
        return _summed(values, found.astype(np.intp), policy, log_policy)
    position = np.full(reward.size, -1, dtype=np.intp)
    position[alive] = found
    merged = _summed(values, found, policy[alive], log_policy[alive])
    return Merge(merged.reward, merged.mass, merged.log_mass, position)


def _match(reward: FloatArray, levels: FloatArray) -> NDArray[Any] | None:
    """Index of each reward among sorted `levels`, or None when some reward is not there."""
    dtype = np.int8 if levels.size < 127 else np.int16
    inverse = np.empty(reward.size, dtype=dtype)
    for block in blocks(reward.size):
        if levels.size <= 2:
            index = (reward[block] == levels[-1]).astype(np.intp) * (levels.size - 1)
        else:
            index = np.minimum(np.searchsorted(levels, reward[block]), levels.size - 1)
        if not np.array_equal(levels[index], reward[block]):
            return None
        inverse[block] = index
    return inverse


def _summed(values: FloatArray, inverse: NDArray[Any], policy: FloatArray, log_policy: FloatArray) -> Merge:
    mass = np.zeros(values.size)
    for block in blocks(policy.size):
        mass += np.bincount(inverse[block], weights=policy[block], minlength=values.size)
    with np.errstate(divide="ignore"):
        log_mass = np.log(mass)
    for level in np.flatnonzero(mass < _TINY):
        exponent = log_policy[inverse == level]
        top = float(exponent.max())
        log_mass[level] = top + math.log(float(np.exp(exponent - top).sum()))
    return Merge(values, mass, log_mass, inverse)


@dataclass(frozen=True, eq=False)
class Levels:
    r"""`[K]` reward levels with mass and their scaled advantages.

    Attributes:
        reward: `[K]`, reward units.
        mass: `[K]`, summing to one.
        log_mass: `[K]`, nats; right also where `mass` underflows.
        advantage: `[K]`, \(a = (r - \bar r)/\tau\), nats, each entry exact to rounding.
        mean: \(\bar r\), reward units.
        tau: reward units.
    """

    reward: FloatArray
    mass: FloatArray
    log_mass: FloatArray
    advantage: FloatArray
    mean: float
    tau: float
    mean_low: float

    @classmethod
    def build(cls, merge: Merge, tau: float) -> "Levels":
        r"""Centre the rewards in two passes: \(\bar r\) is carried as a sum of two floats.

        One pass leaves an error of eps|r| in the mean, which for a weak signal is a visible multiplier.
        """
        reward, mass = merge.reward, merge.mass
        anchor = float(np.dot(mass, reward))
        anchor = min(max(anchor, float(reward.min())), float(reward.max()))
        mean_low = math.fsum(float(np.dot(mass[block], reward[block] - anchor)) for block in blocks(mass.size))
        advantage = np.empty_like(reward)
        for block in blocks(reward.size):
            advantage[block] = ((reward[block] - anchor) - mean_low) / tau
        return cls(reward, mass, merge.log_mass, advantage, anchor + mean_low, tau, anchor_low(anchor, mean_low))

    def scale(self, reward: FloatArray) -> FloatArray:
        """Scaled advantages of arbitrary rewards (those of actions without mass, say), nats."""
        return ((reward - self.mean) - self.mean_low) / self.tau

    @cached_property
    def depth(self) -> FloatArray:
        r"""`[K]`, \((r - r_{\max})/\tau \le 0\), nats: relative to the best level, so large shifts cancel."""
        return np.asarray((self.reward - self.reward.max()) / self.tau)


def anchor_low(anchor: float, correction: float) -> float:
    """What rounding lost in anchor + correction (Fast2Sum, either order)."""
    total = anchor + correction
    back = total - anchor
    return (anchor - (total - back)) + (correction - back)
