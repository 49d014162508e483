"""The members of the family that can be named in a configuration, and their regression targets."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray, shown
from pmdtheory.finite_sample import (
    group_mean_baseline,
    group_partition_baseline,
    mean_baseline,
    partition_baseline,
)

__all__ = ["MEMBERS", "named", "targets"]

MEMBERS: Final[Mapping[str, Callable[[ArrayLike, float], FloatArray]]] = MappingProxyType(
    {
        "pmd-mean": mean_baseline,
        "pmd-part": partition_baseline,
        "pmd-mean-group": group_mean_baseline,
        "pmd-part-group": group_partition_baseline,
    }
)


def named(argument: str, value: object) -> str:
    """The value, where it is the name of a member."""
    if not isinstance(value, str) or value not in MEMBERS:
        raise ValueError(f"{argument} must be one of {tuple(MEMBERS)}, got {shown(value)}; pmd-mean is the usual one")
    return value


def targets(rewards: ArrayLike, tau: float, member: str) -> FloatArray:
    r"""What the log-ratio of each rollout is regressed on: reward over tau less the member's baseline.

    Formula: \(r_i/\tau - \hat b_i\). The baseline is the mean reward of the other rollouts over tau ("pmd-mean") or
    their log-mean-exp of r/tau ("pmd-part"); of the whole group, the rollout included, for the names in "-group".
    Those are what most public code computes: `pmd-mean-group` is PMD-mean at \(\tau n/(n-1)\) (C12).

    Args:
        rewards: `[..., n]`, reward units, the rollouts of a prompt on the last axis.
        tau: greater than zero, reward units.
        member: one of `MEMBERS`.

    Returns:
        `[..., n]` in float64, nats: the target of `pmdtheory.losses.pmd_loss`.

    Raises:
        ValueError: for another member; for rewards that are not finite; for one rollout where others are needed.
        TypeError: for what holds no real numbers.

    Numerics: baselines come from `pmdtheory.finite_sample`, which subtracts no rollout from a sum.

    Source: arXiv:2602.05933; C12, this project.

    >>> target = targets([[1.0, -1.0, -1.0, -1.0]], tau=0.01, member="pmd-part")
    >>> round(0.01 * float(target[0, 0]), 12)  # the only success of a group: the whole range of the reward
    2.0
    """
    baseline = MEMBERS[named("member", member)](rewards, tau)  # checks rewards and tau
    return np.asarray(rewards, dtype=np.float64) / float(tau) - baseline
