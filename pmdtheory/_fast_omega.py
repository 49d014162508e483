r"""Elementary functions of the JAX engine: Wright omega, the tilt, \(e^x - 1 - x\), and sums in one pass."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = [
    "NEAR",
    "exp_remainder",
    "exp_remainder_near",
    "folded",
    "folded_smoothly",
    "largest",
    "omega",
    "tilt",
    "tilt_and_pull",
    "totals",
]

_COEFFICIENTS: Final = tuple(1.0 / math.factorial(k) for k in range(15, 1, -1))
_LANES: Final = 1024
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


def tilt_and_pull(x: Array, u: Array, *, wide: bool = False) -> tuple[Array, Array]:
    r"""Solve \(v + w = x\), \(w = e^{u + v}\), for v, elementwise and without branches; also \(w/(1+w) = -dv/du\).

    Three starts, each within .04 of the solution, then two steps of fourth order (the Fritsch-Shafer-Crowley step in
    the unknown log omega), of which the first leaves 1e-6 and the second rounding.

    Args:
        x: `[...]`, nats.
        u: `[...]`, nats; -inf gives v = x.
        wide: whether x + u may exceed 1e30; the start's logarithm is then taken in the precision of x.
    """
    z = x + u
    low = jnp.exp(jnp.clip(z, -80.0, 0.0).astype(jnp.float32)).astype(x.dtype)
    low = jnp.where(z < -80.0, 0.0, low)
    d = z - 1.0
    top = jnp.maximum(z, 1.0)
    log = jnp.log(top) if wide else jnp.log(jnp.minimum(top, 1e30).astype(jnp.float32)).astype(x.dtype)
    high = log - log / (1.0 + 1.0 / top) / top  # one Newton step from log z
    middle = d * (0.5 - d * (1.0 / 16.0 - d * (1.0 / 192.0)))  # Taylor series at omega(1) = 1
    v = jnp.where(z < -1.5, x - low / (1.0 + low), jnp.where(z < 2.5, middle, high) - u)
    pull = jnp.zeros_like(v)
    for _ in range(2):
        w = jnp.exp(v + u)
        inverse = 1.0 / (1.0 + w)
        q = w * inverse
        delta = (x - v - w) * inverse
        v = v + delta * (1.0 - delta * (0.5 * q - delta * (0.5 * q * q - q * (1.0 / 6.0))))
        pull = q + q * inverse * delta
    return v, pull


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


def _add(left: Any, right: Any) -> Any:
    return tuple(a + b for a, b in zip(left, right, strict=True))


@jax.custom_jvp
def totals(*terms: Array) -> tuple[Array, ...]:
    """Sums `[N]` of several arrays `[A, N]` over their first axis, in one pass that fuses with what makes them."""
    whole = terms[0].shape[0] // _LANES * _LANES
    if whole < 4 * _LANES:
        return _reduced(terms)
    # partial sums keep float32's digits over a million terms
    parts = _reduced(tuple(term[:whole].reshape(-1, _LANES, *term.shape[1:]) for term in terms))
    rest = _reduced(tuple(term[whole:] for term in terms))
    return _add(_reduced(parts), rest)  # type: ignore[no-any-return]


def largest(function: Callable[..., tuple[Array, ...]], *arrays: Array) -> tuple[Array, ...]:
    """Maxima `[N]` over the first axis of what an elementwise function makes of arrays `[A, N]`; see `folded`."""
    block = _block(arrays[0])
    if block == 0:
        return tuple(jnp.max(part, axis=0) for part in function(*arrays))
    whole = arrays[0].shape[0] // block * block
    shaped = tuple(array[:whole].reshape(-1, block, *array.shape[1:]) for array in arrays)

    def raise_to(tops: tuple[Array, ...], parts: tuple[Array, ...]) -> tuple[tuple[Array, ...], None]:
        return tuple(map(jnp.maximum, tops, function(*parts))), None

    # the last places are seen twice, which a maximum does not mind
    tops, _ = lax.scan(raise_to, tuple(function(*(array[-block:] for array in arrays))), shaped)
    return tuple(jnp.max(top, axis=0) for top in tops)


def _block(array: Array) -> int:
    """How many actions a block holds; 0 for one kernel over everything."""
    block = max(_LANES, 4 * _LANES // max(1, math.prod(array.shape[1:])))
    return block if jax.default_backend() == "cpu" and array.shape[0] >= 2 * block else 0


def folded(function: Callable[..., tuple[Array, ...]], *arrays: Array) -> tuple[Array, ...]:
    """Sums `[N]` over the first axis of what an elementwise function makes of arrays `[A, N]`.

    Processors want long axes in blocks that stay in the cache, with one partial sum per place: there the compiler
    vectorises everything. Accelerators want one kernel.
    """
    block = _block(arrays[0])
    if block == 0:
        return totals(*function(*arrays))
    whole = arrays[0].shape[0] // block * block
    shaped = tuple(array[:whole].reshape(-1, block, *array.shape[1:]) for array in arrays)
    kinds = jax.eval_shape(function, *(part[0] for part in shaped))

    def add(sums: tuple[Array, ...], parts: tuple[Array, ...]) -> tuple[tuple[Array, ...], None]:
        return _add(sums, function(*parts)), None

    sums, _ = lax.scan(add, tuple(jnp.zeros(kind.shape, kind.dtype) for kind in kinds), shaped)
    return _add(_reduced(sums), _reduced(function(*(array[whole:] for array in arrays))))  # type: ignore[no-any-return]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def folded_smoothly(function: Callable[..., tuple[Array, ...]], *arrays: Array) -> tuple[Array, ...]:
    """`folded` for a function that holds no tracers, with derivatives."""
    return folded(function, *arrays)


@folded_smoothly.defjvp
def _folded_jvp(
    function: Callable[..., tuple[Array, ...]], primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    _, moved = jax.jvp(function, primals, tangents)
    return folded_smoothly(function, *primals), tuple(jnp.sum(part, axis=0) for part in moved)


def _reduced(terms: tuple[Array, ...]) -> tuple[Array, ...]:
    if len(terms) == 1:
        return (jnp.sum(terms[0], axis=0),)
    zeros = tuple(jnp.zeros((), term.dtype) for term in terms)
    return tuple(lax.reduce(terms, zeros, _add, (0,)))


@totals.defjvp
def _totals_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    return totals(*primals), tuple(jnp.sum(tangent, axis=0) for tangent in tangents)
