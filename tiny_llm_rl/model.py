r"""A decoder-only transformer: RMS norms, rotary positions, squared ReLU, one key-value cache for sampling.

Letters: `B` sequences, `T` tokens, `S` slots of the cache, `V` symbols, `D` width, `H` heads. A slot is where a token
is stored, a position is what the rotation sees: they differ where a batch is padded, so that every row can append to
the same slot while its positions stay without a gap. The same attention serves training (all tokens at once) and
sampling (one token against the cache).

Look-ups are products with one-hot vectors and layers are unrolled: on a CPU both are two to three times faster than
gathers and a scan.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from tiny_llm_rl._checks import choice, whole

__all__ = ["Cache", "ModelConfig", "Transformer", "laws_of", "picked"]


def laws_of(logits: Array) -> Array:
    """Log-probabilities in float32 at least."""
    return jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), -1)


def picked(logits: Array, wanted: Array) -> Array:
    """Log-probability of `wanted[...]` under the law of `logits[..., V]`, nats, float32 at least.

    >>> round(float(picked(jnp.zeros((1, 4)), jnp.array([2]))[0]), 4)  # one of four
    -1.3863
    """
    found = laws_of(logits)
    return jnp.sum(jax.nn.one_hot(wanted, found.shape[-1], dtype=found.dtype) * found, -1)


@dataclass(frozen=True)
class ModelConfig:
    """Size and number type of a `Transformer`.

    Args:
        vocabulary: symbols V, at least 2.
        width: D, a multiple of twice the heads.
        layers: at least 1.
        heads: H.
        expansion: hidden units of a layer's perceptron over D.
        dtype: of the parameters: "float32" or "float64".
        compute: of the products: "float32", "float64" or "bfloat16"; logits are returned in dtype.

    Raises:
        ValueError: for a size out of range, naming field, value and remedy.
        TypeError: for a size that is no integer.

    >>> ModelConfig(vocabulary=19, width=64, layers=3, heads=2).parameters
    150336
    """

    vocabulary: int
    width: int = 64
    layers: int = 3
    heads: int = 2
    expansion: int = 4
    dtype: str = "float32"
    compute: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        whole("vocabulary", self.vocabulary, "count the symbols of the tokenizer", least=2)
        for name in ("width", "layers", "heads", "expansion"):
            whole(name, getattr(self, name), "take a small positive integer")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 heads = {2 * self.heads}, got {self.width}; rotary pairs need an even "
                "number of coordinates in each head"
            )
        choice("dtype", self.dtype, ("float32", "float64"))
        choice("compute", self.compute, ("float32", "float64", "bfloat16"))

    @property
    def parameters(self) -> int:
        """Number of trained scalars."""
        per_layer = (4 + 2 * self.expansion) * self.width**2 + 2 * self.width
        return 2 * self.vocabulary * self.width + self.layers * per_layer + self.width


class Cache(NamedTuple):
    """Keys and values, one `[B, S, H, D/H]` a layer, and which slots count, `[B, S]`."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    live: Array


class Layer(eqx.Module):
    """One block: attention and perceptron, each behind a norm and added to the stream."""

    norms: Array
    query_key_value: Array
    out: Array
    up: Array
    down: Array


def _normed(x: Array, scale: Array) -> Array:
    """Divided by its root mean square over the last axis, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    scaled = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + 1e-6)
    normed: Array = (scaled * scale).astype(x.dtype)
    return normed


def _rotated(x: Array, positions: Array) -> Array:
    """`x[B, T, H, D/H]` with the pair (i, i + half) turned by position times 10000^(-i/half)."""
    half = x.shape[-1] // 2
    wide = jnp.promote_types(x.dtype, jnp.float32)
    angle = positions[..., None, None].astype(wide) * 10000.0 ** (-jnp.arange(half, dtype=wide) / half)
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], -1)


def _attended(query: Array, keys: Array, values: Array, visible: Array) -> Array:
    """Softmax attention: `query[B, T, H, d]` on `keys, values[B, S, H, d]` where `visible[B, T, S]`."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    root = jnp.sqrt(jnp.asarray(query.shape[-1], wide))
    if query.shape[1] == 1:  # one token against a cache: sums over it as it lies are faster than a product's transposes
        scores = jnp.sum(query * keys, -1).astype(wide) / root
        shares = jax.nn.softmax(jnp.where(visible[:, 0, :, None], scores, -1e30), 1).astype(query.dtype)
        return jnp.sum(shares[..., None] * values, 1, keepdims=True)
    scores = jnp.einsum("bthd,bshd->bhts", query, keys).astype(wide) / root
    scores = jnp.where(visible[:, None], scores, -1e30)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, -1).astype(query.dtype), values)


