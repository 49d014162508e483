r"""The multiplier of the JAX engine: \(E e^v = 1\), \(v + \lambda\kappa e^v = x\), for many laws at once.

Arrays are `[A, N]`, actions first, so that what belongs to a law is `[N]` and broadcasts. The loop carries nothing but
numbers per law: a pass over the actions computes the tilt anew and sums it up, in one fused kernel.
"""

import math
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmdtheory._fast_omega import NEAR, exp_remainder_near, folded, largest, tilt, tilt_and_pull

__all__ = ["Law", "Root", "changes", "log_mean", "root"]

_MAX_PASSES: Final = 120
_CREEP: Final = 12  # Newton steps that do not halve beyond this number of passes give way to bisection
_SUBSET: Final = 65_536  # laws of four times as many actions start from the multiplier of a regular sample of this size


class Law(NamedTuple):
    """Normalised laws: mass and its logarithm `[A, N]`; an action without mass has 0 and -inf."""

    mass: Array
    log_mass: Array


class Root(NamedTuple):
    r"""Log-ratio v `[A, N]`; \(\lambda\) and convergence (1 or 0) `[N]`."""

    log_ratio: Array
    multiplier: Array
    converged: Array


def changes(law: Law, v: Array) -> tuple[Array, Array]:
    r"""`[A, N]`: \(m(e^v - 1)\) and \(m(e^v - 1 - v)\), also where m or \(e^v\) leave the range."""
    small = jnp.abs(v) < NEAR
    near = jnp.where(small, v, 0.0)
    close = exp_remainder_near(near)
    raised = weighted(law, v)
    change = jnp.where(small, law.mass * (near + close), raised - law.mass)
    return change, jnp.where(small, law.mass * close, change - law.mass * v)


def weighted(law: Law, v: Array) -> Array:
    r"""`[A, N]`: \(m e^v\); masses next to underflow go into the exponent."""
    tiny = law.log_mass < 0.85 * math.log(np.finfo(v.dtype).tiny)
    return jnp.where(tiny, 1.0, law.mass) * jnp.exp(jnp.where(tiny, law.log_mass, 0.0) + v)


@jax.custom_jvp
def log_mean(law: Law, x: Array, drift: Array) -> Array:
    r"""`[N]`: \(\log E e^x\), exact also next to zero; drift = E x is what the caller knows better than a sum."""
    return _bounds(law, x, None, drift, False)[0]


@log_mean.defjvp
def _log_mean_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    law, x, _ = primals
    gap = log_mean(*primals)
    share = weighted(law, x - gap)
    return gap, jnp.sum(share * _tangent(tangents[0].log_mass + tangents[1], share), axis=0)


def _bounds(law: Law, x: Array, log_scale: Array | None, drift: Array, missing: Array | bool) -> tuple[Array, Array]:
    """`[N]`: log E e^x, and the lower bound of log lambda (C7; without a known order, Jensen's)."""

    def heights(log_mass: Array, target: Array, *extra: Array) -> tuple[Array, ...]:
        alive = log_mass > -jnp.inf
        twice = log_mass + 2.0 * target + extra[0] if extra else log_mass + 2.0 * target
        return jnp.where(alive, target, -jnp.inf), log_mass + target, twice

    some = (law.log_mass, x) if log_scale is None else (law.log_mass, x, log_scale)
    top, high, higher = largest(heights, *some)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    high, higher = high - top, higher - 2.0 * top  # to rounding: they only keep the sums in range
    arrays = (*law, x) if log_scale is None else (*law, x, log_scale)

    def terms(mass: Array, log_mass: Array, target: Array, *extra: Array) -> tuple[Array, ...]:
        _, rest = changes(Law(mass, log_mass), target)
        under = log_mass + (target - top)
        twice = under + (target - top) + extra[0] if extra else under + (target - top)
        return jnp.exp(under - high), jnp.exp(twice - higher), rest

    first, second, excess = folded(terms, *arrays)
    anchored = high + jnp.log(first)
    excess = excess + drift - missing
    gap = anchored + top
    fine = jnp.isfinite(excess) & (excess > -0.5) & (jnp.abs(gap) < 0.5)
    gap = jnp.where(fine, jnp.log1p(jnp.where(fine, excess, 0.0)), gap)
    spread = higher + jnp.log(second) - 2.0 * anchored
    size = jnp.log(jnp.where(gap > 0.0, gap, 1.0))
    return gap, size - spread - (0.0 if log_scale is None else jnp.maximum(gap, 0.0))


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


def _solved(
    law: Law, x: Array, log_scale: Array | None, drift: Array | None, known: Array, blind: Array
) -> tuple[Array, Array]:
    """Log lambda `[N]` (-inf where log E e^x is not positive) and which laws converged."""
    gap, floor = _bounds(law, x, log_scale, known, blind)
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
        guess, _ = _solved(some, x[::stride] - mean + drift, None, drift, drift, blind)
        start = jnp.where(jnp.isfinite(guess), jnp.clip(guess, low, high), low)
    u, converged = _newton(law, x, log_scale, start, low, high, drift, blind, live)
    return jnp.where(live, u, -jnp.inf), converged


@jax.custom_jvp
def root(law: Law, x: Array, log_scale: Array | None, drift: Array | None, known: Array, blind: Array) -> Root:
    r"""The root \(\lambda \ge 0\); 0 with v = x where \(E e^x \le 1\).

    Args:
        law: `[A, N]`.
        x: `[A, N]`, targets r/tau - b, nats; any number where there is no mass.
        log_scale: `[A, N]`, \(\log\kappa\), the log of anchor over sampler; None on-policy.
        drift: `[N]`, E x where it is known so exactly that the solution may rely on it; None otherwise.
        known: `[N]`, E x as well as it is known.
        blind: `[N]`, mass of the law that is not among the actions with mass here.
    """
    u, converged = _solved(law, x, log_scale, drift, known, blind)
    v = tilt(x, u if log_scale is None else u + log_scale)
    return Root(v, jnp.exp(u), converged.astype(x.dtype))


@root.defjvp
def _root_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Root, Root]:
    r"""Implicit differentiation: \(dv = (dx - q\,(d\log\lambda + d\log\kappa)(1 + w))/(1 + w)\), \(E e^v\) fixed."""
    law, x, log_scale, _, _, _ = primals
    found = root(*primals)
    v, weight = found.log_ratio, found.multiplier
    extra = 0.0 if log_scale is None else log_scale
    log_weight = jnp.log(jnp.where(weight > 0.0, weight, 1.0))
    scaled = jnp.exp(jnp.where(weight > 0.0, log_weight, 0.0) + extra + v)  # kappa rho, times lambda where that is > 0
    lift = jnp.where(weight > 0.0, scaled, 0.0)
    slope = 1.0 / (1.0 + lift)
    pull = jnp.where(weight > 0.0, scaled / (1.0 + scaled), scaled)
    share = weighted(law, v)
    drive = slope * tangents[1] if log_scale is None else slope * tangents[1] - lift * slope * tangents[2]
    whole = jnp.sum(share * pull, axis=0)
    push = jnp.sum(share * _tangent(tangents[0].log_mass + drive, share), axis=0)
    shift = push / jnp.where(whole > 0.0, whole, 1.0)  # d log lambda, or d lambda at lambda = 0
    dv = drive - pull * shift
    flat = jnp.zeros_like(weight)
    return found, Root(dv, jnp.where(weight > 0.0, weight, 1.0) * shift, flat)


def _tangent(tangent: Array, share: Array) -> Array:
    """The tangent where there is mass, zero elsewhere."""
    return jnp.where(share > 0.0, tangent, 0.0)
