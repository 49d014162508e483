"""Laws of very many actions, before the first pass: their sums, and a first multiplier from rewards in bins."""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmdtheory._fast_inputs import Laid
from pmdtheory._fast_law import Law
from pmdtheory._fast_root import solved
from pmdtheory._fast_sums import swept

__all__ = ["Surveyed", "first_multiplier", "surveyed"]

_BINS: Final = 4_096
_SAMPLE: Final = 65_536


class Surveyed(NamedTuple):
    """Cleaned inputs `[A, N]`, and per law `[N]`: ends of the rewards, sums, mean, baseline."""

    log_policy: Array
    reward: Array
    tau: Array
    top: Array
    best: Array
    worst: Array
    total: Array
    mean: Array
    baseline: Array
    shift: Array
    fine: Array


def surveyed(laid: Laid) -> Surveyed:
    log_policy, reward = laid.log_policy, laid.reward
    if laid.mask is not None:
        log_policy, reward = jnp.where(laid.mask, log_policy, -jnp.inf), jnp.where(laid.mask, reward, 0.0)

    def ends(log_mass: Array, r: Array) -> tuple[Any, ...]:
        alive = log_mass > -jnp.inf
        return (), (log_mass, jnp.where(alive, r, -jnp.inf), jnp.where(alive, -r, -jnp.inf)), ()

    top, best, worst = swept(ends, log_policy, reward).tops
    worst = -worst
    # NaN and infinite entries reach these numbers, so that one look at them is enough
    width = 2e3 if reward.dtype == jnp.float64 else 2e2  # v is taken as a difference of numbers of this size
    fine = jnp.isfinite(top) & ((best - worst) / laid.tau < width) & (best > worst) & (laid.tau > 0.0)

    def masses(log_mass: Array, r: Array) -> tuple[Any, ...]:
        mass = jnp.exp(log_mass - top)
        return (mass, mass * r), (), ()

    total, moment = swept(masses, log_policy, reward).sums
    mean = moment / total
    baseline = mean / laid.tau if laid.baseline is None else laid.baseline
    shift = jnp.zeros_like(mean) if laid.baseline is None else baseline - mean / laid.tau
    fine &= jnp.isfinite(mean) & jnp.isfinite(shift)
    return Surveyed(log_policy, reward, laid.tau, top, best, worst, total, mean, baseline, shift, fine)


def first_multiplier(law: Surveyed) -> Array:
    """Log lambda, about: of the law in bins of reward, each at its mean; of a regular sample on accelerators."""
    size, laws = law.reward.shape
    some = law.fine
    if jax.default_backend() == "cpu":
        bins = min(_BINS, size // 16)
        width = jnp.where(some, (law.best - law.worst) / (bins - 1), 1.0)
        mass, moment = _binned(law, bins, width)
        mass, moment = mass / law.total, moment / law.total
        held = jnp.where(mass > 0.0, mass, 1.0)
        x = (law.worst + width * moment / held - law.mean) / law.tau
    else:
        stride = max(1, size // _SAMPLE)
        mass, x = jnp.exp(law.log_policy[::stride] - law.top), (law.reward[::stride] - law.mean) / law.tau
        mass = mass / jnp.maximum(jnp.sum(mass, axis=0), float(np.finfo(mass.dtype).tiny))
    alive = some & (mass > 0.0)
    mass, x = jnp.where(alive, mass, 0.0), jnp.where(alive, x, 0.0)
    log_mass = jnp.where(alive, jnp.log(jnp.where(alive, mass, 1.0)), -jnp.inf)
    x = jnp.where(alive, x - jnp.sum(mass * x, axis=0) - law.shift, 0.0)
    u, *_ = solved(Law(mass, log_mass), x, None, -law.shift, -law.shift, jnp.zeros_like(law.shift))
    return jnp.where(jnp.isfinite(u), u, -1.0) - law.shift


def _binned(law: Surveyed, bins: int, width: Array) -> tuple[Array, Array]:
    """Mass `[bins, N]` of each bin of rewards, and its first moment in bin widths from the worst reward."""
    size, laws = law.reward.shape
    block = min(size, max(1, 4_096 // laws))
    places, which = jnp.arange(block)[:, None], jnp.arange(laws)

    def add(k: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        at = jnp.minimum(k * block, size - block)  # the last block ends where the actions end
        log_mass, reward = (lax.dynamic_slice_in_dim(array, at, block) for array in (law.log_policy, law.reward))
        mass = jnp.where(at + places >= k * block, jnp.exp(log_mass - law.top), 0.0)
        place = (reward - law.worst) / width
        index = (place.astype(jnp.int32) * laws + which).ravel()
        parts = mass.ravel(), (mass * place).ravel()
        mass, moment = (total.at[index].add(part, mode="drop") for total, part in zip(sums, parts, strict=True))
        return mass, moment

    empty = jnp.zeros(bins * laws, law.reward.dtype)
    mass, moment = lax.fori_loop(0, -(-size // block), add, (empty, empty))
    return mass.reshape(bins, laws), moment.reshape(bins, laws)
