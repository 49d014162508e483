"""Rows in turn instead of all at once, for a gradient in less memory; log-probabilities without all logits."""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array

from tiny_llm_rl.mesh import split_over
from tiny_llm_rl.model import picked

__all__ = ["LOGITS", "chosen_in_turn", "in_turn"]

LOGITS: Final = 2**28  # that a device holds at a time: 1 GiB in float32


def in_turn(piece: Callable[[Any], Array], given: Any, turns: int) -> Array:
    """What `piece` makes of all rows, so many times a part of them; its own values are computed again for a gradient.

    A part takes every `turns`-th row, so that rows that are split over devices stay where they are.

    >>> in_turn(lambda x: x**2, jnp.arange(6.0), 3).tolist()
    [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]
    """
    parts = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, turns, *x.shape[1:]), 0, 1), given)
    found: Array = jnp.swapaxes(jax.lax.map(jax.checkpoint(piece), parts), 0, 1)
    return found.reshape(-1, *found.shape[2:])


def chosen_in_turn(logits: Callable[[Array], Array], stream: Array, wanted: Array, vocabulary: int) -> Array:
    """Log-probabilities `[B, R]` of `wanted[B, R]`, nats, under the law that `logits` makes of `stream[B, R, D]`.

    As few rows at a time as keep their logits, `vocabulary` a token, within `LOGITS`, and one row at least.

    >>> eye = jnp.eye(2)[None]
    >>> round(float(chosen_in_turn(lambda x: x, eye, jnp.array([[0, 1]]), 2)[0, 0]), 4)  # log(e / (e + 1))
    -0.3133
    """

    def piece(given: tuple[Array, Array]) -> Array:
        return picked(logits(given[0]), given[1])

    rows, slots = wanted.shape
    each = rows // split_over(rows)  # on a device
    most = max(1, LOGITS // (slots * vocabulary))
    turns = next(n for n in range(1, each + 1) if each % n == 0 and each // n <= most)
    return piece((stream, wanted)) if turns == 1 else in_turn(piece, (stream, wanted), turns)
