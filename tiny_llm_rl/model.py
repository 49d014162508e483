r"""A decoder-only transformer: RMS norms, rotary positions, squared ReLU, one key-value cache for sampling.

Letters: `B` sequences, `T` tokens, `S` slots of the cache, `V` symbols, `D` width, `H` heads. A slot is where a token
is stored, a position is what the rotation sees: they differ where a batch is padded, so that every row can append to
the same slot while its positions stay without a gap. The same attention serves training (all tokens at once) and
sampling (one token against the cache). What several rows have in common, the prompt of a group, is computed once: a
cache can stand before the rows, with a row of its own for each `n` of theirs.

On a CPU look-ups as products with one-hot vectors and unrolled layers are two to three times faster than gathers and a
scan; rotations come from a table, as the compiler would compute cosines again in every product that needs them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from tiny_llm_rl._attention import attended, behind, normed, product, rotated, rotations, stepped, visible
from tiny_llm_rl._checks import choice, whole
from tiny_llm_rl._products import matmul

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
    """Keys and values of each layer, and which slots count, `[B, S]`; and what stands before them.

    Of `prefix` they are `[B, S, H, D/H]`; of `prefill` and `step`, which read them a token at a time, keys are
    `[B, H, D/H, S]` and values `[B, H, S, D/H]`, and what stands before them is the prompts, as of `prefix`. The cache
    before has G rows, each of which is seen by B / G rows next to each other; its slots are numbered first.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    live: Array
    before: "Cache | None" = None


class Layer(eqx.Module):
    """One block: attention and perceptron, each behind a norm and added to the stream."""

    norms: Array
    query_key_value: Array
    out: Array
    up: Array
    down: Array


