"""C1, C2, C3: the closed form, the regulariser that it implies, and the certificate that needs no solver."""

import math
from typing import Final

import numpy as np
from scipy import special

from pmdtheory.claims._base import EXACT, ROOT, SOLVER, Claim, Part, exact
from pmdtheory.claims._instances import discrete, problems
from pmdtheory.claims._steps import MOVES, largest_advantage, mean_step, moves
from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.subproblem import gap_certificate, solve_regression, solve_subproblem
from pmdtheory.update import mixed_update

__all__ = ["CLAIMS"]

_SOLVABLE: Final = 400  # levels up to which a generic solver is asked
_TAU_SPAN: Final = 1e3  # max|a| up to which a generic solver is asked: beyond, its own scaling is the limit


def _stationarity(step: Update, power: float) -> float:
    """Largest error in log rho + lambda rho^power = a, relative per level: zero at power one, by C1."""
    levels = step.problem.levels
    v = step.level_log_ratio
    with np.errstate(over="ignore", under="ignore"):
        error = v + step.multiplier * np.exp(power * v) - levels.advantage
    return float(np.max(np.abs(error) / np.maximum(1.0, np.abs(levels.advantage))))


def _naive(step: Update) -> float:
    """Largest difference in log rho from W(lambda e^a)/lambda taken literally, where e^a is representable."""
    levels = step.problem.levels
    a = levels.advantage
    if not (step.multiplier > 1e-280 and float(np.max(np.abs(a))) < 600.0):
        return 0.0
    ratio = np.real(special.lambertw(step.multiplier * np.exp(a), 0)) / step.multiplier
    return float(np.max(np.abs(np.log(ratio) - step.level_log_ratio)))


