"""Whether a step grows in an f-divergence as tau falls: D_f at tau/scale against D_f at tau, scale >= 1."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from pmdtheory.hunt._case import Case, Step

__all__ = ["SCALE", "alpha", "divergence", "gain", "grows", "hockey", "jeffreys", "kl", "reverse_kl", "rises"]

SCALE: Final = {"scale": (1.01, 100.0)}
Measure = Callable[[Case], Any]
Divergence = Callable[[Case, Step], Any]


def reverse_kl(case: Case, step: Step) -> Any:
    """KL(old||new), alpha = 0."""
    return case.excess(step.log_ratio)


def kl(case: Case, step: Step) -> Any:
    """KL(new||old), alpha = 1."""
    return case.relative(step.log_ratio)


def alpha(order: Fraction) -> Divergence:
    r"""\(f(\rho) = (\rho^\alpha - 1 - \alpha(\rho - 1))/(\alpha(\alpha - 1))\), not for 0 or 1: half of chi2 at 2."""
    up, down = order.numerator, order.denominator
    price = float(order * (order - 1))

    def of(case: Case, step: Step) -> Any:
        logs = step.log_ratio
        return (case.excess(logs * up / down) - case.excess(logs) * up / down) * (1 / price)

    return of


def hockey(level: Fraction) -> Divergence:
    r"""\((\rho - \gamma)^+ - (1 - \gamma)^+\), mean \(E_\gamma\); total variation at \(\gamma = 1\)."""
    gamma, floor = float(level), float(max(1 - level, Fraction(0)))

    def of(case: Case, step: Step) -> Any:
        return case.maximum(case.excess(step.log_ratio) + step.log_ratio + (1.0 - gamma), 0.0) - floor

    return of


def jeffreys(case: Case, step: Step) -> Any:
    """KL(new||old) + KL(old||new)."""
    return kl(case, step) + reverse_kl(case, step)


def divergence(case: Case, f: Divergence, scale: Any = 1) -> Any:
    """E f(rho) `[N]` of PMD-mean at tau/scale."""
    return (case.mass * f(case, case.step(scale))).sum(1)


def grows(f: Divergence) -> Measure:
    """D_f(tau/scale)/D_f(tau) - 1."""

    def measure(case: Case) -> Any:
        return divergence(case, f, case.extra["scale"]) / divergence(case, f) - 1

    return measure


def rises(f: Divergence) -> Measure:
    """D_f(tau/scale) - D_f(tau), for divergences that are zero for small steps."""

    def measure(case: Case) -> Any:
        return divergence(case, f, case.extra["scale"]) - divergence(case, f)

    return measure


def gain(case: Case) -> Any:
    """(E r - r_bar) at tau/scale over that at tau, minus one."""
    before, after = case.step(), case.step(case.extra["scale"])
    moved, further = (
        (case.mass * (case.excess(step.log_ratio) + step.log_ratio) * case.advantage).sum(1) for step in (before, after)
    )
    return further / moved - 1
