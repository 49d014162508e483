r"""The step that an algorithm would take with infinitely many rollouts and a minimised loss: what it aims at.

Letters: `C` contexts, `K` actions, `L` reward levels. The partition is the ideal one, so PMD-part aims at KL-PMD; with
n rollouts its own mean is PMD(b_{n-1}) (C12), nearer to PMD-mean. Algorithms without a minimum aim at nothing: NaN.
Filtering and the cap of a correction are left out of account, so a distance to this step contains their effect.
"""

from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
from jax import Array

from pmdtheory import fast
from tiny_llm_rl._bandit_world import World, by_level, from_level
from tiny_llm_rl._products import matmul
from tiny_llm_rl.algorithm import ALGORITHMS

if TYPE_CHECKING:
    from tiny_llm_rl.bandit import BanditConfig

__all__ = ["MEMBER", "aim", "exact", "member"]

MEMBER: Final = {
    "exact-mean": "mean",
    "exact-kl": "kl",
    "pmd-mean": "mean",
    "pmd-mean-group": "mean-group",
    "pmd-part": "kl",
    "pmd-part-group": "kl",
    "pmd-part-clamped": "kl",
    "pmd-level": "level",
    "kl-chi2": "mixed",
    "kl-pg": "kl",
}
HALVINGS: Final = 60


def member(config: "BanditConfig") -> str | None:
    """Which population step the algorithm of a config aims at; None where it has none, or where it is not known."""
    habit = config.algorithm in ALGORITHMS and ALGORITHMS[config.algorithm].standardise
    standardise = habit if config.loss.standardise is None else config.loss.standardise
    name = MEMBER.get(config.algorithm)
    if name is None or (standardise and config.algorithm in ALGORITHMS):
        return None
    penalised = config.algorithm in ("kl-chi2", "kl-pg")
    moved = config.lag > 0 and (config.anchor == "current" or config.correction != "none")
    return None if penalised and moved else name


def mixed(log_policy: Array, reward: Array, tau: Array, weight: float) -> Array:
    """Log-ratio `[C, L]` of the mirror step with an explicit chi2 of weight c: log rho + c rho = r/tau - b."""
    if weight == 0.0:
        return fast.kl_update(log_policy, reward, tau).log_ratio
    scaled, log_c = reward / tau, jnp.log(jnp.asarray(weight, log_policy.dtype))

    def ratio(b: Array) -> Array:
        a = scaled - b
        omega = fast.wright_omega(a + log_c)
        return jnp.where(omega <= 1.0, a - omega, jnp.log(omega) - log_c)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        heavy = jax.nn.logsumexp(log_policy + ratio(middle), -1, keepdims=True) > 0.0
        return jnp.where(heavy, middle, low), jnp.where(heavy, high, middle)

    # Every ratio is at least one at the lower end, and at most one at the upper end.
    low = jnp.min(scaled, -1, keepdims=True) - weight + jnp.zeros_like(log_policy[..., :1])
    high = jnp.max(scaled, -1, keepdims=True) - weight + jnp.zeros_like(log_policy[..., :1])
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    return ratio(0.5 * (low + high))


def exact(name: str, log_policy: Array, reward: Array, tau: Array, config: "BanditConfig") -> Array:
    """Log-ratio `[C, L]` of a member's step from `log_policy[C, L]`; NaN where it does not exist."""
    if name == "mean":
        return fast.mean_update(log_policy, reward, tau).log_ratio
    if name == "mean-group":  # one's own reward in the mean shrinks every target by (n - 1)/n (C12)
        return fast.mean_update(log_policy, reward, tau * (config.rollouts / (config.rollouts - 1))).log_ratio
    if name == "kl":
        return fast.kl_update(log_policy, reward, tau).log_ratio
    if name == "level":
        return fast.baseline_update(log_policy, reward, tau, config.loss.level).log_ratio
    return mixed(log_policy, reward, tau, config.loss.chi2_weight)


def _stale(name: str, current: Array, sampler: Array, reward: Array, tau: Array, config: "BanditConfig") -> Array:
    """Log-policy `[C, K]` of the step with rollouts of a sampler: the KL on the anchor, the chi2 on what counts."""
    anchor = sampler if config.anchor == "sampler" else current
    counted = sampler if config.correction == "none" else current
    if name in ("mean", "mean-group"):
        baseline = matmul(jnp.exp(sampler), reward) / tau  # of the sampler, whatever the weights: they are not in it
        if name == "mean-group":
            tau = tau * (config.rollouts / (config.rollouts - 1))
            baseline = baseline * ((config.rollouts - 1) / config.rollouts)
    elif name == "kl":
        baseline = jax.nn.logsumexp(sampler + reward / tau, -1)
    else:
        baseline = jnp.asarray(config.loss.level, current.dtype)
    return fast.mismatched_update(anchor, reward, tau, counted, baseline).log_policy


def aim(config: "BanditConfig", world: World, tau: Array, current: Array, sampler: Array) -> Array:
    """Log-policy `[C, K]` after the population step from the policies `[C, K]` that train and sample; NaN for none."""
    name = member(config)
    if name is None:
        return jnp.full_like(current, jnp.nan)
    moved = config.lag > 0 and (config.anchor == "current" or config.correction != "none")
    if moved:
        return _stale(name, current, sampler, jnp.asarray(world.reward, current.dtype), tau, config)
    anchor = sampler if config.lag > 0 else current
    levels = jnp.asarray(world.levels, current.dtype)
    ratio = exact(name, by_level(anchor, world.sizes), levels, tau, config)
    return anchor + from_level(ratio, world.sizes)
