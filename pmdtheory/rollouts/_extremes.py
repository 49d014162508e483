r"""The range of a functional of PMD-mean's step over all laws whose distribution function lies in a band.

At an extreme law F maximises a linear functional \(E_F g\), g the influence function, over the band L <= F <= U. In
terms of quantiles: each lies where g is largest between its two bounds. In \(\rho\), which increases with r, g' changes
sign at most twice for the new mean, the gain, lambda and the KL, so that the extreme laws are, whatever the number of
levels,

    F = max(L, min(U, c)) below s, max(L, min(U, d)) from s on, c <= d,

with c = 0 (F = L below s) for the largest value and d = 1 (F = U from s on) for the least: two free numbers, a level
and a place, searched on a lattice and then by halving steps. `docs/rollouts.md` has the proof. For the chi2 share g'
may change sign three times; there all three numbers are free.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._bands import Cells
from pmdtheory.rollouts._measures import Measures, measure
from pmdtheory.rollouts._solve import solve_groups

__all__ = ["FIELDS", "Family", "laws", "ranges"]

FIELDS: Final = {
    "pass_rate": "mean_reward",
    "new_pass_rate": "expected_reward",
    "gain": "improvement",
    "multiplier": "multiplier",
    "kl": "kl",
    "chi2_share": "chi2_share",
}
_TWO: Final = ("expected_reward", "improvement", "multiplier", "kl")  # extremes with one level and one place free
_THREE: Final = ("chi2_share",)
_BLOCK: Final = 256  # bands at once
_LEVELS: Final = 11  # on the lattice, besides those where the band has a step
_INSIDE: Final = 1  # places on the lattice within each cell, besides its ends
_ROUNDS: Final = 8  # of halving


def ranges(low: FloatArray, high: FloatArray, cells: Cells, tau: float) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Least and largest value `[U]` of every functional of `FIELDS` over bands `[U, K - 1]`."""
    found = {name: (np.empty(low.shape[0]), np.empty(low.shape[0])) for name in FIELDS}
    for start in range(0, low.shape[0], _BLOCK):
        rows = slice(start, start + _BLOCK)
        for name, ends in _search(Family(low[rows], high[rows], cells, tau)).items():
            for kept, end in zip(found[name], ends, strict=True):
                kept[rows] = end
    return found


