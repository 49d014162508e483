r"""What becomes of PMD(b) when the baseline exceeds log Z: the symmetric minimum, and the collapse onto one action.

For b > log Z the targets \(t = r/\tau - b\) ask for less than all the mass. The missing mass is spread by a negative
multiplier, \(\log\rho = t + T\) with \(T - 1 - \log T\) the same for all actions up to \(d = (r_{\max} - r)/\tau\); the
loss is \(\tfrac12 E T^2\). At a minimum at most one action, the winner, lifts itself beyond T = 1 (the branch
\(W_{-1}\)). PMD-mean never gets here: its baseline is at most log Z (C14).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from pmdtheory._checks import FloatArray, finite_scalar, positive_scalar
from pmdtheory._multiplier import safeguarded_newton
from pmdtheory.lambertw import branch_tilt
from pmdtheory.problem import Problem
from pmdtheory.update import baseline_update

__all__ = ["Minimum", "global_minimum", "global_switch", "local_threshold"]


@dataclass(frozen=True, eq=False)
class Minimum:
    r"""A minimum of the regression of PMD(b).

    Attributes:
        log_ratio: `[A]`, \(\log\rho\), nats; zero for actions without mass.
        multiplier: \(\lambda\), negative for b > log Z.
        loss: \(\tfrac12 E T^2\), nats squared.
        winner: index of the action on the branch \(W_{-1}\); None for the symmetric minimum.
        expected_reward: reward units.
    """

    log_ratio: FloatArray
    multiplier: float
    loss: float
    winner: int | None
    expected_reward: float


def local_threshold(problem: Problem) -> float:
    r"""How far the baseline may exceed log Z before no symmetric minimum is left, nats.

    Formula: \(\log E_{\pi_{KL}} \exp T(e^{-1-d})\), \(d = (r_{\max} - r)/\tau\), in (0, 1]. Where the best reward
    belongs to one action only, the minimum does not vanish there but passes smoothly to the branch \(W_{-1}\).

    Args:
        problem: with a finite log Z.

    Returns:
        The excess b - log Z, nats.

    Raises:
        ValueError: for an infinite log Z, which no baseline can exceed.

    Source: this project (C14).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.1, tau=0.1)
    >>> edge = local_threshold(problem)
    >>> inside = pmd.baseline_update(problem, baseline=problem.log_partition + 0.999 * edge)
    >>> outside = pmd.baseline_update(problem, baseline=problem.log_partition + 1.001 * edge)
    >>> inside.status.name, outside.status.name
    ('SUCCESS', 'BASELINE_TOO_HIGH')
    """
    _finite_partition(problem)
    levels = problem.levels
    depth = levels.depth
    with np.errstate(under="ignore"):
        ideal = levels.mass * np.exp(depth)
        gained = ideal * np.expm1(branch_tilt(-depth))
    return math.log1p(math.fsum(gained) / math.fsum(ideal))


def _finite_partition(problem: Problem) -> None:
    if not math.isfinite(problem.jensen_gap):
        raise ValueError("problem has no finite log Z for a baseline to exceed; bound the rewards, or raise tau")


def global_minimum(problem: Problem, *, excess: float) -> Minimum:
    r"""The best minimum of PMD(log Z + excess): the symmetric one, or one action taking the missing mass.

    Args:
        problem: with `A` actions of positive mass and a finite log Z (an atomless law has no minimiser at all).
        excess: b - log Z, nats, greater than zero.

    Returns:
        A `Minimum`. Every kind of action (reward and mass) is tried as the winner; the least loss counts.

    Raises:
        TypeError, ValueError: for an excess that is not positive, or an infinite log Z.

    Numerics: the winner's lift is the unknown, which is smooth through the branch point; others merge by reward.

    Source: this project (C14).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.02, 0.38, 0.6], [0, 1, 0.5], tau=0.4)
    >>> [global_minimum(problem, excess=e).winner for e in (1.0, 2.0)]  # at large excess a failure wins: the rarest
    [1, 0]
    """
    shift = finite_scalar("excess", excess, "pass b - log Z in nats, greater than zero")
    if shift <= 0.0:
        raise ValueError(f"excess must be greater than zero, got {shift}; at or below log Z use baseline_update")
    _finite_partition(problem)
    found = [minimum for minimum in (_symmetric(problem, shift), *_collapsed(problem, shift)) if minimum is not None]
    return min(found, key=lambda minimum: minimum.loss)


def global_switch(problem: Problem, *, tolerance: float = 1e-7) -> float:
    """The excess over log Z at which the symmetric minimum stops being the best one, nats: a first-order jump.

    Args:
        problem: with `A` actions and a finite log Z.
        tolerance: of the excess, nats.

    Returns:
        The excess; it falls as the same law is divided among more actions.

    Raises:
        TypeError, ValueError: for an infinite log Z, or a tolerance that is not positive.

    Source: this project (C14).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([1 / 8] * 8, [0] * 5 + [1] * 3, tau=0.5)
    >>> 0.85 < global_switch(problem) < 0.86 < local_threshold(problem)
    True
    """
    positive_scalar("tolerance", tolerance, "pass nats, for instance 1e-7")
    edge = local_threshold(problem)

    def lead(excess: float) -> float:
        """Loss of the best collapsed minimum minus that of the symmetric one: positive while the latter is best."""
        symmetric = _symmetric(problem, excess)
        if symmetric is None:
            return -1.0
        rivals = [minimum.loss for minimum in _collapsed(problem, excess)]
        return min(rivals) - symmetric.loss if rivals else 1.0

    if lead(edge) >= 0.0:  # a best action of its own passes to W-1 smoothly, and no other does better before it
        return edge
    # rivals appear at some excess, where lead jumps; the root-finder falls back to bisection there
    least = 1e-12 * edge
    if lead(least) <= 0.0:  # so many actions that the symmetric minimum is never the best one
        return least
    return float(optimize.brentq(lead, least, edge, xtol=tolerance))


def _symmetric(problem: Problem, excess: float) -> Minimum | None:
    """The minimum on the branch W0, from `baseline_update`."""
    step = baseline_update(problem, baseline=problem.log_partition + excess).value
    if step is None:
        return None
    lift = step.level_log_ratio - (problem.levels.advantage - (problem.jensen_gap + excess))
    loss = 0.5 * math.fsum(problem.levels.mass * lift**2)
    return Minimum(step.log_ratio, step.multiplier, loss, None, step.expected_reward)


def _collapsed(problem: Problem, excess: float) -> list[Minimum]:
    """The local minima with one action on W-1, one for each kind of action that can win."""
    found = [_with_winner(problem, excess, int(index)) for index in _kinds(problem)]
    return [minimum for minimum in found if minimum is not None]


def _kinds(problem: Problem) -> NDArray[np.intp]:
    """One action of each kind, reward and mass, among those with mass."""
    alive = np.flatnonzero(problem.log_policy > -math.inf)
    pairs = np.stack([problem.reward[alive], problem.log_policy[alive]])
    return alive[np.unique(pairs, axis=1, return_index=True)[1]]


def _with_winner(problem: Problem, excess: float, winner: int) -> Minimum | None:
    """The minimum in which the given action is on W-1, if there is one.

    The unknown is the winner's lift s >= 1: its depth s - 1 - log s is eta plus its own distance from the best, and
    eta lifts all others on W0. The winner's mass grows with s and the others' falls; a minimum of the loss is where
    the sum passes one rising. Newton's method starts from s at which the winner alone has all the mass.
    """
    levels = problem.levels
    mass, depth, target = levels.mass.copy(), levels.depth, levels.advantage - (problem.jensen_gap + excess)
    own = int(np.argmin(np.abs(levels.reward - problem.reward[winner])))
    share = float(problem.policy[winner])
    mass[own] = max(mass[own] - share, 0.0)  # the others of its level
    down, goal = float(depth[own]), float(target[own])

    def rest(s: float) -> FloatArray:
        return branch_tilt(np.maximum(s - 1.0 - math.log(s) + down - depth, 0.0))

    def evaluate(s: float) -> tuple[float, float]:
        lift = rest(s)
        with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
            others = mass * np.exp(target + lift)
            falls = np.where(lift < 1.0, lift / (1.0 - lift), 0.0) * ((s - 1.0) / s)
        alone = math.exp(math.log(share) + goal + s)
        total = alone + float(others.sum())
        return math.log(total), (alone - float(np.dot(others, falls))) / total

    least = float(branch_tilt(-down, branch=-1))
    most = max(-goal - math.log(share), least)
    s, _, _ = safeguarded_newton(evaluate, least, most, most, rising=True)
    value, slope = evaluate(s)
    if abs(value) > 1e-9 or slope < 0.0:
        return None
    lift = rest(s)
    with np.errstate(under="ignore"):
        others = mass * np.exp(target + lift)
        alone = math.exp(math.log(share) + goal + s)
        reward = math.fsum(others * levels.reward) + alone * float(problem.reward[winner])
    log_ratio = problem.expand(target + lift)
    log_ratio = np.array(log_ratio)
    log_ratio[winner] = goal + s
    loss = 0.5 * (math.fsum(mass * lift**2) + share * s * s)
    multiplier = -s * math.exp(-s - goal) if -s - goal < 700.0 else -math.inf
    return Minimum(log_ratio, multiplier, loss, winner, reward)
