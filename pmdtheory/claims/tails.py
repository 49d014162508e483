"""C19: heavy tails, where KL-PMD ends and PMD-mean does not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from scipy import integrate, special, stats

from pmdtheory.claims._base import QUADRATURE, ROOT, Claim, Part, exact
from pmdtheory.lambertw import tilt
from pmdtheory.problem import Problem
from pmdtheory.solution import Status
from pmdtheory.update import kl_update, mean_update

__all__ = ["CLAIMS", "HeavyTail"]


@dataclass(frozen=True)
class HeavyTail:
    """A reward law with a heavy tail, and what is known of it.

    Attributes:
        law: anything with ppf, isf, pdf and support.
        tau: greater than zero, reward units.
        partition_finite: whether E exp(r/tau) is finite.
        reward_finite: whether the step's expected reward is.
        multiplier: lambda to nine digits, where it is known.
    """

    law: Any
    tau: float
    partition_finite: bool
    reward_finite: bool
    multiplier: float | None = None


@dataclass(frozen=True)
class Mirrored:
    """The law of -r: the heavy tail goes to the left, where it costs the step nothing."""

    law: Any

    def ppf(self, q: Any) -> Any:
        """Lower quantile."""
        return -self.law.isf(q)

    def isf(self, q: Any) -> Any:
        """Upper quantile."""
        return -self.law.ppf(q)

    def pdf(self, x: Any) -> Any:
        """Density."""
        return self.law.pdf(-x)

    def support(self) -> tuple[float, float]:
        """Ends of the support."""
        low, high = self.law.support()
        return -high, -low


def _heavy(rng: Generator) -> Iterator[tuple[str, HeavyTail]]:
    yield "exponential, tau .5", HeavyTail(stats.expon(), 0.5, False, True, 0.66408482)
    yield "exponential, tau .1", HeavyTail(stats.expon(), 0.1, False, True, 3.54387143)
    yield "Student t(3), tau .5", HeavyTail(stats.t(3), 0.5, False, True, 1.04918551)
    yield "lognormal(1), tau .2", HeavyTail(stats.lognorm(1.0), 0.2, False, True, 3.06681857)
    yield "-Pareto(1.5), tau .5", HeavyTail(Mirrored(stats.pareto(1.5)), 0.5, True, True, 2.22983551)
    yield "Pareto(1.5), tau .5", HeavyTail(stats.pareto(1.5), 0.5, False, False)
    yield "normal, tau .5", HeavyTail(stats.norm(), 0.5, True, True)
    while True:
        tau = float(10.0 ** rng.uniform(-1.5, 1.0))
        shape = float(rng.uniform(1.2, 5.0))
        yield "Pareto", HeavyTail(stats.pareto(shape), tau, False, shape > 2.0)
        yield "-Pareto", HeavyTail(Mirrored(stats.pareto(shape)), tau, True, True)
        yield "Student t", HeavyTail(stats.t(shape), tau, False, shape > 2.0)
        yield "lognormal", HeavyTail(stats.lognorm(float(rng.uniform(0.3, 1.5))), tau, False, True)
        yield "exponential", HeavyTail(stats.expon(scale=tau * (1.1 + rng.random())), tau, False, True)
        yield "gamma", HeavyTail(stats.gamma(shape), 1.1 + float(rng.random()), True, True)


@lru_cache(maxsize=2)
def _problem(case: HeavyTail) -> Problem:
    return Problem.from_distribution(case.law, case.tau)


def _c19(case: HeavyTail) -> list[Part]:
    problem = _problem(case)
    step = mean_update(problem).unwrap()
    levels, v = problem.levels, step.level_log_ratio
    size = float(np.max(np.abs(levels.advantage)))
    with np.errstate(under="ignore"):
        error = np.abs(v + np.exp(v + math.log(step.multiplier)) - levels.advantage)
    ideal = kl_update(problem)
    above = v > 0.0
    growth = np.max(v[above] + math.log(step.multiplier) - np.log(levels.advantage[above]))
    parts = [
        Part(
            "log rho + lambda rho = a",
            "identity",
            float(np.max(error / np.maximum(1.0, np.abs(levels.advantage)))),
            exact(math.log(size + 1.0)),
        ),
        Part("mass is one", "identity", abs(step.mass_defect), ROOT),
        Part("rho <= a/lambda where rho >= 1", "upper", max(float(growth), 0.0), exact(math.log(max(size, math.e)))),
        Part(
            "log Z is infinite where it is",
            "order",
            _differs(math.isfinite(problem.log_partition), case.partition_finite),
            0.5,
        ),
        Part("KL-PMD refuses", "order", _differs(ideal.status is Status.SUCCESS, case.partition_finite), 0.5),
        Part(
            "E new r is infinite where it is",
            "order",
            _differs(math.isfinite(step.expected_reward), case.reward_finite),
            0.5,
        ),
    ]
    if case.multiplier is not None:
        parts.append(Part("reference lambda, 9 digits", "identity", abs(step.multiplier - case.multiplier), 6e-9))
    return parts


def _differs(found: bool, expected: bool) -> float:
    return 0.0 if found == expected else 1.0


def _c19_opinion(case: HeavyTail) -> list[Part]:
    """The mass of the step by quadrature over rewards, with the density instead of the quantiles."""
    problem = _problem(case)
    return [Part("mass by quadrature over r", "identity", _mass_error(case, problem), QUADRATURE)]


def _mass_error(case: HeavyTail, problem: Problem) -> float:
    """|E rho - 1| under the case's density, with rho from the multiplier and the mean of the problem."""
    weight = mean_update(problem).unwrap().multiplier
    mean = problem.mean_reward

    median = float(case.law.ppf(np.array([0.5]))[0])

    def density(r: Any) -> Any:
        a = (r - mean) / case.tau
        return special.wrightomega(a + math.log(weight)) / weight * case.law.pdf(r)

    total = 0.0
    with np.errstate(all="ignore"):
        for end in case.law.support():
            if math.isfinite(end):
                total += abs(float(integrate.tanhsinh(density, min(end, median), max(end, median)).integral))
            else:
                # r = median +- e^y turns algebraic tails into exponential ones: the trapezoidal rule is spectral there
                y = np.linspace(-40.0, 340.0, 38_001)
                total += float(
                    np.sum(density(median + math.copysign(1.0, end) * np.exp(y)) * np.exp(y)) * (y[1] - y[0])
                )
    return abs(total - 1.0)


