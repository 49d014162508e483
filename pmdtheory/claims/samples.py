"""C12, C16: leave-one-out baselines, what they add up to, and which of the two is the easier quantity."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from scipy import optimize, stats

from pmdtheory.claims._base import EXACT, ROOT, Claim, Part, exact
from pmdtheory.claims._instances import discrete
from pmdtheory.claims._steps import MOVES, largest_advantage, mean_step, moves
from pmdtheory.finite_sample import (
    expect,
    expected_baseline,
    group_mean_baseline,
    group_partition_baseline,
    mean_baseline,
    target_error,
)
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import baseline_update

__all__ = ["CLAIMS", "Sampled"]


@dataclass(frozen=True)
class Sampled:
    """A problem seen through groups of n rollouts."""

    problem: Problem
    n: int


def _groups(rng: Generator) -> Iterator[tuple[str, Sampled]]:
    """Problems of two or three levels, whose groups can be summed exactly."""
    for p, n, tau in (
        (0.01, 16, 0.03),
        (0.1, 8, 0.1),
        (0.1, 8, 1.0),
        (0.5, 8, 0.1),
        (0.5, 16, 0.03),
        (0.3, 2, 0.5),
        (0.8, 8, 0.1),
        (0.9, 4, 0.3),
    ):
        yield f"binary {p}, n {n}, tau {tau}", Sampled(Problem.binary(p, tau), n)
    for label, problem in discrete(rng):
        if 2 <= problem.levels.mass.size <= 3 and largest_advantage(problem) < 1e4:
            yield label, Sampled(problem, int(rng.choice([2, 3, 4, 8, 16])))


def _member(problem: Problem, m: int) -> tuple[float, Update]:
    """b_m in nats over mean/tau, and PMD(b_m)."""
    excess = float(expected_baseline(problem, m).value) - problem.mean_reward / problem.tau
    step = baseline_update(problem, baseline=problem.mean_reward / problem.tau + excess)
    return excess, step.unwrap()


def _c12(case: Sampled) -> list[Part]:
    problem = case.problem
    mean = mean_step(problem)
    if mean.multiplier == 0.0:
        return []
    sizes = [1, 2, 4, 8, max(case.n - 1, 1)]
    members = [_member(problem, m) for m in sorted(set(sizes))]
    room = exact(largest_advantage(problem)) + EXACT * abs(problem.mean_reward / problem.tau)
    rises = np.diff([excess for excess, _ in members] + [problem.jensen_gap])
    weights = np.array([step.multiplier for _, step in members])
    falls = np.diff(weights) / weights[0]
    two = np.abs(members[0][1].level_log_ratio - mean.level_log_ratio)
    lost = room / max(weights[0], 1e-300)  # lambda is ill-conditioned in b where the signal is weak
    return [
        Part("b_1 = mean/tau", "identity", abs(members[0][0]), room),
        Part("b_m rises to log Z", "order", max(-float(rises.min()), 0.0), room),
        Part("two rollouts: PMD-part is PMD-mean", "identity", float(two.max()), ROOT * max(1.0, room / EXACT)),
        Part("lambda(b_m) falls with m", "order", max(float(falls.max(initial=0.0)), 0.0), ROOT + 10 * lost),
        Part("lambda(b_m) >= 0", "order", max(-float(weights.min()) / weights[0], 0.0), ROOT + 10 * lost),
        *_including_self(case),
        *_expected_target(case),
    ]


def _expected_target(case: Sampled) -> list[Part]:
    """Over all groups of n, a rollout of reward r has the expected leave-one-out target r/tau - b_{n-1}."""
    problem, n = case.problem, case.n
    levels = problem.levels
    if math.comb(n + levels.mass.size - 1, n) > 5_000 or float(levels.mass.min()) < 1e-12:
        return []

    def own(counts: Any, reward: Any) -> Any:
        """Count of each level, and that count times the baseline that the others of such a rollout give."""
        del reward
        columns = []
        for level in range(levels.mass.size):
            others = counts - np.eye(levels.mass.size, dtype=counts.dtype)[level]
            there = counts[:, level] > 0
            terms = np.where(others > 0, levels.advantage + np.log(np.maximum(others, 1)), -np.inf)
            top = terms.max(axis=1)  # finite: the others are never none
            with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
                b = top + np.log(np.exp(terms - top[:, None]).sum(axis=1) / (n - 1))
            columns += [counts[:, level], np.where(there, counts[:, level] * b, 0.0)]
        return np.stack(columns, axis=1)

    sums = expect(problem, n, own).value
    seen, total = sums[::2], sums[1::2]
    goal = float(expected_baseline(problem, n - 1).value) - problem.mean_reward / problem.tau
    error = float(np.max(np.abs(total / seen - goal)))
    room = ROOT * max(1.0, largest_advantage(problem)) + EXACT * abs(problem.mean_reward / problem.tau)
    return [Part("expected target r/tau - b_{n-1}, by enumeration", "identity", error, room)]


def _including_self(case: Sampled) -> list[Part]:
    """What a baseline that includes the rollout itself does: to the mean another tau, to the partition a distortion."""
    problem, n = case.problem, case.n
    rng = np.random.default_rng(n)
    rewards = rng.choice(problem.levels.reward, size=(20, n), p=problem.levels.mass / problem.levels.mass.sum())
    scaled = rewards / problem.tau
    own = scaled - group_mean_baseline(rewards, problem.tau)
    others = scaled - mean_baseline(rewards, problem.tau)
    size = max(1.0, float(np.abs(scaled).max()))
    ladder = np.linspace(-3.0, 6.0, 31)[:, None] * np.eye(1, n) + scaled[:1]  # one's own r/tau moves, the others stay
    target = ladder[:, 0] - group_partition_baseline(ladder, 1.0)[:, 0]
    return [
        Part("own mean: target (n-1)/n", "identity", float(np.abs(own - others * (n - 1) / n).max()), exact(size)),
        Part("own partition: target <= log n", "upper", max(float(target.max()) - math.log(n), 0.0), exact(size)),
        Part("own partition: concave target", "upper", max(float(np.diff(target, 2).max()), 0.0), 4 * exact(size)),
    ]


def _c12_mutant(case: Sampled) -> list[Part]:
    problem = case.problem
    if not moves(problem):
        return []
    room = exact(largest_advantage(problem)) + EXACT * abs(problem.mean_reward / problem.tau)
    two = np.abs(_member(problem, 2)[1].level_log_ratio - mean_step(problem).level_log_ratio)
    return [Part("two rollouts make b_2", "identity", float(two.max()), ROOT * max(1.0, room / EXACT))]


def _c16(case: Sampled) -> list[Part]:
    problem, n = case.problem, case.n
    if problem.levels.mass.size != 2 or mean_step(problem).multiplier == 0.0:
        return []
    found = target_error(problem, n)
    levels = problem.levels
    high = int(np.argmax(levels.reward))
    p, strength = float(levels.mass[high]), float(levels.advantage[high] - levels.advantage[1 - high])
    k = np.arange(n)
    weight = stats.binom.pmf(k, n - 1, p)
    with np.errstate(divide="ignore", under="ignore"):
        estimate = np.logaddexp(np.log(k / (n - 1)) + strength, np.log1p(-k / (n - 1)))
    truth = np.logaddexp(levels.log_mass[high] + strength, levels.log_mass[1 - high])
    rmse = math.sqrt(math.fsum(weight * (estimate - truth) ** 2))
    if rmse < EXACT * max(1.0, strength):  # both are exact to rounding: nothing left to compare
        return []
    # the mass of rare counts is known to 1e-13 or so, and b to eps of 1/tau
    tolerance = 1e3 * ROOT + EXACT * max(1.0, strength) / rmse
    sd = math.sqrt(p * (1.0 - p) / (n - 1)) * strength
    return [
        Part("mean: sd = sigma/(tau sqrt(n-1))", "identity", abs(found.mean_sd / sd - 1.0), 1e3 * ROOT),
        Part("partition: exact binomial sum", "identity", abs(found.partition_rmse / rmse - 1.0), tolerance),
        Part("partition is biased below log Z", "order", max(found.partition_bias, 0.0), exact(strength)),
        *_boundary(n),
    ]


@cache
def _boundary(n: int) -> list[Part]:
    """The boundary as tau -> 0, where (n-1)(1-p)^(n-2) = p: the mean is easier below it, the partition above."""
    if n < 3:
        return []
    p = float(optimize.brentq(lambda p: (n - 1) * (1.0 - p) ** (n - 2) - p, 1e-9, 1.0 - 1e-9))
    below, above = (target_error(Problem.binary(f * p, 1e-5), n).ratio for f in (0.99, min(1.01, 0.5 + 0.5 / p)))
    return [
        Part("mean easier below the boundary, tau -> 0", "order", max(1.0 - below, 0.0), ROOT),
        Part("partition easier above it", "order", max(above - 1.0, 0.0), ROOT),
    ]


def _c16_opinion(case: Sampled) -> list[Part]:
    """The limit of many rollouts: the boundary of p is tau - 1/(e^(1/tau) - 1), tried at n = 4,000."""
    return _many(float(np.clip(round(case.problem.tau, 1), 0.2, 3.0)))


@cache
def _many(tau: float) -> list[Part]:
    p = tau - 1.0 / math.expm1(1.0 / tau)
    below, above = (target_error(Problem.binary(f * p, tau), 4_000).ratio for f in (0.9, 1.1))
    return [
        Part("mean easier below p*, n -> inf", "order", max(1.0 - below, 0.0), ROOT),
        Part("partition easier above p*", "order", max(above - 1.0, 0.0), ROOT),
    ]


def _c16_mutant(case: Sampled) -> list[Part]:
    if case.problem.levels.mass.size != 2 or mean_step(case.problem).multiplier == 0.0:
        return []
    levels = case.problem.levels
    p, n = float(levels.mass[int(np.argmax(levels.reward))]), case.n
    if n < 3 or p < 0.7 or largest_advantage(case.problem) < 1.0 or 1.0 - p < 1e-9:
        return []
    return [Part("the mean is the easier one", "order", max(1.0 - target_error(case.problem, n).ratio, 0.0), ROOT)]


_CASE: Final[Any] = Sampled

CLAIMS: Final = (
    Claim(
        id="C12",
        title="Leave-one-out partition",
        statement=(
            r"b_m = \mathrm{E}\log\big(\tfrac1m\textstyle\sum_{j\le m} e^{r_j/\tau}\big) \uparrow \log Z,"
            r"\ b_1 = \bar r/\tau;\quad"
            r" \text{PMD-part with } n \text{ rollouts is PMD}(b_{n-1})"
        ),
        source="this project",
        kind="order",
        assumes="rollouts from the policy itself; checked on laws of two or three levels",
        instances=_groups,
        check=_c12,
        mutant=_c12_mutant,
        mistake="b_n for b_{n-1}",
        blunt=MOVES,
        case=_CASE,
    ),
    Claim(
        id="C16",
        title="Finite-sample target error",
        statement=(
            r"\mathrm{sd}(\hat b_{mean}) = \sigma/(\tau\sqrt{n-1});\quad"
            r" \mathrm{rmse}(\hat b_{part}) > \mathrm{sd}(\hat b_{mean})"
            r"\ \text{only below a boundary: } (n-1)(1-p)^{n-2} = p\ (\tau \to 0),"
            r"\ p^* = \tau - \tfrac{1}{e^{1/\tau}-1}\ (n \to \infty)"
        ),
        source="effect: arXiv:2602.05933; boundary: this project",
        kind="identity",
        assumes="binary rewards, rollouts from the policy itself",
        instances=_groups,
        check=_c16,
        mutant=_c16_mutant,
        mistake="the region left out: the mean is always the easier one",
        blunt="p below 0.7, fewer than three rollouts, or 1/tau below one",
        opinion=_c16_opinion,
        case=_CASE,
    ),
)
