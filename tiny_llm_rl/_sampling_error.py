r"""How far the fit to N rollouts is from its population step, to first order in 1/sqrt(N): the constant and its law.

A model that realises both laws ends, by C1 and C15, where \(\hat\mu(\bar t - s) = \hat\lambda\pi e^s\), with
\(\hat\mu\) the frequencies and \(\bar t\) the mean targets of the responses. Everything here is that equation,
linearised.
"""

import math
from typing import Any, Final

import numpy as np
from scipy import stats

from pmdtheory._checks import FloatArray
from pmdtheory.finite_sample import mean_baseline, partition_baseline
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from tiny_llm_rl._checks import choice, whole

__all__ = ["BASELINES", "asymptotic_error"]

BASELINES: Final = {"mean": mean_baseline, "partition": partition_baseline}


def asymptotic_error(problem: Problem, step: Update, *, n: int, baseline: str = "mean") -> float:
    r"""Expected total variation between the fit to N rollouts and the population step, times the root of N.

    Formula: \(\delta s = (\xi - \delta\lambda\,\pi^+)/(\pi + \lambda\pi^+)\) with \(\sum\pi^+\delta s = 0\), where
    \(\xi_y = \frac1N\sum_i 1[y_i = y](t_i - s_y) - \lambda\pi^+_y\) is asymptotically normal; the expectation is
    \((2\pi)^{-1/2}\sum_y \pi^+_y\,\mathrm{sd}(\delta s_y)\). For PMD-mean \(N\,\mathrm{Cov}\,\xi =
    \mathrm{Cov}(\lambda\rho_y 1_y - \pi_y a) + \frac{1}{n-1}[E a^2\,\mathrm{Cov}(1_y) + cc^T]\), \(c = \pi a\): what a
    rollout adds through its own target and the others' baselines, and what only pairs add.

    Args:
        problem: of `A` responses; for the partition with rewards of two levels.
        step: the population step of that baseline: PMD-mean's, or PMD(b_{n-1})'s (C12).
        n: rollouts of a group, at least 2.
        baseline: "mean" or "partition", leave-one-out.

    Returns:
        The limit of \(\sqrt N\,E\,\mathrm{TV}\), dimensionless.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C20), the delta method on the equation of C1.

    >>> import pmdtheory as pmd
    >>> from tiny_llm_rl.exact_lm import Tabular, exact_problem
    >>> problem = exact_problem(Tabular(2, 3, seed=0), "checksum", tau=0.5)
    >>> step = pmd.mean_update(problem).unwrap()
    >>> few, many = (asymptotic_error(problem, step, n=n) for n in (2, 64))
    >>> many < few  # the target of a larger group is less noisy
    True
    """
    whole("n", n, "leave-one-out needs at least 2 rollouts in a group", least=2)
    exact = choice("baseline", baseline, BASELINES) == "mean"
    covariance = _mean_covariance(problem, step, n) if exact else _two_levels(problem, step, n, baseline)
    policy, after, weight = problem.policy, step.policy, step.multiplier
    share = after / (policy + weight * after)
    spread = share[:, None] * (np.eye(share.size) - np.multiply.outer(after, share) / np.dot(share, after))
    variance = ((spread @ covariance) * spread).sum(axis=1)
    return float(np.sqrt(np.maximum(variance, 0.0)).sum() / math.sqrt(2.0 * math.pi))  # rounding: never below zero


def _mean_covariance(problem: Problem, step: Update, n: int) -> FloatArray:
    """N Cov(xi) of PMD-mean: the projection on single rollouts, and the remainder of pairs."""
    policy, a = problem.policy, problem.scaled_advantage
    own, square, c = step.multiplier * step.policy, float(np.dot(policy, a * a)), policy * a
    ratio = step.multiplier * np.exp(step.log_ratio)
    cross = np.multiply.outer(own * a, policy)  # of lambda rho_y 1_y with pi_z a
    one = (
        np.diag(own * ratio)
        - np.multiply.outer(own, own)
        - cross
        - cross.T
        + square * np.multiply.outer(policy, policy)
    )
    indicator = np.diag(policy) - np.multiply.outer(policy, policy)
    result: FloatArray = one + (square * indicator + np.multiply.outer(c, c)) / (n - 1)
    return result


def _two_levels(problem: Problem, step: Update, n: int, baseline: str) -> FloatArray:
    """N Cov(xi) for rewards of two levels and any leave-one-out baseline, by binomial sums."""
    levels = np.unique(problem.reward)
    if levels.size != 2:
        raise ValueError(
            f"problem must have rewards of two levels, got {levels.size}; take a binary rule, such as checksum"
        )
    success = problem.reward == levels[1]
    side, policy = success.astype(np.int64), problem.policy
    first, second, cross = _moments(problem, step, success, n, baseline)
    pairs = ((n - 1) * cross - n * np.multiply.outer(first, first))[np.ix_(side, side)]
    covariance: FloatArray = np.multiply.outer(policy, policy) * pairs
    covariance[np.diag_indices_from(covariance)] += policy * second[side]
    return covariance


def _moments(problem: Problem, step: Update, success: Any, n: int, baseline: str) -> tuple[Any, Any, Any]:
    """Mean and mean square of t - s for a failure and a success, and the mean product of two rollouts of a group."""
    p = float(problem.policy[success].sum())
    low, high = float(problem.reward.min()), float(problem.reward.max())
    miss = np.zeros((2, n))  # for a rollout of either kind with k successes among the n - 1 others
    for kind, reward in enumerate((low, high)):
        others = np.where(np.arange(n - 1) < np.arange(n)[:, None], high, low)
        group = np.concatenate([others, np.full((n, 1), reward)], axis=1)
        own = float(step.log_ratio[success == bool(kind)][0])
        miss[kind] = reward / problem.tau - BASELINES[baseline](group, problem.tau)[:, -1] - own
    one = stats.binom.pmf(np.arange(n), n - 1, p)
    two = stats.binom.pmf(np.arange(n - 1), n - 2, p)
    cross = np.array([[np.dot(two, miss[u, v : n - 1 + v] * miss[v, u : n - 1 + u]) for v in (0, 1)] for u in (0, 1)])
    return miss @ one, (miss**2) @ one, cross
