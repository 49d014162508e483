r"""Iterating an update to convergence on one prompt: what T steps of PMD do to a bandit.

The anchor moves: step t starts from the policy that step t - 1 left. Letters: `T` steps, `A` actions; the binary grid
keeps any shape `[...]` of starting masses and strengths.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pmdtheory._binary import baseline_gain, mean_gain
from pmdtheory._checks import FloatArray, positive_scalar, shown
from pmdtheory._groups import whole_number
from pmdtheory.finite_sample import expected_baseline
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Update
from pmdtheory.update import baseline_update, mean_update

__all__ = ["BinaryGrid", "Trajectory", "binary_grid", "iterate", "part_update"]

Step = Callable[[Problem], Solution[Update]]
_METHODS: Final = ("mean", "kl", "part")


def _log_epsilon(epsilon: float) -> float:
    number = positive_scalar("epsilon", epsilon, "pass the failure mass to reach, for instance 1e-3")
    if number >= 1.0:
        raise ValueError(f"epsilon must be less than one, got {number}; pass the failure mass to reach, say 1e-3")
    return math.log(number)


@dataclass(frozen=True, eq=False)
class Trajectory:
    r"""T steps of an update on one problem.

    Attributes:
        final: the problem whose policy the last step left.
        expected_reward: `[T + 1]`, reward units, the start included.
        optimal_mass: `[T + 1]`, mass on the best actions.
        log_failure: `[T + 1]`, log of the mass on all others, nats; right also when `optimal_mass` rounds to one.
        regret: `[T]`, cumulative \(\sum_{s \le t} (r^* - E_{s} r)\) of the policies after each step, reward units.
        multiplier: `[T]`.
        kl: `[T]`, KL(new||old), nats.
        reverse_kl: `[T]`, nats.
        chi2: `[T]`.
        best_ratio: `[T]`, log-ratio of the best actions, nats.
        entropy: `[T + 1]`, nats.
        kept: `[T + 1]`, distinct best actions kept: exp of the entropy among them.
    """

    final: Problem
    expected_reward: FloatArray
    optimal_mass: FloatArray
    log_failure: FloatArray
    regret: FloatArray
    multiplier: FloatArray
    kl: FloatArray
    reverse_kl: FloatArray
    chi2: FloatArray
    best_ratio: FloatArray
    entropy: FloatArray
    kept: FloatArray

    def steps_to(self, epsilon: float) -> int | None:
        """First step after which at most epsilon of the mass is not on a best action; None if there is none."""
        reached = np.flatnonzero(self.log_failure <= _log_epsilon(epsilon))
        return int(reached[0]) if reached.size else None


def part_update(n: int, *, samples: int = 20_000, seed: int = 0) -> Step:
    r"""PMD-part with n rollouts in population: PMD(b_{n-1}), its baseline estimated anew at every policy (C12).

    Args:
        n: rollouts in a group, at least 2.
        samples: groups drawn where an exact expectation is too long.
        seed: of that sample.

    Returns:
        An update, `Problem -> Solution[Update]`.

    Raises:
        TypeError, ValueError: for an n below 2.

    Source: this project (C12).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.3, tau=0.5)
    >>> two, mean = part_update(2)(problem).unwrap(), pmd.mean_update(problem).unwrap()
    >>> bool(abs(two.policy - mean.policy).max() < 1e-12)  # with two rollouts PMD-part is PMD-mean
    True
    """
    n = whole_number("n", n, 2, "leave-one-out needs at least 2 rollouts in a group")

    def update(problem: Problem) -> Solution[Update]:
        b = expected_baseline(problem, n - 1, samples=samples, seed=seed)
        return baseline_update(problem, baseline=float(b.value))

    return update


def iterate(problem: Problem, update: Step = mean_update, *, steps: int = 100) -> Trajectory:
    r"""Apply an update `steps` times, each from the policy that the one before left.

    Args:
        problem: the start, with `A` actions (or the nodes of a continuous law).
        update: `mean_update`, `kl_update`, `part_update(n)`, or any `Problem -> Solution[Update]`.
        steps: T, at least 1.

    Returns:
        A `Trajectory`.

    Raises:
        SolveError: when a step has no solution, with the status' message.
        TypeError, ValueError: for a number of steps that is no whole number of at least 1.

    Numerics: everything is carried in log space, so that success and failure mass keep their digits down to 1e-300.

    Source: this project (C5, C17).

    >>> import pmdtheory as pmd
    >>> run = iterate(pmd.Problem.binary(0.01, tau=0.1), steps=50)
    >>> bool(np.all(np.diff(run.expected_reward) >= 0))  # monotone improvement (C5)
    True
    """
    steps = whole_number("steps", steps, 1, "pass the number of steps")
    best = (problem.reward >= problem.levels.reward.max()) & (problem.log_policy > -math.inf)
    moves: list[tuple[float, ...]] = []
    states = [_state(problem, best)]
    for _ in range(steps):
        step = update(problem).unwrap()
        moves.append((step.multiplier, step.kl, step.reverse_kl, step.chi2, float(step.log_ratio[best][0])))
        problem = _moved(problem, step)
        states.append(_state(problem, best))
    multiplier, kl, reverse_kl, chi2, best_ratio = (np.array(column) for column in zip(*moves, strict=True))
    reward, mass, log_failure, entropy, kept, lost = (np.array(column) for column in zip(*states, strict=True))
    return Trajectory(
        final=problem,
        expected_reward=reward,
        optimal_mass=mass,
        log_failure=log_failure,
        regret=np.cumsum(lost[1:]),
        multiplier=multiplier,
        kl=kl,
        reverse_kl=reverse_kl,
        chi2=chi2,
        best_ratio=best_ratio,
        entropy=entropy,
        kept=kept,
    )


def _moved(problem: Problem, step: Update) -> Problem:
    """The same rewards with the step's policy as the next anchor, renormalised in log space."""
    log_policy = step.log_policy - special.logsumexp(step.log_policy)
    return Problem.from_log_policy(log_policy, problem.reward, problem.tau)


