"""Cases for the claims: named ones that go to the corners, then an endless random stream over nine decades of tau."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from scipy import stats

from pmdtheory.problem import Problem

__all__ = ["NAMED", "binaries", "discrete", "problems", "random_tau"]


def _named() -> list[tuple[str, Problem]]:
    graded = [0.0, 0.25, 0.5, 0.75, 1.0]
    return [
        ("binary .3, tau 1", Problem.binary(0.3, 1.0)),
        ("binary .05, tau .1", Problem.binary(0.05, 0.1)),
        ("binary 1e-300, tau .01", Problem.binary(1e-300, 0.01)),
        ("binary 1 - 1e-30, tau .1", Problem.binary(1.0, 0.1, failure=1e-30)),
        ("binary -1/+1, tau .5", Problem.binary(0.4, 0.5, rewards=(-1, 1))),
        ("graded uniform, tau .2", Problem.from_policy([0.2] * 5, graded, 0.2)),
        ("graded uniform, tau 1e-4", Problem.from_policy([0.2] * 5, graded, 1e-4)),
        ("graded uniform, tau 1e4", Problem.from_policy([0.2] * 5, graded, 1e4)),
        ("tied, zero mass", Problem.from_policy([0.5, 0.0, 0.2, 0.2, 0.1], [0, 9, 1, 1, 0], 0.3)),
        ("rare jackpot, tau 1", Problem.from_policy([0.4999, 0.4999, 0.0002], [-1, 1, 100], 1.0)),
        ("uniform law, tau .1", Problem.from_distribution(stats.uniform(), 0.1)),
        ("normal law, tau 1", Problem.from_distribution(stats.norm(), 1.0)),
        ("exponential law, tau .5", Problem.from_distribution(stats.expon(), 0.5)),
        ("nearly constant", Problem.from_policy([0.5, 0.3, 0.2], [1.0, 1.0 + 1e-9, 1.0 - 1e-9], 1.0)),
        ("constant", Problem.from_policy([0.5, 0.5], [2.0, 2.0], 0.1)),
        ("one action", Problem.from_policy([1.0], [2.0], 0.1)),
    ]


NAMED: Final = _named


def random_tau(rng: Generator) -> float:
    """Log-uniform over nine decades around one."""
    return float(10.0 ** rng.uniform(-4.5, 4.5))


def _law(rng: Generator, size: int) -> Any:
    return rng.dirichlet(np.full(size, rng.choice([0.3, 1.0, 5.0])))


def _binary(rng: Generator) -> Problem:
    odds = rng.uniform(-14.0, 14.0)
    p = 1.0 / (1.0 + np.exp(-odds))
    return Problem.binary(p, random_tau(rng), failure=1.0 / (1.0 + np.exp(odds)))


def _graded(rng: Generator) -> Problem:
    size = int(rng.integers(3, 30))
    return Problem.from_policy(_law(rng, size), rng.random(size), random_tau(rng))


def _tied(rng: Generator) -> Problem:
    size = int(rng.integers(6, 20))
    return Problem.from_policy(_law(rng, size), rng.integers(0, 4, size) / 3.0, random_tau(rng))


def _signed(rng: Generator) -> Problem:
    size = int(rng.integers(2, 12))
    return Problem.from_policy(_law(rng, size), rng.normal(size=size) * 3.0, random_tau(rng))


def _rare(rng: Generator) -> Problem:
    p = 10.0 ** rng.uniform(-12.0, -2.0)
    law = np.append((1.0 - p) * _law(rng, 4), p)
    return Problem.from_policy(law / law.sum(), np.append(rng.random(4) * 0.1, 1.0), random_tau(rng))


def _near_constant(rng: Generator) -> Problem:
    size = int(rng.integers(2, 6))
    spread = 10.0 ** rng.uniform(-12.0, -3.0)
    return Problem.from_policy(_law(rng, size), 1.0 + spread * rng.normal(size=size), random_tau(rng))


_LAWS: Final = (
    lambda rng: stats.uniform(-1, 2),
    lambda rng: stats.beta(*rng.uniform(0.5, 4.0, 2)),
    lambda rng: stats.norm(scale=rng.uniform(0.2, 2.0)),
    lambda rng: stats.expon(),
    lambda rng: stats.lognorm(rng.uniform(0.3, 1.2)),
    lambda rng: stats.t(rng.uniform(2.5, 6.0)),
)


def _continuous(rng: Generator) -> Problem:
    law = _LAWS[int(rng.integers(len(_LAWS)))](rng)
    return Problem.from_distribution(law, float(10.0 ** rng.uniform(-2.0, 2.0)))


_DISCRETE: Final[tuple[tuple[str, Callable[[Generator], Problem]], ...]] = (
    ("binary", _binary),
    ("graded", _graded),
    ("tied", _tied),
    ("signed", _signed),
    ("rare", _rare),
    ("near-degenerate", _near_constant),
)


def problems(rng: Generator) -> Iterator[tuple[str, Problem]]:
    """Named cases, then every family in turn, continuous laws included."""
    yield from NAMED()
    while True:
        for family, make in (*_DISCRETE, ("continuous", _continuous)):
            yield family, make(rng)


def discrete(rng: Generator) -> Iterator[tuple[str, Problem]]:
    """Like `problems`, without continuous laws (for what would need a law's own moments)."""
    yield from ((label, case) for label, case in NAMED() if case.law is None)
    while True:
        for family, make in _DISCRETE:
            yield family, make(rng)


def binaries(rng: Generator) -> Iterator[tuple[str, Problem]]:
    """Binary rewards only."""
    yield from ((label, case) for label, case in NAMED() if "binary" in label and "-1" not in label.split(",")[0])
    while True:
        yield "binary", _binary(rng)
