"""Parts of a decoder of the Llama family: stored parameters, norm, rotary frequencies, grouped-query attention."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from tiny_llm_rl._products import einsum
from tiny_llm_rl.smollm.config import LlamaConfig

__all__ = ["Adapter", "Layers", "attended", "frequencies", "normed", "opened"]


class Adapter(eqx.Module):
    """A low-rank term `inner` then `outer`, `[L, r, inputs]` and `[L, outputs, r]`, beside a projection."""

    inner: Array
    outer: Array


class Layers(eqx.Module):
    """All layers: `norms[L, 2, D]`; projections `[L, outputs, inputs]`, biases and adapters by name."""

    norms: Array
    weights: dict[str, Array]
    biases: dict[str, Array]
    adapters: dict[str, Adapter]


def opened(stored: Array, dtype: jnp.dtype) -> Array:
    """A parameter in the type of the products, also where it is stored as bits."""
    bits = {"uint16": jnp.bfloat16, "uint32": jnp.float32}.get(stored.dtype.name)
    return (stored if bits is None else jax.lax.bitcast_convert_type(stored, bits)).astype(dtype)


def normed(x: Array, scale: Array, epsilon: float) -> Array:
    """Divided by its root mean square over the last axis, in float32."""
    wide = x.astype(jnp.float32)
    scaled = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + epsilon)
    return scaled.astype(x.dtype) * opened(scale, x.dtype)


def frequencies(config: LlamaConfig) -> Array:
    r"""Angle per position of each rotary pair, `[d / 2]`, radians.

    Formula: \(\theta^{-2i/d}\); scaled, \(f\) becomes \(f((1 - s)/\text{factor} + s)\) with \(s\) the share of the way
    from `low` to `high` of the rotations in `length` positions, between 0 and 1.

    Source: arXiv:2104.09864; the scaling is that of Llama 3.1.

    >>> frequencies(LlamaConfig(9, 8, 1, 2, 1, 4, 16)).tolist() == [1.0, jnp.float32(0.01).item()]
    True
    """
    half = config.head_width // 2
    plain = 1.0 / config.theta ** (jnp.arange(half, dtype=jnp.float32) / half)
    if config.scaling is None:
        return plain
    rotations = config.scaling.length * plain / (2 * jnp.pi)
    share = jnp.clip((rotations - config.scaling.low) / (config.scaling.high - config.scaling.low), 0.0, 1.0)
    return plain * ((1 - share) / config.scaling.factor + share)


def attended(query: Array, keys: Array, values: Array, visible: Array) -> Array:
    """Softmax attention: `query[B, T, H, d]` on `keys, values[B, S, K, d]` where `visible[B, T, S]`; `[B, T, H d]`."""
    rows, steps, heads, size = query.shape
    grouped = query.reshape(rows, steps, keys.shape[2], -1, size)
    scores = einsum("btkgd,bskd->bkgts", grouped, keys, preferred_element_type=jnp.float32) * size**-0.5
    shares = jax.nn.softmax(jnp.where(visible[:, None, None], scores, -1e30), -1).astype(query.dtype)
    return einsum("bkgts,bskd->btkgd", shares, values).reshape(rows, steps, heads * size)
