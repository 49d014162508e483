r"""Laws in the JAX engine: masses and their logarithms, changes of mass, \(\log E e^x\), and bounds of lambda."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmdtheory._fast_omega import NEAR, exp_remainder_near
from pmdtheory._fast_sums import folded, largest

__all__ = ["Law", "bounds", "changes", "log_mean", "tangent_where_mass", "weighted"]


class Law(NamedTuple):
    """Normalised laws: mass and its logarithm `[A, N]`; an action without mass has 0 and -inf."""

    mass: Array
    log_mass: Array


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
    return bounds(law, x, None, drift, False)[0]


@log_mean.defjvp
def _log_mean_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    law, x, _ = primals
    gap = log_mean(*primals)
    share = weighted(law, x - gap)
    return gap, jnp.sum(share * tangent_where_mass(tangents[0].log_mass + tangents[1], share), axis=0)


def bounds(law: Law, x: Array, log_scale: Array | None, drift: Array, missing: Array | bool) -> tuple[Array, Array]:
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


def tangent_where_mass(tangent: Array, share: Array) -> Array:
    """The tangent where there is mass, zero elsewhere."""
    return jnp.where(share > 0.0, tangent, 0.0)
