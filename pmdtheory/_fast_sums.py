"""Sums and maxima over the actions in the JAX engine: in blocks that stay in the cache, or in one kernel."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

__all__ = ["Swept", "folded", "folded_smoothly", "largest", "swept", "totals"]

_LANES: Final = 1024

Arrays = tuple[Array, ...]


class Swept(NamedTuple):
    """What a function of the actions left: sums `[N]`, maxima `[N]`, and arrays `[A, N]`."""

    sums: Arrays
    tops: Arrays
    kept: Arrays


def swept(function: Callable[..., tuple[Arrays, Arrays, Arrays]], *arrays: Array, into: Arrays | None = None) -> Swept:
    """Sum, maximise and keep, over the first axis, what an elementwise function makes of arrays `[A, N]`.

    Processors want long axes in blocks that stay in the cache, with one partial sum per place: there the compiler
    vectorises everything, and memory is read once. Accelerators want one kernel.

    Args:
        function: blocks `[B, N]` of arrays to tuples of terms, heights, and blocks to keep.
        arrays: `[A, N]` each.
        into: arrays `[A, N]` that the kept ones replace, in place: fresh memory costs more than the numbers.
    """
    block = _block(arrays[0])
    if block == 0:
        terms, heights, kept = function(*arrays)
        return Swept(totals(*terms), tuple(jnp.max(part, axis=0) for part in heights), kept)
    size = arrays[0].shape[0]
    kinds = jax.eval_shape(function, *(array[:block] for array in arrays))
    places = jnp.arange(block).reshape(block, *(1 for _ in arrays[0].shape[1:]))

    def step(k: Array, state: Swept) -> Swept:
        # the last block ends where the arrays end and sees some actions again, which only the sums mind
        at = jnp.minimum(k * block, size - block)
        terms, heights, blocks = function(*(lax.dynamic_slice_in_dim(array, at, block) for array in arrays))
        fresh = at + places >= k * block
        pairs = zip(state.kept, blocks, strict=True)
        return Swept(
            _add(state.sums, tuple(jnp.where(fresh, term, 0.0) for term in terms)),
            tuple(map(jnp.maximum, state.tops, heights)),
            tuple(lax.dynamic_update_slice_in_dim(old, new, at, 0) for old, new in pairs),
        )

    begun = Swept(
        tuple(jnp.zeros(kind.shape, kind.dtype) for kind in kinds[0]),
        tuple(jnp.full(kind.shape, -jnp.inf, kind.dtype) for kind in kinds[1]),
        tuple(jnp.zeros(arrays[0].shape, kind.dtype) for kind in kinds[2]) if into is None else into,
    )
    done: Swept = lax.fori_loop(0, -(-size // block), step, begun)
    sums, tops = tuple(jnp.sum(total, axis=0) for total in done.sums), tuple(jnp.max(top, axis=0) for top in done.tops)
    return Swept(sums, tops, done.kept)


def _block(array: Array) -> int:
    """How many actions a block holds; 0 for one kernel over everything."""
    block = max(_LANES, 4 * _LANES // max(1, math.prod(array.shape[1:])))
    return block if jax.default_backend() == "cpu" and array.shape[0] >= 2 * block else 0


def folded(function: Callable[..., Arrays], *arrays: Array) -> Arrays:
    """Sums `[N]` over the first axis of what an elementwise function makes of arrays `[A, N]`."""
    return swept(lambda *parts: (function(*parts), (), ()), *arrays).sums


def largest(function: Callable[..., Arrays], *arrays: Array) -> Arrays:
    """Maxima `[N]` over the first axis of what an elementwise function makes of arrays `[A, N]`."""
    return swept(lambda *parts: ((), function(*parts), ()), *arrays).tops


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def folded_smoothly(function: Callable[..., Arrays], *arrays: Array) -> Arrays:
    """`folded` for a function that holds no tracers, with derivatives."""
    return folded(function, *arrays)


@folded_smoothly.defjvp
def _folded_jvp(function: Callable[..., Arrays], primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
    _, moved = jax.jvp(function, primals, tangents)
    return folded_smoothly(function, *primals), tuple(jnp.sum(part, axis=0) for part in moved)


def _add(left: Any, right: Any) -> Any:
    return tuple(a + b for a, b in zip(left, right, strict=True))


@jax.custom_jvp
def totals(*terms: Array) -> Arrays:
    """Sums `[N]` of several arrays `[A, N]` over their first axis, in one pass that fuses with what makes them."""
    whole = terms[0].shape[0] // _LANES * _LANES if terms else 0
    # an accelerator's compiler makes partial sums itself; slices would keep it from fusing them with the terms. Where
    # arrays of a machine with one are put on its processor all the same, float32 loses a digit or two here.
    if whole < 4 * _LANES or jax.default_backend() != "cpu":
        return _reduced(terms)
    # partial sums keep float32's digits over a million terms
    parts = _reduced(tuple(term[:whole].reshape(-1, _LANES, *term.shape[1:]) for term in terms))
    rest = _reduced(tuple(term[whole:] for term in terms))
    return _add(_reduced(parts), rest)  # type: ignore[no-any-return]


def _reduced(terms: Arrays) -> Arrays:
    # one reduction of several arrays is one kernel on accelerators, but a scalar loop on processors
    if len(terms) < 2 or jax.default_backend() == "cpu":
        return tuple(jnp.sum(term, axis=0) for term in terms)
    zeros = tuple(jnp.zeros((), term.dtype) for term in terms)
    return tuple(lax.reduce(terms, zeros, _add, (0,)))


@totals.defjvp
def _totals_jvp(primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
    return totals(*primals), tuple(jnp.sum(tangent, axis=0) for tangent in tangents)
