"""C15: rollouts from a stale or mismatched sampler."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from scipy import optimize

from pmdtheory import divergence
from pmdtheory.claims._base import ROOT, SOLVER, Claim, Part, exact
from pmdtheory.claims._steps import largest_advantage
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Status, Update
from pmdtheory.subproblem import solve_subproblem
from pmdtheory.update import mismatched_update

__all__ = ["CLAIMS", "Stale"]


@dataclass(frozen=True, eq=False)
class Stale:
    """A problem whose rollouts come from another sampler.

    Attributes:
        problem: its policy is the anchor.
        log_sampler: `[A]`, log-probabilities of the sampler, nats.
    """

    problem: Problem
    log_sampler: Any


def _stale(rng: Generator) -> Iterator[tuple[str, Stale]]:
    law = np.array([0.5, 0.3, 0.15, 0.05])
    yield "on-policy", Stale(Problem.from_policy(law, [0, 0, 1, 1], 0.5), np.log(law))
    yield "lagging", Stale(Problem.from_policy([0.2, 0.2, 0.3, 0.3], [0, 0, 1, 1], 0.5), np.log(law))
    yield "ahead", Stale(Problem.from_policy(law, [0, 0, 1, 1], 0.5), np.log([0.2, 0.2, 0.3, 0.3]))
    while True:
        size = int(rng.integers(2, 9))
        policy = rng.dirichlet(np.ones(size))
        lag = float(rng.choice([0.1, 1.0, 3.0]))
        sampler = policy * np.exp(lag * rng.normal(size=size))
        reward = rng.choice([0.0, 0.5, 1.0], size) if rng.random() < 0.5 else rng.random(size)
        tau = float(10.0 ** rng.uniform(-2.0, 2.0))
        yield "random lag", Stale(Problem.from_policy(policy, reward, tau), np.log(sampler / sampler.sum()))


def _step(case: Stale) -> Solution[Update]:
    return mismatched_update(case.problem, log_sampler=case.log_sampler)


def _mean_gap(case: Stale, tau: float) -> float:
    """E_mu r/tau - log Z_pi(tau), nats: negative where lambda is positive."""
    problem = Problem(case.problem.log_policy, case.problem.reward, tau, policy=case.problem.policy)
    return float(np.dot(np.exp(case.log_sampler), problem.scaled_advantage)) - problem.jensen_gap


def _points(size: int) -> Any:
    return np.random.default_rng(size).dirichlet(np.ones(size), 6)


def _gap_error(case: Stale, step: Update, anchor: Any) -> float:
    """How far M(new) - M(x) is from KL(x||new) + lambda/2 sum (x - new)^2/anchor, M with chi2 against the sampler."""
    problem, weight = case.problem, step.multiplier
    log_new, new = step.log_policy, step.policy
    mu = np.exp(case.log_sampler)
    worst = 0.0
    for x in _points(new.size):
        log_x = np.log(x)
        linear = float(np.dot(new - x, problem.scaled_advantage))
        entropy = float(np.dot(new, log_new - problem.log_policy) - np.dot(x, log_x - problem.log_policy))
        square = 0.5 * weight * float(np.sum((new**2 - x**2) / mu))
        bregman = float(np.dot(x, log_x - log_new)) + 0.5 * weight * float(np.sum((x - new) ** 2 / anchor))
        scale = max(1.0, abs(linear), abs(square), largest_advantage(problem))
        worst = max(worst, abs(linear - entropy - square - bregman) / scale)
    return worst


def _c15(case: Stale) -> list[Part]:
    problem = case.problem
    gap = _mean_gap(case, problem.tau)
    size = max(1.0, largest_advantage(problem))
    found = _step(case)
    if found.value is None:
        expected = found.status is Status.BASELINE_TOO_HIGH and gap > 0.0
        return [Part("no minimum only for E_mu r > tau log Z", "order", 0.0 if expected else 1.0, 0.5)]
    step = found.unwrap()
    old, new = (divergence.kl(case.log_sampler, law) for law in (problem.log_policy, step.log_policy))
    error, mu = abs(step.multiplier - new + old) / max(1.0, new, old), np.exp(case.log_sampler)
    parts = [
        Part("lambda = KL(mu||new) - KL(mu||old)", "identity", error, ROOT * size),
        Part("gap identity, chi2 against the sampler", "identity", _gap_error(case, step, mu), ROOT),
    ]
    if abs(gap) > exact(size):
        wrong = (step.multiplier > 0.0) is not (gap < 0.0)
        parts.append(Part("lambda > 0 iff E_mu r < tau log Z", "order", float(wrong), 0.5))
    return [*parts, *_critical(case)]


def _critical(case: Stale) -> list[Part]:
    """The root tau*, where the sampler's mean reward equals tau log Z: it exists iff E_mu r > E_pi r."""
    problem = case.problem
    spread = float(np.ptp(problem.reward))
    lead = float(np.dot(np.exp(case.log_sampler), problem.reward)) - problem.mean_reward
    best = float(problem.reward.max()) - float(np.dot(np.exp(case.log_sampler), problem.reward))
    if spread == 0.0 or abs(lead) < 1e-6 * spread or best < 1e-6 * spread:
        return []
    if lead < 0.0:
        gaps = [_mean_gap(case, spread * factor) for factor in (1e-3, 1e6)]
        return [Part("lambda > 0 at every tau", "order", max(max(gaps), 0.0), exact(1e6))]
    ends = math.log(spread * 1e-9), math.log(spread * 1e9)
    root = math.exp(optimize.brentq(lambda log_tau: _mean_gap(case, math.exp(log_tau)), *ends))
    signs = [_mean_gap(case, root * factor) for factor in (1e-3, 0.9, 1.1, 1e3)]
    once = max(signs[:2]) < 0.0 < min(signs[2:])
    return [Part("lambda changes sign once, at tau*", "order", float(not once), 0.5)]