class Family:
    """The laws (c, d, s) of each band: level c below the place s, d from there on, cut to the band.

    Attributes:
        nodes: `[M]`, rewards where a law of the family has atoms, besides s.
        inner: `[M]`, whether s may lie between a node and the next: inside a cell, where the band is flat.
        low, high: `[U, M]`, the band at the nodes; `high` is its limit from the right.
    """

    def __init__(self, low: FloatArray, high: FloatArray, cells: Cells, tau: float) -> None:
        self.nodes: FloatArray = np.union1d(cells.first, cells.last)
        full = np.searchsorted(cells.last, self.nodes, "right")
        begun = np.searchsorted(cells.first, self.nodes, "right")
        self.inner: NDArray[np.bool_] = begun > full
        ends = np.zeros((low.shape[0], 1)), np.ones((low.shape[0], 1))
        self.low: FloatArray = np.concatenate([ends[0], low, ends[1]], axis=1)[:, full]
        self.high: FloatArray = np.concatenate([ends[0], high, ends[1]], axis=1)[:, begun]
        self._bottom, self._top = self.low[:, :1], self.high[:, max(self.nodes.size - 2, 0), None]
        self._tau = tau

    @property
    def size(self) -> int:
        """Number of bands."""
        return int(self.low.shape[0])

    def levels(self, even: int) -> FloatArray:
        """Levels `[U, T]` to begin at: even ones, and those where the band has a step, as extremes have kinks there."""
        steps = np.concatenate([self.low[:, 1:-1], self.high[:, :-2]], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.clip((steps - self._bottom) / (self._top - self._bottom), 0.0, 1.0)
        t = np.where(self._top > self._bottom, np.arcsin(np.sqrt(part)) / (0.5 * np.pi), 0.0)
        return np.concatenate([np.broadcast_to(np.linspace(0.0, 1.0, even), (self.size, even)), t], axis=1)

    def moved(self, points: FloatArray, by: FloatArray) -> FloatArray:
        """Points `[..., 3]` moved, and cut to the family; a place outside a cell goes on to the next node."""
        new = points + by
        place = np.clip(new[..., 2], 0.0, self.nodes.size - 1.0)
        onwards = np.where(by[..., 2] > 0.0, np.ceil(place), np.floor(place))
        place = np.where(self.inner[np.floor(place).astype(np.int64)], place, onwards)
        return np.concatenate([np.sort(np.clip(new[..., :2], 0.0, 1.0), axis=-1), place[..., None]], axis=-1)

    def at(self, points: FloatArray, guess: FloatArray | None = None) -> Measures:
        """Measures of laws `[U, T]`, in one row.

        Points `[U, T, 3]` are c, d, s: levels as numbers in [0, 1] from the least that matters to the largest, denser
        towards both; the place by the number of a node, with a fraction inside a cell.
        """
        under, over = (
            np.clip(self._level(points[..., i])[..., None], self.low[:, None], self.high[:, None]) for i in (0, 1)
        )
        place, index = points[..., 2, None], np.arange(self.nodes.size)
        distribution = np.where(index < place, under, over)
        mass, reward = np.diff(distribution, axis=-1, prepend=0.0), np.broadcast_to(self.nodes, distribution.shape)
        if self.inner.any():
            # between two nodes the band is flat: F rises at s by the difference of the two levels
            node = np.floor(place).astype(np.int64)
            part, beyond = place - node, np.minimum(node + 1, index.size - 1)
            rise = np.take_along_axis(over - under, node, axis=-1) * (part > 0.0)
            mass -= np.where(index == beyond, rise, 0.0)
            spot = self.nodes[node] + part * (self.nodes[beyond] - self.nodes[node])
            mass, reward = np.concatenate([mass, rise], axis=-1), np.concatenate([reward, spot], axis=-1)
        mass = np.maximum(mass, 0.0).reshape(-1, mass.shape[-1])
        return laws(mass, reward.reshape(mass.shape), self._tau, None if guess is None else guess.ravel())

    def _level(self, t: FloatArray) -> FloatArray:
        return np.asarray(self._bottom + (self._top - self._bottom) * np.sin(0.5 * np.pi * t) ** 2)


def laws(mass: FloatArray, reward: FloatArray, tau: float, guess: FloatArray | None = None) -> Measures:
    """Measures of the step on laws given by masses and rewards, both `[G, K]`; multipliers `[G]` to begin at."""
    a = (reward - (mass * reward).sum(axis=1, keepdims=True)) / tau
    v, multiplier = solve_groups(a, mass, guess)
    return measure(mass, reward, tau, v, multiplier)


def _search(family: Family) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Ends of all functionals: the best of the lattice, then steps that are halved where none of them is better."""
    inside = np.arange(1.0, _INSIDE + 1.0) / (_INSIDE + 1.0)
    spots = np.concatenate([np.arange(float(family.nodes.size)), *(j + inside for j in np.flatnonzero(family.inner))])
    free = family.levels(_LEVELS)
    t, place = np.repeat(free, spots.size, axis=1), np.tile(spots, (family.size, free.shape[1]))
    kinds = [np.stack(one, axis=-1) for one in ((t, np.ones_like(t), place), (np.zeros_like(t), t, place))]
    found_at = [family.at(points) for points in kinds]
    rows = np.arange(family.size)

    def best(field: str, sign: float, which: slice) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Value `[U]`, point `[U, 3]` and multiplier `[U]` of the lattice's best."""
        values, multipliers = (
            np.concatenate([getattr(m, name).reshape(family.size, -1) for m in found_at[which]], axis=1)
            for name in (field, "multiplier")
        )
        where = (sign * values).argmax(axis=1)
        points = np.concatenate(kinds[which], axis=1)
        return sign * values[rows, where], points[rows, where], multipliers[rows, where]

    # in both kinds of laws the place moves, and the one level that is free
    c, d, s = np.eye(3)
    found: dict[str, tuple[FloatArray, FloatArray]] = {}
    for fields, sides, moves in (
        (_TWO, (slice(0, 1), slice(1, 2)), np.stack([np.stack([one, -one, s, -s]) for one in (c, d)] * len(_TWO))),
        (_THREE, (slice(0, 2), slice(0, 2)), np.concatenate([np.eye(3), -np.eye(3)])[None]),
    ):
        ends = [(field, sign) for field in fields for sign in (-1.0, 1.0)]
        begun = [best(field, sign, sides[int(sign > 0.0)]) for field, sign in ends]
        value, point, multiplier = (np.stack(one, axis=1) for one in zip(*begun, strict=True))
        values = _climb(family, ends, value, point, multiplier, moves)
        found |= {field: (-values[:, 2 * i], values[:, 2 * i + 1]) for i, field in enumerate(fields)}
    least, most = (np.diff(f, axis=1, prepend=0.0) @ family.nodes for f in (family.high, family.low))
    found["mean_reward"] = least, most
    return {name: found[field] for name, field in FIELDS.items()}


def _climb(
    family: Family,
    ends: list[tuple[str, float]],
    values: FloatArray,
    points: FloatArray,
    multiplier: FloatArray,
    moves: FloatArray,
) -> FloatArray:
    """The largest `[U, E]` of each end's signed measure, by steps from points `[U, E, 3]` along moves `[E, S, 3]`."""
    size, count = values.shape
    step, scale = np.ones((size, count)), np.array([1.0 / (_LEVELS - 1.0), 1.0 / (_LEVELS - 1.0), 1.0])
    for _ in range(_ROUNDS):
        step *= 0.5
        tried = family.moved(points[:, :, None], step[..., None, None] * moves * scale)
        shape = tried.shape[:-1]
        found = family.at(tried.reshape(size, -1, 3), np.broadcast_to(multiplier[..., None], shape))
        options = np.empty(shape)
        for i, (field, sign) in enumerate(ends):
            options[:, i] = sign * getattr(found, field).reshape(shape)[:, i]
        where = options.argmax(axis=2)[..., None]
        top, at_top = (
            np.take_along_axis(one, where, axis=2)[..., 0] for one in (options, found.multiplier.reshape(shape))
        )
        better = top > values
        points = np.where(better[..., None], np.take_along_axis(tried, where[..., None], axis=2)[:, :, 0], points)
        multiplier = np.where(better, at_top, multiplier)
        values, step = np.maximum(values, top), np.where(better, 1.5 * step, step)
    return values
