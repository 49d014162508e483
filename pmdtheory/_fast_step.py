"""Outputs of the JAX engine: the record of a step, and what it means."""

import math
from dataclasses import dataclass
from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmdtheory._fast_inputs import Prepared
from pmdtheory._fast_law import Law, changes, weighted
from pmdtheory._fast_sums import folded_smoothly, largest

__all__ = ["BatchStep", "Code", "finish", "recorded"]


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
        mass_defect: `[...]`, \(\sum \pi^+ - 1\), summed without cancellation; not differentiated.
        chi2_sampler: `[...]`, \(\chi^2(\pi^+\|\mu)\) against the sampler; `chi2` where that is the policy.
        residual: `[...]`, the larger of |mass - 1| and the stationarity error over max(1, max|a|); not differentiated.
        status: `[...]`, integer, a `Code`: 0 solved; 1 out of passes; 2 baseline so far above log Z that the
            symmetric local minimum is gone (C14); 3 the sampler misses actions and the multiplier is not positive;
            4 bad input (NaN, tau <= 0, no mass, r/tau overflows, mass of the sampler outside of the policy's).
            Floating fields are NaN where it is not 0, and only there.
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
    mass_defect: Array
    chi2_sampler: Array
    residual: Array
    status: Array


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


def _spread(mass: Array, log_mass: Array, v: Array) -> tuple[Array, ...]:
    """Terms of chi2 alone."""
    return (_measures(mass, log_mass, v, v)[3],)


def finish(
    problem: Prepared,
    shape: tuple[int, ...],
    log_ratio: Array,
    multiplier: Array,
    baseline: Array,
    shift: Array,
    code: Array,
    *,
    sampler: Law | None = None,
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
    chi2_sampler = chi2
    if sampler is not None and log_scale is not None:
        (chi2_sampler,) = folded_smoothly(_spread, *sampler, jnp.where(lost, 0.0, v + log_scale))
    signed = lax.stop_gradient(multiplier)
    sign, log_weight, shift = jnp.sign(signed), jnp.log(jnp.abs(signed)), lax.stop_gradient(shift)

    def errors(v: Array, a: Array, gone: Array, *scale: Array) -> tuple[Array, ...]:
        lift = sign * jnp.exp(log_weight + v + scale[0] if scale else log_weight + v)
        return jnp.where(gone, 0.0, jnp.abs(v + lift - (a - shift))), jnp.abs(a)

    parts = (v, a, lost) if log_scale is None else (v, a, lost, log_scale)
    error, reach = largest(errors, *map(lax.stop_gradient, parts))
    excess = lax.stop_gradient(excess)
    residual = jnp.maximum(jnp.abs(excess), error / jnp.maximum(jnp.maximum(1.0, jnp.abs(shift)), reach))
    code = jnp.where(problem.bad, Code.BAD_INPUT, code)
    improvement = problem.tau * gain
    policy = weighted(law, v)
    ratio, log_policy = v, jnp.where(alive, jnp.where(alive, law.log_mass, 0.0) + v, -jnp.inf)
    if blind is not None:
        policy = jnp.where(blind, 0.0, policy)
        ratio, log_policy = jnp.where(blind, -jnp.inf, ratio), jnp.where(blind, -jnp.inf, log_policy)
    numbers = (multiplier, baseline, problem.mean + improvement, improvement, kl, reverse, chi2, excess, chi2_sampler)
    return recorded(shape, code, log_policy, policy, ratio, *numbers, lax.stop_gradient(residual))


def recorded(shape: tuple[int, ...], code: Array, *fields: Array, solved: bool = False) -> BatchStep:
    """A `BatchStep` of this shape from a code `[N]` and floating fields `[A, N]` and `[N]`.

    Fields are NaN where the code is not `SOLVED`; with `solved` it is known to be everywhere, and nothing is touched.
    """
    code = code.astype(jnp.int32)
    fine = code == Code.SOLVED

    def shown(value: Array) -> Array:
        kept = value if solved else jnp.where(fine, value, jnp.nan)
        return kept.T.reshape(shape) if value.ndim == 2 else kept.reshape(shape[:-1])

    arrays = [*map(shown, fields), code.reshape(shape[:-1])]
    return BatchStep(*arrays)
