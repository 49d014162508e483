"""The transformer over every response of one length: its law and the derivative, in float64, by one forward pass."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmdtheory._checks import FloatArray, positive_scalar
from tiny_llm_rl._checks import whole
from tiny_llm_rl._tabular import responses
from tiny_llm_rl.model import ModelConfig, Transformer

__all__ = ["Enumerated"]

_ZERO: Final = ("head", "out", "down")  # what a fresh transformer has at zero
_ROWS: Final = 64  # prefixes whose derivatives are taken at once


@dataclass(frozen=True)
class Enumerated:
    """A `Transformer` seen as the law of V^L responses, with flat weights.

    Formula: the transformer reads a start symbol, numbered V, and the response so far; its next symbol is one of the
    first V. Nothing ends a response before its L tokens.

    Args:
        vocabulary: V, without the start symbol.
        length: L.
        width: D.
        layers: of the transformer.
        heads: of each layer.
        seed: of the base policy.
        spread: scale of the base weights that a fresh transformer has at zero (the head and the layers' outputs);
            normal, over the root of their fan-in.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Source: this project (C20).

    >>> model = Enumerated(2, 3, width=8)
    >>> abs(float(np.exp(model.log_probs(model.base)).sum()) - 1.0) < 1e-13
    True
    """

    vocabulary: int
    length: int
    width: int = 16
    layers: int = 1
    heads: int = 1
    seed: int = 0
    spread: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be enumerated or built."""
        responses(self.vocabulary, self.length)
        whole("seed", self.seed, "pass any whole number from 0 on", least=0)
        positive_scalar("spread", self.spread, "pass the scale of the base weights, such as 1")
        _ = self.config

    @property
    def config(self) -> ModelConfig:
        """Sizes of the transformer, in float64."""
        return ModelConfig(
            vocabulary=self.vocabulary + 1,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            dtype="float64",
            compute="float64",
        )

    @cached_property
    def base(self) -> FloatArray:
        """`[P]`, weights of the base policy."""
        rng = np.random.default_rng(self.seed)

        def drawn(path: Any, blank: FloatArray) -> FloatArray:
            name = path[-1].name
            if name.startswith("norm"):
                return np.ones(blank.shape)
            scale = self.spread if name in _ZERO else 1.0
            fan_in = 1 if name == "embedding" else blank.shape[0]
            return np.asarray(scale * fan_in**-0.5 * rng.normal(size=blank.shape))

        leaves = jax.tree.leaves(jax.tree_util.tree_map_with_path(drawn, _blank(self.config)[0]))
        return np.concatenate([leaf.ravel() for leaf in leaves])

    def transformer(self, weights: FloatArray) -> Transformer:
        """The model with the given weights `[P]`; use it where float64 is enabled."""
        with jax.enable_x64(True):
            return _assembled(self.config)(jnp.asarray(weights))

    @cached_property
    def _functions(self) -> tuple[Callable[[Any], Array], Callable[[Any], Array]]:
        return _compiled(replace(self, seed=0, spread=1.0))  # one compilation serves every base policy

    def traced(self, weights: Array) -> Array:
        """`log_probs` as a JAX function, to differentiate and compile; call it where float64 is enabled."""
        return self._functions[0](weights)

    def log_probs(self, weights: FloatArray) -> FloatArray:
        """`[A]`, log-probability of every response, nats."""
        with jax.enable_x64(True):
            return np.array(self._functions[0](jnp.asarray(weights)))

    def jacobian(self, weights: FloatArray) -> FloatArray:
        """`[A, P]`, its derivative."""
        with jax.enable_x64(True):
            return np.asarray(self._functions[1](jnp.asarray(weights)))


@lru_cache(maxsize=16)
def _blank(config: ModelConfig) -> tuple[Any, Any]:
    """The arrays of a model, as zeros, and all else that it holds."""
    with jax.enable_x64(True):
        shapes = eqx.filter_eval_shape(lambda: Transformer(config, jax.random.key(0)))
    model = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)
    arrays: tuple[Any, Any] = eqx.partition(model, eqx.is_inexact_array_like)
    return arrays


@lru_cache(maxsize=16)
def _assembled(config: ModelConfig) -> Callable[[Array], Transformer]:
    """From flat weights to the model."""
    arrays, rest = _blank(config)
    leaves, tree = jax.tree.flatten(arrays)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def assembled(weights: Array) -> Transformer:
        parts = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(weights, ends), leaves, strict=True)]
        model: Transformer = eqx.combine(jax.tree.unflatten(tree, parts), rest)
        return model

    return assembled


@lru_cache(maxsize=16)
def _compiled(shape: Enumerated) -> tuple[Callable[[Any], Array], Callable[[Any], Array]]:
    """The law and its derivative for one shape of model, compiled when first called."""
    v, l = shape.vocabulary, shape.length
    with jax.enable_x64(True):
        assembled = _assembled(shape.config)
        prefixes = responses(v, l)[::v, :-1]
        tokens = jnp.asarray(np.concatenate([np.full((len(prefixes), 1), v), prefixes], axis=1))

    def law(weights: Array, rows: Array) -> Array:
        """`[B, V]`, log-probabilities of the V responses that share all but the last token with each row."""
        places = jnp.broadcast_to(jnp.arange(l), rows.shape)
        logits = assembled(weights).logits(rows, places, jnp.ones(rows.shape, bool))[..., :v]
        table = jax.nn.log_softmax(logits, -1)
        seen = jnp.take_along_axis(table[:, :-1], rows[:, 1:, None], -1)[..., 0].sum(-1)
        return jnp.add(seen[:, None], table[:, -1])

    def derivative(weights: Array) -> Array:
        def row(one: Array) -> Array:
            table: Array = jax.jacrev(lambda w: law(w, one[None])[0])(weights)
            return table

        rows = jax.vmap(row)(tokens) if len(tokens) <= _ROWS else jax.lax.map(row, tokens, batch_size=_ROWS)
        return rows.reshape(v**l, -1)

    return jax.jit(lambda weights: law(weights, tokens).reshape(-1)), jax.jit(derivative)
