r"""What one group does to one prompt: the exact minimiser of the regression on the rollouts that were sampled.

The empirical loss \(\frac1n\sum_j \tfrac12(\log(x_{y_j}/\pi_{y_j}) - t_j)^2\) sees sampled actions only. Where their
targets ask for no more than all the mass they get just that, and the unsampled rest shares what is left in the old
proportions; where they ask for more, a multiplier scales them back and nothing is left for the rest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory._checks import FloatArray, finite_scalar, shown
from pmdtheory._groups import whole_number
from pmdtheory._multiplier import negative_root, positive_root
from pmdtheory._others import others_log_mean_exp, others_mean
from pmdtheory._series import log_mean_exp
from pmdtheory.divergence import step_sums
from pmdtheory.problem import Problem

__all__ = ["GroupFit", "fit_distribution", "one_group_fit"]

_BASELINES: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "mean": others_mean,
    "partition": others_log_mean_exp,
}


@dataclass(frozen=True, eq=False)
class GroupFit:
    r"""The step that one group of rollouts makes.

    Attributes:
        log_ratio: `[A]`, \(\log x/\pi\), nats; -inf for unsampled actions that lose everything.
        multiplier: \(\lambda\); zero where the targets fit under the simplex, positive where they ask for more mass.
            Negative where every action was sampled and less than all the mass is asked for; NaN, like the log-ratio,
            where that collapses (C14).
        expected_reward: \(E_x r\), reward units.
        kl: KL(x||old), nats.
        unsampled_mass: mass that is left on actions the group did not hold.
    """

    log_ratio: FloatArray
    multiplier: float
    expected_reward: float
    kl: float
    unsampled_mass: float


def one_group_fit(problem: Problem, actions: ArrayLike, *, baseline: str | float = "mean") -> GroupFit:
    r"""The exact minimiser of the empirical regression over one group of sampled actions.

    Formula: \(\log\rho_y = t_y - \lambda\,(n\pi_y/c_y)\rho_y\) for an action sampled \(c_y\) times, with
    \(t_y = r_y/\tau - \hat b_y\) and \(\lambda\) only as large as the simplex requires.

    Args:
        problem: with `A` actions.
        actions: `[n]`, indices of the sampled actions, with repetition; n at least 2 for leave-one-out.
        baseline: "mean" or "partition" (leave-one-out, C12), or a number b in nats.

    Returns:
        A `GroupFit`.

    Raises:
        TypeError, ValueError: for indices out of range or without mass, an unknown baseline, one rollout.

    Numerics: where every action was sampled and less than all the mass is asked for, the result is the symmetric
    local minimum (`collapse.global_minimum` knows whether another is lower).

    Source: this project (C12, C15).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.25] * 4, [0, 0, 0, 1], tau=1.0)
    >>> fit = one_group_fit(problem, [0, 3])
    >>> bool(fit.log_ratio[3] > 0 > fit.log_ratio[0])  # a success among two rises, the failure falls
    True
    """
    drawn = _indices(problem, actions)
    counts = np.bincount(drawn, minlength=problem.reward.size)
    seen = counts > 0
    target = _targets(problem, drawn, baseline)
    mass, log_mass = problem.policy[seen], problem.log_policy[seen]
    x = target[seen]
    rest = math.fsum(problem.policy[~seen])
    asked = log_mean_exp(mass, log_mass, x, rest)
    log_ratio = np.full(problem.reward.size, -math.inf)
    multiplier = 0.0
    if asked > 0.0:
        log_scale = log_mass - np.log(counts[seen] / drawn.size)
        root = positive_root(mass, log_mass, x, gap=asked, log_scale=log_scale, blind=rest)
        log_ratio[seen], multiplier = root.log_ratio, root.multiplier
        left = 0.0
    else:
        log_ratio[seen] = x
        left = -math.expm1(asked)
        if rest > 0.0:
            log_ratio[~seen] = math.log(left) - math.log(rest) if left > 0.0 else -math.inf
        else:
            # every action was sampled and the targets ask for less than all: the loss then spreads the missing mass
            log_ratio[seen], multiplier = _spread(mass, log_mass, x, counts[seen] / drawn.size)
            left = 0.0
    return _recorded(problem, log_ratio, multiplier, left)


def _indices(problem: Problem, actions: ArrayLike) -> NDArray[np.intp]:
    remedy = "pass the indices of the sampled actions, [n]"
    try:
        drawn = np.asarray(actions)
    except ValueError:
        raise TypeError(f"actions is ragged; {remedy}") from None
    if drawn.dtype.kind not in "iu" or drawn.ndim != 1 or drawn.size == 0:
        raise TypeError(f"actions must be a list of indices, got {shown(actions)}; {remedy}")
    wrong = drawn[(drawn < 0) | (drawn >= problem.reward.size)]
    if wrong.size:
        raise ValueError(f"actions holds {wrong[0]}, and there are {problem.reward.size} actions from 0 on; {remedy}")
    if bool(np.any(problem.log_policy[drawn] == -math.inf)):
        raise ValueError(f"actions holds an action without mass, which cannot be sampled; {remedy}")
    return drawn.astype(np.intp)


def _targets(problem: Problem, drawn: NDArray[np.intp], baseline: str | float) -> FloatArray:
    """Targets per action `[A]`, nats; unsampled ones are not used. Equal actions of a group have equal targets."""
    scaled = problem.scaled_advantage[drawn]
    if isinstance(baseline, str):
        if baseline not in _BASELINES:
            raise ValueError(f"baseline {baseline!r} is unknown; pass 'mean', 'partition', or a number in nats")
        whole_number("rollouts", drawn.size, 2, "leave-one-out needs at least 2 in a group")
        target = scaled - _BASELINES[baseline](scaled[None])[0]
    else:
        b = finite_scalar("baseline", baseline, "pass 'mean', 'partition', or b in nats")
        target = scaled - (b - problem.mean_reward / problem.tau)
    result = np.zeros(problem.reward.size)
    result[drawn] = target
    return result


def _spread(mass: FloatArray, log_mass: FloatArray, x: FloatArray, share: FloatArray) -> tuple[FloatArray, float]:
    """The symmetric local minimum with a negative multiplier, where it exists; NaN where the fit collapses (C14)."""
    if log_mean_exp(mass, log_mass, x) == 0.0:
        return x, 0.0
    root = negative_root(mass, log_mass, x, log_mass - np.log(share))
    if root is None:
        return np.full_like(x, math.nan), math.nan
    return root.log_ratio, root.multiplier


def _recorded(problem: Problem, log_ratio: FloatArray, multiplier: float, left: float) -> GroupFit:
    alive = problem.log_policy > -math.inf
    with np.errstate(under="ignore"):
        sums = step_sums(
            problem.policy[alive], problem.log_policy[alive], log_ratio[alive], problem.scaled_advantage[alive]
        )
    reward = problem.mean_reward + problem.tau * sums.gain
    return GroupFit(np.where(alive, log_ratio, 0.0), multiplier, reward, sums.kl, left)


def fit_distribution(
    problem: Problem, n: int, *, baseline: str | float = "mean", groups: int = 1000, seed: int = 0
) -> dict[str, FloatArray]:
    """Fits of many independent groups of n rollouts: the distribution of what a prompt goes through.

    Args:
        problem: with `A` actions.
        n: rollouts in a group.
        baseline: as for `one_group_fit`.
        groups: how many to draw; equal groups are solved once.
        seed: of the draw.

    Returns:
        Arrays `[groups]`: expected_reward, kl, unsampled_mass, multiplier.

    Raises:
        TypeError, ValueError: as `one_group_fit`.

    Source: this project.

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.2, tau=1.0)
    >>> fits = fit_distribution(problem, 4, groups=100)
    >>> bool(fits["kl"].min() >= 0.0)
    True
    """
    n = whole_number("n", n, 1, "pass the number of rollouts in a group")
    groups = whole_number("groups", groups, 1, "pass the number of groups to draw")
    rng = np.random.default_rng(seed)
    law = problem.policy / problem.policy.sum()
    drawn = np.sort(rng.choice(problem.reward.size, size=(groups, n), p=law), axis=1)
    distinct, inverse = np.unique(drawn, axis=0, return_inverse=True)
    fits = [one_group_fit(problem, row, baseline=baseline) for row in distinct]
    names = ("expected_reward", "kl", "unsampled_mass", "multiplier")
    return {name: np.array([getattr(fit, name) for fit in fits])[inverse.ravel()] for name in names}
