r"""Intervals for one prompt whose rewards take a few known levels, from exact intervals of its distribution function.

With K levels, each of the K - 1 values of the distribution function gets Clopper and Pearson's interval at level
\(1 - \alpha/(K-1)\); together they hold the true function with probability \(1 - \alpha\) at least (Bonferroni), for
every n. An interval is the range of a functional over that box of laws, searched from the best point of a lattice.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._intervals import clopper_pearson
from pmdtheory.rollouts._measures import Measures, measure
from pmdtheory.rollouts._solve import solve_groups

__all__ = ["FIELDS", "few_levels", "level_intervals"]

_POINTS: Final = {3: 9, 4: 5}  # of the lattice along each axis, by the number of levels
_MOST: Final = 3_000  # distinct groups, some milliseconds each
FIELDS: Final = {
    "pass_rate": "mean_reward",
    "new_pass_rate": "expected_reward",
    "gain": "improvement",
    "multiplier": "multiplier",
    "kl": "kl",
    "chi2_share": "chi2_share",
}
_BLOCK: Final = 2_000  # boxes at once
_STEPS: Final = 8  # of the search from the best point of the lattice


def few_levels(reward: FloatArray, sizes: NDArray[np.int64]) -> FloatArray | None:
    """The levels of rewards `[N]` in groups of `sizes` `[G]`; None where they, or the distinct groups, are too many."""
    levels = np.unique(reward)
    if levels.size not in _POINTS:
        return None
    n, groups = np.unique(sizes, return_counts=True)
    distinct = [
        min(math.comb(int(size) + levels.size - 1, levels.size - 1), int(count))
        for size, count in zip(n, groups, strict=True)
    ]
    return levels if sum(distinct) <= _MOST else None


def level_intervals(
    rewards: FloatArray, levels: FloatArray, tau: float, level: float
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Ends `[g]` for every functional of `FIELDS`, groups `[g, n]` with rewards among `levels` `[K]`, K = 3 or 4."""
    groups, n = rewards.shape
    place = np.searchsorted(levels, rewards)
    below = np.stack([(place <= j).sum(axis=1) for j in range(levels.size - 1)], axis=1)
    table, inverse = np.unique(below, axis=0, return_inverse=True)
    low, high = clopper_pearson(table, n, 1.0 - (1.0 - level) / (levels.size - 1))
    ends = {name: (np.empty(table.shape[0]), np.empty(table.shape[0])) for name in FIELDS}
    for start in range(0, table.shape[0], _BLOCK):
        rows = slice(start, start + _BLOCK)
        box = _Box(low[rows], high[rows], levels, tau)
        for name, kept in ends.items():
            for end, sign in zip(kept, (-1.0, 1.0), strict=True):
                end[rows] = sign * box.largest(FIELDS[name], sign)
    return {name: (least[inverse.ravel()], most[inverse.ravel()]) for name, (least, most) in ends.items()}


class _Box:
    """Laws whose distribution function lies between bounds `[U, K - 1]`; its points are t in the unit cube."""

    def __init__(self, low: FloatArray, high: FloatArray, levels: FloatArray, tau: float) -> None:
        self._low, self._width, self._levels, self._tau = low, high - low, levels, tau
        axes = levels.size - 1
        axis = np.linspace(0.0, 1.0, _POINTS[levels.size])
        self._spacing = axis[1]
        self._lattice = np.stack(np.meshgrid(*[axis] * axes, indexing="ij"), axis=-1).reshape(-1, axes)
        self._first = self._at(np.broadcast_to(self._lattice, (low.shape[0], *self._lattice.shape)))
        self._moves = np.concatenate([np.eye(axes), -np.eye(axes)])

    def _at(self, t: FloatArray) -> Measures:
        """Measures at points `[U, T, K - 1]`, in one row."""
        inside = self._low[:, None] + t * self._width[:, None]
        return _laws(np.maximum.accumulate(inside, axis=-1), self._levels, self._tau)

    def largest(self, field: str, sign: float) -> FloatArray:
        """The largest of sign times a measure `[U]`: the best of the lattice, then steps along the axes from there."""
        rows = np.arange(self._low.shape[0])
        values = sign * getattr(self._first, field).reshape(rows.size, -1)
        where = values.argmax(axis=1)
        best, t, h = values[rows, where], self._lattice[where], np.full(rows.size, 0.5 * self._spacing)
        for _ in range(_STEPS):
            tried = np.clip(t[:, None] + h[:, None, None] * self._moves, 0.0, 1.0)
            values = sign * getattr(self._at(tried), field).reshape(rows.size, -1)
            where = values.argmax(axis=1)
            better = values[rows, where] > best
            t = np.where(better[:, None], tried[rows, where], t)
            best, h = np.maximum(best, values[rows, where]), np.where(better, h, 0.5 * h)
        return np.asarray(best)


def _laws(distribution: FloatArray, levels: FloatArray, tau: float) -> Measures:
    """Measures of laws given by their distribution function `[..., K - 1]`, in one row."""
    flat = distribution.reshape(-1, levels.size - 1)
    mass = np.diff(flat, axis=1, prepend=0.0, append=1.0)
    reward = np.broadcast_to(levels, mass.shape)
    a = (levels - (mass * levels).sum(axis=1, keepdims=True)) / tau
    v, multiplier = solve_groups(a, mass)
    return measure(mass, reward, tau, v, multiplier)
