"""From a violation in float64 to a readable one: few actions, small numbers, few digits, decided exactly."""

import math
from fractions import Fraction
from itertools import product
from typing import Final

import numpy as np
from scipy.special import logsumexp

from pmdtheory._checks import FloatArray
from pmdtheory.hunt._evolve import evolved
from pmdtheory.hunt._families import coordinates
from pmdtheory.hunt._search import measured, slacks
from pmdtheory.hunt._statement import Statement, Witness

__all__ = ["shrunk"]

_BUDGETS: Final = ((60, 60), (160, 200))  # members and generations; the second where the first finds nothing
_MARGINS: Final = (0.2, 0.02, 0.002)  # share of the depth that a readable witness must keep
_DIGITS: Final = (1, 2, 3, 4, 6, 9, 12)
_STEPS: Final = (
    10.0**6,
    1e5,
    1e4,
    1000.0,
    100.0,
    10.0,
    5.0,
    1.0,
    0.5,
    0.25,
    0.125,
    2.0**-5,
    2.0**-8,
    2.0**-12,
    2.0**-20,
)


def shrunk(statement: Statement, at: FloatArray, actions: int, rng: np.random.Generator) -> Witness | None:
    """A witness that is decided exactly, or None where no rounding of the violation is one."""
    for members, generations in _BUDGETS:
        for fewer in range(2, actions + 1):
            start = _subsets(at, actions, fewer, rng, statement, members)
            found, depth = evolved(rng, lambda z, k=fewer: slacks(statement, z, k)[0], start, generations)  # type: ignore[misc]
            if depth >= -1e-9:
                continue
            for margin in _MARGINS:
                near = found + 0.1 * rng.standard_normal((members, found.size))
                near[0] = found
                plain = _simpler(statement, near, fewer, margin * min(-depth, 0.5), 2 * generations, rng)
                witness = _rounded(statement, plain, fewer)
                if witness is not None:
                    return witness
    return None


def _subsets(
    at: FloatArray, actions: int, fewer: int, rng: np.random.Generator, statement: Statement, members: int
) -> FloatArray:
    """A population of laws on `fewer` of the actions, with small changes, and fresh ones."""
    rows: list[FloatArray] = []
    for _ in range(members // 2):
        kept = rng.choice(actions, fewer, replace=False) if fewer < actions else np.arange(actions)
        row = np.concatenate([at[:actions][kept], at[actions : 2 * actions][kept], at[2 * actions :]])
        rows.append(row + 0.05 * rng.standard_normal(row.size) * (len(rows) > 0))
    return np.concatenate([rows, coordinates(rng, members // 2, fewer, statement.extra)])


def _simpler(
    statement: Statement, start: FloatArray, actions: int, margin: float, generations: int, rng: np.random.Generator
) -> FloatArray:
    """A law of smaller ratios of masses and rewards that violates the statement by the margin."""

    def size(z: FloatArray) -> FloatArray:
        slack = measured(statement, z, actions)[0]  # noise is decided exactly in the end
        centred = z[:, :actions] - logsumexp(z[:, :actions], axis=1, keepdims=True)
        rewards = np.sinh(np.clip(z[:, actions : 2 * actions], -14.6, 14.6))
        large = -centred.min(1) + np.arcsinh(np.ptp(rewards, axis=1)) + np.abs(z[:, 2 * actions :]).sum(1)
        return np.where(slack <= -margin, large, 1e3 + slack)

    return evolved(rng, size, start, generations)[0]


def _rounded(statement: Statement, at: FloatArray, actions: int) -> Witness | None:
    """The roundings in order of their digits; the first few that hold in float64 are decided exactly."""
    log_mass = at[:actions] - at[:actions].min()
    reward = np.sinh(at[actions : 2 * actions])
    reward = reward - reward.min()
    further = dict(zip(statement.extra, np.exp(at[2 * actions :]), strict=True))
    order = np.argsort(reward, kind="stable")
    found = []
    for digits, (fine, step), few in product(_DIGITS, enumerate(_STEPS), (1, 2, 3)):
        weights = tuple(_significant(float(np.exp(log_mass[k])), digits) for k in order)
        rewards = tuple(Fraction(round(reward[k] / step) * step) for k in order)
        extra = {name: Fraction(round(value * 4**few), 4**few) for name, value in further.items()}
        if len(set(rewards)) < 2 or max(map(abs, rewards)) > 2**40:
            continue
        cost = sum(len(str(w).rstrip("0")) for w in weights) + sum(len(str(r).rstrip("0")) for r in rewards) + fine / 99
        found.append((cost + sum(len(str(v)) for v in extra.values()), Witness(weights, rewards, extra)))
    if not found:
        return None
    found.sort(key=lambda pair: pair[0])
    values = slacks(statement, np.array([_row(one) for _, one in found]), actions)[0]
    negative = [one for (_, one), value in zip(found, values, strict=True) if value < -1e-9]
    return next((one for one in negative[:6] if statement.refutes(one)), None)


def _significant(number: float, digits: int) -> int:
    """A positive integer near the number, which is at least one."""
    unit: int = 10 ** max(len(str(round(number))) - digits, 0)
    return max(round(number / unit), 1) * unit


def _row(one: Witness) -> FloatArray:
    """Coordinates of a witness; infinite, and so outside of the region, where a number was rounded to zero."""
    further = [math.log(value) if value > 0 else math.inf for value in one.extra.values()]
    return np.array([*(math.log(w) for w in one.weights), *np.arcsinh([float(r) for r in one.reward]), *further])
