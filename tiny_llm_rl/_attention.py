"""Parts of a layer: norm, rotary positions, products, softmax attention on whole texts and one token at a time.

Letters: `B` rows, `T` tokens, `S` slots, `H` heads, `d` coordinates of a head, `G` groups of B / G rows, `P` slots of
what a group has in common.
"""

import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tiny_llm_rl._products import einsum, matmul

__all__ = ["attended", "behind", "normed", "product", "rotated", "rotations", "stepped", "visible"]

_kept: Final[Any] = jax.lax.optimization_barrier  # without types in jax


def normed(x: Array, scale: Array) -> Array:
    """Divided by its root mean square over the last axis, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    scaled = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + 1e-6)
    found: Array = (scaled * scale).astype(x.dtype)
    return found


def rotations(positions: Array, span: int, half: int, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Cosine and sine, `[..., 1, half]`, of position times 10000^(-i/half); every position is below `span`."""
    angle = np.arange(span)[:, None] * 10000.0 ** (-np.arange(half) / half)
    cos, sin = (jnp.asarray(part[:, None], dtype)[positions] for part in (np.cos(angle), np.sin(angle)))
    return cos, sin


def rotated(x: Array, cos: Array, sin: Array) -> Array:
    """`x[B, T, H, d]` with the pair (i, i + d/2) turned."""
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], -1)


def product(x: Array, weights: Array) -> Array:
    """`x[..., I] @ weights[I, O]`.

    Rows have no other axes, and on a CPU the gradient of the weights is taken with its shorter side first: it is twice
    as fast there.
    """
    inputs, outputs = weights.shape
    rows, weights = x.reshape(math.prod(x.shape[:-1]), inputs), weights.astype(x.dtype)
    turned = outputs < inputs and jax.default_backend() == "cpu"
    found: Array = matmul(rows, _kept(weights.T).T if turned else weights)
    return found.reshape(*x.shape[:-1], outputs)


def behind(first: Array, own: Array) -> Array:
    """`first[G, P, ...]` and, along the second axis, `own[B, T, ...]`: each row of G before B / G rows.

    >>> behind(jnp.array([[1], [2]]), jnp.array([[3], [4], [5], [6]])).tolist()
    [[1, 3], [1, 4], [2, 5], [2, 6]]
    """
    return jnp.concatenate([jnp.repeat(first, own.shape[0] // first.shape[0], 0), own], 1)


def visible(live: Array, before: Array | None = None) -> Array:
    """Which slots a token may attend to, `[B, T, P + T]`: those that count, `before[G, P]` and `live[B, T]`, up to it.

    >>> visible(jnp.array([[True, True]]), jnp.array([[False]])).tolist()
    [[[False, True, False], [False, True, True]]]
    """
    steps = jnp.arange(live.shape[1])
    causal = (steps[:, None] >= steps) & live[:, None, :]
    if before is None:
        return causal
    seen = jnp.repeat(before, live.shape[0] // before.shape[0], 0)[:, None, :]
    return jnp.concatenate([jnp.broadcast_to(seen, (*live.shape, seen.shape[-1])), causal], -1)


def attended(query: Array, keys: Array, values: Array, visible: Array) -> Array:
    """Softmax attention: `query[B, T, H, d]` on `keys, values[B, S, H, d]` where `visible[B, T, S]`."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = einsum("bthd,bshd->bhts", query, keys).astype(wide) / jnp.sqrt(jnp.asarray(query.shape[-1], wide))
    scores = jnp.where(visible[:, None], scores, -1e30)
    return einsum("bhts,bshd->bthd", jax.nn.softmax(scores, -1).astype(query.dtype), values)


def stepped(query: Array, keys: Array, values: Array, live: Array, before: tuple[Array, Array, Array]) -> Array:
    """The same for one token a row: `query[B, 1, H, d]` on its own slots, `live[B, S]`, and on `before[G, P, H, d]`.

    Own slots are `keys[B, H, d, S]` and `values[B, H, S, d]`: a sum over them as they lie, along what neither has last,
    takes a CPU half the time of a product or of a sum along the last axis. A group's slots are read once.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    first_keys, first_values, first_live = before
    groups, slots, heads, size = first_keys.shape
    grouped = query.reshape(groups, -1, heads, size)
    shown = jnp.broadcast_to(first_live[:, None], (groups, grouped.shape[1], slots)).reshape(-1, slots)
    first = einsum("gnhd,gphd->gnhp", grouped, first_keys).reshape(-1, heads, slots)
    scores = jnp.concatenate([first, jnp.sum(query[:, 0, :, :, None] * keys, 2)], 2).astype(wide)
    seen = jnp.concatenate([shown, live], 1)[:, None]
    scores = jnp.where(seen, scores / jnp.sqrt(jnp.asarray(size, wide)), -1e30)
    shares = jax.nn.softmax(scores, 2).astype(query.dtype)
    first = shares[:, :, :slots].reshape(groups, -1, heads, slots)
    mixed = einsum("gnhp,gphd->gnhd", first, first_values).reshape(query.shape)
    return mixed + jnp.sum(shares[:, :, slots:, None] * values, 2)[:, None]
