r"""One batch of a bandit: sample, select, weigh, descend, measure.

Letters: `C` contexts, `K` actions, `D` groups drawn, `G` groups used, `n` rollouts, `M` minibatches.
"""

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from tiny_llm_rl._bandit_population import aim
from tiny_llm_rl._bandit_sampling import draw
from tiny_llm_rl._bandit_world import World
from tiny_llm_rl._products import matmul
from tiny_llm_rl.algorithm import advantages, loss
from tiny_llm_rl.correction import importance_weights
from tiny_llm_rl.selection import informative, select

if TYPE_CHECKING:
    from tiny_llm_rl.bandit import BanditConfig

POPULATION: Final = ("exact-mean", "exact-kl")

__all__ = ["POPULATION", "Result", "State", "batch_step", "begin", "look"]


class State(NamedTuple):
    """What is carried from batch to batch.

    Attributes:
        logits: `[C, K]`, of the policy that is trained.
        past: `[lag, C, K]`, log-policies at the start of the last batches, oldest first: the oldest one samples.
        optimizer: the optimiser's state.
        before: `[C, K]`, log-policy before the last batch.
    """

    logits: Array
    past: Array
    optimizer: Any
    before: Array


class Result(NamedTuple):
    """What training gives.

    Attributes:
        state: after the last batch.
        metrics: name to `[T]`, a number for each batch; see `batch_step`.
        start: the same of the initial policy, where they have a meaning for a policy alone.
    """

    state: State
    metrics: dict[str, Array]
    start: dict[str, Array]


def _optimizer(config: "BanditConfig") -> optax.GradientTransformation:
    """Direction of a step; the learning rate is an argument of the training."""
    return optax.scale_by_adam() if config.optimizer == "adam" else optax.identity()


def begin(config: "BanditConfig", world: World) -> State:
    """The state before the first batch."""
    logits = jnp.asarray(world.log_policy, jnp.float32)
    return State(logits, jnp.repeat(logits[None], config.lag, 0), _optimizer(config).init(logits), logits)


def look(world: World, logits: Array) -> dict[str, Array]:
    """What can be said of a policy, exactly, as means over the contexts."""
    log_policy = jax.nn.log_softmax(logits)
    law = jnp.exp(log_policy)
    best = jax.nn.log_softmax(log_policy[..., -world.successes :])
    return {
        "reward": matmul(law, jnp.asarray(world.reward, law.dtype)).mean(),
        "success": law[..., -world.successes :].sum(-1).mean(),
        "entropy": _entropy(log_policy).mean(),
        "diversity": jnp.exp(_entropy(best)).mean(),
    }


def _entropy(log_policy: Array) -> Array:
    return -jnp.sum(jnp.where(log_policy > -jnp.inf, jnp.exp(log_policy) * log_policy, 0.0), -1)


class Rollouts(NamedTuple):
    """A batch: `[G]` contexts, and `[G, n]` everything else; `used` is False for groups that only fill a place."""

    context: Array
    action: Array
    old: Array
    signal: Array
    weight: Array
    used: Array


def _rollouts(
    config: "BanditConfig", world: World, key: Array, current: Array, sampler: Array, tau: Array
) -> tuple[Rollouts, Array]:
    """Sample and select; also the share of the drawn groups without a signal."""
    order, actions = jax.random.split(key)
    drawn = math.ceil(config.groups * config.oversample)
    turns = jax.random.permutation(order, config.contexts)[jnp.arange(drawn) % config.contexts]
    found = draw(actions, sampler, turns, config.rollouts)
    reward = jnp.asarray(world.reward, current.dtype)[found]
    chosen = select(reward, config.groups, filtered=config.filter_groups)
    context, action = turns[chosen.index], found[chosen.index]
    log_sampler, log_current = (log[context[:, None], action] for log in (sampler, current))
    weight = importance_weights(log_current, log_sampler, correction=config.correction, cap=config.cap)
    old = log_sampler if config.anchor == "sampler" else log_current
    signal = advantages(config.algorithm, reward[chosen.index], tau, config.loss)
    used = jnp.repeat(chosen.used[:, None], config.rollouts, 1)
    return Rollouts(context, action, old, signal, weight, used), 1.0 - informative(reward).mean()


