r"""A decoder of the Llama family: RMS norms, rotary positions, grouped-query attention, SwiGLU.

Letters: `B` sequences, `T` tokens, `S` slots of the cache, `V` tokens of the vocabulary, `D` width, `L` layers, `H`
query heads, `K` key heads, `d` coordinates of a head, `r` rank of an adapter. It has the methods of
`tiny_llm_rl.model.Transformer`, so the same sampler and the same trainer run it. Projections are stored `[outputs,
inputs]` and stacked over the layers, which are scanned.

Parameters stored as uint16 or uint32 are the bits of bfloat16 or float32: integers are not differentiated, so what is
frozen costs no gradient and no state of the optimiser.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from tiny_llm_rl.model import Cache
from tiny_llm_rl.smollm._turns import chosen_in_turn, in_turn
from tiny_llm_rl.smollm.config import LlamaConfig

__all__ = ["Adapter", "Layers", "Llama", "Text", "frequencies", "opened", "random_llama"]


class Text(NamedTuple):
    """Texts `[G, P]`: tokens, positions, and which count."""

    tokens: Array
    positions: Array
    live: Array


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


def _normed(x: Array, scale: Array, epsilon: float) -> Array:
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


def _rotated(x: Array, cos: Array, sin: Array) -> Array:
    """`x[B, T, heads, d]` with the pairs (i, i + d/2) turned."""
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], -1)


def _attended(query: Array, keys: Array, values: Array, visible: Array) -> Array:
    """Softmax attention: `query[B, T, H, d]` on `keys, values[B, S, K, d]` where `visible[B, T, S]`; `[B, T, H d]`."""
    rows, steps, heads, size = query.shape
    grouped = query.reshape(rows, steps, keys.shape[2], -1, size)
    scores = jnp.einsum("btkgd,bskd->bkgts", grouped, keys, preferred_element_type=jnp.float32) * size**-0.5
    shares = jax.nn.softmax(jnp.where(visible[:, None, None], scores, -1e30), -1).astype(query.dtype)
    return jnp.einsum("bkgts,bskd->btkgd", shares, values).reshape(rows, steps, heads * size)


class Llama(eqx.Module):
    r"""The model: `chosen` for training, `prefill` and `step` with a cache for sampling, `logits` for anything else.

    Formula: \(x \leftarrow x + \mathrm{attention}(\mathrm{rms}(x))\), \(x \leftarrow x +
    W_3(\mathrm{silu}(W_1\,\mathrm{rms}(x)) \cdot W_2\,\mathrm{rms}(x))\), logits \(= W\,\mathrm{rms}(x)\).

    Attributes:
        config: `LlamaConfig`, static.
        embedding: `[V, D]`.
        layers: `Layers`.
        norm: `[D]`, of the last norm.
        head: `[V, D]`, or None where it is the embedding.

    Source: arXiv:2302.13971; grouped queries, arXiv:2305.13245; SwiGLU, arXiv:2002.05202.

    >>> model = random_llama(LlamaConfig(9, 8, 2, 2, 2, 4, 8), jax.random.key(0))
    >>> model.logits(jnp.array([[1, 2, 3]]), jnp.array([[0, 1, 2]]), jnp.ones((1, 3), bool)).shape
    (1, 3, 9)
    """

    config: LlamaConfig = eqx.field(static=True)
    embedding: Array
    layers: Layers
    norm: Array
    head: Array | None

    def _linear(self, x: Array, name: str, layer: Layers) -> Array:
        """A projection with its bias and its adapter, where it has them."""
        out = jnp.einsum("...i,oi->...o", x, opened(layer.weights[name], x.dtype))
        if name in layer.biases:
            out = out + opened(layer.biases[name], x.dtype)
        if name in layer.adapters:
            adapter = layer.adapters[name]
            low = jnp.einsum("...i,ri->...r", x, adapter.inner.astype(x.dtype))
            added = jnp.einsum("...r,or->...o", low, adapter.outer.astype(x.dtype))
            out = out + added * (self.config.alpha / adapter.inner.shape[-2])
        return out

    def _projected(self, x: Array, layer: Layers, cos: Array, sin: Array) -> tuple[Array, Array, Array]:
        """Queries, keys and values of a layer's input, rotated."""
        normed = _normed(x, layer.norms[0], self.config.epsilon)
        query, key, value = (
            self._linear(normed, name, layer).reshape(*x.shape[:2], -1, self.config.head_width) for name in "qkv"
        )
        return _rotated(query, cos, sin), _rotated(key, cos, sin), value

    def _added(self, x: Array, mixed: Array, layer: Layers) -> Array:
        """The stream behind a layer, given what its attention mixed."""
        x = x + self._linear(mixed, "o", layer)
        normed = _normed(x, layer.norms[1], self.config.epsilon)
        gated = jax.nn.silu(self._linear(normed, "gate", layer)) * self._linear(normed, "up", layer)
        return x + self._linear(gated, "down", layer)

    def _start(self, tokens: Array, positions: Array) -> tuple[Array, Array, Array]:
        """Embedded tokens and the rotations of their positions."""
        compute = jnp.dtype(self.config.compute)
        x = opened(jnp.take(self.embedding, tokens, axis=0), compute)
        angle = positions[..., None, None].astype(jnp.float32) * frequencies(self.config)
        return x, jnp.cos(angle).astype(compute), jnp.sin(angle).astype(compute)

    def _stream(
        self, tokens: Array, positions: Array, live: Array, *, keep: bool
    ) -> tuple[Array, tuple[Array, Array] | None]:
        """The normed stream `[B, T, D]` of whole texts and, if kept, keys and values `[L, B, T, K, d]`."""
        steps = jnp.arange(tokens.shape[1])
        visible = (steps[:, None] >= steps) & live[:, None, :]
        x, cos, sin = self._start(tokens, positions)

        def body(x: Array, layer: Layers) -> tuple[Array, tuple[Array, Array] | None]:
            query, key, value = self._projected(x, layer, cos, sin)
            return self._added(x, _attended(query, key, value, visible), layer), (key, value) if keep else None

        x, kept = jax.lax.scan(jax.checkpoint(body) if self.config.remat else body, x, self.layers)
        return _normed(x, self.norm, self.config.epsilon), kept

    def _logits(self, stream: Array) -> Array:
        """`[..., V]` in float32."""
        head = opened(self.embedding if self.head is None else self.head, stream.dtype)
        return jnp.einsum("...d,vd->...v", stream, head, preferred_element_type=jnp.float32)

    def logits(self, tokens: Array, positions: Array, live: Array) -> Array:
        """Next-token logits `[B, T, V]` after each token, float32.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, what the rotation sees.
            live: `[B, T]`, False for padding, which nothing attends to.
        """
        return self._logits(self._stream(tokens, positions, live, keep=False)[0])

    def prefix(self, tokens: Array, positions: Array, live: Array) -> Text:
        """The texts `[G, P]` before those of `chosen`, which reads them again before each row: nothing is kept."""
        return Text(tokens, positions, live)

    def chosen(self, tokens: Array, positions: Array, live: Array, wanted: Array, before: Text) -> Array:
        r"""Log-probability `[B, T]` of given next tokens, nats, float32; logits are never held all at once.

        Formula: \(\log \mathrm{softmax}(\text{logits})\) at `wanted`.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, what the rotation sees.
            live: `[B, T]`, False for padding, which nothing attends to.
            wanted: `[B, T]`, the token after each one.
            before: of `prefix`, of G texts; each stands before B / G rows next to each other.

        Raises:
            ValueError: where `config.rows` does not divide B.
        """
        rows, batch = self.config.rows, tokens.shape[0]
        copies, start = batch // before.tokens.shape[0], before.tokens.shape[1]
        text = [
            jnp.concatenate([jnp.repeat(first, copies, 0), own], 1)
            for first, own in zip(before, (tokens, positions, live), strict=True)
        ]

        def piece(given: list[Array]) -> Array:
            *text, wanted = given
            stream = self._stream(*text, keep=False)[0][:, start:]
            return chosen_in_turn(self._logits, stream, wanted, self.config.vocabulary)

        if rows == 0 or rows >= batch:
            return piece([*text, wanted])
        if batch % rows:
            raise ValueError(f"rows={rows} must divide the {batch} sequences of a batch; take a divisor")
        return in_turn(piece, [*text, wanted], batch // rows)

    def prefill(
        self, tokens: Array, positions: Array, live: Array, slots: int, last: Array, copies: int = 1
    ) -> tuple[Array, Cache]:
        """Logits `[B, V]` after the prompts, B = G copies, and a cache of `slots` slots a row that begins with them.

        Args:
            tokens: `[G, P]` integers.
            positions: `[G, P]`, what the rotation sees.
            live: `[G, P]`, False for padding.
            slots: S > P of the cache, whose keys and values are `[B, L, S, K, d]`.
            last: `[G]`, the last token of each prompt.
            copies: rows that continue each prompt, static.
        """
        stream, kept = self._stream(tokens, positions, live, keep=True)
        assert kept is not None
        spare = (0, slots - tokens.shape[1])
        keys, values = (jnp.pad(jnp.moveaxis(part, 0, 1), ((0, 0), (0, 0), spare, (0, 0), (0, 0))) for part in kept)
        logits = self._logits(jnp.take_along_axis(stream, last[:, None, None], 1)[:, 0])
        filled = logits, Cache((keys,), (values,), jnp.pad(live, ((0, 0), spare)))
        repeated: tuple[Array, Cache] = jax.tree.map(lambda part: jnp.repeat(part, copies, 0), filled)
        return repeated

    def step(self, token: Array, position: Array, cache: Cache, slot: ArrayLike) -> tuple[Array, Cache]:
        """Logits `[B, V]` after one more token a row, `token[B]` at `position[B]`, stored in `slot` of the cache."""
        live = cache.live | (jnp.arange(cache.live.shape[1]) == slot)
        x, cos, sin = self._start(token[:, None], position[:, None])

        def body(
            carry: tuple[Array, Array, Array], given: tuple[Array, Layers]
        ) -> tuple[tuple[Array, Array, Array], None]:
            (x, keys, values), (index, layer) = carry, given
            query, key, value = self._projected(x, layer, cos, sin)
            place = (0, index, slot, 0, 0)
            keys = jax.lax.dynamic_update_slice(keys, key[:, None], place)
            values = jax.lax.dynamic_update_slice(values, value[:, None], place)
            own_keys, own_values = (
                jax.lax.dynamic_index_in_dim(part, index, 1, keepdims=False) for part in (keys, values)
            )
            mixed = _attended(query, own_keys, own_values, live[:, None, :])
            return (self._added(x, mixed, layer), keys, values), None

        start = (x, cache.keys[0], cache.values[0])
        (x, keys, values), _ = jax.lax.scan(body, start, (jnp.arange(self.config.layers), self.layers))
        stream = _normed(x, self.norm, self.config.epsilon)[:, 0]
        return self._logits(stream), Cache((keys,), (values,), live)


def random_llama(config: LlamaConfig, key: Array, *, biases: str = "", scale: float = 0.02) -> Llama:
    """A model with normal weights.

    Args:
        config: of the model.
        key: JAX random key.
        biases: letters of the attention's projections that have one, among "qkvo".
        scale: standard deviation of the weights and biases; norms are one.

    Returns:
        `Llama` without adapters.
    """
    dtype, deep = jnp.dtype(config.dtype), config.layers
    seeds = iter(jax.random.split(key, 16))

    def normal(*shape: int) -> Array:
        return scale * jax.random.normal(next(seeds), shape, dtype)

    shapes = config.shapes()
    layers = Layers(
        jnp.ones((deep, 2, config.width), dtype),
        {name: normal(deep, *shape) for name, shape in shapes.items()},
        {name: normal(deep, shapes[name][0]) for name in biases},
        {},
    )
    embedding = normal(config.vocabulary, config.width)
    head = None if config.tied else normal(config.vocabulary, config.width)
    return Llama(config, embedding, layers, jnp.ones(config.width, dtype), head)
