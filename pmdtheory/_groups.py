"""Expectations over groups of n rollouts: exact by counts where there are few reward levels, sampled otherwise."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pmdtheory._checks import FloatArray, shown
from pmdtheory.problem import Problem

__all__ = ["GroupExpectation", "Statistic", "expect", "whole_number"]

Statistic = Callable[[NDArray[np.int64], FloatArray], FloatArray]
_EXACT: Final = 200_000  # distinct groups up to which an expectation is a sum and not a sample
_TABLE: Final = 10_000_000  # entries of the table of counts, likewise
_BLOCK: Final = 20_000


@dataclass(frozen=True, eq=False)
class GroupExpectation:
    """The expectation of a statistic over groups of n rollouts.

    Attributes:
        value: `[...]`, the expectation.
        standard_error: `[...]`, zero for an exact sum.
        exact: whether it is one.
        groups: distinct groups summed, or groups sampled.
    """

    value: FloatArray
    standard_error: FloatArray
    exact: bool
    groups: int


def whole_number(name: str, value: Any, least: int, remedy: str) -> int:
    """The value as an int of at least `least`; TypeError or ValueError naming the argument, value and remedy."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {shown(value)}; {remedy}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}; {remedy}")
    return int(value)


def expect(problem: Problem, n: int, statistic: Statistic, *, samples: int = 20_000, seed: int = 0) -> GroupExpectation:
    r"""Expectation of a statistic of a group of n rollouts drawn from the problem's policy.

    Formula: \(\sum_c \binom{n}{c} \prod_k m_k^{c_k}\, s(c)\) over all counts c of the reward levels.

    Args:
        problem: with `K` reward levels.
        n: rollouts in a group, at least 1.
        statistic: counts `[U, K]`, rewards `[K]` -> `[U, ...]`; called on blocks of groups.
        samples: groups drawn where the distinct ones are more than 200,000.
        seed: of that sample.

    Returns:
        A `GroupExpectation`; exact for binary rewards and for few levels.

    Raises:
        TypeError, ValueError: for an n or a number of samples that is no whole number in range.

    Source: this project (C12, C16).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.3, tau=0.5)
    >>> share = expect(problem, 4, lambda counts, reward: counts @ reward / 4)
    >>> share.exact and abs(float(share.value) - 0.3) < 1e-15  # the group mean is unbiased
    True
    """
    n = whole_number("n", n, 1, "pass the number of rollouts in a group")
    levels = problem.levels
    groups = math.comb(n + levels.mass.size - 1, n)
    if groups <= _EXACT and groups * (levels.mass.size + min(n, levels.mass.size - 1)) <= _TABLE:
        return _exact(problem, n, statistic)
    samples = whole_number("samples", samples, 2, "pass the number of groups to draw")
    rng = np.random.default_rng(seed)
    values = [
        statistic(rng.multinomial(n, levels.mass / levels.mass.sum(), min(_BLOCK, samples - start)), levels.reward)
        for start in range(0, samples, _BLOCK)
    ]
    drawn = np.concatenate(values)
    return GroupExpectation(drawn.mean(axis=0), drawn.std(axis=0, ddof=1) / math.sqrt(samples), False, samples)


def _exact(problem: Problem, n: int, statistic: Statistic) -> GroupExpectation:
    levels = problem.levels
    counts = _compositions(n, levels.mass.size)
    log_weight = special.gammaln(n + 1.0) - special.gammaln(counts + 1.0).sum(axis=1)
    log_weight += np.where(counts > 0, counts * levels.log_mass, 0.0).sum(axis=1)
    with np.errstate(under="ignore"):
        weight = np.exp(log_weight)
    weight /= math.fsum(weight)  # gammaln is good to 1e-15 of its size: take that common error out
    blocks = [slice(start, start + _BLOCK) for start in range(0, counts.shape[0], _BLOCK)]
    parts = [np.tensordot(weight[block], statistic(counts[block], levels.reward), axes=1) for block in blocks]
    value = np.asarray(np.sum(parts, axis=0))
    return GroupExpectation(value, np.zeros_like(value), True, counts.shape[0])


def _compositions(n: int, parts: int) -> NDArray[np.int64]:
    """All ways to write n as an ordered sum of `parts` counts, `[U, parts]`: by bars among stars, or by picks."""
    if parts == 1:
        return np.array([[n]])
    if parts - 1 < n:
        size = n + parts - 1
        bars = np.array(list(combinations(range(size), parts - 1)), dtype=np.int64)
        edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, size)))
        return np.diff(edges, axis=1) - 1
    chosen = np.array(list(combinations_with_replacement(range(parts), n)), dtype=np.intp)
    counts = np.zeros((chosen.shape[0], parts), dtype=np.int64)
    rows = np.arange(chosen.shape[0])
    for column in chosen.T:
        np.add.at(counts, (rows, column), 1)
    return counts
