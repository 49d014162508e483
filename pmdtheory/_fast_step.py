"""Inputs and outputs of the JAX engine: broadcasting, masks, normalisation, and the record of a step."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from pmdtheory._fast_omega import folded_smoothly, largest, totals
from pmdtheory._fast_root import Law, changes, weighted

__all__ = ["BatchStep", "Code", "Laid", "finish", "lay", "prepare"]


class Code(IntEnum):
    """Meaning of `BatchStep.status`."""

    SOLVED = 0
    MAX_STEPS = 1
    BASELINE_TOO_HIGH = 2
    BLIND_ACTIONS = 3
    BAD_INPUT = 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BatchStep:
    r"""One step \(\pi \to \pi^+\) for each of many laws; a pytree of arrays.

    Attributes:
        log_policy: `[..., A]`, \(\log\pi^+\), nats; -inf for actions without mass and where the mask is False.
        policy: `[..., A]`, \(\pi^+\).
        log_ratio: `[..., A]`, \(\log\pi^+/\pi\), nats; zero for actions without mass, which stay where they are.
        multiplier: `[...]`, \(\lambda\), dimensionless.
        baseline: `[...]`, b, nats.
        expected_reward: `[...]`, \(E_{\pi^+} r\), reward units.
        improvement: `[...]`, \(E_{\pi^+} r - E_\pi r\) without cancellation, reward units.
        kl: `[...]`, \(\mathrm{KL}(\pi^+\|\pi)\), nats.
        reverse_kl: `[...]`, \(\mathrm{KL}(\pi\|\pi^+)\), nats.
        chi2: `[...]`, \(\chi^2(\pi^+\|\pi)\), inf beyond the dtype.
        residual: `[...]`, the larger of |mass - 1| and the stationarity error over max(1, max|a|); not differentiated.
        status: `[...]`, integer, a `Code`: 0 solved; 1 out of passes; 2 baseline above log Z, where the multiplier
            is negative (the NumPy `baseline_update` solves it); 3 the sampler misses actions and the multiplier is
            not positive; 4 bad input (NaN, tau <= 0, no mass, r/tau overflows, mass of the sampler outside of the
            policy's). Floating fields are NaN where it is not 0, and only there.
    """

    log_policy: Array
    policy: Array
    log_ratio: Array
    multiplier: Array
    baseline: Array
    expected_reward: Array
    improvement: Array
    kl: Array
    reverse_kl: Array
    chi2: Array
    residual: Array
    status: Array


class Laid(NamedTuple):
    """Arguments as arrays `[A, N]` and `[N]` in one dtype, and the shape `[..., A]` they came from."""

    log_policy: Array
    reward: Array
    tau: Array
    mask: Array
    baseline: Array | None
    log_sampler: Array | None
    shape: tuple[int, ...]


def lay(
    log_policy: ArrayLike,
    reward: ArrayLike,
    tau: ArrayLike,
    mask: ArrayLike | None,
    baseline: ArrayLike | None = None,
    log_sampler: ArrayLike | None = None,
) -> Laid:
    """Broadcast everything, actions first."""
    dtype = jnp.promote_types(jnp.result_type(log_policy, reward, float), jnp.float32)
    actions = {"log_policy": log_policy, "reward": reward, "mask": mask, "log_sampler": log_sampler}
    shapes = [jnp.shape(value) for value in actions.values() if value is not None]
    shapes += [(*jnp.shape(value), 1) for value in (tau, baseline) if value is not None]
    try:
        shape = jnp.broadcast_shapes(*shapes)
    except ValueError:
        named = ", ".join(f"{name} {jnp.shape(value)}" for name, value in actions.items() if value is not None)
        raise ValueError(
            f"shapes do not broadcast: {named}, tau {jnp.shape(tau)}, baseline {jnp.shape(baseline or 0.0)}; "
            "pass arrays [..., A], and tau and baseline as scalars or [...]"
        ) from None
    if jnp.ndim(log_policy) == 0 or shape[-1] == 0 or jnp.shape(log_policy)[-1] != shape[-1]:
        raise ValueError(f"log_policy has shape {jnp.shape(log_policy)} for {shape}; pass log-probabilities [..., A]")

    def per_action(value: ArrayLike, kind: jnp.dtype) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, kind), shape).reshape(-1, shape[-1]).T

    def per_law(value: ArrayLike) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, dtype), shape[:-1]).reshape(-1)

    return Laid(
        per_action(log_policy, dtype),
        per_action(reward, dtype),
        per_law(tau),
        per_action(True if mask is None else mask, jnp.dtype(bool)),
        None if baseline is None else per_law(baseline),
        None if log_sampler is None else per_action(log_sampler, dtype),
        shape,
    )


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
    seen = laid.mask
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


def _measures(mass: Array, log_mass: Array, v: Array, a: Array) -> tuple[Array, ...]:
    r"""Terms of the mass defect, of KL(new, old), of KL(old, new), of chi2, and of the gain over tau."""
    law = Law(mass, log_mass)
    change, rest = changes(law, v)
    limit = 0.4 * math.log(np.finfo(v.dtype).max)
    large = (v > limit) | (log_mass < -limit)
    direct = change * jnp.expm1(jnp.where(large, 0.0, v))
    extreme = jnp.exp(jnp.where(large & (log_mass > -jnp.inf), log_mass + 2.0 * v, 0.0)) - 2.0 * change - mass
    squared = jnp.where(large, jnp.where(log_mass > -jnp.inf, extreme, 0.0), direct)
    return change, change * v - rest, rest, squared, change * a


def finish(
    problem: Prepared,
    shape: tuple[int, ...],
    log_ratio: Array,
    multiplier: Array,
    baseline: Array,
    shift: Array,
    code: Array,
    *,
    log_scale: Array | None = None,
    blind: Array | None = None,
) -> BatchStep:
    """Record a step: `[A, N]` log-ratio (any number where there is no mass), `[N]` multiplier, baseline and code."""
    law, alive, a = problem.law, problem.alive, problem.advantage
    lost = ~alive if blind is None else ~alive | blind
    v = jnp.where(lost, 0.0, log_ratio)
    excess, kl, reverse, chi2, gain = folded_smoothly(_measures, *law, v, a)
    if blind is not None:
        gone = jnp.where(blind, law.mass, 0.0)
        missed, cost = jnp.sum(gone, axis=0), jnp.sum(gone * a, axis=0)
        excess, kl, chi2, gain = excess - missed, kl + missed, chi2 + missed, gain - cost
        reverse = jnp.where(missed > 0.0, jnp.inf, reverse)
    log_weight, shift = jnp.log(lax.stop_gradient(multiplier)), lax.stop_gradient(shift)

    def errors(v: Array, a: Array, gone: Array, *scale: Array) -> tuple[Array, ...]:
        lift = jnp.exp(log_weight + v + scale[0] if scale else log_weight + v)
        return jnp.where(gone, 0.0, jnp.abs(v + lift - (a - shift))), jnp.abs(a)

    parts = (v, a, lost) if log_scale is None else (v, a, lost, log_scale)
    error, reach = largest(errors, *map(lax.stop_gradient, parts))
    residual = jnp.maximum(jnp.abs(excess), error / jnp.maximum(jnp.maximum(1.0, jnp.abs(shift)), reach))
    residual = lax.stop_gradient(residual)
    code = jnp.where(problem.bad, Code.BAD_INPUT, code).astype(jnp.int32)
    improvement = problem.tau * gain
    policy = weighted(law, v)
    ratio, log_policy = v, jnp.where(alive, jnp.where(alive, law.log_mass, 0.0) + v, -jnp.inf)
    if blind is not None:
        policy = jnp.where(blind, 0.0, policy)
        ratio, log_policy = jnp.where(blind, -jnp.inf, ratio), jnp.where(blind, -jnp.inf, log_policy)
    solved = code == Code.SOLVED

    def shown(value: Array) -> Array:
        kept = jnp.where(solved, value, jnp.nan)
        return kept.T.reshape(shape) if value.ndim == 2 else kept.reshape(shape[:-1])

    numbers = (multiplier, baseline, problem.mean + improvement, improvement, kl, reverse, chi2, residual)
    fields = [*map(shown, (log_policy, policy, ratio, *numbers)), code.reshape(shape[:-1])]
    return BatchStep(*fields)
