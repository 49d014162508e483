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

from tiny_llm_rl._attention import behind, rotated, visible
from tiny_llm_rl._products import einsum
from tiny_llm_rl.model import Cache
from tiny_llm_rl.smollm._layers import Adapter, Layers, attended, frequencies, normed, opened
from tiny_llm_rl.smollm._turns import chosen_in_turn, in_turn
from tiny_llm_rl.smollm.config import LlamaConfig

__all__ = ["Adapter", "Layers", "Llama", "Text", "frequencies", "opened", "random_llama"]


class Text(NamedTuple):
    """Texts `[G, P]`: tokens, positions, and which count."""

    tokens: Array
    positions: Array
    live: Array


Kept = tuple[Array, Array]  # keys and values, `[L, B, T, K, d]`, or those of a layer


class Before(NamedTuple):
    """What stands before texts: its keys and values, and which of its slots count, `[G, P]`."""

    kept: Kept
    live: Array


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
        out = einsum("...i,oi->...o", x, opened(layer.weights[name], x.dtype))
        if name in layer.biases:
            out = out + opened(layer.biases[name], x.dtype)
        if name in layer.adapters:
            adapter = layer.adapters[name]
            low = einsum("...i,ri->...r", x, adapter.inner.astype(x.dtype))
            added = einsum("...r,or->...o", low, adapter.outer.astype(x.dtype))
            out = out + added * (self.config.alpha / adapter.inner.shape[-2])
        return out

    def _projected(self, x: Array, layer: Layers, cos: Array, sin: Array) -> tuple[Array, Array, Array]:
        """Queries, keys and values of a layer's input, rotated."""
        inner = normed(x, layer.norms[0], self.config.epsilon)
        query, key, value = (
            self._linear(inner, name, layer).reshape(*x.shape[:2], -1, self.config.head_width) for name in "qkv"
        )
        return rotated(query, cos, sin), rotated(key, cos, sin), value

    def _added(self, x: Array, mixed: Array, layer: Layers) -> Array:
        """The stream behind a layer, given what its attention mixed."""
        x = x + self._linear(mixed, "o", layer)
        inner = normed(x, layer.norms[1], self.config.epsilon)
        gated = jax.nn.silu(self._linear(inner, "gate", layer)) * self._linear(inner, "up", layer)
        return x + self._linear(gated, "down", layer)

    def _start(self, tokens: Array, positions: Array) -> tuple[Array, Array, Array]:
        """Embedded tokens and the rotations of their positions."""
        compute = jnp.dtype(self.config.compute)
        x = opened(jnp.take(self.embedding, tokens, axis=0), compute)
        angle = positions[..., None, None].astype(jnp.float32) * frequencies(self.config)
        return x, jnp.cos(angle).astype(compute), jnp.sin(angle).astype(compute)

    def _stream(self, text: Text, *, keep: bool, before: Before | None = None) -> tuple[Array, Kept | None]:
        """The normed stream `[B, T, D]` of whole texts and, if kept, their own keys and values.

        What stands `before` has G rows, each of which is seen by B / G rows next to each other.
        """
        seen = visible(text.live, None if before is None else before.live)
        x, cos, sin = self._start(text.tokens, text.positions)

        def body(x: Array, given: tuple[Layers, Kept | None]) -> tuple[Array, Kept | None]:
            layer, first = given
            query, key, value = self._projected(x, layer, cos, sin)
            own = (key, value) if keep else None
            if first is not None:
                key, value = behind(first[0], key), behind(first[1], value)
            return self._added(x, attended(query, key, value, seen), layer), own

        scanned = self.layers, None if before is None else before.kept
        x, kept = jax.lax.scan(jax.checkpoint(body) if self.config.remat else body, x, scanned)
        return normed(x, self.norm, self.config.epsilon), kept

    def _logits(self, stream: Array) -> Array:
        """`[..., V]` in float32."""
        head = opened(self.embedding if self.head is None else self.head, stream.dtype)
        return einsum("...d,vd->...v", stream, head, preferred_element_type=jnp.float32)

    def logits(self, tokens: Array, positions: Array, live: Array) -> Array:
        """Next-token logits `[B, T, V]` after each token, float32.

        Args:
            tokens: `[B, T]` integers.
            positions: `[B, T]`, what the rotation sees.
            live: `[B, T]`, False for padding, which nothing attends to.
        """
        return self._logits(self._stream(Text(tokens, positions, live), keep=False)[0])

    def prefix(self, tokens: Array, positions: Array, live: Array) -> Text:
        """The texts `[G, P]` before those of `chosen`, which reads them itself: in parts, where it works in parts."""
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
        rows, batch, groups = self.config.rows, tokens.shape[0], before.tokens.shape[0]
        turns = 1
        if 0 < rows < batch:
            if batch % rows:
                raise ValueError(f"rows={rows} must divide the {batch} sequences of a batch; take a divisor")
            turns = batch // rows
        own = Text(tokens, positions, live)
        # A part holds whole groups where it can, which then read their text before once; else every row reads its own.
        copies = batch // groups if groups % turns == 0 else 1
        before = Text(*(jnp.repeat(x, batch // groups // copies, 0) for x in before))
        parts = (
            before,
            Text(*(x.reshape(-1, copies, x.shape[-1]) for x in own)),
            wanted.reshape(-1, copies, wanted.shape[-1]),
        )

        def piece(given: tuple[Text, Text, Array]) -> Array:
            before, own, wanted = given
            stream = self._continued(before, Text(*(x.reshape(-1, x.shape[-1]) for x in own)))
            found = chosen_in_turn(self._logits, stream, wanted.reshape(-1, wanted.shape[-1]), self.config.vocabulary)
            return found.reshape(wanted.shape)

        found = piece(parts) if turns == 1 else in_turn(piece, parts, turns)
        return found.reshape(wanted.shape)

    def _continued(self, before: Text, own: Text) -> Array:
        """The normed stream of texts, each behind its row of what stands before it."""
        start = before.tokens.shape[1]
        if own.tokens.shape[0] == before.tokens.shape[0]:  # in one pass
            whole = Text(*(jnp.concatenate(pair, 1) for pair in zip(before, own, strict=True)))
            return self._stream(whole, keep=False)[0][:, start:]
        kept = self._stream(before, keep=True)[1]
        assert kept is not None
        return self._stream(own, keep=False, before=Before(kept, before.live))[0]

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
        stream, kept = self._stream(Text(tokens, positions, live), keep=True)
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
            mixed = attended(query, own_keys, own_values, live[:, None, :])
            return (self._added(x, mixed, layer), keys, values), None

        start = (x, cache.keys[0], cache.values[0])
        (x, keys, values), _ = jax.lax.scan(body, start, (jnp.arange(self.config.layers), self.layers))
        stream = normed(x, self.norm, self.config.epsilon)[:, 0]
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