def _c15_opinion(case: Stale) -> list[Part]:
    """The mirror step with KL on the anchor and chi2 on the sampler, as a conic program."""
    found = _step(case)
    if found.value is None or found.value.multiplier <= 1e-6 or found.value.step_size < 1e-3:
        return []
    step = found.unwrap()
    other = solve_subproblem(case.problem, weight=step.multiplier, log_sampler=case.log_sampler)
    if other.value is None:
        return [Part(f"conic solver: {other.status.name}", "identity", math.inf, 1.0)]
    distance = 0.5 * float(np.abs(other.value.policy - step.policy).sum()) / step.step_size
    return [Part("policy of the conic program, relative to the step", "identity", distance, SOLVER)]


def _c15_mutant(case: Stale) -> list[Part]:
    step = _step(case).value
    lag = divergence.total_variation(case.log_sampler, case.problem.log_policy)
    if step is None or abs(step.multiplier) < 1e-3 or lag < 1e-2:
        return []
    return [Part("chi2 against the anchor", "identity", _gap_error(case, step, case.problem.policy), ROOT)]


CLAIMS: Final = (
    Claim(
        id="C15",
        title="Stale or mismatched sampler",
        statement=(
            r"\log\rho + \lambda\tfrac{\pi}{\mu}\rho = r/\tau - b;\ \text{the step maximises } \langle x, r\rangle"
            r" - \tau\,\mathrm{KL}(x\|\pi) - \tfrac{\tau\lambda}{2}\chi^2(x\|\mu);"
            r"\ \lambda = \mathrm{KL}(\mu\|\pi^+) - \mathrm{KL}(\mu\|\pi)"
        ),
        source="this project",
        kind="identity",
        assumes=(
            "the sampler visits every action; b = E_mu r/tau; lambda >= 0 iff E_mu r <= tau log Z,"
            " else the local minimum where it exists"
        ),
        instances=_stale,
        check=_c15,
        mutant=_c15_mutant,
        mistake="chi2 against the anchor for chi2 against the sampler",
        blunt="samplers within 1e-2 of the policy, or |lambda| below 1e-3",
        opinion=_c15_opinion,
        case=Stale,
    ),
)
