r"""Negative multipliers in the JAX engine: baselines above log Z, on the branch \(W_0\) (C14).

With \(\lambda = -\nu\) the log-ratio is \(v = x + T\), where the lift T in (0, 1] solves
\(T - 1 - \log T = \text{depth}\). In \(y = \log T\) that is \(e^y - 1 - y = \text{depth}\), y <= 0, whose left side
keeps its digits at the branch point y = 0. The unknown of the root-finder is the y of the most lifted action.
"""

from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmdtheory._fast_law import Law, changes, weighted
from pmdtheory._fast_omega import exp_remainder
from pmdtheory._fast_sums import folded

__all__ = ["Lifted", "lifted"]

_MAX_PASSES: Final = 100
_CREEP: Final = 12


class Lifted(NamedTuple):
    r"""Log-ratio `[A, N]`; \(\log\nu\), convergence, and whether there is such a step at all `[N]`."""

    log_ratio: Array
    log_size: Array
    converged: Array
    exists: Array


def log_lift(depth: Array) -> Array:
    r"""The y <= 0 with \(e^y - 1 - y\) = depth >= 0, elementwise."""
    q = -jnp.sqrt(2.0 * jnp.minimum(depth, 1.0))
    small = jnp.exp(-1.0 - jnp.maximum(depth, 1.0))
    near = jnp.log1p(q * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 36.0 - q * (1.0 / 270.0)))))
    y = jnp.where(depth < 1.0, near, small * (1.0 + small) - 1.0 - depth)
    moving = depth > 0.0
    for _ in range(3):
        slope = jnp.where(moving, jnp.expm1(y), -1.0)
        y = y - jnp.where(moving, (exp_remainder(y) - depth) / slope, 0.0)
    return jnp.where(moving, y, 0.0)


class _State(NamedTuple):
    y: Array
    low: Array
    high: Array
    moved: Array
    open: Array
    exists: Array
    passes: Array


def lifted(law: Law, x: Array, log_scale: Array | None, gap: Array, live: Array) -> Lifted:
    r"""The step with \(\lambda < 0\) for the laws that are live, which have gap = \(\log E e^x < 0\).

    Args:
        law: `[A, N]`.
        x: `[A, N]`, targets r/tau - b, nats; any number where there is no mass.
        log_scale: `[A, N]`, the log of anchor over sampler; None on-policy.
        gap: `[N]`, nats.
        live: `[N]`, bool.
    """
    single = x.dtype == jnp.float32
    enough, grain = (1e-4 if single else 3e-7), 4.0 * float(np.finfo(x.dtype).eps)
    smallest = float(np.finfo(x.dtype).tiny)
    z = jnp.where(law.log_mass > -jnp.inf, x if log_scale is None else x + log_scale, -jnp.inf)
    top = jnp.max(z, axis=0)
    below = jnp.where(jnp.isfinite(z), top - z, 0.0)
    missing = jnp.where(live, -gap, 0.5)
    live = live & (missing <= 1.0)  # no lift exceeds one

    def lift(y: Array, depth: Array) -> Array:
        return jnp.where(depth == 0.0, y, log_lift(depth + exp_remainder(y)))

    def step(s: _State) -> _State:
        def terms(mass: Array, log_mass: Array, target: Array, depth: Array) -> tuple[Array, ...]:
            lift_log = lift(s.y, depth)
            here = Law(mass, log_mass)
            v = target + jnp.exp(lift_log)
            rise = jnp.where(depth == 0.0, 1.0, jnp.expm1(s.y) / jnp.where(depth == 0.0, -1.0, jnp.expm1(lift_log)))
            return changes(here, v)[0], weighted(here, v) * jnp.exp(lift_log) * rise

        excess, slope = folded(terms, *law, x, below)
        total = jnp.maximum(1.0 + excess, smallest)
        value = jnp.where(total > 0.5, jnp.log1p(jnp.maximum(excess, -0.5)), jnp.log(total))
        first = s.passes == 0  # at the branch point, where the mass is largest
        exists = jnp.where(first, value >= 0.0, s.exists)
        low = jnp.where(~first & (value < 0.0), jnp.maximum(s.low, s.y), s.low)
        high = jnp.where(value < 0.0, s.high, jnp.minimum(s.high, s.y))
        newton = s.y - value * total / jnp.maximum(slope, smallest)
        size = jnp.abs(newton - s.y)
        good = ~first & (newton >= low) & (newton <= high) & ~((size > 0.5 * s.moved) & (s.passes > _CREEP))
        target = jnp.where(good, newton, jnp.where(first, s.low, 0.5 * (low + high)))
        ends = (value == 0.0) | (low >= high)
        target = jnp.where(s.open & ~ends, target, s.y)
        closed = ends | ~exists | (good & (size <= enough)) | (high - low <= grain * jnp.maximum(1.0, jnp.abs(target)))
        moved = jnp.where(first, jnp.inf, jnp.abs(target - s.y))
        return _State(target, low, high, moved, s.open & ~closed, exists, s.passes + 1)

    floor = jnp.log(missing) - enough  # no lift exceeds t, so that t is at least what is missing
    zero = jnp.zeros_like(gap)
    begun = _State(zero, floor, zero, jnp.full_like(gap, jnp.inf), live, live, jnp.zeros((), jnp.int32))
    last = lax.while_loop(lambda s: jnp.any(s.open) & (s.passes < _MAX_PASSES), step, begun)
    v = x + jnp.exp(lift(last.y, below))
    return Lifted(v, last.y - jnp.exp(last.y) - top, ~last.open, live & last.exists)