def _state(problem: Problem, best: NDArray[np.bool_]) -> tuple[float, ...]:
    """Expected reward, best mass, log of the rest, entropy, best actions kept, and what E r lacks to the best."""
    log_policy = problem.log_policy
    alive = log_policy > -math.inf
    rest = log_policy[alive & ~best]
    log_failure = float(special.logsumexp(rest)) if rest.size else -math.inf
    inside = log_policy[best] - special.logsumexp(log_policy[best])
    entropy = -math.fsum(problem.policy[alive] * log_policy[alive])
    kept = math.exp(-math.fsum(np.exp(inside) * inside))
    lost = math.fsum(problem.policy * (problem.levels.reward.max() - problem.reward))
    return problem.mean_reward, math.fsum(problem.policy[best]), log_failure, entropy, kept, lost


@dataclass(frozen=True, eq=False)
class BinaryGrid:
    r"""Trajectories of binary problems, all at once.

    Attributes:
        log_odds: `[T + 1, ...]`, log-odds of success, the start included.
        gain: `[T, ...]`, gain in log-odds of each step; KL-PMD's is \(1/\tau\).
    """

    log_odds: FloatArray
    gain: FloatArray

    @property
    def success(self) -> FloatArray:
        """`[T + 1, ...]`, success mass."""
        return np.asarray(special.expit(self.log_odds))

    @property
    def log_failure(self) -> FloatArray:
        """`[T + 1, ...]`, log of the failure mass, nats."""
        return np.asarray(special.log_expit(-self.log_odds))

    def steps_to(self, epsilon: float) -> FloatArray:
        """`[...]`, first step with failure mass of at most epsilon; NaN where there is none."""
        reached = self.log_failure <= _log_epsilon(epsilon)
        return np.where(reached.any(axis=0), reached.argmax(axis=0), np.nan)


