"""The law that rollouts really come from, checked against the policy that it is anchored to."""

import math

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray, real_vector
from pmdtheory.problem import Problem

__all__ = ["sampler_law"]

_REMEDY = "pass the sampler's log-probabilities, one per action (-inf where it never goes)"


def sampler_law(problem: Problem, log_sampler: ArrayLike) -> FloatArray:
    """`[A]`, the sampler's log-probabilities, checked and normalised."""
    log_mu, eps = real_vector("log_sampler", log_sampler, _REMEDY)
    if log_mu.shape != problem.log_policy.shape:
        raise ValueError(f"log_sampler has {log_mu.size} entries for {problem.log_policy.size} actions; {_REMEDY}")
    with np.errstate(over="ignore", under="ignore"):
        total = float(np.exp(log_mu).sum())
    if not abs(total - 1.0) <= max(1e-9, log_mu.size * eps):
        raise ValueError(f"log_sampler sums to {total!r}, not to one; {_REMEDY}")
    outside = (log_mu > -math.inf) & (problem.log_policy == -math.inf)
    if outside.any():
        raise ValueError(
            f"log_sampler has mass on action {int(np.argmax(outside))}, where the policy has none; "
            "give the policy mass on every action that was sampled"
        )
    return log_mu - math.log(total)
