"""The population of every probe bandit: the loss's own stationary policy beside the one its description predicts."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.finite_sample import expected_baseline
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update, kl_update, mean_update
from pmdtheory.variants._bandits import BANDITS, Bandit, Stationary, stationary
from pmdtheory.variants._classification import Population
from pmdtheory.variants._description import predicted
from pmdtheory.variants._findings import SMALLEST, Findings
from pmdtheory.variants._probe import LossFailed

_WIDEST: Final = 0.95  # spread of the rewards: inside (0, 1), and no mean of a group on a bound

__all__ = ["populations"]


def populations(found: Findings) -> Findings:
    """The findings with the populations of the bandits, and the population gradient at the old policy."""
    n, tau = SMALLEST, _temperature(found)
    moderate = tau if tau > 0.0 else (found.named.tau if found.named is not None else math.nan)
    widest = _WIDEST * min(found.unit, 1.0)
    spread = min(widest, 1.9 * moderate) if moderate > 0.0 else widest
    results: list[Population] = []
    gradient = (math.nan, math.nan)
    for bandit in BANDITS:
        if results and results[0].policy is None:
            break  # what has no stationary policy here has none on the others
        try:
            rest = stationary(found.tested, bandit, n, spread, solve=found.shape.form != "clipped")
        except LossFailed:  # a group of equal rewards, say, without a finite gradient
            break
        if not results:
            gradient = _against_policy_gradient(found, bandit, rest, spread, n)
        description = found.description(n)
        guess = None if description is None else predicted(description, bandit, n, spread)
        results.append(_compared(bandit, rest, guess, n, spread, tau * _rescaled(found, n)))
    return replace(found, populations=tuple(results), policy_gradient=gradient)


def _temperature(found: Findings) -> float:
    """The temperature to scale the bandit's rewards with, at the group size that was probed; NaN for none."""
    if found.pairwise is not None:
        return found.pairwise.tau
    return found.named.effective_tau if found.named is not None else math.nan


def _rescaled(found: Findings, n: int) -> float:
    """What another group size makes of the effective temperature."""
    if n == found.n or found.named is None or math.isnan(found.named.tau_power):
        return 1.0
    power = float((n / found.n) ** found.named.tau_power)
    if found.named.baseline != "mean of the group":
        return power
    return power * (n / (n - 1)) / (found.n / (found.n - 1))


def _compared(
    bandit: Bandit, rest: Stationary, guess: FloatArray | None, n: int, spread: float, tau: float
) -> Population:
    """The record of one bandit."""
    distances = {}
    if rest.policy is not None and tau > 0.0:
        for name, policy in exact_steps(bandit, n, spread, tau).items():
            distances[name] = _variation(rest.policy, policy)
    both = rest.policy is not None and guess is not None
    residual = _variation(rest.policy, guess) if both else math.nan  # type: ignore[arg-type]
    return Population(bandit.name, n, bandit.rewards(spread), bandit.policy, rest.policy, guess, residual, distances)


def exact_steps(bandit: Bandit, n: int, spread: float, tau: float) -> dict[str, FloatArray]:
    """The exact steps of the family on a bandit: PMD-mean, PMD-part of this group size, KL-PMD."""
    problem = Problem.from_policy(bandit.policy, bandit.rewards(spread), tau)
    part = float(expected_baseline(problem, n - 1).value)
    return {
        "PMD-mean": mean_update(problem).unwrap().policy,
        "PMD-part": baseline_update(problem, baseline=part).unwrap().policy,
        "KL-PMD": kl_update(problem).unwrap().policy,
    }


def _variation(one: FloatArray, other: FloatArray) -> float:
    return 0.5 * float(np.abs(one - other).sum())


def _against_policy_gradient(
    found: Findings, bandit: Bandit, rest: Stationary, spread: float, n: int
) -> tuple[float, float]:
    """Factor between minus the population gradient at the old policy and that of the expected reward; what is left."""
    reward, policy = bandit.rewards(spread), bandit.policy
    truth = (policy * (reward - policy @ reward))[1:]
    scale = float(-rest.gradient @ truth / (truth @ truth))
    left = float(np.abs(rest.gradient + scale * truth).max() / max(np.abs(rest.gradient).max(), 1e-300))
    groups = sum(bandit.repeats) ** n
    if found.lengths is not None:
        scale /= 1.0 if found.lengths.groups else groups
        scale /= 1.0 if found.per_sequence else n
    return scale, left