class Transformer(eqx.Module):
    r"""The model: `prefix` and `chosen` for training, `prefill` and `step` for sampling, `logits` for anything else.

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
        self, tokens: Array, rotation: tuple[Array, Array], attend: Callable[[int, Array, Array, Array], Array]
    ) -> Array:
        """The normed stream `[B, T, D]`; `attend` is given a layer's number, queries, keys and values."""
        config, compute = self.config, jnp.dtype(self.config.compute)
        heads = (*tokens.shape, config.heads, config.width // config.heads)
        x = matmul(jax.nn.one_hot(tokens, config.vocabulary, dtype=compute), self.embedding.astype(compute))
        for i, layer in enumerate(self.layers):
            parts = product(normed(x, layer.norms[0]), layer.query_key_value)
            query, key, value = (part.reshape(heads) for part in jnp.split(parts, 3, -1))
            mixed = attend(i, rotated(query, *rotation), rotated(key, *rotation), value).reshape(x.shape)
            x = x + product(mixed, layer.out)
            hidden = jax.nn.relu(product(normed(x, layer.norms[1]), layer.up))
            x = x + product(hidden * hidden, layer.down)
        return normed(x, self.norm)

    def _rotation(self, positions: Array, span: int) -> tuple[Array, Array]:
        half = self.config.width // (2 * self.config.heads)
        return rotations(positions, span, half, jnp.dtype(self.config.compute))

    def _read(
        self, tokens: Array, positions: Array, live: Array, before: Cache | None, span: int
    ) -> tuple[Array, Cache]:
        """The stream of whole texts, each behind its row of what stands before, and their own keys and values."""
        seen = visible(live, None if before is None else before.live)
        all_keys, all_values = [], []

        def attend(i: int, query: Array, key: Array, value: Array) -> Array:
            all_keys.append(key)
            all_values.append(value)
            if before is not None:
                key, value = behind(before.keys[i], key), behind(before.values[i], value)
            return attended(query, key, value, seen)

        stream = self._stream(tokens, self._rotation(positions, span), attend)
        return stream, Cache(tuple(all_keys), tuple(all_values), live)

    def _logits(self, stream: Array) -> Array:
        return product(stream, self.head).astype(self.config.dtype)

    def logits(self, tokens: Array, positions: Array, live: Array, *, span: int | None = None) -> Array:
        """Next-symbol logits `[B, T, V]` after each token.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, what the rotation sees.
            live: `[B, T]`, False for padding, which nothing attends to.
            span: above all positions, static; None is T.

        Raises:
            ValueError: for a position that is not below it.
        """
        span = span or tokens.shape[1]
        if not isinstance(positions, jax.core.Tracer) and (most := int(positions.max())) >= span:
            raise ValueError(f"positions must be below span = {span}, got {most}; give a larger span")
        return self._logits(self._read(tokens, positions, live, None, span)[0])

    def prefix(self, tokens: Array, positions: Array, live: Array) -> Cache:
        """What `chosen` needs of the texts before its own, `tokens[G, P]`; differentiable.

        Args:
            tokens: `[G, P]` integers.
            positions: `[G, P]`, below P.
            live: `[G, P]`, False for padding.
        """
        return self._read(tokens, positions, live, None, max(tokens.shape[1], 1))[1]

    def chosen(self, tokens: Array, positions: Array, live: Array, wanted: Array, before: Cache) -> Array:
        r"""Log-probability `[B, T]` of given next tokens, nats, float32 at least.

        Formula: \(\log \mathrm{softmax}(\text{logits})\) at `wanted`.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, below P + T, P the slots before.
            live: `[B, T]`, False for padding.
            wanted: `[B, T]`, the token after each one.
            before: of `prefix`, of G texts; each stands before B / G rows next to each other.
        """
        span = before.live.shape[1] + tokens.shape[1]
        return picked(self._logits(self._read(tokens, positions, live, before, span)[0]), wanted)

    def prefill(
        self, tokens: Array, positions: Array, live: Array, slots: int, last: Array, copies: int = 1
    ) -> tuple[Array, Cache]:
        """Logits `[B, V]` after the prompts, B = G copies, and a cache with room for S - P tokens a row behind them.

        Args:
            tokens: `[G, P]` integers.
            positions: `[G, P]`, below P.
            live: `[G, P]`, False for padding.
            slots: S > P, static.
            last: `[G]`, the last token of each prompt.
            copies: rows that continue each prompt, static.
        """
        stream, before = self._read(tokens, positions, live, None, tokens.shape[1])
        logits = self._logits(jnp.take_along_axis(stream, last[:, None, None], 1)[:, 0])
        rows, spare, (heads, size) = tokens.shape[0] * copies, slots - tokens.shape[1], before.keys[0].shape[2:]
        keys, values = (
            tuple(jnp.zeros((rows, heads, *axes), stream.dtype) for _ in self.layers)
            for axes in ((size, spare), (spare, size))
        )
        return jnp.repeat(logits, copies, 0), Cache(keys, values, jnp.zeros((rows, spare), bool), before)

    def step(self, token: Array, position: Array, cache: Cache, slot: ArrayLike) -> tuple[Array, Cache]:
        """Logits `[B, V]` after one more token a row.

        Args:
            token: `[B]` integers.
            position: `[B]`, below S.
            cache: of `prefill` or of the step before.
            slot: where the token is stored, P or more; traced or not.
        """
        before = cache.before
        assert before is not None
        own, place = cache.live.shape[1], slot - jnp.asarray(before.live.shape[1])
        live = cache.live | (jnp.arange(own) == place)
        all_keys, all_values = [], []

        def attend(i: int, query: Array, key: Array, value: Array) -> Array:
            all_keys.append(jax.lax.dynamic_update_slice_in_dim(cache.keys[i], key[:, 0, :, :, None], place, 3))
            all_values.append(jax.lax.dynamic_update_slice_in_dim(cache.values[i], value[:, 0, :, None], place, 2))
            first = before.keys[i], before.values[i], before.live
            return stepped(query, all_keys[i], all_values[i], live, first)

        rotation = self._rotation(position[:, None], before.live.shape[1] + own)
        stream = self._stream(token[:, None], rotation, attend)
        return self._logits(stream[:, 0]), Cache(tuple(all_keys), tuple(all_values), live, before)
