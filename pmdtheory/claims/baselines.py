"""C13, C14: how a step answers to its baseline, and how it collapses when the baseline exceeds log Z."""

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from scipy import optimize, special

from pmdtheory.claims._base import DIFFERENCE, EXACT, ROOT, Claim, Part, exact
from pmdtheory.claims._instances import discrete
from pmdtheory.claims._steps import MOVES, largest_advantage, mean_step, moves
from pmdtheory.collapse import global_minimum, global_switch, local_threshold
from pmdtheory.problem import Problem
from pmdtheory.solution import Status
from pmdtheory.update import baseline_update

__all__ = ["CLAIMS"]

_NEAR: Final = 1e-4  # nats to which the global switch is located


def _sensitivity(problem: Problem, with_kappa: bool) -> tuple[Any, Any]:
    """D log rho/d b of PMD-mean per level: by the formula, and by a five-point difference."""
    step = mean_step(problem)
    levels, v, weight = problem.levels, step.level_log_ratio, step.multiplier
    with np.errstate(over="ignore", under="ignore"):
        slope = 1.0 / (1.0 + weight * np.exp(v))
        first, second = (float(np.dot(np.exp(levels.log_mass + k * v), slope)) for k in (1.0, 2.0))
        kappa = first / second if with_kappa else 0.0
        formula = -(1.0 - kappa * np.exp(v)) * slope
    h = _width(problem)
    b = problem.mean_reward / problem.tau
    ends = [baseline_update(problem, baseline=b + k * h).unwrap().level_log_ratio for k in (-2, -1, 1, 2)]
    return formula, (ends[0] - 8.0 * ends[1] + 8.0 * ends[2] - ends[3]) / (12.0 * h)


def _width(problem: Problem) -> float:
    """A step in b that is small on the scale on which lambda changes, lambda/(-d lambda/d b) = lambda/kappa."""
    step = mean_step(problem)
    with np.errstate(over="ignore", under="ignore"):
        rho = np.exp(step.level_log_ratio)
        weight = step.problem.levels.mass * rho / (1.0 + step.multiplier * rho)
        kappa = float(weight.sum()) / float(np.dot(weight, rho))
    return 3e-3 * min(1.0, problem.jensen_gap, step.multiplier / kappa)


def _c13(problem: Problem) -> list[Part]:
    if not _smooth(problem):
        return []
    return [_compared(problem, True), *_counterexample()]


def _smooth(problem: Problem) -> bool:
    """Steps whose answer to b differences can resolve."""
    return moves(problem) and largest_advantage(problem) < 600.0 and problem.jensen_gap > 1e-5


def _compared(problem: Problem, with_kappa: bool) -> Part:
    formula, measured = _sensitivity(problem, with_kappa)
    h = _width(problem)
    scale = max(largest_advantage(problem), abs(problem.mean_reward / problem.tau), 1.0)
    tolerance = 10 * DIFFERENCE + EXACT * scale / h
    error = float(np.max(np.abs(formula - measured))) / max(1.0, float(np.max(np.abs(measured))))
    return Part("d log rho/d b = -(1 - kappa rho)/(1 + lambda rho)", "identity", error, tolerance)


def _counterexample() -> list[Part]:
    """Binary p = .05, tau = .2: at the success, PMD-mean answers more strongly to its baseline than KL-PMD."""
    problem = Problem.binary(0.05, 0.2)
    formula, _ = _sensitivity(problem, True)
    ideal = 1.0 / (1.0 + 0.05 * math.expm1(5.0))  # rho_0 of KL-PMD
    ratio = math.exp(5.0) * ideal
    second = 0.95 * ideal**2 + 0.05 * ratio**2
    found = (abs(float(formula[1])), abs(1.0 - ratio / second))
    error = max(abs(found[0] - 0.839), abs(found[1] - 0.127))
    return [Part("no general ordering: .839 against .127", "identity", error, 6e-4)]


def _c13_mutant(problem: Problem) -> list[Part]:
    return [_compared(problem, False)] if _smooth(problem) else []


def _small_laws(rng: Generator) -> Iterator[tuple[str, Problem]]:
    """Laws of a few actions whose global minimum can be searched for."""
    yield "8 uniform, 3 succeed", Problem.from_policy([1 / 8] * 8, [0] * 5 + [1] * 3, 0.5)
    yield "rare failure", Problem.from_policy([0.02, 0.38, 0.6], [0, 1, 0.5], 0.4)
    while True:
        size = int(rng.integers(3, 6))
        law = rng.dirichlet(np.full(size, 2.0))
        shared = np.append(rng.integers(0, 3, size - 2) / 2.0, [1.0, 1.0])
        tau = float(10.0 ** rng.uniform(-0.7, 0.7))
        if float(law.min()) > 1e-3:
            yield "shared best", Problem.from_policy(law, shared, tau)
            yield "distinct", Problem.from_policy(law, rng.random(size), tau)