class Transformer(eqx.Module):
    r"""The model: `logits(tokens)` for training, `prefill` and `step` with a cache for sampling.

    Formula: \(x \leftarrow x + \mathrm{attention}(\mathrm{rms}(x))\), \(x \leftarrow x +
    W_2\,\mathrm{relu}(W_1\,\mathrm{rms}(x))^2\), logits \(= W\,\mathrm{rms}(x)\).

    Args:
        config: `ModelConfig`.
        key: JAX random key of the initial weights; the outputs of all layers start at zero, and the logits too.

    Source: rotary positions, arXiv:2104.09864; squared ReLU, arXiv:2109.08668; RMS norm, arXiv:1910.07467.

    >>> model = Transformer(ModelConfig(vocabulary=5, width=8, layers=1), jax.random.key(0))
    >>> logits = model.logits(jnp.array([[1, 2, 3]]), jnp.array([[0, 1, 2]]), jnp.ones((1, 3), bool))
    >>> logits.shape, bool((logits == 0).all())  # an untrained model is uniform
    ((1, 3, 5), True)
    """

    config: ModelConfig = eqx.field(static=True)
    embedding: Array
    layers: tuple[Layer, ...]
    norm: Array
    head: Array

    def __init__(self, config: ModelConfig, key: Array) -> None:
        """Draw the initial weights."""
        dtype, width, hidden = jnp.dtype(config.dtype), config.width, config.expansion * config.width
        keys = jax.random.split(key, 2 * config.layers + 1)

        def normal(seed: Array, *shape: int) -> Array:
            weights: Array = jax.random.normal(seed, shape, dtype) * float(shape[0]) ** -0.5
            return weights

        self.config = config
        self.embedding = jax.random.normal(keys[0], (config.vocabulary, width), dtype)
        self.layers = tuple(
            Layer(
                jnp.ones((2, width), dtype),
                normal(keys[2 * i + 1], width, 3 * width),
                jnp.zeros((width, width), dtype),
                normal(keys[2 * i + 2], width, hidden),
                jnp.zeros((hidden, width), dtype),
            )
            for i in range(config.layers)
        )
        self.norm = jnp.ones(width, dtype)
        self.head = jnp.zeros((width, config.vocabulary), dtype)

    def _stream(
        self, tokens: Array, positions: Array, visible: Array, cache: Cache | None, slot: ArrayLike
    ) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        """The normed stream `[B, T, D]` and every layer's keys and values, the cache's with the new ones written in."""
        config, compute = self.config, jnp.dtype(self.config.compute)
        heads = (*tokens.shape, config.heads, config.width // config.heads)
        x = jax.nn.one_hot(tokens, config.vocabulary, dtype=compute) @ self.embedding.astype(compute)
        all_keys, all_values = [], []
        for i, layer in enumerate(self.layers):
            parts = _normed(x, layer.norms[0]) @ layer.query_key_value.astype(compute)
            query, key, value = (part.reshape(heads) for part in jnp.split(parts, 3, -1))
            query, key = _rotated(query, positions), _rotated(key, positions)
            if cache is not None:
                key = jax.lax.dynamic_update_slice_in_dim(cache.keys[i], key, slot, 1)
                value = jax.lax.dynamic_update_slice_in_dim(cache.values[i], value, slot, 1)
            all_keys.append(key)
            all_values.append(value)
            mixed = _attended(query, key, value, visible).reshape(x.shape)
            x = x + mixed @ layer.out.astype(compute)
            hidden = jax.nn.relu(_normed(x, layer.norms[1]) @ layer.up.astype(compute))
            x = x + (hidden * hidden) @ layer.down.astype(compute)
        return _normed(x, self.norm), tuple(all_keys), tuple(all_values)

    def _logits(self, stream: Array) -> Array:
        return (stream @ self.head.astype(stream.dtype)).astype(self.config.dtype)

    def logits(self, tokens: Array, positions: Array, live: Array, *, start: int = 0) -> Array:
        """Next-symbol logits `[B, T - start, V]` after each token from `start` on.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, what the rotation sees.
            live: `[B, T]`, False for padding, which nothing attends to.
            start: first token whose logits are wanted; static.
        """
        steps = jnp.arange(tokens.shape[1])
        visible = (steps[:, None] >= steps) & live[:, None, :]
        stream, _, _ = self._stream(tokens, positions, visible, None, 0)
        return self._logits(stream[:, start:])

    def chosen(self, tokens: Array, positions: Array, live: Array, wanted: Array, *, start: int = 0) -> Array:
        """Log-probability `[B, T - start]` of `wanted`, the tokens after each one from `start` on; else as `logits`."""
        return picked(self.logits(tokens, positions, live, start=start), wanted)

    def prefill(
        self, tokens: Array, positions: Array, live: Array, slots: int, last: Array | None = None
    ) -> tuple[Array, Cache]:
        """Logits after the prompt's tokens, and the cache of `slots >= T` slots that holds them.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, what the rotation sees.
            live: `[B, T]`, False for padding.
            slots: S of the cache.
            last: `[B]`, the token of each row whose logits are wanted, which then are `[B, V]` instead of `[B, T, V]`.
        """
        steps = jnp.arange(tokens.shape[1])
        visible = (steps[:, None] >= steps) & live[:, None, :]
        stream, keys, values = self._stream(tokens, positions, visible, None, 0)
        spare = slots - tokens.shape[1]
        wide = ((0, 0), (0, spare), (0, 0), (0, 0))
        if last is not None:
            stream = jnp.take_along_axis(stream, last[:, None, None], 1)[:, 0]
        keys, values = (tuple(jnp.pad(part, wide) for part in parts) for parts in (keys, values))
        return self._logits(stream), Cache(keys, values, jnp.pad(live, wide[:2]))

    def step(self, token: Array, position: Array, cache: Cache, slot: ArrayLike) -> tuple[Array, Cache]:
        """Logits `[B, V]` after one more token a row, `token[B]` at `position[B]`, stored in `slot` of the cache."""
        live = cache.live | (jnp.arange(cache.live.shape[1]) == slot)
        stream, keys, values = self._stream(token[:, None], position[:, None], live[:, None, :], cache, slot)
        return self._logits(stream[:, 0]), Cache(keys, values, live)
