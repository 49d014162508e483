"""C4, C5, C6: what the multiplier, the improvement and the loss are equal to."""

import math
from typing import Final

import numpy as np

from pmdtheory.claims._base import EXACT, ROOT, Claim, Part
from pmdtheory.claims._instances import problems
from pmdtheory.claims._steps import MOVES, kl_step, largest_advantage, mean_step, moves
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update

__all__ = ["CLAIMS"]


def _relative(left: float, right: float) -> float:
    """|left - right| over the larger of the two; zero for equal numbers, infinities included."""
    if left == right:
        return 0.0
    return abs(left - right) / max(abs(left), abs(right))


def _c4(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    parts = [
        Part("lambda = KL(old||new)", "identity", _relative(step.multiplier, step.reverse_kl), ROOT),
        *_read_off(problem),
    ]
    for share in (-1.0, 0.5):
        excess = share * (min(problem.jensen_gap, 5.0) if math.isfinite(problem.jensen_gap) else 5.0)
        b = problem.mean_reward / problem.tau + excess
        other = baseline_update(problem, baseline=b).unwrap()
        carried = b - problem.mean_reward / problem.tau  # b as a float, not the excess that was asked for
        scale = max(1.0, abs(b), abs(carried), other.reverse_kl)
        error = abs(other.multiplier - (other.reverse_kl - carried)) / scale
        parts.append(Part(f"lambda(b) = KL(old||new) - (b - mean/tau), b at {share:+}", "identity", error, ROOT))
    return parts


def _read_off(problem: Problem) -> list[Part]:
    """Lambda read off the step, sum w (a - log rho)/sum w rho with w = new policy: no use of how it was solved."""
    step, levels = mean_step(problem), problem.levels
    v = step.level_log_ratio
    if not moves(problem) or float(v.max()) > 300.0:
        return []
    with np.errstate(under="ignore"):
        weight = levels.mass * np.exp(v)
        found = float(np.dot(weight, levels.advantage - v)) / float(np.dot(weight, np.exp(v)))
    tolerance = ROOT + EXACT * max(1.0, float(np.dot(weight, np.abs(levels.advantage)))) / step.reverse_kl
    return [Part("lambda read off the step = KL(old||new)", "identity", _relative(found, step.reverse_kl), tolerance)]


def _c4_mutant(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    return (
        [Part("lambda = KL(new||old)", "identity", _relative(step.multiplier, step.kl), ROOT)] if moves(problem) else []
    )


def _c5(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    parts = []
    if math.isfinite(step.improvement) and math.isfinite(step.chi2):
        parts.append(_improvement(problem, 1.0))
        parts.append(Part("improvement is not negative", "order", max(-step.improvement / problem.tau, 0.0), ROOT))
    ideal = kl_step(problem)
    if ideal is not None and math.isfinite(ideal.improvement):
        error = _relative(ideal.improvement, problem.tau * (ideal.kl + ideal.reverse_kl))
        parts.append(Part("KL-PMD: tau (KL + reverse KL)", "identity", error, ROOT))
    return parts


def _improvement(problem: Problem, factor: float) -> Part:
    step = mean_step(problem)
    right = problem.tau * (step.kl + factor * step.multiplier * (1.0 + step.chi2))
    # the advantage is centred to rounding: E a is not zero but eps E|a|, which the left side carries
    tolerance = ROOT + EXACT * _noise(problem)
    return Part(
        "E new r - E old r = tau (KL + lambda (1 + chi2))", "identity", _relative(step.improvement, right), tolerance
    )


def _noise(problem: Problem) -> float:
    """E|a| over the improvement in nats: how much rounding of the advantages weighs in it."""
    step = mean_step(problem)
    scale = step.improvement / problem.tau
    return float(np.dot(problem.levels.mass, np.abs(problem.levels.advantage))) / scale if scale > 0.0 else 0.0


def _c5_mutant(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    if not moves(problem) or not math.isfinite(step.improvement):
        return []
    return [_improvement(problem, 0.5)]


def _c6(problem: Problem) -> list[Part]:
    return _loss(problem, 0.5) if math.isfinite(mean_step(problem).chi2) else []


def _loss(problem: Problem, factor: float) -> list[Part]:
    step, levels = mean_step(problem), problem.levels
    if step.multiplier == 0.0:
        return []
    # log-space squares: lambda rho may be 1e150 where the mass is 1e-300
    with np.errstate(divide="ignore", under="ignore"):
        terms = levels.log_mass + 2.0 * np.log(np.abs(step.level_log_ratio - levels.advantage))
    top = float(terms.max())
    log_loss = math.log(0.5) + top + math.log(float(np.exp(terms - top).sum()))
    log_value = math.log(factor) + 2.0 * math.log(step.multiplier) + math.log1p(step.chi2)
    # v - a = -lambda rho loses eps max|a| absolutely, which weighs 1/lambda
    size = largest_advantage(problem)
    tolerance = ROOT + EXACT * size / step.multiplier if size < 1.0 else ROOT * (1.0 + abs(log_value))
    return [Part("minimum loss = lambda^2 (1 + chi2)/2", "identity", abs(log_loss - log_value), tolerance)]


def _c6_mutant(problem: Problem) -> list[Part]:
    return _loss(problem, 1.0) if moves(problem) and math.isfinite(mean_step(problem).chi2) else []


CLAIMS: Final = (
    Claim(
        id="C4",
        title="The weight is the step",
        statement=(
            r"\lambda = \mathrm{KL}(\pi\|\pi^+);\quad"
            r" \mathrm{PMD}(b):\ \lambda = \mathrm{KL}(\pi\|\pi^+) - (b - \bar r/\tau)"
        ),
        source="this project",
        kind="identity",
        assumes="b <= log Z",
        instances=problems,
        check=_c4,
        mutant=_c4_mutant,
        mistake="KL(new||old) for KL(old||new)",
        blunt=MOVES,
    ),
    Claim(
        id="C5",
        title="Improvement identity",
        statement=(
            r"\mathrm{E}_{\pi^+} r - \mathrm{E}_\pi r"
            r" = \tau\,[\mathrm{KL}(\pi^+\|\pi) + \lambda(1 + \chi^2(\pi^+\|\pi))] \ge 0"
        ),
        source="this project",
        kind="identity",
        assumes="E (r+)^2 finite",
        instances=problems,
        check=_c5,
        mutant=_c5_mutant,
        mistake="lambda/2 for lambda",
        blunt=MOVES,
    ),
    Claim(
        id="C6",
        title="Loss value",
        statement=r"\min_x \tfrac12 \mathrm{E}_\pi[(\log(x/\pi) - a)^2] = \tfrac{\lambda^2}{2}(1 + \chi^2(\pi^+\|\pi))",
        source="this project",
        kind="identity",
        assumes="E (r+)^2 finite",
        instances=problems,
        check=_c6,
        mutant=_c6_mutant,
        mistake="lambda^2 for lambda^2/2",
        blunt=MOVES,
    ),
)
