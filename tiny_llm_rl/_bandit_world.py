r"""The bandits' laws of reward and their initial policies.

Letters: `C` contexts, `K` actions, `L` reward levels. Actions are ordered by reward, worst first, so that actions of
equal reward are neighbours: a population step, which sees an action only through its reward (C10), is then taken on
`L` levels and spread out again.
"""

import math
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmdtheory._checks import FloatArray

__all__ = ["REWARDS", "World", "by_level", "from_level", "world"]

REWARDS: Final = {
    "binary": "0 for failures, 1 for successes",
    "graded": "0, 1/4, 1/2 or 3/4 for failures in equal shares, 1 for successes",
    "continuous": "the rank of the action, uniform in (0, 1)",
    "heavy-tailed": "quantiles of a Lomax law of index 3/2: finite mean, variance growing without bound with K",
}
INDEX: Final = 1.5


class World(NamedTuple):
    """A bandit, without its policy.

    Attributes:
        reward: `[K]`, reward units, non-decreasing, the same in every context.
        successes: how many of the last actions count as successes.
        sizes: `[L]`, numbers of actions of the reward levels.
        log_policy: `[C, K]`, of the initial policy, nats.
    """

    reward: FloatArray
    successes: int
    sizes: tuple[int, ...]
    log_policy: FloatArray

    @property
    def levels(self) -> FloatArray:
        """`[L]`, the distinct rewards."""
        return np.asarray(self.reward[np.cumsum((0, *self.sizes[:-1]))])


def _rewards(kind: str, actions: int, successes: int) -> FloatArray:
    failures = actions - successes
    rank = (np.arange(actions) + 0.5) / actions
    if kind == "binary":
        return np.repeat([0.0, 1.0], [failures, successes])
    if kind == "graded":
        return np.append(np.floor(4.0 * np.arange(failures) / failures) / 4.0, np.ones(successes))
    if kind == "continuous":
        return rank
    return np.asarray((1.0 - rank) ** (-1.0 / INDEX) - 1.0)


def world(
    kind: str, actions: int, contexts: int, *, success_mass: float, success_fraction: float, spread: float
) -> World:
    """The bandit of a config.

    The best `success_fraction` of the actions are its successes. The initial policy gives them `success_mass` in all,
    uniformly, and the failures the rest. The log-odds of that mass are spread over the contexts as the quantiles of a
    normal law of deviation `spread`, nats.
    """
    successes = round(actions * success_fraction)
    reward = _rewards(kind, actions, successes)
    starts = np.flatnonzero(np.append(True, np.diff(reward) > 0.0))
    sizes = tuple(int(size) for size in np.diff(np.append(starts, actions)))
    shift = np.zeros(contexts)
    if contexts > 1 and spread > 0.0:
        from scipy import special

        shift = spread * special.ndtri((np.arange(contexts) + 0.5) / contexts)
    odds = math.log(success_mass) - math.log1p(-success_mass) + shift
    log_success, log_failure = -np.logaddexp(0.0, -odds), -np.logaddexp(0.0, odds)
    log_policy = np.repeat(
        np.stack([log_failure - math.log(actions - successes), log_success - math.log(successes)], -1),
        [actions - successes, successes],
        axis=-1,
    )
    return World(reward, successes, sizes, log_policy)


def by_level(log_policy: Array, sizes: tuple[int, ...]) -> Array:
    """Log-masses `[C, L]` of the reward levels; nothing to sum where every action has a reward of its own."""
    if len(sizes) == log_policy.shape[-1]:
        return log_policy
    ends = np.cumsum((0, *sizes))
    parts = [
        jax.nn.logsumexp(log_policy[..., a:b], -1, keepdims=True) for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]
    return jnp.concatenate(parts, -1)


def from_level(values: Array, sizes: tuple[int, ...]) -> Array:
    """`[C, L]` spread over the actions `[C, K]`."""
    return jnp.repeat(values, np.array(sizes), axis=-1, total_repeat_length=sum(sizes))
