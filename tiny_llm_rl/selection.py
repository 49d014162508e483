r"""Which prompts of a batch are used: groups whose rewards are all equal carry no signal and can be left out.

Letters: `D` groups drawn, `G` groups used, `n` rollouts. Over-sampling draws more groups than are used, so that those
left out can be replaced. For a mean baseline a group without signal has targets of zero: it moves nothing by its
advantage, but it does hold the log-ratio of its responses at zero, and leaving it out takes that hold away.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["Selection", "informative", "select"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Selection:
    """What is used of a batch.

    Attributes:
        index: `[G]`, which of the drawn groups, in the order in which they were drawn.
        used: `[G]`, False for a group that only fills a place.
    """

    index: Array
    used: Array


def informative(rewards: Array) -> Array:
    """Whether the rewards `[D, n]` of a group differ, `[D]`.

    >>> import jax.numpy as jnp
    >>> informative(jnp.array([[0.0, 0.0], [0.0, 1.0]])).tolist()
    [False, True]
    """
    return rewards.max(-1) > rewards.min(-1)


def select(rewards: Array, groups: int, *, filtered: bool) -> Selection:
    """The first `groups` groups, or the first of those that carry a signal.

    Args:
        rewards: `[D, n]`, reward units.
        groups: G, at most D, static.
        filtered: leave out groups whose rewards are all equal. Where fewer than G are left, others fill the places,
            marked as not used.

    Returns:
        `Selection`.

    Raises:
        ValueError: for fewer drawn than wanted groups.

    >>> import jax.numpy as jnp
    >>> chosen = select(jnp.array([[0, 0], [0, 1], [1, 1], [1, 0]]), 3, filtered=True)
    >>> chosen.index.tolist(), chosen.used.tolist()
    ([1, 3, 0], [True, True, False])
    """
    drawn = rewards.shape[0]
    if groups > drawn:
        raise ValueError(f"groups must be at most the {drawn} drawn, got {groups}; draw more groups")
    if not filtered:
        return Selection(jnp.arange(groups), jnp.ones(groups, bool))
    signal = informative(rewards)
    order = jnp.argsort(~signal, stable=True)[:groups]
    return Selection(order, signal[order])
