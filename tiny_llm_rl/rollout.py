r"""Sampling of responses with a key-value cache, as one jitted loop, and the log-probabilities of given responses.

Letters: `B` sequences, `P` prompt slots, `R` response slots, `V` symbols. A row is `[prompt, padding, response,
padding]`: responses start at slot P in every row, at the position where their own prompt ends. Sampler and trainer see
the same tokens at the same positions, so that their log-probabilities differ by rounding only.
"""

from functools import partial
from typing import Final, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from tiny_llm_rl.model import Cache, Transformer, laws_of

__all__ = ["END_TOKEN", "Rollouts", "log_probs", "sample"]

END_TOKEN = 1  # `tokenizer.END`
_ROWS: Final = 128  # of a turn on a CPU: with them the default base is sampled twice as fast as with 512


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
    """Of the sampling loop: tokens drawn, rows that have ended, the cache of all tokens but the last, what is out."""

    step: Array
    done: Array
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
        key: JAX random key; what is drawn for a row depends on it and on the row's number alone.
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
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(prompts.shape[0] * copies))
    given, turns = (prompts, lengths, keys), _turns(prompts.shape[0], copies)
    run = partial(_sampled, model, slots=slots, copies=copies, temperature=temperature)
    if turns == 1:
        return run(given)
    found = jax.lax.map(run, jax.tree.map(lambda x: x.reshape(turns, -1, *x.shape[1:]), given))
    return Rollouts(*(x.reshape(-1, slots) for x in found))


def _turns(prompts: int, copies: int) -> int:
    """Equal parts that are sampled one after another: on one CPU so many that a part's cache stays in the processor's.

    >>> _turns(64, 8), _turns(67, 8), _turns(4, 2)  # 128 rows each; a prime number of prompts; few rows
    (4, 1, 1)
    >>> _turns(64, 256)  # one prompt each
    64
    """
    if jax.default_backend() != "cpu" or not jax.sharding.get_abstract_mesh().empty:
        return 1
    fitting = (k for k in range(1, prompts + 1) if prompts % k == 0 and prompts // k * copies <= _ROWS)
    turns = next(fitting, prompts)
    return turns if 4 * (prompts // turns) * copies >= _ROWS else 1


def _sampled(
    model: Transformer, given: tuple[Array, Array, Array], *, slots: int, copies: int, temperature: float
) -> Rollouts:
    """The loop of `sample`, given prompts, their lengths and a key for each row."""
    prompts, lengths, keys = given
    rows, width = prompts.shape[0] * copies, prompts.shape[1]
    positions = jnp.broadcast_to(jnp.arange(width), prompts.shape)
    held = width + max(slots - 1, 1)  # the last token is drawn and not read
    logits, cache = model.prefill(prompts, positions, positions < lengths[:, None], held, lengths - 1, copies)
    lengths = jnp.repeat(lengths, copies)

    def drawn(step: ArrayLike, done: Array, logits: Array, out: Rollouts) -> tuple[Array, Rollouts]:
        laws = laws_of(logits)
        if temperature == 0:
            token = jnp.argmax(laws, -1)
        else:
            laws = laws if temperature == 1 else jax.nn.log_softmax(laws / temperature, -1)
            token = jax.vmap(lambda key, law: jax.random.categorical(jax.random.fold_in(key, step), law))(keys, laws)
        token = jnp.where(done, 0, token).astype(jnp.int32)
        chosen = jnp.sum(jax.nn.one_hot(token, laws.shape[-1], dtype=laws.dtype) * jnp.maximum(laws, -1e30), -1)
        column = Rollouts(token, ~done, jnp.where(done, 0.0, chosen), jnp.where(done, 0.0, _entropy(laws)))
        return done | (token == END_TOKEN), Rollouts(
            *(jax.lax.dynamic_update_index_in_dim(whole, new, step, 1) for whole, new in zip(out, column, strict=True))
        )

    def unfinished(state: _State) -> Array:
        return (state.step < slots) & ~state.done.all()

    def body(state: _State) -> _State:
        step, done, cache, out = state
        token = jax.lax.dynamic_index_in_dim(out.tokens, step - 1, 1, keepdims=False)
        logits, cache = model.step(token, lengths + step - 1, cache, width + step - 1)
        done, out = drawn(step, done, logits, out)
        return _State(step + 1, done, cache, out)

    kind = laws_of(logits).dtype
    empty = Rollouts(*(jnp.zeros((rows, slots), dtype) for dtype in (jnp.int32, bool, kind, kind)))
    done, out = drawn(0, jnp.zeros(rows, bool), logits, empty)
    return jax.lax.while_loop(unfinished, body, _State(jnp.ones((), jnp.int32), done, cache, out)).out


def log_probs(model: Transformer, prompts: Array, lengths: Array, responses: Array, mask: Array) -> Array:
    r"""Log-probability of every token of given responses, for training.

    Args:
        model: the policy; differentiable.
        prompts: `[G, P]` tokens, padded on the right.
        lengths: `[G]`, tokens of each prompt.
        responses: `[B, R]` tokens; B is a multiple of G, and the responses to a prompt are next to each other.
        mask: `[B, R]`, True for tokens that count.

    Returns:
        `[B, R]`, nats, float32 at least; 0 where the mask is False.
    """
    copies, slots = responses.shape[0] // prompts.shape[0], responses.shape[1]
    # A response is predicted from the last token of its prompt, wherever that is, and from its own: those are computed
    # for each response, what stands before them once for each prompt.
    steps = jnp.arange(prompts.shape[1] - 1)
    live = steps < lengths[:, None] - 1
    before = model.prefix(jnp.where(live, prompts[:, :-1], 0), jnp.broadcast_to(steps, live.shape), live)
    last, first = (jnp.repeat(x, copies, 0) for x in (jnp.take_along_axis(prompts, lengths[:, None] - 1, 1), lengths))
    tokens = jnp.concatenate([last, responses[:, :-1]], 1)
    positions = first[:, None] - 1 + jnp.arange(slots)
    live = jnp.concatenate([jnp.ones_like(mask[:, :1]), mask[:, :-1]], 1)
    return jnp.where(mask, model.chosen(tokens, positions, live, responses, before), 0.0)
