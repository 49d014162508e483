"""Low-rank adapters beside frozen projections, and adding them up again."""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from tiny_llm_rl._checks import choice, shown, whole
from tiny_llm_rl._products import einsum
from tiny_llm_rl.smollm.model import Adapter, Layers, Llama, opened

__all__ = ["TARGETS", "adapted", "merged", "trained"]

TARGETS = ("q", "k", "v", "o", "gate", "up", "down")


@jax.jit
def _bits(arrays: list[Array]) -> list[Array]:
    """The same bits as unsigned integers, which nothing differentiates."""
    kinds = {"bfloat16": jnp.uint16, "float32": jnp.uint32}
    return [jax.lax.bitcast_convert_type(x, kinds[choice("dtype", x.dtype.name, kinds)]) for x in arrays]


def adapted(model: Llama, key: Array, *, rank: int = 8, targets: Sequence[str] = TARGETS) -> Llama:
    r"""The same law, with everything frozen but new adapters.

    Formula: \(W x\) becomes \(W x + (\alpha / r) B A x\), \(A\) normal with variance 1/inputs and \(B = 0\) at first.

    Args:
        model: without adapters; its parameters are bfloat16 or float32, and are kept to the bit.
        key: JAX random key of the adapters.
        rank: r.
        targets: projections that get one, of `TARGETS`.

    Returns:
        `Llama` whose only floating-point parameters are the adapters, in float32.

    Raises:
        ValueError: for a model that has adapters, no targets, an unknown target, or a rank out of range.

    Source: arXiv:2106.09685.

    >>> from tiny_llm_rl.smollm.config import LlamaConfig
    >>> from tiny_llm_rl.smollm.model import random_llama
    >>> model = random_llama(LlamaConfig(9, 8, 2, 2, 2, 4, 8), jax.random.key(0))
    >>> low = adapted(model, jax.random.key(1), rank=2, targets=("q",))
    >>> trained(low), trained(model)  # 2 layers, rank 2, 8 inputs and 8 outputs, against all weights
    (64, 1008)
    """
    if model.layers.adapters:
        raise ValueError("model has adapters already; merge them first")
    if not targets:
        raise ValueError(f"targets is empty, so nothing would be trained; choose among {', '.join(TARGETS)}")
    for name in targets:
        choice("targets", name, TARGETS)
    if len(set(targets)) < len(targets):
        raise ValueError(f"targets must name each projection once, got {shown(tuple(targets))}; drop the repeated ones")
    whole("rank", rank, "8 or 16 is usual", most=model.config.width)
    deep, adapters = model.config.layers, {}
    for name, seed in zip(targets, jax.random.split(key, len(targets)), strict=True):
        outputs, inputs = model.config.shapes()[name]
        inner = jax.random.normal(seed, (deep, rank, inputs), jnp.float32) * inputs**-0.5
        adapters[name] = Adapter(inner, jnp.zeros((deep, outputs, rank), jnp.float32))
    leaves, shape = jax.tree.flatten(model)
    frozen: Llama = jax.tree.unflatten(shape, _bits(leaves))
    found: Llama = eqx.tree_at(lambda m: m.layers.adapters, frozen, adapters)
    return found


def trained(model: Llama) -> int:
    """Number of parameters that a gradient is taken of."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def merged(model: Llama, *, dtype: str = "float32") -> Llama:
    """The same law up to rounding, without adapters and with nothing frozen.

    Args:
        model: with adapters or without.
        dtype: of its parameters.
    """
    kind, layers = jnp.dtype(dtype), model.layers
    plain: Llama = jax.tree.map(lambda leaf: opened(leaf, jnp.dtype("float32")), model)
    weights = dict(plain.layers.weights)
    for name, adapter in layers.adapters.items():
        product = einsum("lor,lri->loi", adapter.outer, adapter.inner)
        weights[name] = weights[name] + product * (model.config.alpha / adapter.inner.shape[-2])
    whole_model = Llama(
        replace(model.config, dtype=dtype),
        plain.embedding,
        Layers(plain.layers.norms, weights, plain.layers.biases, {}),
        plain.norm,
        plain.head,
    )
    found: Llama = jax.tree.map(lambda leaf: leaf.astype(kind), whole_model)
    return found
