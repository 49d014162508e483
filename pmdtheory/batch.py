r"""PMD-mean for many prompts at once, in NumPy: what each group's own rollouts say about its next step.

Letters: `G` groups (prompts), `n` rollouts of a group, `K` distinct rewards of the batch, `U` distinct groups.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory._checks import FloatArray, positive_scalar
from pmdtheory.problem import Problem
from pmdtheory.update import mean_update as _mean_update

__all__ = ["BatchUpdate", "mean_update"]

_REMEDY: Final = "pass finite rewards as an array [G, n], one row per prompt"
_FIELDS: Final = ("multiplier", "expected_reward", "improvement", "kl", "reverse_kl", "chi2")
_FEW: Final = 64  # rewards seen in the first rows beyond which no counting is tried
_CODES: Final = 2**62


@dataclass(frozen=True, eq=False)
class BatchUpdate:
    r"""PMD-mean's step on the empirical law of each group.

    Attributes:
        mean_reward: `[G]`, of the rollouts, reward units.
        multiplier: `[G]`, \(\lambda\); zero where all rewards of a group agree.
        expected_reward: `[G]`, predicted mean reward after the step, reward units.
        improvement: `[G]`, `expected_reward - mean_reward` without cancellation.
        kl: `[G]`, KL(new||old), nats.
        reverse_kl: `[G]`, KL(old||new), nats; equal to the multiplier (C4).
        chi2: `[G]`.
        distinct: how many distinct groups were solved.
    """

    mean_reward: FloatArray
    multiplier: FloatArray
    expected_reward: FloatArray
    improvement: FloatArray
    kl: FloatArray
    reverse_kl: FloatArray
    chi2: FloatArray
    distinct: int


def mean_update(rewards: ArrayLike, tau: float) -> BatchUpdate:
    r"""PMD-mean for every group of rollouts, each as its own empirical law (mass 1/n a rollout).

    Formula: per group, \(\log\rho + \lambda\rho = (r - \bar r)/\tau\), mean of \(\rho\) one (C1).

    Args:
        rewards: `[G, n]`, finite, reward units.
        tau: greater than zero, reward units.

    Returns:
        A `BatchUpdate` of arrays `[G]`.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Numerics: a group matters only through how often it holds each reward (C10), so groups are counted first and each
    distinct group is solved once: 17 problems for any number of prompts with 16 binary rollouts. Graded rewards
    without repetition are solved one by one, at some half a millisecond a group.

    Source: this project (C1, C4, C10).

    >>> import numpy as np
    >>> step = mean_update(np.array([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]), tau=0.5)
    >>> bool(np.allclose(step.multiplier, step.reverse_kl) and step.multiplier[2] == 0)  # C4; all-equal groups stay
    True
    """
    tau = positive_scalar("tau", tau, "tau is the regularisation strength in reward units, for instance 0.1")
    table = _checked(rewards)
    first, inverse = _distinct(table)
    solved = [_mean_update(Problem.from_rollouts(row, tau)).unwrap() for row in table[first]]
    columns = {name: np.array([getattr(step, name) for step in solved])[inverse] for name in _FIELDS}
    mean = np.array([step.problem.mean_reward for step in solved])[inverse]
    return BatchUpdate(mean_reward=mean, **columns, distinct=len(solved))


def _checked(rewards: ArrayLike) -> NDArray[Any]:
    """The rewards as a real array `[G, n]` in the dtype they came in (converting costs more than counting)."""
    try:
        table = np.asarray(rewards)
    except ValueError:
        raise ValueError(f"rewards is ragged; {_REMEDY}") from None
    if table.dtype.kind not in "fiub":
        raise TypeError(f"rewards must hold real numbers, got dtype {table.dtype}; {_REMEDY}")
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"rewards must be a non-empty array of 2 axes, got shape {table.shape}; {_REMEDY}")
    if table.dtype.kind == "f" and not np.isfinite(table).all():
        group = int(np.argwhere(~np.isfinite(table))[0, 0])
        raise ValueError(f"rewards holds NaN or infinity in group {group}; {_REMEDY}")
    return table


def _distinct(table: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows that stand for each distinct group `[U]`, and for every group the position of its representative `[G]`."""
    codes = _codes(table)
    if codes is None:
        everything = np.arange(table.shape[0])
        return everything, everything
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return first, inverse


def _codes(table: NDArray[Any]) -> NDArray[np.int64] | None:
    """One integer per group that says how often it holds each reward; None for too many different rewards."""
    groups, n = table.shape
    matched, code, base = np.zeros(groups, dtype=np.int64), np.zeros(groups, dtype=np.int64), 1
    seen = np.empty(0, dtype=table.dtype)
    values = np.unique(table[: max(1, 4096 // n)])
    while True:
        seen = np.append(seen, values)
        if seen.size > _FEW or base > _CODES // (n + 1) ** values.size:
            return None
        for value in values:
            count = np.count_nonzero(table == value, axis=1)
            matched += count
            code += base * count
            base *= n + 1
        rest = np.flatnonzero(matched < n)
        if rest.size == 0:
            return code
        values = np.setdiff1d(np.unique(table[rest[:64]]), seen)  # rewards that the rows so far did not show
