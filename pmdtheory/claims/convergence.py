"""C17: what T steps do, each anchored at the policy that the one before left."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.random import Generator

from pmdtheory.claims._base import EXACT, RATE, ROOT, Claim, Part
from pmdtheory.problem import Problem
from pmdtheory.trajectory import Trajectory, iterate
from pmdtheory.update import kl_update

__all__ = ["CLAIMS", "Run"]


@dataclass(frozen=True, eq=False)
class Run:
    """A problem and the number of PMD-mean steps taken from it."""

    problem: Problem
    steps: int


def _runs(rng: Generator) -> Iterator[tuple[str, Run]]:
    yield "binary .01, tau .1", Run(Problem.binary(0.01, 0.1), 40)
    yield "binary 1e-12, tau .03", Run(Problem.binary(1e-12, 0.03), 40)
    yield "binary .5, tau 2", Run(Problem.binary(0.5, 2.0), 60)
    yield "graded, tau .1", Run(Problem.from_policy([0.2] * 5, [0, 0.25, 0.5, 0.75, 1.0], 0.1), 40)
    while True:
        tau = float(10.0 ** rng.uniform(-1.5, 1.0))
        yield "binary", Run(Problem.binary(float(10.0 ** rng.uniform(-6.0, -0.05)), tau), 15)
        size = int(rng.integers(3, 10))
        law = rng.dirichlet(np.ones(size))
        yield "graded", Run(Problem.from_policy(law, rng.integers(0, 4, size) / 3.0, tau), 10)


@lru_cache(maxsize=4)
def _run(case: Run) -> Trajectory:
    return iterate(case.problem, steps=case.steps)


def _c17(case: Run) -> list[Part]:
    problem = case.problem
    if problem.levels.mass.size < 2:
        return []
    run = _run(case)
    spread = float(np.ptp(problem.reward))
    rise, growth = np.diff(run.expected_reward) / spread, np.diff(run.optimal_mass)
    parts = [
        Part("E r rises", "order", max(-float(rise.min()), 0.0), EXACT),
        Part("mass of the best actions rises", "order", max(-float(growth.min()), 0.0), EXACT),
        _regret(case, 1.0),
    ]
    return parts + (_binary(case) if problem.levels.mass.size == 2 else [])


def _regret(case: Run, of_weight: float) -> Part:
    """The regret identity, with the multiplier's term times `of_weight`."""
    problem, run = case.problem, _run(case)
    tau = problem.tau
    gain = tau * math.fsum(run.best_ratio)
    chi = tau * math.fsum(run.multiplier * (np.expm1(run.best_ratio) - run.chi2))
    divergences = tau * math.fsum(run.kl)
    lost = float(run.regret[-1])
    scale = max(abs(gain), abs(chi), divergences, lost)
    return Part(
        "regret identity", "identity", abs(lost - gain - of_weight * chi + divergences) / scale, ROOT * case.steps
    )


def _binary(case: Run) -> list[Part]:
    """Recursion, rate and iteration counts for two levels."""
    problem, run = case.problem, _run(case)
    strength = float(np.ptp(problem.levels.advantage))
    fall = np.diff(run.log_failure)
    excess = fall + run.optimal_mass[:-1] * strength
    parts = [
        Part("1 - p' <= (1 - p) exp(-p/tau)", "upper", max(float(excess.max()), 0.0), EXACT * max(1.0, strength) * 10),
    ]
    ideal = iterate(problem, kl_update, steps=min(case.steps, 10))
    odds = np.diff(np.log(ideal.optimal_mass) - ideal.log_failure)
    error = float(np.max(np.abs(odds / strength - 1.0)))
    parts.append(Part("KL-PMD: odds times exp(1/tau)", "identity", error, 1e3 * ROOT / min(1.0, strength)))
    near = run.log_failure[:-1] < math.log(1e-6)
    if near.any():
        rate = float(np.max(np.abs(fall[near] / strength + 1.0)))
        parts.append(Part("local rate exp(-1/tau) as p -> 1", "rate", rate, RATE * 1e-3))
    epsilon = 1e-3
    needed = run.steps_to(epsilon)
    if needed is not None:
        p0, q0 = float(run.optimal_mass[0]), run.log_failure[0]
        most = max(math.ceil((q0 - math.log(epsilon)) / (p0 * strength)), 0)
        parts.append(Part("steps <= tau log((1-p0)/eps)/p0", "upper", max(needed - most, 0.0), 0.5))
        least = math.ceil((math.log(1.0 / epsilon - 1.0) - math.log(p0) + q0) / strength - 1e-9)
        parts.append(Part("never fewer steps than KL-PMD", "order", max(least - needed, 0.0), 0.5))
    return parts


def _c17_mutant(case: Run) -> list[Part]:
    run = _run(case)
    if case.problem.levels.mass.size < 2 or float(run.multiplier.max(initial=0.0)) < 1e-3:
        return []
    return [_regret(case, 0.0)]


CLAIMS: Final = (
    Claim(
        id="C17",
        title="Convergence",
        statement=(
            r"\sum_{t<T}(r^* - \mathrm{E}_{t+1} r) = \tau\log\tfrac{\pi_T(A^*)}{\pi_0(A^*)}"
            r" + \tau\sum_t \lambda_t[\rho_t(y^*) - 1 - \chi^2_t] - \tau\sum_t \mathrm{KL}(\pi_{t+1}\|\pi_t);"
            r"\quad 1-p_{t+1} \le (1-p_t)e^{-p_t/\tau}"
        ),
        source="this project",
        kind="identity",
        assumes="population steps; the recursion and the rate for two levels",
        instances=_runs,
        check=_c17,
        mutant=_c17_mutant,
        mistake="KL-PMD's regret (without the multiplier's term)",
        blunt="runs whose multiplier never reaches 1e-3",
        case=Run,
    ),
)
