r"""The multiplier of the JAX engine: \(E e^v = 1\), \(v + \lambda\kappa e^v = x\), for many laws at once.

Arrays are `[A, N]`, actions first, so that what belongs to a law is `[N]` and broadcasts. The loop carries nothing but
numbers per law: a pass over the actions computes the tilt anew and sums it up, in one fused kernel.
"""

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmdtheory._fast_law import Law, bounds, changes, tangent_where_mass, weighted
from pmdtheory._fast_negative import lifted
from pmdtheory._fast_omega import tilt, tilt_and_pull
from pmdtheory._fast_sums import folded

__all__ = ["Root", "root", "solved"]

_MAX_PASSES: Final = 120
_CREEP: Final = 12  # Newton steps that do not halve beyond this number of passes give way to bisection
_SUBSET: Final = 65_536  # laws of four times as many actions start from the multiplier of a regular sample of this size


class Root(NamedTuple):
    r"""Log-ratio v `[A, N]`; \(\lambda\), the gap \(\log E e^x\) and the outcome `[N]`.

    The outcome is 1 for a root, 0 out of passes, and -1 where the gap is negative and there is none. It and the gap
    are not differentiated.
    """

    log_ratio: Array
    multiplier: Array
    gap: Array
    outcome: Array


class _State(NamedTuple):
    u: Array
    low: Array
    high: Array
    moved: Array
    open: Array
    passes: Array


def _newton(
    law: Law,
    x: Array,
    log_scale: Array | None,
    start: Array,
    low: Array,
    high: Array,
    drift: Array | None,
    blind: Array,
    live: Array,
) -> tuple[Array, Array]:
    """Log lambda `[N]` by safeguarded Newton steps, all laws at once, and which of them converged."""
    single = x.dtype == jnp.float32
    enough = 1e-4 if single else 3e-7  # the next error is of the order of the square of the last step
    grain = 4.0 * float(np.finfo(x.dtype).eps)
    smallest = float(np.finfo(x.dtype).tiny)

    arrays = (*law, x) if log_scale is None else (*law, x, log_scale)

    def step(s: _State) -> _State:
        def terms(mass: Array, log_mass: Array, target: Array, *extra: Array) -> tuple[Array, ...]:
            v, pull = tilt_and_pull(target, s.u + extra[0] if extra else s.u)
            change, rest = changes(Law(mass, log_mass), v)
            return change, rest, change * pull, mass * pull

        weight = jnp.exp(s.u)
        excess, reverse, fall, rise = folded(terms, *arrays)
        total = 1.0 + excess - blind
        value = jnp.where(total > 0.5, jnp.log1p(excess - blind), jnp.log(jnp.maximum(total, smallest)))
        slope = -(fall + rise) / jnp.maximum(total, smallest)
        if drift is not None:
            # (1 + lambda)(E e^v - 1) = E[e^v - 1 - v] - (lambda - E x): terms of one sign keep lambda's digits
            usable = (drift <= 0.0) & (-drift <= weight) & (reverse > 0.0) & jnp.isfinite(reverse)
            right = jnp.where(usable, weight - drift, 1.0)
            left = jnp.where(usable, reverse, 1.0)
            value = jnp.where(usable, jnp.log(left / right), value)
            slope = jnp.where(usable, -fall / left - weight / right, slope)
        value = jnp.where(jnp.isnan(value), jnp.inf, value)
        low = jnp.where(value > 0.0, jnp.maximum(s.low, s.u), s.low)
        high = jnp.where(value > 0.0, s.high, jnp.minimum(s.high, s.u))
        newton = jnp.clip(s.u - value / slope, s.low, s.high)
        size = jnp.abs(newton - s.u)
        good = (newton >= low) & (newton <= high) & (newton != s.u) & ~((size > 0.5 * s.moved) & (s.passes > _CREEP))
        target = jnp.where(good, newton, 0.5 * (low + high))
        ends = (value == 0.0) | (low >= high)
        target = jnp.where(s.open & ~ends, target, s.u)
        closed = ends | (good & (size <= enough)) | (high - low <= grain * jnp.maximum(1.0, jnp.abs(target)))
        return _State(target, low, high, jnp.abs(target - s.u), s.open & ~closed, s.passes + 1)

    still = _State(start, low, high, jnp.full_like(low, jnp.inf), live, jnp.zeros((), jnp.int32))
    last = lax.while_loop(lambda s: jnp.any(s.open) & (s.passes < _MAX_PASSES), step, still)
    return last.u, ~last.open


