"""The compiled part of a training batch: many minibatch updates in one call, and log-ratios after them."""

from dataclasses import replace
from inspect import signature
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from pmdtheory import losses
from tiny_llm_rl.algorithm import loss
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.mesh import can_split, split_rows, split_state, unsplit
from tiny_llm_rl.model import Transformer
from tiny_llm_rl.rollout import log_probs

__all__ = [
    "Batch", "Trace", "all_finite", "apart", "clipped", "compiled", "make_optimiser", "sequence_log_probs", "update",
]  # fmt: skip

# What each clipped loss does when it is not told otherwise, from the loss itself.
_CLIPS = {
    name: tuple(signature(function).parameters[clip].default for clip in ("clip_low", "clip_high"))
    for name, function in {
        "grpo": losses.grpo_loss,
        "dapo": losses.dapo_loss,
        "dr-grpo": losses.dr_grpo_loss,
        "gspo": losses.gspo_loss,
    }.items()
}


class Batch(NamedTuple):
    """What is trained on: `prompts[G, P]`, `lengths[G]`, `responses, mask, old_logp[G, n, R]`, `signal, weight[G, n]`.

    A minibatch takes whole rows of G; where single responses are dealt into minibatches, n is 1.
    """

    prompts: Array
    lengths: Array
    responses: Array
    mask: Array
    old_logp: Array
    signal: Array
    weight: Array


def apart(prompts: Array, lengths: Array, *grouped: Array) -> list[Array]:
    """Every response of `[G, n, ...]` as a group of one, `[G n, 1, ...]`, behind its own copy of the prompt.

    >>> [x.shape for x in apart(jnp.ones((1, 4)), jnp.ones(1), jnp.ones((1, 2, 3)))]
    [(2, 4), (2,), (2, 1, 3)]
    """
    copies = grouped[0].shape[1]
    own = [jnp.repeat(x, copies, 0) for x in (prompts, lengths)]
    return own + [x.reshape(-1, 1, *x.shape[2:]) for x in grouped]


class Trace(NamedTuple):
    """One number a minibatch, `[E M]`.

    Attributes:
        loss: of the minibatch.
        gradient_norm: before it is clipped.
        largest: |log-ratio| of a response, nats, responses of no weight among them; the following leave those out.
        responses: that have a weight.
        square: sum of the squares of their log-ratios.
        terms: that the algorithm could clip: tokens, or responses for GSPO; 0 without a clip.
        below: of these, how many lose their gradient to the lower clip.
        above: to the upper one.
    """

    loss: Array
    gradient_norm: Array
    largest: Array
    responses: Array
    square: Array
    terms: Array
    below: Array
    above: Array


