"""The description of a loss that the probing recovers, and the stationary policies that follow from it exactly."""

import math
from dataclasses import dataclass

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.problem import Problem
from pmdtheory.solution import Status
from pmdtheory.update import kl_update, mismatched_update, mixed_update
from pmdtheory.variants._advantage import Fit
from pmdtheory.variants._bandits import Bandit
from pmdtheory.variants._weights import Dropped, Weights

__all__ = ["Description", "predicted"]


@dataclass(frozen=True)
class Description:
    """What the probing recovered, up to a factor of the whole loss.

    Attributes:
        form: "regression", "penalised" or "pairwise".
        tokens: whether the square is taken token by token.
        target: nats, as a function of the group's rewards.
        weights: of rollouts in the square.
        dropped: groups without a gradient.
        policy_exponent: the gradient at the old policy goes as length to this power, with a minus.
        square_exponent: what multiplies the log-ratio goes as length to this power, with a minus.
        chi2_weight: c of an explicit chi2.
        tau: of "penalised" and "pairwise", reward units.
    """

    form: str
    tokens: bool
    target: Fit
    weights: Weights
    dropped: Dropped
    policy_exponent: float
    square_exponent: float
    chi2_weight: float
    tau: float


def predicted(found: Description, bandit: Bandit, n: int, spread: float) -> FloatArray | None:
    r"""`[A]`, the stationary policy on a bandit by the exact updates; None where no update has this form.

    For each response y the expected coefficients over groups that hold it, A(y) and B(y), leave the regression of
    \(\log\rho\) on A/B under weights B: `mismatched_update` with a sampler \(\propto \pi B\) (C15).
    """
    reward, groups = bandit.rewards(spread), bandit.groups(n)
    length = np.array(bandit.lengths, dtype=np.float64)[groups]
    table = reward[groups]
    weight = found.weights.values(table) * found.dropped.live(table)
    push = found.target.values(table) * weight * length**-found.policy_exponent
    pull = weight * length**-found.square_exponent
    own = groups[:, 0]  # all places of a group are alike
    size = len(bandit.repeats)
    count = np.bincount(own, minlength=size)
    above, below = (np.bincount(own, part[:, 0], minlength=size) / count for part in (push, pull))
    if found.form == "pairwise":
        return _policy(kl_update(Problem.from_policy(bandit.policy, reward, found.tau)))
    if found.form == "penalised":
        if found.tokens and max(map(len, bandit.choices)) > 1 or np.ptp(below) > 1e-6 * below.max():
            return None
        problem = Problem.from_policy(bandit.policy, above / below, 1.0)
        return _policy(mixed_update(problem, weight=found.chi2_weight))
    if not found.tokens:
        return _regression(bandit.policy, above, below)
    tables = bandit.conditionals(bandit.policy)
    for node, law in enumerate(tables):
        sums = np.zeros((3, law.size))  # mass, A and B of the responses through each branch
        for y, path in enumerate(bandit.choices):
            for at, branch in path:
                if at == node:
                    sums[:, branch] += bandit.policy[y] * np.array([1.0, above[y], below[y]])
        step = _regression(law, sums[1] / sums[0], sums[2] / sums[0])
        if step is None:
            return None
        tables[node] = step
    return np.array([math.prod(float(tables[node][branch]) for node, branch in path) for path in bandit.choices])


def _regression(policy: FloatArray, above: FloatArray, below: FloatArray) -> FloatArray | None:
    """The exact regression of the log-ratio on above/below with weights below."""
    if (below <= 0.0).any():
        return None
    problem = Problem.from_policy(policy, above / below, 1.0)
    sampler = policy * below
    return _policy(mismatched_update(problem, log_sampler=np.log(sampler / sampler.sum()), baseline=0.0))


def _policy(solution: "object") -> FloatArray | None:
    """The policy of a solved update, None of any other."""
    if getattr(solution, "status", None) is not Status.SUCCESS:
        return None
    policy: FloatArray = solution.unwrap().policy  # type: ignore[attr-defined]
    return policy
