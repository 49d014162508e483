r"""Softmax policies on contextual bandits: the family and its neighbours where everything can be computed exactly.

Letters: `C` contexts, `K` actions, `D` groups drawn, `G` groups used, `n` rollouts of a group, `T` batches. A policy is
a table of logits `[C, K]`. A batch draws groups of rollouts from the sampler (the policy itself, or one that lags
behind), computes advantages within groups, and takes `epochs * minibatches` steps of the optimiser on the algorithm's
loss. Actions are ordered by reward, worst first; `_bandit_world` says what the rewards are.

`make_train(config)` gives one jitted function of a random key, tau and learning rate, which `jax.vmap` maps over any of
them. Randomness comes from the key and the number of the batch alone: the same key gives the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array

from tiny_llm_rl._bandit_checks import check
from tiny_llm_rl._bandit_step import POPULATION, Result, State, batch_step, begin, look
from tiny_llm_rl._bandit_world import REWARDS, World, world
from tiny_llm_rl.algorithm import ALGORITHMS, LossConfig

__all__ = ["NAMES", "POPULATION", "REWARDS", "BanditConfig", "Result", "State", "make_step", "make_train", "make_world"]

NAMES: Final = (*ALGORITHMS, *POPULATION)


@dataclass(frozen=True)
class BanditConfig:
    """A bandit and how it is trained.

    Args:
        algorithm: of `algorithm.ALGORITHMS`; or "exact-mean" and "exact-kl", which take the population step of
            PMD-mean and KL-PMD once a batch and sample nothing.
        reward: law of the rewards: "binary", "graded", "continuous" or "heavy-tailed".
        actions: K, 2 to 100,000 and more.
        contexts: C, each with a policy of its own.
        success_mass: of the initial policy on the successes, in (0, 1).
        success_fraction: of the actions that are successes, the best ones; in (0, 1).
        spread: deviation of the log-odds of success_mass over the contexts, nats.
        tau: regularisation strength, greater than zero, reward units.
        rollouts: n of a group.
        groups: G of a batch; the contexts take turns.
        batches: T.
        minibatches: into which the groups of a batch are split; a divisor of groups.
        epochs: passes over the rollouts of a batch.
        lag: batches by which the policy that samples is older than the one that is trained.
        anchor: whose log-probability the log-ratio is measured from: "sampler", as implementations have it, or
            "current", the policy at the start of the batch (C15). The same thing without a lag.
        correction: of a lag: "none", or "truncated" importance weights.
        cap: of these weights, at least 1.
        filter_groups: leave out groups whose rewards are all equal.
        oversample: groups drawn over groups used, at least 1; needs filter_groups.
        optimizer: "adam", or "sgd".
        learning_rate: greater than zero, in logits per step for adam.
        seed: of the random key.
        loss: what the losses can be told.

    Raises:
        ValueError: for a value out of range, naming field, value and remedy, before anything is compiled.
        TypeError: for what is no number, or no integer.

    >>> BanditConfig(tau=-1.0)
    Traceback (most recent call last):
        ...
    ValueError: tau must be greater than zero, got -1.0; give a strength in reward units, for instance 0.1
    """

    algorithm: str = "pmd-mean"
    reward: str = "binary"
    actions: int = 1000
    contexts: int = 1
    success_mass: float = 0.01
    success_fraction: float = 0.1
    spread: float = 0.0
    tau: float = 0.03
    rollouts: int = 4
    groups: int = 32
    batches: int = 60
    minibatches: int = 1
    epochs: int = 50
    lag: int = 0
    anchor: str = "sampler"
    correction: str = "none"
    cap: float = 2.0
    filter_groups: bool = False
    oversample: float = 1.0
    optimizer: str = "adam"
    learning_rate: float = 0.005
    seed: int = 0
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        check(self, NAMES)


def make_world(config: BanditConfig) -> World:
    """The rewards and the initial policy of a config.

    >>> import numpy as np
    >>> found = make_world(BanditConfig(actions=10, success_fraction=0.2, success_mass=0.05))
    >>> found.reward.sum(), round(float(np.exp(found.log_policy[0]) @ found.reward), 12)  # successes, and their mass
    (np.float64(2.0), 0.05)
    """
    return world(
        config.reward,
        config.actions,
        config.contexts,
        success_mass=config.success_mass,
        success_fraction=config.success_fraction,
        spread=config.spread,
    )


def make_step(config: BanditConfig) -> tuple[Callable[[], State], Callable[..., tuple[State, dict[str, Array]]]]:
    """Training in single batches, for runs that are watched, saved and resumed.

    Args:
        config: of the run.

    Returns:
        start() -> `State`, and step(state, key, batch, tau, learning_rate) -> (state, metrics), jitted. `key` is that
        of the run and `batch` its number: together they are all the randomness there is.

    >>> start, step = make_step(BanditConfig(actions=20, batches=1, epochs=2))
    >>> state, metrics = step(start(), jax.random.key(0), 0, 0.03, 0.1)
    >>> sorted(metrics)[:4]
    ['distance', 'diversity', 'entropy', 'kl']
    """
    return _compiled(replace(config, **_IMMATERIAL))


_IMMATERIAL: Final[dict[str, Any]] = {"batches": 1, "seed": 0, "tau": 1.0, "learning_rate": 1.0}  # for a single batch


@lru_cache(maxsize=16)
def _compiled(config: BanditConfig) -> tuple[Callable[[], State], Callable[..., tuple[State, dict[str, Array]]]]:
    """One jitted batch for all configs that differ in its arguments only, so that a process compiles it once."""
    built = make_world(config)

    def step(
        state: State, key: Array, batch: Array, tau: Array, learning_rate: Array
    ) -> tuple[State, dict[str, Array]]:
        return batch_step(config, built, state, key, batch, tau, learning_rate)

    return lambda: begin(config, built), jax.jit(step)


def make_train(config: BanditConfig) -> Callable[..., Result]:
    r"""Training as one jitted function.

    Args:
        config: of the run; its seed is not used here.

    Returns:
        train(key, *, tau=None, learning_rate=None) -> `Result`; None takes the config's value. `key` is a random key,
        or an integer seed. Under `jax.vmap` any of the three can be an array of many.

    Numerics: float32. Metrics are exact expectations under the policy, no samples.

    >>> train = make_train(BanditConfig(actions=50, batches=5))
    >>> seeds = jax.vmap(train)(jax.random.split(jax.random.key(0), 3))
    >>> seeds.metrics["success"].shape
    (3, 5)
    """
    built = make_world(config)

    @jax.jit
    def run(key: Array, tau: Array, learning_rate: Array) -> Result:
        state = begin(config, built)

        def body(state: State, batch: Array) -> tuple[State, dict[str, Array]]:
            return batch_step(config, built, state, key, batch, tau, learning_rate)

        last, metrics = jax.lax.scan(body, state, jnp.arange(config.batches))
        return Result(last, metrics, look(built, state.logits))

    def train(key: Any, *, tau: Any = None, learning_rate: Any = None) -> Result:
        """Train from a key; see `make_train`."""
        strength = config.tau if tau is None else tau
        rate = config.learning_rate if learning_rate is None else learning_rate
        seed = jax.random.key(key) if isinstance(key, int) else key
        found: Result = run(seed, jnp.asarray(strength, jnp.float32), jnp.asarray(rate, jnp.float32))
        return found

    return train