def _c1(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    size = largest_advantage(problem)
    constant = bool(np.ptp(problem.levels.reward) == 0.0)
    return [
        Part("log rho + lambda rho = a", "identity", _stationarity(step, 1.0), exact(math.log1p(size))),
        Part("mass is one", "identity", abs(step.mass_defect), ROOT),
        Part("rho = W(lambda e^a)/lambda, literally", "identity", _naive(step), ROOT * max(1.0, size)),
        Part(
            "lambda > 0 unless rewards are constant", "order", 0.0 if (step.multiplier == 0.0) == constant else 1.0, 0.5
        ),
    ]


def _c1_mutant(problem: Problem) -> list[Part]:
    if not moves(problem):
        return []
    error = _stationarity(mean_step(problem), -1.0)
    return [Part("log rho + lambda/rho = a", "identity", error, exact(math.log1p(largest_advantage(problem))))]


def _c1_opinion(problem: Problem) -> list[Part]:
    """The regression itself, solved without lambda by a generic optimiser."""
    if not moves(problem) or problem.levels.mass.size > 60 or largest_advantage(problem) > 50.0:
        return []
    step = mean_step(problem)
    other = solve_regression(problem)
    if other.value is None:
        return [Part(f"regression solver: {other.status.name}", "identity", math.inf, 1.0)]
    distance = 0.5 * float(np.abs(other.value.policy - step.policy).sum()) / step.step_size
    return [Part("policy of the regression, solved without lambda, relative to the step", "identity", distance, SOLVER)]


def _c2(problem: Problem) -> list[Part]:
    return _regularised(problem, 1.0)


def _regularised(problem: Problem, factor: float) -> list[Part]:
    """Compare PMD-mean with the mirror step whose chi2 weight is factor times lambda."""
    step = mean_step(problem)
    mixed = mixed_update(problem, weight=factor * step.multiplier).unwrap()
    levels = problem.levels
    with np.errstate(over="ignore", under="ignore"):
        gap = np.abs(levels.mass * (np.exp(mixed.level_log_ratio) - np.exp(step.level_log_ratio)))
    distance = 0.5 * float(np.where(np.isfinite(gap), gap, np.abs(mixed.level_log_ratio - step.level_log_ratio)).sum())
    relative = distance / step.step_size if step.step_size > 0.0 else distance
    # a log-ratio is known to eps max(1, |a|), or to eps of itself where the signal is weak
    room = EXACT * min(1.0, largest_advantage(problem)) / step.step_size if step.step_size > 0.0 else 0.0
    return [Part("the mirror step of weight lambda is PMD-mean", "identity", relative, ROOT + room)]


def _c2_mutant(problem: Problem) -> list[Part]:
    step = mean_step(problem)
    with np.errstate(under="ignore"):
        fullest = float(np.exp(problem.levels.log_mass + step.level_log_ratio).max())
    # doubling the weight changes rho by about lambda v: visible where that is, and where the step is not at a vertex
    blunt = step.step_size < 1e-2 or step.multiplier < 1e-6 or fullest > 1.0 - 1e-6
    return [] if blunt else _regularised(problem, 2.0)


def _c2_opinion(problem: Problem) -> list[Part]:
    """The mirror step as a conic program."""
    if not moves(problem) or problem.levels.mass.size > _SOLVABLE or largest_advantage(problem) > _TAU_SPAN:
        return []
    step = mean_step(problem)
    other = solve_subproblem(problem, weight=step.multiplier)
    if other.value is None:
        return [Part(f"conic solver: {other.status.name}", "identity", math.inf, 1.0)]
    distance = 0.5 * float(np.abs(other.value.policy - step.policy).sum()) / step.step_size
    return [Part("policy of the conic program, relative to the step", "identity", distance, SOLVER)]


def _points(problem: Problem) -> np.ndarray:
    """Points of the simplex: random ones, vertices, the anchor, and neighbours of the optimum."""
    rng = np.random.default_rng(problem.reward.size)
    anchor, best = problem.policy, mean_step(problem).policy
    alive = anchor > 0.0
    loose = np.zeros((4, anchor.size))
    loose[:, alive] = rng.dirichlet(np.ones(int(alive.sum())), 4)
    corner = np.zeros((1, anchor.size))
    corner[0, int(np.argmax(anchor))] = 1.0
    near = 0.999 * best / best.sum() + 0.001 * loose[0]
    return np.concatenate([loose, corner, anchor[None], near[None], (0.5 * anchor + 0.5 * best)[None]])


def _c3(problem: Problem) -> list[Part]:
    certificate = gap_certificate(problem, mean_step(problem), _points(problem))
    return [
        Part(
            "M(new) - M(x) is the Bregman gap",
            "identity",
            certificate.residual,
            ROOT * max(1.0, largest_advantage(problem)),
        ),
        Part("no point is better", "order", 0.0 if certificate.optimal else 1.0, 0.5),
    ]


def _c3_mutant(problem: Problem) -> list[Part]:
    if mean_step(problem).step_size < 1e-2 or float(problem.levels.mass.max()) > 0.99:
        return []
    step, points = mean_step(problem), _points(problem)[:4]
    true = gap_certificate(problem, step, points)
    alive = problem.policy > 0.0
    log_new, x = step.log_policy[alive], points[:, alive]
    with np.errstate(divide="ignore", under="ignore"):
        forward = np.where(x > 0.0, x * (np.log(x) - log_new), 0.0).sum(axis=1)
        backward = (np.exp(log_new) * (log_new - np.log(np.where(x > 0.0, x, 1e-300)))).sum(axis=1)
    wrong = true.bregman - forward + backward
    scale = np.maximum(1.0, np.abs(true.gap))
    error = float(np.max(np.abs(true.gap - wrong) / scale))
    return [Part("with KL the wrong way round", "identity", error, ROOT * max(1.0, largest_advantage(problem)))]


CLAIMS: Final = (
    Claim(
        id="C1",
        title="Lambert-W form",
        statement=(
            r"\log\rho + \lambda\rho = a,\quad \rho = W_0(\lambda e^{a})/\lambda,\quad"
            r" \mathrm{E}\rho = 1,\ \lambda \ge 0"
        ),
        source="arXiv:2602.05933",
        kind="identity",
        assumes="rewards with a finite mean",
        instances=problems,
        check=_c1,
        mutant=_c1_mutant,
        mistake="lambda/rho for lambda rho",
        blunt=MOVES,
        opinion=_c1_opinion,
    ),
    Claim(
        id="C2",
        title="Implicit KL-chi2 regulariser",
        statement=(
            r"\pi^+ = \arg\max_x \langle x, r\rangle - \tau\,\mathrm{KL}(x\|\pi)"
            r" - \tfrac{\tau\lambda}{2}\chi^2(x\|\pi)"
        ),
        source="arXiv:2602.05933",
        kind="identity",
        assumes="rewards with a finite mean",
        instances=problems,
        check=_c2,
        mutant=_c2_mutant,
        mistake="weight tau lambda for tau lambda / 2",
        blunt="steps of total variation below 1e-2, lambda below 1e-6, or steps that end within 1e-6 of one level",
        opinion=_c2_opinion,
    ),
    Claim(
        id="C3",
        title="Gap identity",
        statement=r"M(\pi^+) - M(x) = \mathrm{KL}(x\|\pi^+) + \tfrac{\lambda}{2}\sum_i (x_i - \pi^+_i)^2/\pi_i \ge 0",
        source="this project",
        kind="identity",
        assumes="x on the simplex, within the support of the policy",
        instances=discrete,
        check=_c3,
        mutant=_c3_mutant,
        mistake="KL(new||x) for KL(x||new)",
        blunt="steps of total variation below 1e-2, or nearly all mass on one level",
    ),
)
