"""C21, C22: the limit of small tau, and what tau does in between."""

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from pmdtheory.claims._base import DIFFERENCE, RATE, ROOT, Claim, Part
from pmdtheory.claims._instances import discrete
from pmdtheory.claims._steps import MOVES, mean_step, moves
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import mean_update

__all__ = ["CLAIMS"]


def _limit(problem: Problem, relative: float) -> tuple[Update, Any, float]:
    """The step at tau = relative * spread, the positive part of the advantage per level, and its mean."""
    levels = problem.levels
    tau = relative * float(np.ptp(levels.reward))
    small = Problem(levels.log_mass, levels.reward, tau, policy=levels.mass)
    positive = np.maximum(small.levels.advantage, 0.0) * tau
    return mean_update(small).unwrap(), positive, float(np.dot(small.levels.mass, positive))


def _c21(problem: Problem) -> list[Part]:
    if problem.levels.mass.size < 2 or not _resolved(problem):
        return []
    errors = []
    parts = []
    for relative in (1e-6, 1e-9):
        step, positive, mean = _limit(problem, relative)
        limit = positive / mean
        error = 0.5 * float(np.dot(step.problem.levels.mass, np.abs(np.exp(step.level_log_ratio) - limit)))
        errors.append(max(error, 1e-300))
        parts.append(
            Part(
                f"distance to the limit, tau = {relative:g} spread", "upper", error / _bound(step, positive, mean), 1.0
            )
        )
        gap = abs(step.multiplier * step.problem.tau / mean - 1.0)
        parts.append(
            Part(
                f"lambda tau -> E(r - mean)+, tau = {relative:g} spread",
                "upper",
                gap / _bound(step, positive, mean),
                1.0,
            )
        )
    slope = math.log10(errors[0] / errors[1]) / 3.0
    if errors[1] > 1e-11:  # with one level above the mean the error is exponentially small instead
        parts.append(Part("error of order tau log(1/tau)", "rate", max(1.0 - slope, 0.0), 2.0 * RATE))
    return parts


def _resolved(problem: Problem) -> bool:
    """Laws whose limit float64 can tell apart: no level within rounding of the mean, no vanishing mass."""
    gaps = np.abs(problem.levels.advantage) / np.ptp(problem.levels.advantage)
    return float(problem.levels.mass.min()) > 1e-12 and float(gaps.min()) > 1e-4


def _bound(step: Update, positive: Any, mean: float) -> float:
    """Tau (E[|log rho|; r > mean] + log(1 + lambda))/E(r - mean)+, by the equation of C1; plus rounding."""
    levels, tau = step.problem.levels, step.problem.tau
    better = positive > 0.0
    drift = float(np.dot(levels.mass[better], np.abs(step.level_log_ratio[better]))) + math.log1p(step.multiplier)
    return tau * drift / mean + 1e-12


def _c21_mutant(problem: Problem) -> list[Part]:
    if problem.levels.mass.size < 3 or not _resolved(problem):
        return []
    step, positive, mean = _limit(problem, 1e-6)
    levels = step.problem.levels
    share = levels.mass * positive / mean
    if float(share.max()) > 0.99:
        return []
    greedy = (positive == positive.max()) / levels.mass
    error = 0.5 * float(np.dot(levels.mass, np.abs(np.exp(step.level_log_ratio) - greedy)))
    return [Part("distance to the arg max", "upper", error / _bound(step, positive, mean), 1.0)]


