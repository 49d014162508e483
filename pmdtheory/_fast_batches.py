"""Very many laws of few actions in the JAX engine: in blocks that stay in the cache of a processor."""

from collections.abc import Callable
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from pmdtheory._fast_inputs import Laid
from pmdtheory._fast_step import BatchStep

__all__ = ["in_blocks"]

_ENTRIES: Final = 16_384  # of one array in a block

Update = Callable[[Laid, tuple[int, ...]], BatchStep]


def in_blocks(update: Update, laid: Laid, shape: tuple[int, ...]) -> BatchStep:
    """The update of all laws: on a processor block by block where they are many, else at once.

    Blocks cut across shards: laws that are spread over several processors as JAX devices are brought together.
    """
    actions, laws = laid.reward.shape
    block = max(1, _ENTRIES // actions)
    if jax.default_backend() != "cpu" or laws < 4 * block:
        return update(laid, shape)
    whole = laws // block * block

    def cut(array: Array) -> Array:  # laws first, as the caller had them: the compiler drops the second transposition
        return array.T[:whole].reshape(-1, block, *array.shape[:-1])

    def one(part: Laid) -> BatchStep:
        return update(jax.tree.map(lambda array: array.T, part), (block, actions))

    steps = [lax.map(one, jax.tree.map(cut, laid))]
    if whole < laws:
        rest = jax.tree.map(lambda array: array[..., whole:], laid)
        steps.append(update(rest, (laws - whole, actions)))

    def joined(mapped: Array, *rest: Array) -> Array:
        ends = mapped.shape[2:]
        flat = mapped.reshape(whole, *ends)
        return (jnp.concatenate([flat, *rest]) if rest else flat).reshape(*shape[:-1], *ends)

    done: BatchStep = jax.tree.map(joined, *steps)
    return done
