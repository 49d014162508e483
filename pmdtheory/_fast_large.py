r"""Laws of very many actions in the JAX engine: few passes over memory, each fused from end to end.

The step is \(v = \log\omega(z) - u\), \(z = x + u\), \(u = \log\lambda\), and its mass is \(E\omega(x + u) = e^u\).
As the derivatives of \(\omega\) are rational in \(\omega\) and its singularities lie at distance \(\pi\) or more from
the real axis, one pass at \(u_0\) gives the mass at every u near it as a Taylor polynomial, to rounding for
\(|u - u_0| \le\) `_NEAR`. A first u comes from the rewards in bins; then one pass suffices, and a `while_loop` takes
another where it does not. What this cannot do to the last digit is left to the general path: small multipliers,
laws that are not well behaved, and derivatives.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pmdtheory._fast_inputs import Laid
from pmdtheory._fast_omega import omega_once
from pmdtheory._fast_step import BatchStep, Code, recorded
from pmdtheory._fast_sums import swept
from pmdtheory._fast_survey import Surveyed, first_multiplier, surveyed

__all__ = ["LARGE", "large"]

LARGE: Final = 32_768
_NEAR: Final = 1e-4
_PASSES: Final = 8
_REACH: Final = 1.0  # nats that one pass may move u

General = Callable[[Laid, tuple[int, ...]], BatchStep]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def large(general: General, shape: tuple[int, ...], laid: Laid) -> BatchStep:
    """PMD-mean, or PMD(b) where there is a baseline, by few passes; by the general path where these are not enough."""
    law = surveyed(laid)
    found = _found(law)
    # a loop of no or one turn: unlike those of a `cond`, its results stay in the memory that they were written to
    _, step = lax.while_loop(
        lambda state: state[0],
        lambda state: (jnp.zeros((), bool), general(laid, shape)),
        (~jnp.all(found.fine), _finished(law, found, shape)),
    )
    return step


@large.defjvp
def _large_jvp(general: General, shape: tuple[int, ...], primals: Any, tangents: Any) -> tuple[BatchStep, Any]:
    step, moved = jax.jvp(lambda laid: general(laid, shape), primals, tangents)
    return step, moved


class _Found(NamedTuple):
    r"""Per law: t of the last pass, the move s from it, the drift \(u - t - s\), E a; `[A, N]` omega at that pass."""

    t: Array
    move: Array
    drift: Array
    offset: Array
    omega: Array
    passes: Array
    fine: Array


def _found(law: Surveyed) -> _Found:
    r"""Solve \(E\omega(x_0 + t) = e^{t + d}\), where \(x_0\) is measured from a rounded mean and d makes up for it."""
    scale = 1.0 / law.tau

    def terms(place: Array, log_mass: Array, r: Array) -> tuple[Any, ...]:
        x, mass = (r - law.mean) * scale, jnp.exp(log_mass - law.top)
        w = omega_once(x + place)
        p = 1.0 / (1.0 + w)
        q = w * p
        second = q * p * p
        return (mass * x, mass * w, mass * q, mass * second, mass * second * p * (p - 2.0 * q)), (), (w,)

    def more(s: _Found) -> Array:
        return jnp.any(law.fine & ~(jnp.abs(s.move) <= _NEAR)) & (s.passes < _PASSES)

    def step(s: _Found) -> _Found:
        place = jnp.where(jnp.abs(s.move) <= _NEAR, s.t, s.t + s.move)
        (offset, *moments), _, (w,) = swept(partial(terms, place), law.log_policy, law.reward, into=(s.omega,))
        offset, value, first, second, third = (part / law.total for part in (offset, *moments))
        drift = offset + law.shift
        log_value = jnp.log(value) - place - drift
        move = jnp.zeros_like(place)
        for _ in range(5):  # Newton on log E omega(x + t + s) - (t + s + d), a cubic inside
            growth = move * (first + move * (0.5 * second + move * (third / 6.0))) / value
            slope = (first + move * (second + 0.5 * move * third)) / (value * (1.0 + growth)) - 1.0
            move = jnp.clip(move - (log_value + jnp.log1p(growth) - move) / slope, -_REACH, _REACH)
        return _Found(place, move, drift, offset, w, s.passes + 1, s.fine)

    place = first_multiplier(law)
    least = 1e-3 if law.reward.dtype == jnp.float64 else 3e-2  # the mass knows lambda to eps/lambda
    law = law._replace(fine=law.fine & (place + law.shift >= math.log(0.9 * least)))
    far = jnp.full_like(place, 2.0 * _REACH)
    none = jnp.zeros_like(place)
    begun = _Found(place - far, far, none, none, jnp.zeros_like(law.reward), jnp.zeros((), jnp.int32), law.fine)
    last = lax.while_loop(more, step, begun)
    weight = jnp.exp(last.t + last.move + last.drift)
    fine = law.fine & (jnp.abs(last.move) <= _NEAR) & (weight >= least) & jnp.isfinite(weight)
    return last._replace(fine=fine)


def _finished(law: Surveyed, found: _Found, shape: tuple[int, ...]) -> BatchStep:
    scale, s = 1.0 / law.tau, found.move
    multiplier = jnp.exp(found.t + s + found.drift)
    log_total = law.top + jnp.log(law.total)

    def measures(log_mass: Array, r: Array, w: Array) -> tuple[Any, ...]:
        alive = log_mass > -jnp.inf
        a = (r - law.mean) * scale - found.offset
        p = 1.0 / (1.0 + w)
        q = w * p
        # log omega(z + s) from omega(z), and log omega = z - omega
        moved = s * p * (1.0 - s * p * q * (0.5 - s * (1.0 / 6.0) * p * (2.0 * q - p)))
        v = jnp.where(alive, (a - law.shift) + (moved - w - s), 0.0)
        rho, m = jnp.exp(v), jnp.exp(log_mass - log_total)
        change = m * (rho - 1.0)
        error = jnp.where(alive, jnp.abs(v + multiplier * rho - (a - law.shift)), 0.0)
        return (change, change * v, m * v, change * rho, change * a), (error,), (v,)

    sums, (error,), (v,) = swept(measures, law.log_policy, law.reward, found.omega)
    excess, tilted, straight, squared, gain = sums
    kl, reverse, chi2 = tilted + straight - excess, excess - straight, squared - excess
    log_policy = law.log_policy - log_total + v
    reach = jnp.maximum(law.best - law.mean, law.mean - law.worst) * scale
    largest = jnp.maximum(jnp.maximum(1.0, jnp.abs(law.shift)), reach)
    residual = jnp.maximum(jnp.abs(excess), error / largest)
    mean = law.mean + found.offset * law.tau
    improvement = law.tau * gain
    numbers = (multiplier, law.baseline, mean + improvement, improvement, kl, reverse, chi2, excess, chi2)
    return recorded(
        shape,
        jnp.full(multiplier.shape, Code.SOLVED),
        log_policy,
        jnp.exp(log_policy),
        v,
        *numbers,
        residual,
        solved=True,
    )