def _c22(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    if step.multiplier == 0.0 or not math.isfinite(step.chi2) or not _at(problem, 1.0).multiplier > 0.0:
        return []
    parts = [_derivative(problem, 2.0), *_divergence_slopes(problem)]
    gentle = _at(problem, 0.5)  # half of 1/tau
    parts.append(Part("lambda falls with tau", "order", max(gentle.multiplier / step.multiplier - 1.0, 0.0), ROOT))
    parts.append(Part("TV falls with tau", "order", max(gentle.step_size / step.step_size - 1.0, 0.0), 10 * ROOT))
    fall = [float(-move.level_log_ratio.min()) for move in (gentle, step)]
    parts.append(Part("max -log rho falls with tau", "order", max(fall[0] / fall[1] - 1.0, 0.0), ROOT))
    if problem.levels.mass.size == 2:
        parts.append(Part("chi2 falls with tau (binary)", "order", max(gentle.chi2 / step.chi2 - 1.0, 0.0), 10 * ROOT))
    return parts


def _at(problem: Problem, factor: float) -> Update:
    """The step of the same law with 1/tau multiplied by a factor."""
    levels = problem.levels
    return mean_update(Problem(levels.log_mass, levels.reward, problem.tau / factor, policy=levels.mass)).unwrap()


_H: Final = 1e-4


def _ends(problem: Problem) -> tuple[Update, Update, Update, float]:
    """The step, its neighbours at 1/tau (1 + h) and 1/tau (1 - h), and h, smaller where lambda is steep."""
    step = _at(problem, 1.0)
    steep = _pull(step) / float(_weights(step, 2.0).sum())
    h = _H / max(1.0, steep / step.multiplier)
    return step, _at(problem, 1.0 + h), _at(problem, 1.0 - h), h


def _weights(step: Update, power: float) -> Any:
    """M rho^power/(1 + lambda rho), finite also where rho^2 overflows."""
    levels, v = step.problem.levels, step.level_log_ratio
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(levels.log_mass + (power - 1.0) * v) / (np.exp(-v) + step.multiplier)


def _pull(step: Update) -> float:
    """E[a rho/(1 + lambda rho)] = E[a (rho - 1)/(1 + lambda rho)]/(1 + lambda) by E a = 0: nothing cancels."""
    levels, v = step.problem.levels, step.level_log_ratio
    with np.errstate(over="ignore", under="ignore"):
        small = levels.mass * np.expm1(np.minimum(v, 1.0)) / (1.0 + step.multiplier * np.exp(np.minimum(v, 1.0)))
        change = np.where(v < 1.0, small, _weights(step, 1.0) * -np.expm1(-np.maximum(v, 1.0)))
    return float(np.dot(change, levels.advantage)) / (1.0 + step.multiplier)


def _derivative(problem: Problem, power: float) -> Part:
    """D lambda/d log(1/tau) against central differences."""
    step, up, down, h = _ends(problem)
    measured = (up.multiplier - down.multiplier) / (2.0 * h)
    predicted = _pull(step) / float(_weights(step, power).sum())
    error = abs(measured - predicted) / max(abs(measured), abs(predicted))
    return Part("d lambda/d(1/tau)", "identity", error, DIFFERENCE)


def _divergence_slopes(problem: Problem) -> list[Part]:
    """D E f(rho)/d log(1/tau) = Cov_w(f'(rho), log rho/rho) for KL and chi2; constants in f' drop out."""
    step, up, down, h = _ends(problem)
    v = step.level_log_ratio
    if float(np.max(np.abs(v))) > 200.0:
        return []
    weight = _weights(step, 2.0)
    pull = v * np.exp(-v)
    parts = []
    for name, slope, ends in (("KL", v, (down.kl, up.kl)), ("chi2", 2.0 * np.expm1(v), (down.chi2, up.chi2))):
        mean = float(np.dot(weight, slope)) / float(weight.sum())
        terms = weight * (slope - mean) * pull
        measured = (ends[1] - ends[0]) / (2.0 * h)
        scale = max(float(np.abs(terms).sum()), abs(ends[0]))
        parts.append(Part(f"d {name}/d log(1/tau)", "identity", abs(measured - float(terms.sum())) / scale, DIFFERENCE))
    return parts


def _c22_mutant(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    blunt = not moves(problem) or not math.isfinite(step.chi2) or step.chi2 < 1e-4
    return [] if blunt else [_derivative(problem, 1.0)]


def _jackpot(rng: Generator) -> Iterator[tuple[str, Problem]]:
    """The law on which chi2 and E r are not monotone in tau comes first."""
    for tau in (2.0, 1.0, 0.5):
        yield f"jackpot, tau {tau:g}", Problem.from_policy([0.4999, 0.4999, 0.0002], [-1, 1, 100], tau)
    yield from discrete(rng)


CLAIMS: Final = (
    Claim(
        id="C21",
        title="Never greedy",
        statement=(
            r"\tau \to 0:\quad \rho \to (r-\bar r)^+/\mathrm{E}(r-\bar r)^+,\quad"
            r" \lambda\tau \to \mathrm{E}(r-\bar r)^+"
        ),
        source="this project",
        kind="rate",
        assumes="rewards not constant; checked where no level is within 1e-4 of the mean and none has mass below 1e-12",
        instances=discrete,
        check=_c21,
        mutant=_c21_mutant,
        mistake="the arg max, KL-PMD's limit",
        blunt="laws with one level above the mean, where the two limits coincide",
    ),
    Claim(
        id="C22",
        title="What tau does",
        statement=(
            r"\frac{d\lambda}{d(1/\tau)} = \frac{\mathrm{E}[(r-\bar r)\rho/(1+\lambda\rho)]}"
            r"{\mathrm{E}[\rho^2/(1+\lambda\rho)]} \ge 0,\quad"
            r" \frac{d\,\mathrm{E}f(\rho)}{d\log(1/\tau)} = \mathrm{E}[w]\,\mathrm{Cov}_w(f'(\rho), \log\rho/\rho),"
            r"\ w = \tfrac{\rho^2}{1+\lambda\rho}"
        ),
        source="this project",
        kind="identity",
        assumes="rewards not constant; neither chi2 nor E r need be monotone in tau beyond binary laws",
        instances=_jackpot,
        check=_c22,
        mutant=_c22_mutant,
        mistake="rho for rho^2 in the denominator",
        blunt=MOVES + ", or chi2 below 1e-4",
    ),
)
