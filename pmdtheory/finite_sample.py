r"""What n rollouts make of the baseline: leave-one-out estimators, their exact error, and the member they add up to.

With n rollouts the target of rollout i is \(r_i/\tau - \hat b_i\). PMD-mean estimates b by the mean of the others over
tau, PMD-part by the log-mean-exp of the others. Letters: `n` rollouts of a group, `m = n - 1` others.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory._checks import FloatArray, positive_scalar
from pmdtheory._groups import GroupExpectation as GroupExpectation
from pmdtheory._groups import expect as expect
from pmdtheory._groups import whole_number
from pmdtheory._one_group import GroupFit as GroupFit
from pmdtheory._one_group import fit_distribution as fit_distribution
from pmdtheory._one_group import one_group_fit as one_group_fit
from pmdtheory._others import others_log_mean_exp, others_mean
from pmdtheory.problem import Problem

__all__ = [
    "GroupExpectation",
    "GroupFit",
    "TargetError",
    "expect",
    "expected_baseline",
    "fit_distribution",
    "group_mean_baseline",
    "group_partition_baseline",
    "mean_baseline",
    "one_group_fit",
    "partition_baseline",
    "target_error",
]

_TAU = "tau is the regularisation strength in reward units, for instance 0.1"
_REWARDS = "pass the finite rewards of groups of rollouts, [..., n]"


def _grouped(rewards: ArrayLike, tau: float, least: int) -> tuple[FloatArray, tuple[int, ...]]:
    """Rewards over tau as `[G, n]`, and the shape they came in."""
    strength = positive_scalar("tau", tau, _TAU)
    try:
        table = np.asarray(rewards)
    except ValueError:
        raise ValueError(f"rewards is ragged; {_REWARDS}") from None
    if table.dtype.kind not in "fiub":
        raise TypeError(f"rewards must hold real numbers, got dtype {table.dtype}; {_REWARDS}")
    if table.ndim == 0 or table.size == 0:
        raise ValueError(f"rewards must be a non-empty array [..., n], got shape {table.shape}; {_REWARDS}")
    if table.shape[-1] < least:
        raise ValueError(
            f"rewards has n = {table.shape[-1]} rollout in a group, and leave-one-out needs others; "
            "sample at least 2 per prompt, or use a baseline that does not come from the group"
        )
    with np.errstate(over="ignore"):
        scaled = np.asarray(table, dtype=np.float64) / strength
    if not np.isfinite(scaled).all():
        wrong = scaled[~np.isfinite(scaled)][0]
        raise ValueError(f"rewards over tau={strength} hold {wrong}; {_REWARDS}, and a tau of their size")
    return scaled.reshape(-1, table.shape[-1]), table.shape


def mean_baseline(rewards: ArrayLike, tau: float) -> FloatArray:
    r"""PMD-mean's leave-one-out baseline: the mean reward of the other rollouts over tau.

    Formula: \(\hat b_i = \frac{1}{(n-1)\tau}\sum_{j \ne i} r_j\), unbiased for \(\bar r/\tau\).

    Args:
        rewards: `[..., n]`, reward units, n at least 2.
        tau: greater than zero, reward units.

    Returns:
        `[..., n]`, nats.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy; n = 1 has no others.

    Numerics: sums what stands before and what follows; nothing is subtracted.

    Source: arXiv:2602.05933; C12, this project.

    >>> b = mean_baseline([0.0, 1.0, 0.0, 1.0], tau=0.5)
    >>> bool(np.allclose(b.mean(), 0.5 / 0.5))  # over a group it averages to the group mean over tau
    True
    """
    scaled, shape = _grouped(rewards, tau, 2)
    return others_mean(scaled).reshape(shape)


def partition_baseline(rewards: ArrayLike, tau: float) -> FloatArray:
    r"""PMD-part's leave-one-out baseline: the log-mean-exp of the other rollouts' r/tau.

    Formula: \(\hat b_i = \log\big(\frac{1}{n-1}\sum_{j \ne i} e^{r_j/\tau}\big)\), biased below log Z (C12).

    Args:
        rewards: `[..., n]`, reward units, n at least 2.
        tau: greater than zero, reward units.

    Returns:
        `[..., n]`, nats.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy; n = 1 has no others.

    Numerics: the others are summed directly. Public code subtracts one's own term from the sum and clamps what is
    left: at tau = 0.01 with rewards -1 and 1 the only success of a group then gets a target of 0.184 reward units
    where the exact value is 2.

    Source: arXiv:2602.05933; C12, this project.

    >>> b = partition_baseline([-1.0, -1.0, -1.0, 1.0], tau=0.01)
    >>> round(float(1.0 - 0.01 * b[3]), 12)  # the only success, in reward units
    2.0
    """
    scaled, shape = _grouped(rewards, tau, 2)
    return others_log_mean_exp(scaled).reshape(shape)


def group_mean_baseline(rewards: ArrayLike, tau: float) -> FloatArray:
    r"""The mean of the whole group over tau, one's own reward included: public code's usual choice.

    Formula: \(\hat b = \frac{1}{n\tau}\sum_j r_j\); the target is (n-1)/n of the leave-one-out target, so this is
    PMD-mean at \(\tau n/(n-1)\) (C12).

    Args:
        rewards: `[..., n]`, reward units, n at least 1.
        tau: greater than zero, reward units.

    Returns:
        `[..., n]`, nats, the same for the whole group.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C12).

    >>> r = np.array([0.0, 1.0, 1.0, 1.0])
    >>> own, others = r / 0.5 - group_mean_baseline(r, 0.5), r / 0.5 - mean_baseline(r, 0.5)
    >>> bool(np.allclose(own, others * 3 / 4))
    True
    """
    scaled, shape = _grouped(rewards, tau, 1)
    return np.broadcast_to(scaled.mean(axis=1, keepdims=True), scaled.shape).reshape(shape).copy()


def group_partition_baseline(rewards: ArrayLike, tau: float) -> FloatArray:
    r"""The log-mean-exp of the whole group, one's own reward included.

    Formula: \(\hat b = \log\big(\frac1n\sum_j e^{r_j/\tau}\big)\). The target is a concave function of one's own
    reward and never exceeds log n (C12): a distortion, not another tau.

    Args:
        rewards: `[..., n]`, reward units, n at least 1.
        tau: greater than zero, reward units.

    Returns:
        `[..., n]`, nats, the same for the whole group.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C12).

    >>> r = np.array([0.0, 0.0, 0.0, 100.0])
    >>> target = r / 0.1 - group_partition_baseline(r, 0.1)
    >>> bool(target.max() <= np.log(4) * (1 + 1e-12))
    True
    """
    scaled, shape = _grouped(rewards, tau, 1)
    top = scaled.max(axis=1, keepdims=True)
    with np.errstate(under="ignore"):
        value = top + np.log(np.exp(scaled - top).mean(axis=1, keepdims=True))
    return np.broadcast_to(value, scaled.shape).reshape(shape).copy()


def _log_mean(problem: Problem, m: int) -> Any:
    """The statistic log((1/m) sum e^{r/tau}) - mean/tau of m rollouts, nats, from counts."""
    levels = problem.levels

    def statistic(counts: NDArray[np.int64], reward: FloatArray) -> FloatArray:
        del reward
        held = np.where(counts > 0, levels.advantage, -np.inf)
        top = held.max(axis=1)
        with np.errstate(under="ignore", over="ignore"):
            total = (counts * np.exp(held - top[:, None])).sum(axis=1)
            # where no entry is large, the mean of expm1 keeps the digits of a weak signal
            gain = (counts * np.expm1(np.minimum(levels.advantage, 1.0))).sum(axis=1) / m
        weak = np.where(counts > 0, np.abs(levels.advantage), 0.0).max(axis=1) < 0.5
        return np.where(weak, np.log1p(np.where(weak, gain, 0.0)), top + np.log(total / m))

    return statistic


def expected_baseline(problem: Problem, m: int, *, samples: int = 20_000, seed: int = 0) -> GroupExpectation:
    r"""\(b_m = E \log\big(\frac1m\sum_{j \le m} e^{r_j/\tau}\big)\): PMD-part with n rollouts is PMD(b_{n-1}) (C12).

    Args:
        problem: with `K` reward levels.
        m: rollouts that the baseline is estimated from, at least 1.
        samples: groups drawn where an exact sum is too long.
        seed: of that sample.

    Returns:
        A `GroupExpectation` in nats; it increases with m from mean/tau to log Z.

    Raises:
        TypeError, ValueError: for an m that is no whole number of at least 1.

    Source: this project (C12).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.3, tau=0.5)
    >>> b = [float(expected_baseline(problem, m).value) for m in (1, 2, 4, 8)]
    >>> abs(b[0] - problem.mean_reward / problem.tau) < 1e-12 and b == sorted(b) and b[-1] < problem.log_partition
    True
    """
    m = whole_number("m", m, 1, "pass the number of other rollouts, n - 1")
    found = expect(problem, m, _log_mean(problem, m), samples=samples, seed=seed)
    shift = problem.mean_reward / problem.tau
    return GroupExpectation(found.value + shift, found.standard_error, found.exact, found.groups)


@dataclass(frozen=True)
class TargetError:
    r"""Error of both leave-one-out baselines against their own population values, nats.

    Attributes:
        n: rollouts in a group.
        mean_sd: of PMD-mean's, \(\sigma/(\tau\sqrt{n-1})\); its bias is zero, so this is its rmse.
        partition_bias: of PMD-part's, \(b_{n-1} - \log Z \le 0\).
        partition_sd: its standard deviation.
        partition_rmse: its root mean square error.
        ratio: partition_rmse/mean_sd; above one where the mean is the easier quantity (C16).
        exact: whether the sums are exact.
    """

    n: int
    mean_sd: float
    partition_bias: float
    partition_sd: float
    partition_rmse: float
    ratio: float
    exact: bool


def target_error(problem: Problem, n: int, *, samples: int = 20_000, seed: int = 0) -> TargetError:
    """How far n rollouts leave both baselines from their population values.

    Args:
        problem: with a finite log Z and rewards that are not constant.
        n: rollouts in a group, at least 2.
        samples: groups drawn where an exact sum is too long.
        seed: of that sample.

    Returns:
        A `TargetError`.

    Raises:
        TypeError, ValueError: for an n below 2, an infinite log Z, or constant rewards.

    Source: this project (C16); the effect: arXiv:2602.05933.

    >>> import pmdtheory as pmd
    >>> rare, common = pmd.Problem.binary(0.01, tau=0.03), pmd.Problem.binary(0.5, tau=0.1)
    >>> target_error(rare, 16).ratio > 30 and target_error(common, 8).ratio < 0.5  # the region matters
    True
    """
    n = whole_number("n", n, 2, "leave-one-out needs at least 2 rollouts in a group")
    if not math.isfinite(problem.jensen_gap):
        raise ValueError("problem has no finite log Z, so PMD-part's baseline has no target; bound the rewards")
    levels = problem.levels
    size = float(np.abs(levels.advantage).max())
    if size == 0.0:
        raise ValueError("problem has constant rewards, so both baselines are exact; pass rewards that differ")
    statistic = _log_mean(problem, n - 1)

    def root_mean_square(centre: float) -> float:
        def square(counts: NDArray[np.int64], reward: FloatArray) -> FloatArray:
            # in units of max|a|, so that squares of weak signals do not underflow
            return np.asarray(((statistic(counts, reward) - centre) / size) ** 2)

        return size * math.sqrt(float(expect(problem, n - 1, square, samples=samples, seed=seed).value))

    found = expect(problem, n - 1, statistic, samples=samples, seed=seed)
    bias = float(found.value) - problem.jensen_gap
    mean_sd = size * math.sqrt(math.fsum(levels.mass * (levels.advantage / size) ** 2) / (n - 1))
    if mean_sd == 0.0:
        raise ValueError("problem has rewards that differ with less than 1e-300 of mass; no group will see the others")
    rmse, spread = root_mean_square(problem.jensen_gap), root_mean_square(float(found.value))
    return TargetError(n, mean_sd, bias, spread, rmse, rmse / mean_sd, found.exact)