def binary_grid(
    p0: ArrayLike, tau: ArrayLike, *, steps: int = 100, method: str = "mean", n: int | None = None
) -> BinaryGrid:
    r"""Iterate binary problems over a grid of starting masses and strengths, vectorised.

    Args:
        p0: `[...]`, starting success masses in (0, 1).
        tau: `[...]`, broadcast against p0, greater than zero, reward units (rewards 0 and 1).
        steps: T, at least 1.
        method: "mean", "kl", or "part" (PMD-part with n rollouts, its baseline re-estimated at every step, C12).
        n: rollouts of "part", at least 2; None for the others.

    Returns:
        A `BinaryGrid`.

    Raises:
        TypeError, ValueError: for masses outside (0, 1), a tau that is not positive, an unknown method or a bad n.

    Numerics: the state is the log-odds, the unknown of each step its gain (C9): success and failure mass keep their
    digits from 1e-300 to 1 - 1e-300.

    Source: this project (C9, C17).

    >>> grid = binary_grid([0.01, 0.1], 0.5, steps=20, method="kl")
    >>> bool(np.allclose(np.diff(grid.log_odds, axis=0), 2.0))  # KL-PMD multiplies the odds by e^(1/tau)
    True
    """
    steps = whole_number("steps", steps, 1, "pass the number of steps")
    if method not in _METHODS:
        raise ValueError(f"method {method!r} is unknown; choose from {', '.join(_METHODS)}")
    if (method == "part") != (n is not None):
        raise ValueError(f"n={n!r} goes with method='part', and only with it; pass n=8, for instance, or leave it out")
    rollouts = whole_number("n", n, 2, "leave-one-out needs at least 2 rollouts") if n is not None else 0
    mass, strength = _grid(p0, tau)
    odds = special.logit(mass)
    states, gains = [odds], []
    for _ in range(steps):
        if method == "kl":
            gain = strength
        elif method == "mean":
            gain = mean_gain(odds, strength)
        else:
            gain = baseline_gain(odds, strength, _part_baseline(odds, strength, rollouts - 1))
        odds = odds + gain
        states.append(odds)
        gains.append(gain)
    return BinaryGrid(np.stack(states), np.stack(gains))


def _grid(p0: ArrayLike, tau: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Masses and strengths 1/tau, broadcast and checked."""
    arrays = []
    for name, value in (("p0", p0), ("tau", tau)):
        try:
            array = np.asarray(value)
        except ValueError:
            raise TypeError(f"{name} is ragged; pass a number or an array") from None
        if array.dtype.kind not in "fiu" or array.size == 0:
            raise TypeError(f"{name} must hold real numbers, got {shown(value)}; pass a number or an array")
        arrays.append(array.astype(np.float64))
    mass, strength = arrays
    wrong = mass[~((mass > 0.0) & (mass < 1.0))]
    if wrong.size:
        raise ValueError(f"p0 must lie inside (0, 1), got {wrong.flat[0]}; masses of 0 and 1 never move")
    wrong = strength[~((strength > 1e-300) & (strength < math.inf))]
    if wrong.size:
        raise ValueError(f"tau must be greater than zero, got {wrong.flat[0]}; pass reward units, say 0.1")
    try:
        both = np.broadcast_arrays(mass, 1.0 / strength)
    except ValueError:
        raise ValueError(
            f"tau of shape {strength.shape} does not broadcast against p0 of {mass.shape}; align them"
        ) from None
    return np.array(both[0]), np.array(both[1])


def _part_baseline(log_odds: FloatArray, strength: FloatArray, m: int) -> FloatArray:
    """E log((1/m) sum e^{r/tau}) over m binary rollouts `[...]`, nats: a binomial sum."""
    k = np.arange(m + 1.0)
    log_weight = special.gammaln(m + 1.0) - special.gammaln(k + 1.0) - special.gammaln(m - k + 1.0)
    success, failure = special.log_expit(log_odds)[..., None], special.log_expit(-log_odds)[..., None]
    with np.errstate(under="ignore", divide="ignore"):
        weight = np.exp(log_weight + k * success + (m - k) * failure)
        value = np.logaddexp(np.log(k / m) + strength[..., None], np.log1p(-k / m))
    return np.asarray((weight * value).sum(axis=-1) / weight.sum(axis=-1))
