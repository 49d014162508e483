r"""Sampling of responses with a key-value cache, as one jitted loop, and the log-probabilities of given responses.

Letters: `B` sequences, `P` prompt slots, `R` response slots, `V` symbols. A row is `[prompt, padding, response,
padding]`: responses start at slot P in every row, at the position where their own prompt ends. Sampler and trainer see
the same slots, positions and padding, so that their log-probabilities differ by rounding only.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from tiny_llm_rl.model import Cache, Transformer, laws_of

__all__ = ["END_TOKEN", "Rollouts", "log_probs", "sample"]

END_TOKEN = 1  # `tokenizer.END`


class Rollouts(NamedTuple):
    """Sampled responses.

    Attributes:
        tokens: `[B, R]`, the end symbol included, 0 behind it.
        mask: `[B, R]`, True for tokens of the response, the end symbol included.
        logp: `[B, R]`, nats, of each token under the law it was sampled from; 0 where the mask is False.
        entropy: `[B, R]`, nats, of the law each token was sampled from; 0 where the mask is False.
    """

    tokens: Array
    mask: Array
    logp: Array
    entropy: Array


class _State(NamedTuple):
    """Of the sampling loop: its step, the rows that have ended, the laws of the next tokens, the cache, what is out."""

    step: Array
    done: Array
    laws: Array
    cache: Cache
    out: Rollouts


def _entropy(laws: Array) -> Array:
    """Nats of `laws[..., V]`, whose entries may be -inf."""
    return -jnp.sum(jnp.where(laws > -jnp.inf, jnp.exp(laws) * laws, 0.0), -1)


@eqx.filter_jit
def sample(
    model: Transformer,
    prompts: Array,
    lengths: Array,
    key: Array,
    *,
    slots: int,
    copies: int = 1,
    temperature: float = 1.0,
) -> Rollouts:
    r"""Responses to each prompt, token by token until the end symbol or until the slots are full.

    Formula: tokens are drawn from \(\mathrm{softmax}(\text{logits}/T)\).

    Args:
        model: the policy.
        prompts: `[G, P]` tokens, padded on the right.
        lengths: `[G]`, tokens of each prompt, at least 1.
        key: JAX random key; a row's tokens depend on it and on the shape of the batch.
        slots: R, static.
        copies: n responses to each prompt, static; its cache is filled once.
        temperature: T >= 0, static; 0 takes the likeliest token.

    Returns:
        `Rollouts` of B = G n rows, those of a prompt next to each other. A response that did not end has a mask that
        is all True.

    Raises:
        ValueError: for a temperature below zero.

    >>> from tiny_llm_rl.model import ModelConfig
    >>> model = Transformer(ModelConfig(vocabulary=5, width=8, layers=1), jax.random.key(0))
    >>> prompts, lengths = jnp.array([[2, 3], [4, 0]]), jnp.array([2, 1])
    >>> found = sample(model, prompts, lengths, jax.random.key(1), slots=4)
    >>> again = log_probs(model, prompts, lengths, found.tokens, found.mask)
    >>> bool(jnp.abs(again - found.logp).max() < 1e-5)  # the trainer's log-probabilities are the sampler's
    True
    """
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}; 1 samples the policy, 0 is greedy")
    rows, width = prompts.shape[0] * copies, prompts.shape[1]
    positions = jnp.broadcast_to(jnp.arange(width), prompts.shape)
    filled = model.prefill(prompts, positions, positions < lengths[:, None], width + slots, lengths - 1)
    logits, cache = jax.tree.map(lambda part: jnp.repeat(part, copies, 0), filled)
    lengths, laws = jnp.repeat(lengths, copies), laws_of(logits)
    start = _State(
        jnp.zeros((), jnp.int32),
        jnp.zeros(rows, bool),
        laws,
        cache,
        Rollouts(
            jnp.zeros((rows, slots), jnp.int32),
            jnp.zeros((rows, slots), bool),
            jnp.zeros((rows, slots), laws.dtype),
            jnp.zeros((rows, slots), laws.dtype),
        ),
    )

    def unfinished(state: _State) -> Array:
        return (state.step < slots) & ~state.done.all()

    def body(state: _State) -> _State:
        step, done, laws, cache, out = state
        if temperature == 0:
            token = jnp.argmax(laws, -1)
        else:
            laws = laws if temperature == 1 else jax.nn.log_softmax(laws / temperature, -1)
            token = jax.random.categorical(jax.random.fold_in(key, step), laws)
        token = jnp.where(done, 0, token).astype(jnp.int32)
        chosen = jnp.sum(jax.nn.one_hot(token, laws.shape[-1], dtype=laws.dtype) * jnp.maximum(laws, -1e30), -1)
        column = Rollouts(token, ~done, jnp.where(done, 0.0, chosen), jnp.where(done, 0.0, _entropy(laws)))
        out = Rollouts(
            *(jax.lax.dynamic_update_index_in_dim(whole, new, step, 1) for whole, new in zip(out, column, strict=True))
        )
        logits, cache = model.step(token, lengths + step, cache, width + step)
        return _State(step + 1, done | (token == END_TOKEN), laws_of(logits), cache, out)

    return jax.lax.while_loop(unfinished, body, start).out


def log_probs(model: Transformer, prompts: Array, lengths: Array, responses: Array, mask: Array) -> Array:
    r"""Log-probability of every token of given responses, for training.

    Args:
        model: the policy; differentiable.
        prompts: `[B, P]` tokens, padded on the right.
        lengths: `[B]`, tokens of each prompt.
        responses: `[B, R]` tokens.
        mask: `[B, R]`, True for tokens that count.

    Returns:
        `[B, R]`, nats, float32 at least; 0 where the mask is False.
    """
    width, slots = prompts.shape[1], responses.shape[1]
    # Slot P - 1 + t predicts token t; the first one is predicted from the end of the prompt, wherever that is. So the
    # last token of each prompt is moved to slot P - 1, which changes no position and leaves the others where they are.
    steps = jnp.arange(width)
    last = jnp.take_along_axis(prompts, lengths[:, None] - 1, 1)
    tokens = jnp.concatenate([jnp.where(steps < lengths[:, None] - 1, prompts, 0)[:, :-1], last, responses[:, :-1]], 1)
    positions = jnp.concatenate(
        [
            jnp.broadcast_to(steps[:-1], (prompts.shape[0], width - 1)),
            lengths[:, None] - 1 + jnp.arange(slots)[None, :],
        ],
        1,
    )
    live = jnp.concatenate([steps[:-1] < lengths[:, None] - 1, jnp.ones((prompts.shape[0], 1), bool), mask[:, :-1]], 1)
    chosen = model.chosen(tokens, positions, live, responses, start=width - 1)
    return jnp.where(mask, chosen, 0.0)