def make_optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Adam behind a clip of the global norm, with a linear warm-up."""
    rate: Any = config.learning_rate
    if config.warm_up:
        rate = optax.linear_schedule(0.0, config.learning_rate, config.warm_up)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(rate))


def clipped(
    config: TrainConfig, log_ratio: Array, mask: Array, signal: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """`terms, below, above` of `Trace`.

    >>> log_ratio, mask, one = jnp.array([[0.5, 0.0]]), jnp.ones((1, 2), bool), jnp.ones(1)
    >>> [int(count) for count in clipped(TrainConfig(algorithm="grpo"), log_ratio, mask, one, one)]
    [2, 0, 1]
    """
    if config.algorithm not in _CLIPS:
        none = jnp.zeros((), int)
        return none, none, none
    low, high = _CLIPS[config.algorithm]
    low = low if config.loss.clip_low is None else config.loss.clip_low
    high = high if config.loss.clip_high is None else config.loss.clip_high
    mask = mask & (weight > 0)[:, None]
    if config.algorithm == "gspo":
        counts = mask.any(-1)
        ratio, sign = jnp.exp(log_ratio.sum(-1) / jnp.maximum(mask.sum(-1), 1)), signal
    else:
        counts, ratio, sign = mask, jnp.exp(log_ratio), signal[:, None]
    below, above = counts & (sign < 0) & (ratio < 1 - low), counts & (sign > 0) & (ratio > 1 + high)
    return counts.sum(), below.sum(), above.sum()


def compiled(config: TrainConfig) -> TrainConfig:
    """The config without what the compiled update does not depend on, so that runs share it."""
    return replace(
        config, base="", batches=1, lag=0, anchor="sampler", correction="none",
        truncation=2.0, filter_groups=False, oversample=1, difficulty=(), graded=False, evaluate_every=1,
        measure_every=1, save_every=1, patience=1, evaluation_prompts=1, evaluation_samples=1, diverge_at=1.0, seed=0,
    )  # fmt: skip


@eqx.filter_jit(donate="all-except-first")
def update(
    given: tuple[TrainConfig, Batch, Array], model: Transformer, state: optax.OptState
) -> tuple[Transformer, optax.OptState, Trace]:
    """E epochs of M minibatches in an order that the key decides; takes over the buffers of model and state."""
    config, batch, key = given
    optimiser = make_optimiser(config)
    if config.shuffle == "responses":
        batch = split_rows(Batch(*apart(*batch)))

    def objective(model: Transformer, part: Batch) -> tuple[Array, tuple[Array, ...]]:
        part = Batch(*part[:2], *(x.reshape(-1, *x.shape[2:]) for x in part[2:]))
        logp = log_probs(unsplit(model), part.prompts, part.lengths, part.responses, part.mask)
        value = loss(
            config.algorithm, logp, part.old_logp, part.signal, config.tau, config.loss,
            mask=part.mask, weights=part.weight,
        )  # fmt: skip
        log_ratio = jax.lax.stop_gradient(jnp.where(part.mask, logp - part.old_logp, 0.0))
        total = log_ratio.sum(-1)
        counted = part.weight > 0
        square = jnp.where(counted, total**2, 0.0).sum()
        clips = clipped(config, log_ratio, part.mask, part.signal, part.weight)
        return value, (jnp.abs(total).max(), counted.sum(), square, *clips)

    def body(carry: tuple[Transformer, Any], order: Array) -> tuple[tuple[Transformer, Any], Trace]:
        model, state = carry
        part = split_rows(jax.tree.map(lambda whole: whole[order], batch))
        (value, seen), gradient = eqx.filter_value_and_grad(objective, has_aux=True)(model, part)
        gradient = split_state(gradient)
        updates, state = optimiser.update(gradient, state, model)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        return split_state((eqx.apply_updates(model, updates), state)), Trace(value, norm, *seen)

    groups = batch.prompts.shape[0]
    orders = [jax.random.permutation(jax.random.fold_in(key, epoch), groups) for epoch in range(config.epochs)]
    (model, state), trace = jax.lax.scan(
        body, (model, state), jnp.stack(orders).reshape(config.epochs * config.minibatches, -1)
    )
    return model, state, trace


@eqx.filter_jit
def sequence_log_probs(model: Transformer, text: tuple[Array, Array, Array, Array], parts: int) -> Array:
    """`log_probs` of `prompts, lengths, responses[G, n, R], mask` in `parts` equal pieces, for the memory of one.

    Pieces hold whole groups where those can be divided among pieces and devices, otherwise single responses.
    """
    shape, groups = text[2].shape, text[0].shape[0]
    if groups % parts or not can_split(groups // parts):
        prompts, lengths, responses, mask = apart(*text)
        text = prompts, lengths, responses, mask
    model = unsplit(model)

    def piece(given: tuple[Array, Array, Array, Array]) -> Array:
        prompts, lengths, responses, mask = split_rows(given)
        return log_probs(model, prompts, lengths, *(x.reshape(-1, x.shape[-1]) for x in (responses, mask)))

    found: Array = jax.lax.map(piece, jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), text))
    return found.reshape(shape)


@eqx.filter_jit
def all_finite(model: Transformer) -> Array:
    """Whether no number of the model is infinite or NaN; frozen weights, kept as bits, are as they were.

    >>> bool(all_finite({"weight": jnp.array([1.0, jnp.nan])}))
    False
    """
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(model)]).all()