def _log_probability(logits: Array, context: Array, action: Array) -> Array:
    """Of the actions `[G, n]`, nats."""
    total = jax.nn.logsumexp(logits, -1)[context]
    return logits[context[:, None], action] - total[:, None]


def _descend(
    config: "BanditConfig", state: State, batch: Rollouts, key: Array, tau: Array, learning_rate: Array
) -> tuple[Array, Any]:
    """Logits and optimiser after all minibatches of all epochs."""
    optimizer, parts = _optimizer(config), config.minibatches

    def objective(logits: Array, part: Rollouts) -> Array:
        logp = _log_probability(logits, part.context, part.action).reshape(-1)
        old, signal, weight, used = (x.reshape(-1) for x in (part.old, part.signal, part.weight, part.used))
        extra = {"weights": weight} if config.correction != "none" else {}
        return loss(config.algorithm, logp, old, signal, tau, config.loss, mask=used, **extra)

    def update(carry: tuple[Array, Any], part: Rollouts) -> tuple[tuple[Array, Any], None]:
        logits, memory = carry
        direction, memory = optimizer.update(jax.grad(objective)(logits, part), memory)
        return (logits - learning_rate * direction, memory), None

    def epoch(carry: tuple[Array, Any], key: Array) -> tuple[tuple[Array, Any], None]:
        if parts == 1:
            return update(carry, batch)
        order = jax.random.permutation(key, config.groups)
        shuffled = jax.tree.map(lambda x: x[order].reshape(parts, -1, *x.shape[1:]), batch)
        return jax.lax.scan(update, carry, shuffled)

    carry, _ = jax.lax.scan(epoch, (state.logits, state.optimizer), jax.random.split(key, config.epochs))
    return carry


def batch_step(
    config: "BanditConfig", world: World, state: State, key: Array, batch: Array, tau: Array, learning_rate: Array
) -> tuple[State, dict[str, Array]]:
    """One batch.

    Returns the state and the metrics: those of `look` after the batch; `kl` and `reverse_kl` to the policy before it,
    nats; `distance`, the total variation to the population step that the algorithm aims at; `realised` and
    `predicted` improvement of the mean reward, the latter of that step, reward units; `without_signal`, the share of
    groups whose rewards are all equal; `log_ratio`, the largest |log-ratio| of a rollout to its anchor after the
    batch, nats. NaN where there is none.
    """
    current = jax.nn.log_softmax(state.logits)
    sampler = state.past[0] if config.lag else current
    target = aim(config, world, tau, current, sampler)
    gone = jnp.asarray(jnp.nan, current.dtype)
    if config.algorithm in POPULATION:
        logits, memory, spread, idle = target, state.optimizer, gone, gone
    else:
        sampling, shuffling = jax.random.split(jax.random.fold_in(key, batch))
        rollouts, idle = _rollouts(config, world, sampling, current, sampler, tau)
        logits, memory = _descend(config, state, rollouts, shuffling, tau, learning_rate)
        after = _log_probability(logits, rollouts.context, rollouts.action)
        spread = jnp.abs(jnp.where(rollouts.used, after - rollouts.old, 0.0)).max()
    past = jnp.concatenate([state.past, current[None]])[1:] if config.lag else state.past
    new = jax.nn.log_softmax(logits)
    law, old_law, reward = jnp.exp(new), jnp.exp(current), jnp.asarray(world.reward, new.dtype)
    metrics = look(world, logits) | {
        "kl": jnp.sum(law * (new - current), -1).mean(),
        "reverse_kl": jnp.sum(old_law * (current - new), -1).mean(),
        "distance": (0.5 * jnp.abs(law - jnp.exp(target)).sum(-1)).mean(),
        "realised": matmul(law - old_law, reward).mean(),
        "predicted": matmul(jnp.exp(target) - old_law, reward).mean(),
        "without_signal": idle,
        "log_ratio": spread,
    }
    return State(logits, past, memory, current), metrics
