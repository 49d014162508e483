r"""Elementary functions of the JAX engine: Wright omega, the tilt, and \(e^x - 1 - x\)."""

import math
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["NEAR", "exp_remainder", "exp_remainder_near", "omega", "omega_once", "tilt", "tilt_and_pull"]

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
    r"""Solve \(v + e^{u + v} = x\) for v `[...]`; see `tilt_and_pull`."""
    return tilt_and_pull(x, u, wide=wide)[0]


def log_omega_start(z: Array) -> Array:
    """Log omega(z) for -40 <= z <= 1e30 within a few 1e-6, computed in float32 whatever the dtype.

    Three starts, each within .04, then a step of fourth order.
    """
    z = jnp.clip(z, -1e30, 1e30).astype(jnp.float32)
    low = jnp.exp(jnp.clip(z, -80.0, 0.0))
    d = z - 1.0
    top = jnp.maximum(z, 1.0)
    log = jnp.log(top)
    high = log - log / (1.0 + top)  # one Newton step from log z
    middle = d * (0.5 - d * (1.0 / 16.0 - d * (1.0 / 192.0)))  # Taylor series at omega(1) = 1
    y = jnp.where(z < -1.5, z - low / (1.0 + low), jnp.where(z < 2.5, middle, high))
    return y + _correction(z, y, jnp.exp(y))[0]


def _correction(target: Array, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """The Fritsch-Shafer-Crowley step for y + w = target, w = e^(y + constant), with w/(1 + w) and 1/(1 + w) before."""
    inverse = 1.0 / (1.0 + w)
    q = w * inverse
    delta = (target - y - w) * inverse
    return delta * (1.0 - delta * (0.5 * q - delta * (0.5 * q * q - q * (1.0 / 6.0)))), q, inverse


def omega_once(z: Array) -> Array:
    r"""\(\omega(z)\) for z <= 1e30 by one exponential of full precision; absolute error a few eps max(1, |z|)."""
    y = jnp.where(z < -40.0, z, log_omega_start(z).astype(z.dtype))
    w = jnp.exp(y)
    delta, _, _ = _correction(z, y, w)
    return w * (1.0 + delta * (1.0 + delta * (0.5 + delta * (1.0 / 6.0))))


def tilt_and_pull(x: Array, u: Array, *, wide: bool = False) -> tuple[Array, Array]:
    r"""Solve \(v + w = x\), \(w = e^{u + v}\), for v, elementwise and without branches; also \(w/(1+w) = -dv/du\).

    A start in float32, then one step of fourth order in the unknown log omega, which leaves rounding.

    Args:
        x: `[...]`, nats.
        u: `[...]`, nats; -inf gives v = x.
        wide: whether x + u may exceed 1e30.
    """
    z = x + u
    start = log_omega_start(z).astype(x.dtype)
    if wide:
        start = jnp.where(z > 1e30, jnp.log(jnp.maximum(z, 1.0)), start)
    # where omega is small v is next to x, and may be next to zero: its digits are those of x less omega
    low = jnp.where(z < -80.0, 0.0, jnp.exp(jnp.clip(z, -80.0, 0.0).astype(jnp.float32)).astype(x.dtype))
    v = jnp.where(z < -4.0, x - low * (1.0 - low * (1.0 - 1.5 * low)), start - u)
    delta, q, inverse = _correction(x, v, jnp.exp(v + u))
    return v + delta, q + q * inverse * delta


@jax.custom_jvp
def omega(z: Array) -> Array:
    r"""The Wright omega function, \(\omega + \log\omega = z\), for real z of a floating dtype.

    Accurate to a few units in the last place wherever \(\omega\) is a normal number; no overflow, no branch; 0 at
    -inf, inf at inf. Its derivative is \(\omega/(1+\omega)\), and so on to any order.
    """
    safe = jnp.where(jnp.isfinite(z), z, 1.0)
    y = tilt(safe, jnp.zeros((), safe.dtype), wide=True)
    # y = log omega: below one e^y would lose |y| units in the last place; e^z e^-omega does not, in a form that the
    # compiler cannot turn into e^(z - omega)
    power = jnp.exp(jnp.minimum(safe, 1.0))
    found = jnp.where(safe > 1.0, safe - y, power + power * jnp.expm1(-jnp.exp(jnp.minimum(y, 0.0))))
    return jnp.where(jnp.isfinite(z), found, jnp.where(z < 0.0, 0.0, z))


@omega.defjvp
def _omega_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    value = omega(*primals)
    slope = jnp.where(value > 1.0, 1.0 / (1.0 + 1.0 / jnp.where(value > 1.0, value, 1.0)), value / (1.0 + value))
    return value, slope * tangents[0]
