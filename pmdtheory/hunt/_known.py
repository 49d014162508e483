"""Statements whose answer was known before: C4 and C8 survive, C13 and C14 have counterexamples, C8 too strong has."""

from typing import Any, Final

import numpy as np

from pmdtheory.hunt._case import Case
from pmdtheory.hunt._tau import kl

__all__ = ["EXCESS", "at_best", "conservative", "overestimated", "sensitivity", "weight_is_step"]

EXCESS: Final = {"excess": (0.05, 10.0)}
_SHARES: Final = 160


def at_best(case: Case, values: Any) -> Any:
    """`[N]`, the value at the action of the best reward (the first of them)."""
    return values[np.arange(len(values)), case.reward.argmax(1)]


def weight_is_step(case: Case) -> Any:
    """1e-7 minus the relative distance of lambda and KL(old||new)."""
    step = case.step()
    off = abs(step.multiplier + (case.mass * step.log_ratio).sum(1))
    return 1e-7 - off / (case.mass * abs(step.log_ratio)).sum(1)


def conservative(factor: float) -> Any:
    """KL(KL-PMD)/(factor KL(PMD-mean)) - 1."""

    def measure(case: Case) -> Any:
        own, ideal = ((case.mass * kl(case, step)).sum(1) for step in (case.step(), case.tilt()))
        return ideal / (own * factor) - 1

    return measure


def sensitivity(case: Case) -> Any:
    """How much more the best action's log-ratio depends on b under KL-PMD than under PMD-mean (C13)."""
    step, ideal = case.step(), case.tilt()
    damped = step.ratio / (step.ratio * step.multiplier[:, None] + 1)
    kappa = (case.mass * damped).sum(1) / (case.mass * damped * step.ratio).sum(1)
    top = at_best(case, step.ratio)
    own = abs(1 - kappa * top) / (1 + step.multiplier * top)
    return abs(1 - at_best(case, ideal.ratio) / (case.mass * ideal.ratio**2).sum(1)) - own


def overestimated(case: Case) -> Any:
    """Least loss among policies with less reward than before, against least loss among the others; over their sum.

    Policies searched: the KL-PMD step mixed with one action. With b = log Z + excess and weight s on action j the
    residuals are excess + log(1 - s) everywhere but at j. A heuristic: `_collapsed.decided` is the exact one.
    """
    excess = case.extra["excess"][:, None]
    ideal = case.mass * case.tilt().ratio
    before = (case.mass * case.reward).sum(1, keepdims=True)
    usual = (ideal * case.reward).sum(1, keepdims=True)
    keep = -1.2 * excess * np.linspace(0.0, 1.0, _SHARES)  # log(1 - s) [N, S]
    share = -np.expm1(keep)
    worse, fine = np.full(len(excess), np.inf), np.full(len(excess), np.inf)
    for j in range(case.mass.shape[1]):
        mass, aim = case.mass[:, j, None], ideal[:, j, None]
        with np.errstate(over="ignore", divide="ignore"):
            lifted = excess + np.logaddexp(keep, np.log(share) - np.log(aim))
        loss = 0.5 * ((1.0 - mass) * (excess + keep) ** 2 + mass * lifted**2)
        after = np.exp(keep) * usual + share * case.reward[:, j, None]
        worse = np.minimum(worse, np.where(after < before, loss, np.inf).min(1))
        fine = np.minimum(fine, np.where(after >= before, loss, np.inf).min(1))
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(worse), (worse - fine) / (np.where(np.isfinite(worse), worse, 1.0) + fine), 1.0)