def _c14(problem: Problem) -> list[Part]:
    edge = local_threshold(problem)
    parts = [Part("0 < threshold <= 1", "order", max(edge - 1.0, 0.0) + (edge <= 0.0), exact(1.0))]
    for factor, expected in ((1.0 - 1e-6, Status.SUCCESS), (1.0 + 1e-6, Status.BASELINE_TOO_HIGH)):
        status = baseline_update(problem, baseline=problem.log_partition + factor * edge).status
        parts.append(Part(f"symmetric minimum at {factor:.6f} of it", "order", float(status is not expected), 0.5))
    beyond = global_minimum(problem, excess=1.2 * edge)
    lift = beyond.log_ratio - (problem.scaled_advantage - (problem.jensen_gap + 1.2 * edge))
    error = np.abs(lift + beyond.multiplier * np.exp(beyond.log_ratio))
    parts.append(Part("beyond it: log rho + lambda rho = r/tau - b", "identity", float(error.max()), ROOT))
    parts.append(Part("one action on W_-1", "order", abs(float(np.count_nonzero(lift > 1.0)) - 1.0), 0.5))
    return [*parts, *_winner(problem, "least probable")]


def _switches(problem: Problem) -> list[Part]:
    """The global switch comes before the local threshold, and earlier the more actions share the law."""
    switch = global_switch(problem, tolerance=_NEAR)
    parts = [Part("the global switch comes first", "order", max(switch - local_threshold(problem), 0.0), 2.0 * _NEAR)]
    if np.count_nonzero(problem.reward == problem.reward.max()) > 1:
        split = Problem.from_policy(np.repeat(problem.policy, 5) / 5.0, np.repeat(problem.reward, 5), problem.tau)
        later = max(global_switch(split, tolerance=_NEAR) - switch, 0.0)
        parts.append(Part("more actions, earlier switch", "order", later, 2.0 * _NEAR))
    return parts


def _winner(problem: Problem, rule: str) -> list[Part]:
    """Who wins at an excess of 1,000 nats."""
    winner = global_minimum(problem, excess=1000.0).winner
    score = problem.policy if rule == "least probable" else -problem.reward
    ok = winner is not None and score[winner] <= score.min() * (1.0 + 1e-12) + (0.0 if score.min() > 0 else 1e-12)
    return [Part(f"at large excess the {rule} action wins", "order", 0.0 if ok else 1.0, 0.05)]


def _c14_opinion(problem: Problem) -> list[Part]:
    """The least loss by a generic optimiser started near every vertex; the switch, and that of a finer law."""
    excess = 1.05 * local_threshold(problem)
    b = problem.log_partition + excess
    target = problem.reward / problem.tau - b
    law = problem.policy

    def loss(logits: Any) -> tuple[float, Any]:
        v = logits - special.logsumexp(np.log(law) + logits)
        gap = v - target
        gradient = law * gap
        return 0.5 * float(np.dot(law, gap**2)), gradient - law * np.exp(v) * gradient.sum()

    starts = [np.zeros(law.size), *(6.0 * np.eye(law.size) + problem.reward / problem.tau)]
    found = [optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9}).fun for start in starts]
    least = min(found)
    error = abs(global_minimum(problem, excess=excess).loss - least) / least
    return [Part("least loss by a global search", "identity", error, DIFFERENCE), *_switches(problem)]


def _c14_mutant(problem: Problem) -> list[Part]:
    rarest = problem.policy <= problem.policy.min() * (1.0 + 1e-9)
    if bool(np.any(problem.reward[rarest] == problem.reward.max())):
        return []
    return _winner(problem, "best")


CLAIMS: Final = (
    Claim(
        id="C13",
        title="Sensitivity to the baseline",
        statement=(
            r"\frac{\partial\log\rho}{\partial b} = -\frac{1-\kappa\rho}{1+\lambda\rho},\quad"
            r" \kappa = \mathrm{E}\big[\tfrac{\rho}{1+\lambda\rho}\big]"
            r"\big/\mathrm{E}\big[\tfrac{\rho^2}{1+\lambda\rho}\big];"
            r"\quad\text{no ordering against KL-PMD at large } \rho"
        ),
        source="this project",
        kind="identity",
        assumes="checked where max|a| < 600 and J > 1e-5, so that differences resolve it",
        instances=discrete,
        check=_c13,
        mutant=_c13_mutant,
        mistake="the multiplier held fixed (no kappa)",
        blunt=MOVES,
    ),
    Claim(
        id="C14",
        title="Collapse above log Z",
        statement=(
            r"b > \log Z:\ \text{the symmetric minimum exists iff }"
            r" b - \log Z \le \log \mathrm{E}_{\pi_{KL}} e^{T(e^{-1-d})};"
            r"\ \text{the global one switches earlier, to one action on } W_{-1}"
        ),
        source="this project",
        kind="order",
        assumes="finitely many actions; at large excess the least probable action wins",
        instances=_small_laws,
        check=_c14,
        mutant=_c14_mutant,
        mistake="the best action wins",
        blunt="laws whose least probable action is a best one",
        opinion=_c14_opinion,
    ),
)
