"""What KL-PMD gains over PMD-mean, and how fast failures vanish: floors of C8, equal divergence, contraction."""

from typing import Any

import numpy as np

from pmdtheory.hunt._case import Case
from pmdtheory.hunt._known import at_best
from pmdtheory.hunt._tau import kl

__all__ = ["contraction", "contraction_by_regret", "equal_kl", "equal_kl_bound", "floor_of_ends", "floor_of_pairs"]


def _price(case: Case) -> Any:
    """KL(KL-PMD) - KL(PMD-mean) by three points: no difference of divergences."""
    step = case.step()
    beyond = case.beyond()
    after = case.mass * step.ratio
    moved = after * (case.excess(beyond) + beyond)
    centre = (after * step.log_ratio).sum(1)[:, None]
    return case.resolved((moved * (step.log_ratio - centre)).sum(1) + (after * case.relative(beyond)).sum(1))


def floor_of_pairs(factor: float) -> Any:
    """Price over factor times the mean over pairs of |log-ratio difference| (1 - exp(-lambda |ratio difference|))."""

    def measure(case: Case) -> Any:
        step = case.step()
        after, floor = case.mass * step.ratio, 0
        for i in range(after.shape[1]):
            for j in range(i):
                apart = -abs(step.ratio[:, i] - step.ratio[:, j]) * step.multiplier
                drop = -(case.excess(apart) + apart)
                floor = floor + after[:, i] * after[:, j] * abs(step.log_ratio[:, i] - step.log_ratio[:, j]) * drop
        return _price(case) / (floor * factor) - 1

    return measure


def floor_of_ends(case: Case) -> Any:
    """The same with the binary formula at the best and the worst action."""
    step = case.step()
    after = case.mass * step.ratio
    top = at_best(case, after)
    rest = after.sum(1) - top
    worst = np.arange(len(after)), case.reward.argmin(1)
    rise = at_best(case, step.log_ratio) - step.log_ratio[worst]
    apart = (step.ratio[worst] - at_best(case, step.ratio)) * step.multiplier
    return _price(case) / (-rise * top * rest * (case.excess(apart) + apart)) - 1


def equal_kl(share: float) -> Any:
    """Reward gained by PMD-mean over what the tilt of the same KL gains, minus `share`."""

    def measure(case: Case) -> Any:
        step = case.step()
        ideal = case.matched((case.mass * kl(case, step)).sum(1))
        own = (case.mass * (case.excess(step.log_ratio) + step.log_ratio) * case.advantage).sum(1)
        return own / (case.mass * ideal * case.advantage).sum(1) - share

    return measure


def equal_kl_bound(case: Case) -> Any:
    """(KL + J) tau over what the tilt of the same KL gains, minus one."""
    spent = (case.mass * kl(case, case.step())).sum(1)
    return (spent + case.gap) / (case.mass * case.matched(spent) * case.advantage).sum(1) - 1


def _rate(case: Case) -> tuple[Any, Any, Any]:
    """-log of the share of the failures that is left, over p; gap of the best reward; regret before the step."""
    best = case.reward >= case.reward.max(1, keepdims=True)
    step = case.step()
    success, failure = ((case.mass * chosen).sum(1) for chosen in (best, ~best))
    left = case.resolved((case.mass * step.ratio * ~best).sum(1)) / failure
    drop = success * (at_best(case, step.log_ratio) + at_best(case, case.excess(step.log_ratio))) / failure
    second = np.where(best, -np.inf, case.reward).argmax(1)
    regret = at_best(case, case.advantage)
    gap = regret - case.advantage[np.arange(len(best)), second]
    return case.fall(left, drop) / success, gap, regret


def contraction(constant: float) -> Any:
    """Rate over min(1, gap/tau), minus a constant."""

    def measure(case: Case) -> Any:
        rate, gap, _ = _rate(case)
        return rate / -case.maximum(-gap, -1.0) - constant

    return measure


def contraction_by_regret(factor: float) -> Any:
    """Rate over factor gap/(tau + regret), minus one."""

    def measure(case: Case) -> Any:
        rate, gap, regret = _rate(case)
        return rate * (regret + 1) / (gap * factor) - 1

    return measure
