"""Inputs of the JAX engine: broadcasting, masks, checks of values, normalisation, centring."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from pmdtheory._fast_law import Law
from pmdtheory._fast_sums import totals

__all__ = ["Laid", "Prepared", "lay", "normalised", "prepare"]


class Laid(NamedTuple):
    """Arguments as arrays `[A, N]` and `[N]` in one dtype; None for what was not given."""

    log_policy: Array
    reward: Array
    tau: Array
    mask: Array | None = None
    baseline: Array | None = None
    log_sampler: Array | None = None


def lay(
    log_policy: ArrayLike,
    reward: ArrayLike,
    tau: ArrayLike,
    mask: ArrayLike | None,
    baseline: ArrayLike | None = None,
    log_sampler: ArrayLike | None = None,
) -> tuple[Laid, tuple[int, ...]]:
    """Broadcast everything, actions first; also the shape `[..., A]` that results will have."""
    dtype = jnp.promote_types(jnp.result_type(log_policy, reward, float), jnp.float32)
    actions = {"log_policy": log_policy, "reward": reward, "mask": mask, "log_sampler": log_sampler}
    shapes = [jnp.shape(value) for value in actions.values() if value is not None]
    shapes += [(*jnp.shape(value), 1) for value in (tau, baseline) if value is not None]
    try:
        shape = jnp.broadcast_shapes(*shapes)
    except ValueError:
        named = ", ".join(f"{name} {jnp.shape(value)}" for name, value in actions.items() if value is not None)
        numbers = f"tau {jnp.shape(tau)}, baseline {() if baseline is None else jnp.shape(baseline)}"
        raise ValueError(
            f"shapes do not broadcast: {named}, {numbers}; "
            "pass arrays [..., A], and tau and baseline as scalars or [...]"
        ) from None
    if jnp.ndim(log_policy) == 0 or shape[-1] == 0 or jnp.shape(log_policy)[-1] != shape[-1]:
        raise ValueError(f"log_policy has shape {jnp.shape(log_policy)} for {shape}; pass log-probabilities [..., A]")

    def per_action(value: ArrayLike, kind: jnp.dtype) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, kind), shape).reshape(-1, shape[-1]).T

    def per_law(value: ArrayLike) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, dtype), shape[:-1]).reshape(-1)

    laid = Laid(
        per_action(log_policy, dtype),
        per_action(reward, dtype),
        per_law(tau),
        None if mask is None else per_action(mask, jnp.dtype(bool)),
        None if baseline is None else per_law(baseline),
        None if log_sampler is None else per_action(log_sampler, dtype),
    )
    return laid, shape


class Prepared(NamedTuple):
    r"""Normalised laws with centred advantages: `[A, N]` alive, a, r; `[N]` mean, tau, bad."""

    law: Law
    alive: Array
    advantage: Array
    reward: Array
    mean: Array
    tau: Array
    bad: Array


def normalised(log_policy: Array, alive: Array) -> Law:
    """The law of log-weights `[A, N]`, without mass where not alive."""
    some = jnp.where(alive, log_policy, 0.0)
    some = some - lax.stop_gradient(jnp.max(jnp.where(alive, log_policy, -jnp.inf), axis=0))
    (total,) = totals(jnp.where(alive, jnp.exp(jnp.where(alive, some, 0.0)), 0.0))
    log_total = jnp.log(total)
    centred = jnp.where(alive, some - log_total, 0.0)
    return Law(jnp.where(alive, jnp.exp(centred), 0.0), jnp.where(alive, centred, -jnp.inf))


def prepare(laid: Laid) -> Prepared:
    """Check values, replace what is bad or masked by what is harmless, normalise, centre in two passes."""
    seen = jnp.ones_like(laid.log_policy, bool) if laid.mask is None else laid.mask
    alive = seen & (laid.log_policy > -jnp.inf)
    wrong = seen & ~(laid.log_policy < jnp.inf) | alive & ~jnp.isfinite(laid.reward)
    bad = jnp.any(wrong, axis=0) | ~jnp.any(alive, axis=0) | ~((laid.tau > 0.0) & jnp.isfinite(laid.tau))
    tau = jnp.where(bad, 1.0, laid.tau)
    best = jnp.max(jnp.where(alive, laid.reward, -jnp.inf), axis=0)
    worst = jnp.min(jnp.where(alive, laid.reward, jnp.inf), axis=0)
    bad = bad | ~jnp.isfinite((best - worst) / tau)
    tau, alive = jnp.where(bad, 1.0, tau), alive | bad
    fine = alive & ~bad
    reward = jnp.where(fine, laid.reward, 0.0)
    law = normalised(jnp.where(fine, laid.log_policy, 0.0), alive)
    (anchor,) = totals(lax.stop_gradient(law.mass * reward))
    anchor = jnp.clip(anchor, jnp.where(bad, 0.0, worst), jnp.where(bad, 0.0, best))
    anchor = lax.stop_gradient(anchor)
    from_anchor = jnp.where(alive, reward - anchor, 0.0)
    (rest,) = totals(law.mass * from_anchor)
    advantage = jnp.where(alive, from_anchor - rest, 0.0) / tau
    return Prepared(law, alive, advantage, reward, anchor + rest, tau, bad)
