"""C7, C8: the bracket of the multiplier, and conservatism in every f-divergence."""

import math
from typing import Final

import numpy as np

from pmdtheory._series import log_mean_exp
from pmdtheory.claims._base import ROOT, Claim, Part, exact
from pmdtheory.claims._instances import problems
from pmdtheory.claims._steps import kl_step, largest_advantage, mean_step
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import baseline_update

__all__ = ["CLAIMS"]

_ORDERS: Final = (0.5, 2.0, 5.0)


def _log_terms(problem: Problem) -> dict[str, float] | None:
    """Logarithms of the five terms of C7, ascending if the claim holds."""
    ideal, step, levels = kl_step(problem), mean_step(problem), problem.levels
    if ideal is None or step.multiplier == 0.0 or not math.isfinite(step.chi2):
        return None
    log_gap = math.log(problem.jensen_gap)
    cross = log_mean_exp(levels.mass, levels.log_mass, step.level_log_ratio + ideal.level_log_ratio)
    square = log_mean_exp(levels.mass, levels.log_mass, 2.0 * ideal.level_log_ratio)
    return {
        "J/(1 + chi2(KL step))": log_gap - square,
        "J/E[rho rho_KL]": log_gap - cross,
        "lambda": math.log(step.multiplier),
        "J/(1 + chi2)": log_gap - math.log1p(step.chi2),
        "J": log_gap,
    }


def _c7(problem: Problem) -> list[Part]:
    terms = _log_terms(problem)
    if terms is None:
        return []
    names, values = list(terms), list(terms.values())
    tolerance = ROOT * max(1.0, max(abs(value) for value in values))
    return [
        Part(f"{low} <= {high}", "upper", max(values[i] - values[i + 1], 0.0), tolerance)
        for i, (low, high) in enumerate(zip(names[:-1], names[1:], strict=True))
    ]


def _c7_mutant(problem: Problem) -> list[Part]:
    terms = _log_terms(problem)
    if terms is None or mean_step(problem).step_size < 3e-2:
        return []
    violation = max(terms["lambda"] - terms["J/(1 + chi2(KL step))"], 0.0)
    tolerance = ROOT * max(1.0, max(abs(value) for value in terms.values()))
    return [Part("lambda <= J/(1 + chi2 of the KL step)", "upper", violation, tolerance)]


def _measures(step: Update) -> dict[str, float]:
    """Every divergence from the anchor that is compared, larger for larger steps, and E r."""
    levels, v = step.problem.levels, step.level_log_ratio
    sizes = {"KL": step.kl, "reverse KL": step.reverse_kl, "chi2": step.chi2, "TV": step.step_size}
    with np.errstate(over="ignore", under="ignore"):
        half = np.where(v < 300.0, levels.mass * np.expm1(0.5 * np.minimum(v, 300.0)) ** 2, np.exp(levels.log_mass + v))
    sizes["squared Hellinger"] = 0.5 * float(half.sum())
    for order in _ORDERS:
        power = log_mean_exp(levels.mass, levels.log_mass, order * v)
        sizes[f"Renyi {order:g}"] = power / (order - 1.0)
    sizes["improvement"] = step.improvement
    sizes["max log rho"] = float(v.max())
    sizes["max -log rho"] = float(-v.min())
    return sizes


def _ordered(small: Update, large: Update, label: str) -> list[Part]:
    """Parts that say: every measure of `small` is at most that of `large`."""
    size = max(1.0, largest_advantage(small.problem))
    parts = []
    low, high = _measures(small), _measures(large)
    for name, value in low.items():
        if not (math.isfinite(value) and math.isfinite(high[name])):
            continue
        # a log-ratio is known to eps: first-order measures lose that much, second-order ones that times the step
        first_order = name in ("TV", "max log rho", "max -log rho", "improvement") or "Renyi" in name
        floor = exact(size) * (small.problem.tau if name == "improvement" else 1.0)
        floor *= 1.0 if first_order else large.step_size + exact(size)
        violation = max(value - high[name] - floor, 0.0)
        parts.append(Part(f"{name}: {label}", "order", violation / max(abs(high[name]), floor), ROOT * size))
    return parts


def _c8(problem: Problem) -> list[Part]:
    step, ideal = mean_step(problem), kl_step(problem)
    if ideal is None or step.multiplier == 0.0:
        return []
    order = np.argsort(problem.levels.reward)
    climb = np.diff((ideal.level_log_ratio - step.level_log_ratio)[order])
    parts = _ordered(step, ideal, "PMD-mean <= KL-PMD")
    parts.append(
        Part(
            "log(rho_KL/rho) rises with r",
            "order",
            float(max(-climb.min(initial=0.0), 0.0)),
            exact(largest_advantage(problem)),
        )
    )
    lower, higher = _members(problem)
    return (
        parts + _ordered(lower, step, "PMD(b), b below the mean") + _ordered(step, higher, "PMD(b), b above the mean")
    )


def _members(problem: Problem) -> tuple[Update, Update]:
    """PMD(b) for a baseline below the mean reward and for one half-way up to log Z."""
    mean = problem.mean_reward / problem.tau
    below = baseline_update(problem, baseline=mean - max(problem.jensen_gap, 1e-3)).unwrap()
    above = baseline_update(problem, baseline=mean + 0.5 * problem.jensen_gap).unwrap()
    return below, above


def _c8_mutant(problem: Problem) -> list[Part]:
    if kl_step(problem) is None or mean_step(problem).step_size < 1e-2 or _resolution(problem) > 1e-4:
        return []
    lower, higher = _members(problem)
    return _ordered(higher, lower, "a larger b, a smaller step")


def _resolution(problem: Problem) -> float:
    """How much of the baseline's change between the members is lost to rounding."""
    return 1e-12 * max(1.0, abs(problem.mean_reward / problem.tau)) / problem.jensen_gap


CLAIMS: Final = (
    Claim(
        id="C7",
        title="Bracket of the multiplier",
        statement=(
            r"\frac{J}{1+\chi^2(\pi_{KL}\|\pi)} \le \frac{J}{\mathrm{E}[\rho\rho_{KL}]} \le \lambda"
            r" \le \frac{J}{1+\chi^2(\pi^+\|\pi)} \le J"
        ),
        source="this project",
        kind="upper",
        assumes="log Z finite",
        instances=problems,
        check=_c7,
        mutant=_c7_mutant,
        mistake="the KL step's chi2 in the upper bound",
        blunt="steps of total variation below 3e-2",
    ),
    Claim(
        id="C8",
        title="Conservatism in every f-divergence",
        statement=(
            r"D_f(\pi^+\|\pi) \le D_f(\pi_{KL}\|\pi)\ \text{for every convex } f,\quad"
            r" \mathrm{E}_{\pi^+} r \le \mathrm{E}_{\pi_{KL}} r;\ \text{PMD}(b)\ \text{ordered in } b \le \log Z"
        ),
        source="this project",
        kind="order",
        assumes="log Z finite, b <= log Z",
        instances=problems,
        check=_c8,
        mutant=_c8_mutant,
        mistake="a larger b gives a smaller step",
        blunt="steps of total variation below 1e-2, or b unresolved in float64",
    ),
)
