r"""Elementary functions of the JAX engine: the Wright omega function, the tilt, \(e^x - 1 - x\), and sums in one pass."""

import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["exp_remainder", "exp_remainder_near", "omega", "tilt", "totals"]

_COEFFICIENTS: Final = tuple(1.0 / math.factorial(k) for k in range(15, 1, -1))
NEAR: Final = 0.5
"""Below this size \\(e^x - 1 - x\\) is summed as a series; above it is subtracted."""


def exp_remainder_near(x: Array) -> Array:
    r"""\(e^x - 1 - x\) for |x| <= 1/2, to a few units in the last place."""
    total = x * _COEFFICIENTS[0] + _COEFFICIENTS[1]
    for coefficient in _COEFFICIENTS[2:]:
        total = total * x + coefficient
    return total * x * x


def exp_remainder(x: Array) -> Array:
    r"""\(e^x - 1 - x\) for every x; inf where \(e^x\) overflows."""
    near = jnp.abs(x) < NEAR
    return jnp.where(near, exp_remainder_near(jnp.where(near, x, 0.0)), jnp.exp(x) - 1.0 - x)


def tilt(x: Array, u: Array, *, wide: bool = False) -> Array:
    r"""Solve \(v + e^{u + v} = x\) for v, elementwise and without branches.

    Three starts, each within .04 of the solution, then two steps of fourth order (the Fritsch-Shafer-Crowley step in
    the unknown log omega), of which the first leaves 1e-6 and the second rounding.

    Args:
        x: `[...]`, nats.
        u: `[...]`, nats; -inf gives v = x.
        wide: whether x + u may exceed 1e30; the start's logarithm is then taken in the precision of x.
    """
    z = x + u
    low = jnp.exp(jnp.minimum(z, 0.0))
    d = z - 1.0
    top = jnp.maximum(z, 1.0)
    log = jnp.log(top) if wide else jnp.log(jnp.minimum(top, 1e30).astype(jnp.float32)).astype(x.dtype)
    high = log - log / (1.0 + 1.0 / top) / top  # one Newton step from log z
    middle = d * (0.5 - d * (1.0 / 16.0 - d * (1.0 / 192.0)))  # Taylor series at omega(1) = 1
    v = jnp.where(z < -1.5, x - low / (1.0 + low), jnp.where(z < 2.5, middle, high) - u)
    for _ in range(2):
        w = jnp.exp(v + u)
        inverse = 1.0 / (1.0 + w)
        q = w * inverse
        delta = (x - v - w) * inverse
        v = v + delta * (1.0 - delta * (0.5 * q - delta * (0.5 * q * q - q * (1.0 / 6.0))))
    return v


@jax.custom_jvp
def omega(z: Array) -> Array:
    r"""The Wright omega function, \(\omega + \log\omega = z\), for real z of a floating dtype.

    Accurate to a few units in the last place wherever \(\omega\) is a normal number; no overflow, no branch; 0 at
    -inf, inf at inf. Its derivative is \(\omega/(1+\omega)\), and so on to any order.
    """
    safe = jnp.where(jnp.isfinite(z), z, 1.0)
    y = tilt(safe, jnp.zeros((), safe.dtype), wide=True)
    # y = log omega: below one, e^y would lose |y| units in the last place, and e^z e^-omega does not
    found = jnp.where(safe > 1.0, safe - y, jnp.exp(jnp.minimum(safe, 1.0)) * jnp.exp(-jnp.exp(jnp.minimum(y, 0.0))))
    return jnp.where(jnp.isfinite(z), found, jnp.where(z < 0.0, 0.0, z))


@omega.defjvp
def _omega_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    value = omega(*primals)
    slope = jnp.where(value > 1.0, 1.0 / (1.0 + 1.0 / jnp.where(value > 1.0, value, 1.0)), value / (1.0 + value))
    return value, slope * tangents[0]


_add: Callable[..., Any] = lambda left, right: tuple(a + b for a, b in zip(left, right, strict=True))  # noqa: E731


@jax.custom_jvp
def totals(*terms: Array) -> tuple[Array, ...]:
    """Sums `[N]` of several arrays `[A, N]` over their first axis, in one pass that fuses with what makes them."""
    zeros = tuple(jnp.zeros((), term.dtype) for term in terms)
    found: tuple[Array, ...] = tuple(lax.reduce(terms, zeros, _add, (0,)))
    return found


@totals.defjvp
def _totals_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    return totals(*primals), tuple(jnp.sum(tangent, axis=0) for tangent in tangents)
