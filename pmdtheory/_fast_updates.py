"""The four updates of the JAX engine as they are compiled: arguments as in `fast`, results as `BatchStep`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from pmdtheory._fast_batches import in_blocks
from pmdtheory._fast_inputs import Laid, Prepared, lay, normalised, prepare
from pmdtheory._fast_large import LARGE, large
from pmdtheory._fast_law import Law, log_mean
from pmdtheory._fast_omega import omega
from pmdtheory._fast_root import Root, root
from pmdtheory._fast_step import BatchStep, Code, finish

__all__ = ["jitted_baseline", "jitted_kl", "jitted_mean", "jitted_mismatched", "jitted_omega"]

jitted_omega = jax.jit(omega)


@jax.jit
def jitted_kl(log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, mask: ArrayLike | None) -> BatchStep:
    return in_blocks(_ideal, *lay(log_policy, reward, tau, mask))


def _ideal(laid: Laid, shape: tuple[int, ...]) -> BatchStep:
    problem = prepare(laid)
    zero = jnp.zeros_like(problem.mean)
    gap = log_mean(problem.law, problem.advantage, zero)
    best = lax.stop_gradient(jnp.max(jnp.where(problem.alive, problem.reward, -jnp.inf), axis=0))
    depth = jnp.where(problem.alive, problem.reward - best, 0.0) / problem.tau
    far = depth - log_mean(problem.law, depth, (problem.mean - best) / problem.tau)
    v = jnp.where(gap < 1.0, problem.advantage - gap, far)
    return finish(problem, shape, v, zero, problem.mean / problem.tau + gap, gap, jnp.zeros_like(zero))


@jax.jit
def jitted_mean(log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, mask: ArrayLike | None) -> BatchStep:
    laid, shape = lay(log_policy, reward, tau, mask)
    return large(_mean, shape, laid) if laid.reward.shape[0] >= LARGE else in_blocks(_mean, laid, shape)


@jax.jit
def jitted_baseline(
    log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, baseline: ArrayLike, mask: ArrayLike | None
) -> BatchStep:
    laid, shape = lay(log_policy, reward, tau, mask, baseline)
    return large(_given, shape, laid) if laid.reward.shape[0] >= LARGE else in_blocks(_given, laid, shape)


def _mean(laid: Laid, shape: tuple[int, ...]) -> BatchStep:
    problem = prepare(laid)
    zero = jnp.zeros_like(problem.mean)
    found = root(False, problem.law, problem.advantage, None, zero, zero, zero, zero)
    code = jnp.where(found.outcome > 0.0, Code.SOLVED, Code.MAX_STEPS)
    return finish(problem, shape, found.log_ratio, found.multiplier, problem.mean / problem.tau, zero, code)


def _given(laid: Laid, shape: tuple[int, ...]) -> BatchStep:
    problem = prepare(laid)
    b, problem = _checked(laid.baseline, problem)
    shift = b - problem.mean / problem.tau
    x = problem.advantage - shift
    zero = jnp.zeros_like(shift)
    slack = _slack(problem, b)
    found = root(True, problem.law, x, None, -shift, -shift, zero, slack)
    v, code = _judged(found, slack, zero)
    return finish(problem, shape, v, found.multiplier, b, shift, code)


@jax.jit
def jitted_mismatched(
    log_policy: ArrayLike,
    reward: ArrayLike,
    tau: ArrayLike,
    log_sampler: ArrayLike,
    baseline: ArrayLike | None,
    mask: ArrayLike | None,
) -> BatchStep:
    return in_blocks(_anchored, *lay(log_policy, reward, tau, mask, baseline, log_sampler))


def _anchored(laid: Laid, shape: tuple[int, ...]) -> BatchStep:
    problem = prepare(laid)
    log_mu = laid.log_sampler
    assert log_mu is not None
    valid = jnp.ones_like(log_mu, bool) if laid.mask is None else laid.mask
    drawn = valid & (log_mu > -jnp.inf)
    wrong = jnp.any(drawn & ~problem.alive | valid & ~(log_mu < jnp.inf), axis=0) | ~jnp.any(drawn, axis=0)
    problem = problem._replace(bad=problem.bad | wrong)
    seen = problem.alive & jnp.where(problem.bad, True, drawn)
    sampler = normalised(jnp.where(seen & ~problem.bad, log_mu, 0.0), seen)
    if laid.baseline is None:
        shift = jnp.sum(sampler.mass * problem.advantage, axis=0)
        b = problem.mean / problem.tau + shift
    else:
        b, problem = _checked(laid.baseline, problem)
        shift = b - problem.mean / problem.tau
    law = Law(jnp.where(seen, problem.law.mass, 0.0), jnp.where(seen, problem.law.log_mass, -jnp.inf))
    log_scale = jnp.where(
        seen, jnp.where(seen, problem.law.log_mass, 0.0) - jnp.where(seen, sampler.log_mass, 0.0), 0.0
    )
    unseen = problem.alive & ~seen
    blind = jnp.sum(jnp.where(unseen, problem.law.mass, 0.0), axis=0)
    x = problem.advantage - shift
    known = jnp.sum(law.mass * x, axis=0)
    slack = _slack(problem, b)
    found = root(True, law, x, log_scale, None, known, blind, slack)
    v, code = _judged(found, slack, jnp.any(unseen, axis=0))
    return finish(
        problem, shape, v, found.multiplier, b, shift, code, sampler=sampler, log_scale=log_scale, blind=unseen
    )


def _checked(baseline: Array | None, problem: Prepared) -> tuple[Array, Prepared]:
    assert baseline is not None
    wrong = ~jnp.isfinite(baseline)
    return jnp.where(wrong, 0.0, baseline), problem._replace(bad=problem.bad | wrong)


def _slack(problem: Prepared, b: Array) -> Array:
    """Rounding of the gap log Z - b, nats."""
    size = jnp.maximum(jnp.abs(b), jnp.abs(problem.mean / problem.tau))
    size = jnp.maximum(size, jnp.max(jnp.abs(problem.advantage), axis=0))
    return lax.stop_gradient(16.0 * float(np.finfo(b.dtype).eps) * jnp.maximum(1.0, size))


def _judged(found: Root, slack: Array, missed: Array) -> tuple[Array, Array]:
    """The log-ratio, normalised where b is log Z to rounding, and the code that the gap log Z - b and the root mean."""
    v, gap = found.log_ratio, lax.stop_gradient(found.gap)
    v = jnp.where((gap <= 0.0) & (gap >= -slack), v - gap, v)
    code = jnp.where(found.outcome > 0.0, Code.SOLVED, Code.MAX_STEPS)
    code = jnp.where(found.outcome < 0.0, Code.BASELINE_TOO_HIGH, code)
    return v, jnp.where((gap <= 0.0) & (missed > 0), Code.BLIND_ACTIONS, code)
