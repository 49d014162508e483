"""C9: binary rewards, where every quantity has a closed form along a curve."""

import math
from typing import Any, Final

import numpy as np
from scipy import optimize, special

from pmdtheory.claims._base import ROOT, Claim, Part, exact
from pmdtheory.claims._instances import binaries
from pmdtheory.claims._steps import mean_step
from pmdtheory.problem import Problem

__all__ = ["CLAIMS", "curve", "minimum"]


def curve(p: Any, u: Any) -> Any:
    r"""1/tau for which success mass p moves by log-odds u: \(T = u + (\log D - pu)m/D\), m = e^u - 1, D = 1 + pm."""
    p, u = np.asarray(p, dtype=np.float64), np.asarray(u, dtype=np.float64)
    with np.errstate(over="ignore", divide="ignore"):
        m = np.expm1(np.minimum(u, 600.0))
        log_d = np.where(u < 600.0, np.log1p(p * m), np.logaddexp(np.log1p(-p), np.log(p) + u))
        slope = -np.expm1(-u) / ((1.0 - p) * np.exp(-u) + p)  # m/D
    return u + (log_d - p * u) * slope


def minimum(tau: float) -> tuple[float, float]:
    r"""The only minimum (p*, phi*) of the log-odds fraction phi at fixed tau, from log D = 1 - u/m."""

    def mass(u: float) -> float:
        m = math.expm1(u)
        return math.expm1(1.0 - u / m) / m

    u = optimize.brentq(lambda u: float(curve(mass(u), u)) - 1.0 / tau, 1e-8, min(1.0 / tau, 600.0), xtol=1e-14)
    return mass(u), u * tau


def _split(problem: Problem) -> tuple[float, float, float, float, float] | None:
    """p, 1/tau between the levels, lambda, and the log-ratios of success and failure."""
    levels = problem.levels
    if levels.mass.size != 2:
        return None
    best = int(np.argmax(levels.reward))
    step = mean_step(problem)
    v = step.level_log_ratio
    strength = float(levels.advantage[best] - levels.advantage[1 - best])
    return float(levels.mass[best]), strength, step.multiplier, float(v[best]), float(v[1 - best])


def _c9(problem: Problem) -> list[Part]:
    found = _split(problem)
    if found is None:
        return []
    p, strength, weight, up, down = found
    with np.errstate(over="ignore", under="ignore"):
        gain = weight * (math.exp(up) - math.exp(down)) if up < 700.0 else math.exp(math.log(weight) + up)
    parts = [
        Part(
            "log(rho1/rho0) + lambda (rho1 - rho0) = 1/tau",
            "identity",
            abs(up - down + gain - strength),
            exact(strength),
        ),
        Part("rho0 <= exp(-p/tau)", "upper", max(down + p * strength, 0.0), exact(strength)),
        Part(
            "1/tau = T(p, u)",
            "identity",
            abs(float(curve(p, up - down)) / strength - 1.0),
            ROOT * max(1.0, 1.0 / (up - down), abs(math.log(p))),
        ),
    ]
    if p * strength > 5.0:
        # rho0 is exponentially small there, so rho1 = 1/p and u = p/tau + log(1/p) up to terms of its size
        error = abs(up - down - p * strength + math.log(p))
        parts.append(
            Part(
                "phi = p + tau log(1/p) for p >> tau",
                "upper",
                max(error - 2.0 * (1.0 + weight) * math.exp(-p * strength), 0.0),
                exact(strength),
            )
        )
    return parts


def _c9_mutant(problem: Problem) -> list[Part]:
    found = _split(problem)
    if found is None or float(np.min(problem.levels.mass)) < 1e-6 or found[1] < 1e-3:
        return []
    _, strength, _, _, down = found
    return [Part("rho0 <= exp(-1/tau)", "upper", max(down + strength, 0.0), exact(strength))]


def _c9_opinion(problem: Problem) -> list[Part]:
    """Phi over a whole grid of p at this tau, from the curve alone: one minimum, where the formula puts it."""
    found = _split(problem)
    if found is None or not 3e-3 <= 1.0 / found[1] <= 3.0:
        return []
    _, strength, _, up, down = found
    tau = 1.0 / strength
    odds = np.linspace(-2.0 / tau - 12.0, 25.0, 6001)
    grid, log_grid = special.expit(odds), special.log_expit(odds)
    low, high = np.zeros_like(grid), np.full_like(grid, strength)
    for _ in range(80):
        middle = 0.5 * (low + high)
        with np.errstate(over="ignore"):
            m = np.expm1(np.minimum(middle, 600.0))
            log_d = np.logaddexp(np.log1p(-np.minimum(grid, 1.0 - 1e-16)), log_grid + middle)
            log_d = np.where(grid * m < 0.5, np.log1p(grid * m), log_d)
            slope = -np.expm1(-middle) / ((1.0 - grid) * np.exp(-middle) + grid)
        above = middle + (log_d - grid * middle) * slope > strength
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    phi = tau * low
    change = np.diff(phi)
    turns = change[np.abs(change) > 1e-10]
    minima = int(np.sum((turns[:-1] < 0.0) & (turns[1:] > 0.0))) + int(np.sum((turns[:-1] > 0.0) & (turns[1:] < 0.0)))
    where, least = minimum(tau)
    nearest = int(np.argmin(phi))
    spacing = odds[1] - odds[0]
    return [
        Part("phi turns once in p", "order", abs(minima - 1.0), 0.5),
        Part("phi* is the least phi", "lower", max(least - float(phi.min()), 0.0), 1e-10),
        Part("phi* is reached", "upper", max(float(phi.min()) - least, 0.0) / least, 1e-3),
        Part("p* is where phi turns", "identity", abs(odds[nearest] - math.log(where / (1.0 - where))) / spacing, 2.0),
        Part(
            "phi of the update is not below phi*",
            "lower",
            max(least - tau * (up - down), 0.0),
            1e-10,
        ),
    ]


CLAIMS: Final = (
    Claim(
        id="C9",
        title="Binary rewards",
        statement=(
            r"\log\tfrac{\rho_1}{\rho_0} + \lambda(\rho_1-\rho_0) = \tfrac1\tau,\quad"
            r" 1-p^+ \le (1-p)e^{-p/\tau},\quad \varphi(\cdot,\tau)\ \text{has exactly one minimum in } p"
        ),
        source="setting: arXiv:2602.05933; bounds and shape: this project",
        kind="identity",
        assumes="two reward levels",
        instances=binaries,
        check=_c9,
        mutant=_c9_mutant,
        mistake="KL-PMD's failure bound exp(-1/tau)",
        blunt="p within 1e-6 of 0 or 1, or tau above 1e3",
        opinion=_c9_opinion,
    ),
)
