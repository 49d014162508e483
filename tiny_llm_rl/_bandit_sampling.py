r"""Draws from many softmax policies over many actions, in memory of the order of rollouts times root of actions.

An action is a block and a place in it, each drawn by the Gumbel maximum. Two draws instead of one also keep float32
exact where one would not be: its uniform numbers know nothing below 1e-7, an action of mass 1e-9 is a block of 1e-4
and a place of 1e-5 in it.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["draw"]


def draw(key: Array, logits: Array, contexts: Array, rollouts: int) -> Array:
    """Actions `[G, n]` of the softmax of `logits[C, K]` in the given contexts `[G]`."""
    size, actions = logits.shape
    width = math.ceil(math.sqrt(actions))
    blocks = -(-actions // width)
    padded = jnp.pad(logits, ((0, 0), (0, blocks * width - actions)), constant_values=-jnp.inf)
    table = padded.reshape(size, blocks, width)
    where = jnp.repeat(contexts[:, None], rollouts, 1)
    noise = jax.random.gumbel(key, (*where.shape, blocks + width), logits.dtype)
    block = jnp.argmax(jax.nn.logsumexp(table, -1)[where] + noise[..., :blocks], -1)
    place = jnp.argmax(table[where, block] + noise[..., blocks:], -1)
    return block * width + place
