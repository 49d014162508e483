r"""Importance weights for rollouts of another policy than the one that is trained."""

from typing import Final

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from tiny_llm_rl._checks import choice

__all__ = ["CORRECTIONS", "importance_weights"]

CORRECTIONS: Final = {"none": "weights of one", "truncated": "the ratio, capped"}


def importance_weights(
    log_current: Array, log_sampler: Array, *, correction: str = "truncated", cap: ArrayLike = 2.0
) -> Array:
    r"""Weights that turn means over the sampler's rollouts into means under the current policy.

    Formula: \(w = \min(\pi_t/\mu, \text{cap})\), \(\pi_t\) the policy at the start of the batch. Without the cap the
    weights are unbiased, with it they lose what lies above.

    Args:
        log_current: `[...]`, log-probabilities of responses under the policy at the start of the batch, nats.
        log_sampler: of that shape, under the policy that sampled them, nats.
        correction: one of `CORRECTIONS`.
        cap: at least 1, dimensionless.

    Returns:
        `[...]`; nothing is differentiated through it.

    Raises:
        ValueError: for an unknown correction.

    Numerics: the cap applies to the log-ratio, so that nothing overflows.

    Source: truncated importance sampling is textbook; its place in the family, C15, this project.

    >>> import jax.numpy as jnp
    >>> law, mu = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.8, 0.2]))
    >>> weights = importance_weights(law, mu, cap=3.0)
    >>> bool(jnp.allclose(jnp.exp(mu) @ weights, 1.0))  # under the sampler they average to one
    True
    """
    choice("correction", correction, CORRECTIONS)
    if correction == "none":
        return jnp.ones_like(log_current)
    log_cap = jnp.log(jnp.asarray(cap, log_current.dtype))
    return jax.lax.stop_gradient(jnp.exp(jnp.minimum(log_current - log_sampler, log_cap)))
