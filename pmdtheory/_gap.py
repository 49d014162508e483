r"""The gap identity C3: a certificate of optimality that needs no solver."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray, positive_scalar, real_vector
from pmdtheory._series import exp_remainder, weighted_exp
from pmdtheory.divergence import step_sums
from pmdtheory.problem import Problem
from pmdtheory.solution import Update

__all__ = ["GapCertificate", "gap_certificate"]

_NEAR = 300.0  # nats; e to its double is finite
_POINTS = "pass one probability vector over the actions a row (each at least zero, summing to one)"


@dataclass(frozen=True, eq=False)
class GapCertificate:
    r"""Both sides of C3 on `N` points, nats.

    Attributes:
        gap: `[N]`, \(M(\pi^+) - M(x)\): how much worse the mirror step's objective (over tau) is at x.
        bregman: `[N]`, \(\mathrm{KL}(x\|\pi^+) + \tfrac\lambda2\sum(x - \pi^+)^2/\pi\).
        scale: `[N]`, sum of the absolute terms behind the gap: rounding leaves a few eps of it.
        residual: largest |gap - bregman| / scale.
        optimal: whether no point beats the step, each gap being at least -tolerance scale.
    """

    gap: FloatArray
    bregman: FloatArray
    scale: FloatArray
    residual: float
    optimal: bool


def gap_certificate(problem: Problem, update: Update, points: ArrayLike, *, tolerance: float = 1e-12) -> GapCertificate:
    r"""Reconstruct the gap identity of a step on given points: the step is optimal, and by how much.

    Formula: with \(M(x) = \langle x, r\rangle/\tau - \mathrm{KL}(x\|\pi) - \tfrac\lambda2\chi^2(x\|\pi)\) and lambda
    the step's multiplier, \(M(\pi^+) - M(x) = \mathrm{KL}(x\|\pi^+) + \tfrac\lambda2\sum_i (x_i - \pi^+_i)^2/\pi_i\)
    for every x on the simplex (C3). It holds for the exact step only, whatever way it was found.

    Args:
        problem: with `A` actions.
        update: a step of that problem; on-policy members only (with a sampler the chi2 is another).
        points: `[N, A]`, one law a row; zeros are legal. Points as far from the step as the step is from the policy
            tell the most: at distant points a wrong weight of a small step drowns.
        tolerance: for `optimal`, relative to the certificate's scale.

    Returns:
        GapCertificate, nats.

    Raises:
        TypeError, ValueError: for points that are no laws over the actions, that have mass where the policy has
            none, an update of another size, or a tolerance that is not positive.

    Numerics: both sides are summed from log-ratios without cancellation against the policy, so steps of 1e-6 (tau =
    1e6) leave residuals of a few eps. Rows are renormalised.

    Source: this project (C3).

    >>> import numpy as np, pmdtheory as pmd
    >>> from pmdtheory.subproblem import gap_certificate
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0.5, 1], tau=0.1)
    >>> step = pmd.mean_update(problem).unwrap()
    >>> certificate = gap_certificate(problem, step, np.eye(3))
    >>> bool(certificate.residual < 1e-12 and certificate.optimal)  # no action beats the step, by exactly C3
    True
    """
    limit = positive_scalar("tolerance", tolerance, "pass the rounding allowed, for instance 1e-12")
    rows, eps = real_vector("points", points, _POINTS, ndim=2)
    size = problem.log_policy.size
    if update.log_ratio.size != size:
        raise ValueError(f"update has {update.log_ratio.size} actions and problem {size}; pass a step of this problem")
    live = problem.policy > 0.0
    laws = _laws(rows, eps, live)
    mass, log_mass = problem.policy[live], problem.log_policy[live]
    advantage, best = problem.scaled_advantage[live], update.log_ratio[live]
    weight = update.multiplier
    value, size_of_value = _objective(mass, log_mass, advantage, weight, best)
    gap, bregman, scale = np.empty(len(laws)), np.empty(len(laws)), np.empty(len(laws))
    for index, law in enumerate(laws):
        ratio = _log_ratio(law, mass, log_mass)
        at_point, size_at_point = _objective(mass, log_mass, advantage, weight, ratio)
        gap[index] = value - at_point
        bregman[index] = _bregman(mass, log_mass, weight, ratio, best)
        scale[index] = size_of_value + size_at_point
    error = np.abs(gap - bregman)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(error == 0.0, 0.0, error / scale)
    residual = float(np.max(relative))
    return GapCertificate(gap, bregman, scale, residual, bool(np.all(gap >= -limit * scale)))


def _laws(rows: FloatArray, eps: float, live: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    """Rows checked, renormalised and restricted to the actions with mass."""
    if rows.shape[1] != live.size:
        raise ValueError(f"points has {rows.shape[1]} columns for {live.size} actions; {_POINTS}")
    if float(rows.min()) < 0.0:
        where = tuple(int(i) for i in np.unravel_index(int(np.argmin(rows)), rows.shape))
        raise ValueError(f"points holds {float(rows.min())} at index {where}, below zero; {_POINTS}")
    totals = rows.sum(axis=1)
    wrong = ~(np.abs(totals - 1.0) <= max(1e-9, live.size * eps))
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(f"points has a row {index} that sums to {float(totals[index])!r}, not to one; {_POINTS}")
    outside = rows[:, ~live].max(axis=1, initial=0.0) > 0.0
    if outside.any():
        raise ValueError(
            f"points has mass in row {int(np.argmax(outside))} where the policy has none, and KL is infinite there; "
            "leave those actions at zero"
        )
    return np.asarray(rows[:, live] / totals[:, None])


def _log_ratio(law: FloatArray, mass: FloatArray, log_mass: FloatArray) -> FloatArray:
    """log(law/mass), through the difference where the two nearly agree."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        change = np.where(mass > 0.0, (law - mass) / mass, math.inf)
        near = np.abs(change) < 0.5
        return np.where(near, np.log1p(np.where(near, change, 0.0)), np.log(law) - log_mass)


def _objective(
    mass: FloatArray, log_mass: FloatArray, advantage: FloatArray, weight: float, log_ratio: FloatArray
) -> tuple[float, float]:
    """M relative to its value at the policy, and the sum of the absolute values of its terms."""
    sums = step_sums(mass, log_mass, log_ratio, advantage)
    chi = 0.5 * weight * sums.chi2
    return sums.gain - sums.kl - chi, abs(sums.gain) + sums.kl + abs(chi)


def _bregman(mass: FloatArray, log_mass: FloatArray, weight: float, log_ratio: FloatArray, best: FloatArray) -> float:
    """KL(x‖pi+) plus lambda/2 sum (x - pi+)^2/pi, from the ratio of x to the step."""
    turn = log_ratio - best
    near = np.abs(turn) < _NEAR
    safe = np.where(near, turn, 0.0)
    change = np.expm1(safe)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        law, square = weighted_exp(mass, log_mass, best), weighted_exp(mass, log_mass, 2.0 * best)
        point = weighted_exp(mass, log_mass, log_ratio)
        far = np.where(point > 0.0, point * turn, 0.0) - point + law
        divergence = np.where(near, law * (change * safe - exp_remainder(safe)), far)
        other = np.where(turn > 0.0, weighted_exp(mass, log_mass, 2.0 * log_ratio), square)
        apart = np.where(near, square * change * change, other)
    return float(divergence.sum()) + 0.5 * weight * float(apart.sum())