def _c19_mutant(case: HeavyTail) -> list[Part]:
    problem = _problem(case)
    ceiling = float(case.law.isf(np.array([1e-3]))[0])
    if ceiling < problem.mean_reward + case.tau:
        return []
    levels = problem.levels
    clipped = Problem(levels.log_mass, np.minimum(levels.reward, ceiling), case.tau, policy=levels.mass)
    weight = mean_update(clipped).unwrap().multiplier
    with np.errstate(under="ignore", over="ignore"):
        mass = math.fsum(np.exp(levels.log_mass + tilt(levels.advantage, math.log(weight))))
    return [Part("the multiplier of rewards clipped at their 99.9 % quantile", "identity", abs(mass - 1.0), QUADRATURE)]


CLAIMS: Final = (
    Claim(
        id="C19",
        title="Heavy tails",
        statement=(
            r"\text{PMD-mean exists iff } \mathrm{E}|r| < \infty;\ \mathrm{E}_{\pi^+} r < \infty \text{ iff }"
            r" \mathrm{E}(r^+)^2 < \infty;\ \text{KL-PMD needs } \mathrm{E}e^{r/\tau} < \infty"
        ),
        source="this project",
        kind="identity",
        assumes="a finite mean",
        instances=_heavy,
        check=_c19,
        mutant=_c19_mutant,
        mistake="rewards clipped at their 99.9 % quantile",
        blunt="laws whose 99.9 % quantile is within tau of the mean",
        opinion=_c19_opinion,
        case=HeavyTail,
    ),
)
