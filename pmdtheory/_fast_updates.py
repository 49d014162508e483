"""The four updates of the JAX engine as they are compiled: arguments as in `fast`, results as `BatchStep`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from pmdtheory._fast_omega import omega
from pmdtheory._fast_root import Law, log_mean, root
from pmdtheory._fast_step import BatchStep, Code, Prepared, finish, lay, normalised, prepare

__all__ = ["jitted_baseline", "jitted_kl", "jitted_mean", "jitted_mismatched", "jitted_omega"]

jitted_omega = jax.jit(omega)


@jax.jit
def jitted_kl(log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, mask: ArrayLike | None) -> BatchStep:
    laid = lay(log_policy, reward, tau, mask)
    problem = prepare(laid)
    zero = jnp.zeros_like(problem.mean)
    gap = log_mean(problem.law, problem.advantage, zero)
    best = lax.stop_gradient(jnp.max(jnp.where(problem.alive, problem.reward, -jnp.inf), axis=0))
    depth = jnp.where(problem.alive, problem.reward - best, 0.0) / problem.tau
    far = depth - log_mean(problem.law, depth, (problem.mean - best) / problem.tau)
    v = jnp.where(gap < 1.0, problem.advantage - gap, far)
    return finish(problem, laid.shape, v, zero, problem.mean / problem.tau + gap, gap, jnp.zeros_like(zero))


@jax.jit
def jitted_mean(log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, mask: ArrayLike | None) -> BatchStep:
    laid = lay(log_policy, reward, tau, mask)
    problem = prepare(laid)
    zero = jnp.zeros_like(problem.mean)
    v, multiplier, converged = root(problem.law, problem.advantage, None, zero, zero, zero)
    code = jnp.where(converged > 0.0, Code.SOLVED, Code.MAX_STEPS)
    return finish(problem, laid.shape, v, multiplier, problem.mean / problem.tau, zero, code)


@jax.jit
def jitted_baseline(
    log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, baseline: ArrayLike, mask: ArrayLike | None
) -> BatchStep:
    laid = lay(log_policy, reward, tau, mask, baseline)
    problem = prepare(laid)
    b, problem = _checked(laid.baseline, problem)
    shift = b - problem.mean / problem.tau
    x = problem.advantage - shift
    zero = jnp.zeros_like(shift)
    gap = lax.stop_gradient(log_mean(problem.law, x, -shift))
    v, multiplier, converged = root(problem.law, x, None, -shift, -shift, zero)
    v, code = _judged(problem, b, v, gap, converged, zero)
    return finish(problem, laid.shape, v, multiplier, b, shift, code)


@jax.jit
def jitted_mismatched(
    log_policy: ArrayLike,
    reward: ArrayLike,
    tau: ArrayLike,
    log_sampler: ArrayLike,
    baseline: ArrayLike | None,
    mask: ArrayLike | None,
) -> BatchStep:
    laid = lay(log_policy, reward, tau, mask, baseline, log_sampler)
    problem = prepare(laid)
    log_mu = laid.log_sampler
    assert log_mu is not None
    drawn = laid.mask & (log_mu > -jnp.inf)
    wrong = jnp.any(drawn & ~problem.alive | laid.mask & ~(log_mu < jnp.inf), axis=0) | ~jnp.any(drawn, axis=0)
    problem = problem._replace(bad=problem.bad | wrong)
    seen = problem.alive & jnp.where(problem.bad, True, drawn)
    sampler = normalised(jnp.where(seen & ~problem.bad, log_mu, 0.0), seen)
    if baseline is None:
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
    gap = lax.stop_gradient(log_mean(law, x, known - blind))
    v, multiplier, converged = root(law, x, log_scale, None, known, blind)
    v, code = _judged(problem, b, v, gap, converged, jnp.any(unseen, axis=0))
    return finish(problem, laid.shape, v, multiplier, b, shift, code, log_scale=log_scale, blind=unseen)


def _checked(baseline: Array | None, problem: Prepared) -> tuple[Array, Prepared]:
    assert baseline is not None
    wrong = ~jnp.isfinite(baseline)
    return jnp.where(wrong, 0.0, baseline), problem._replace(bad=problem.bad | wrong)


def _judged(problem: Prepared, b: Array, v: Array, gap: Array, converged: Array, missed: Array) -> tuple[Array, Array]:
    """The log-ratio, normalised where b is log Z to rounding, and the code that the gap log Z - b and the loop mean."""
    size = jnp.maximum(jnp.abs(b), jnp.abs(problem.mean / problem.tau))
    size = jnp.maximum(size, jnp.max(jnp.abs(problem.advantage), axis=0))
    slack = 16.0 * float(np.finfo(v.dtype).eps) * jnp.maximum(1.0, size)
    v = jnp.where((gap <= 0.0) & (gap >= -slack), v - gap, v)
    code = jnp.where(converged > 0.0, Code.SOLVED, Code.MAX_STEPS)
    code = jnp.where(gap < -slack, Code.BASELINE_TOO_HIGH, code)
    return v, jnp.where((gap <= 0.0) & (missed > 0), Code.BLIND_ACTIONS, code)