def solved(
    law: Law, x: Array, log_scale: Array | None, drift: Array | None, known: Array, blind: Array
) -> tuple[Array, Array, Array]:
    """Log lambda `[N]` (-inf where log E e^x is not positive), which laws converged, and log E e^x."""
    gap, floor = bounds(law, x, log_scale, known, blind)
    live = gap > 0.0
    size = jnp.log(jnp.where(live, gap, 1.0))
    slack = 3e-4 if x.dtype == jnp.float32 else 1e-9
    low = jnp.where(live, jnp.minimum(floor, size), 0.0) - slack
    high = jnp.where(live, jnp.maximum(floor, size), 0.0) + slack
    start = low
    if log_scale is None and drift is not None and x.shape[0] >= 4 * _SUBSET:
        stride = x.shape[0] // _SUBSET
        part = jnp.maximum(jnp.sum(law.mass[::stride], axis=0), float(np.finfo(x.dtype).tiny))
        some = Law(law.mass[::stride] / part, law.log_mass[::stride] - jnp.log(part))
        mean = jnp.sum(some.mass * x[::stride], axis=0)
        # a sample's own mean in place of the law's: the error of its multiplier is that of the sample
        guess, *_ = solved(some, x[::stride] - mean + drift, None, drift, drift, blind)
        start = jnp.where(jnp.isfinite(guess), jnp.clip(guess, low, high), low)
    u, converged = _newton(law, x, log_scale, start, low, high, drift, blind, live)
    return jnp.where(live, u, -jnp.inf), converged, gap


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def root(
    both: bool,
    law: Law,
    x: Array,
    log_scale: Array | None,
    drift: Array | None,
    known: Array,
    blind: Array,
    slack: Array,
) -> Root:
    r"""The root \(\lambda\) of either sign; 0 with v = x where \(\log E e^x\) is zero within the slack.

    Args:
        both: whether the gap can be negative, so that \(\lambda < 0\) is looked for too (C14).
        law: `[A, N]`.
        x: `[A, N]`, targets r/tau - b, nats; any number where there is no mass.
        log_scale: `[A, N]`, \(\log\kappa\), the log of anchor over sampler; None on-policy.
        drift: `[N]`, E x where it is known so exactly that the solution may rely on it; None otherwise.
        known: `[N]`, E x as well as it is known.
        blind: `[N]`, mass of the law that is not among the actions with mass here.
        slack: `[N]`, nats, rounding of the gap.
    """
    u, converged, gap = solved(law, x, log_scale, drift, known, blind)
    v, multiplier = tilt(x, u if log_scale is None else u + log_scale), jnp.exp(u)
    outcome = converged.astype(x.dtype)
    if both:
        over = (gap < -slack) & (blind == 0.0)
        other = lifted(law, x, log_scale, gap, over)
        v = jnp.where(over, other.log_ratio, v)
        multiplier = jnp.where(over, -jnp.exp(other.log_size), multiplier)
        outcome = jnp.where(over, jnp.where(other.exists, other.converged.astype(x.dtype), -1.0), outcome)
    return Root(v, multiplier, gap, outcome)


@root.defjvp
def _root_jvp(both: bool, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Root, Root]:
    r"""Implicit differentiation: \(dv = (dx - w\,(d\log|\lambda| + d\log\kappa))/(1 + w)\), \(E e^v\) fixed."""
    law, x, log_scale, *_ = primals
    found = root(both, *primals)
    v, weight = found.log_ratio, found.multiplier
    extra = 0.0 if log_scale is None else log_scale
    some = weight != 0.0
    log_size = jnp.log(jnp.where(some, jnp.abs(weight), 1.0))
    scaled = jnp.exp(log_size + extra + v)  # kappa rho, times |lambda| where that is not zero
    lift = jnp.where(some, jnp.sign(weight) * scaled, 0.0)
    slope = 1.0 / (1.0 + lift)
    pull = jnp.where(some, lift * slope, scaled)
    share = weighted(law, v)
    drive = slope * tangents[1] if log_scale is None else slope * tangents[1] - lift * slope * tangents[2]
    whole = jnp.sum(share * pull, axis=0)
    push = jnp.sum(share * tangent_where_mass(tangents[0].log_mass + drive, share), axis=0)
    shift = push / jnp.where(whole != 0.0, whole, 1.0)  # d log |lambda|, or d lambda at lambda = 0
    dv = drive - pull * shift
    flat = jnp.zeros_like(weight)
    return found, Root(dv, jnp.where(some, weight, 1.0) * shift, flat, flat)
