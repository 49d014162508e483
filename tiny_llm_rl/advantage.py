r"""Advantages of groups of rollouts: reward less a baseline, in reward units, for every estimator the trainers know.

Letters: `n` rollouts of one prompt, `...` prompts. The regression target of `pmd_loss` is the advantage over tau, in
nats. `pmdtheory.finite_sample` has the same baselines in NumPy, and the law of their errors.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from tiny_llm_rl._checks import choice

__all__ = ["BASELINES", "FLOOR", "advantage"]

BASELINES: Final = {
    "mean": "mean of the group",
    "mean-loo": "mean of the others",
    "partition": "log-mean-exp of the group",
    "partition-loo": "log-mean-exp of the others",
    "partition-clamped": "log-mean-exp of the others by subtraction, clamped at 1e-8",
    "level": "a constant number of nats",
}
FLOOR: Final = 1e-8  # of public leave-one-out partition code, reproduced on purpose


def _log_mean_exp_of_others(scaled: Array) -> Array:
    """For each entry of `scaled[..., n]` the log-mean-exp of the n - 1 others, without cancellation."""
    n = scaled.shape[-1]
    pairs = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, scaled[..., None, :])
    return jax.nn.logsumexp(pairs, -1) - jnp.log(jnp.asarray(n - 1, scaled.dtype))


def _clamped(scaled: Array) -> Array:
    """The same by subtracting each one's own term from the sum, and clamping: wrong where a success stands alone."""
    top = scaled.max(-1, keepdims=True)
    terms = jnp.exp(scaled - top)
    others = (terms.sum(-1, keepdims=True) - terms) / (scaled.shape[-1] - 1)
    return top + jnp.log(jnp.maximum(others, FLOOR))


def advantage(
    rewards: ArrayLike, tau: ArrayLike, *, baseline: str = "mean-loo", standardise: bool = False, level: float = 0.0
) -> Array:
    r"""Reward less the baseline of its group.

    Formula: \(A_i = r_i - \tau\hat b_i\) with \(\hat b_i\) in nats: \(\bar r/\tau\) ("mean"),
    \(\tfrac{1}{n-1}\sum_{j\ne i} r_j/\tau\) ("mean-loo"), \(\log\tfrac1n\sum_j e^{r_j/\tau}\) ("partition"),
    \(\log\tfrac{1}{n-1}\sum_{j\ne i} e^{r_j/\tau}\) ("partition-loo"), or the constant `level`.

    Args:
        rewards: `[..., n]`, reward units.
        tau: scalar, greater than zero, reward units; without influence on the means.
        baseline: one of `BASELINES`. "partition-clamped" is the leave-one-out partition as public code computes it:
            the own term subtracted from the sum, the rest clamped at 1e-8, which gives the only success of a group
            tau log(1e8) instead of almost the whole reward range.
        standardise: divide by the standard deviation of the group's rewards, as GRPO does. A group of equal rewards
            is left as it is.
        level: b of "level", nats.

    Returns:
        `[..., n]`, reward units, or standard deviations when standardised.

    Raises:
        ValueError: for an unknown baseline; for fewer than two rollouts where others are needed.

    Source: C12, this project; arXiv:2602.05933; standardised, arXiv:2402.03300.

    >>> float(advantage([1.0, -1.0, -1.0, -1.0], 0.01, baseline="partition-loo")[0])
    2.0
    >>> round(float(advantage([1.0, -1.0, -1.0, -1.0], 0.01, baseline="partition-clamped")[0]), 3)  # the clamp's effect
    0.184
    """
    choice("baseline", baseline, BASELINES)
    r = jnp.asarray(rewards)
    r = r.astype(jnp.promote_types(r.dtype, jnp.float32))
    if r.ndim == 0 or r.shape[-1] < (2 if baseline in ("mean-loo", "partition-loo", "partition-clamped") else 1):
        raise ValueError(
            f"rewards must have at least two rollouts on the last axis for baseline {baseline!r}, got shape {r.shape}; "
            "sample more, or take a baseline that counts the rollout itself"
        )
    # Measured from the best reward, so that equal rewards cancel exactly and exponentials stay below one.
    top = r.max(-1, keepdims=True)
    gap, strength = r - top, jnp.asarray(tau, r.dtype)
    if baseline == "mean":
        found = gap - gap.mean(-1, keepdims=True)
    elif baseline == "mean-loo":
        found = (gap - gap.mean(-1, keepdims=True)) * (r.shape[-1] / (r.shape[-1] - 1))
    elif baseline == "partition":
        mean_exp = jax.nn.logsumexp(gap / strength, -1, keepdims=True) - jnp.log(jnp.asarray(r.shape[-1], r.dtype))
        found = gap - strength * mean_exp
    elif baseline == "partition-loo":
        found = gap - strength * _log_mean_exp_of_others(gap / strength)
    elif baseline == "partition-clamped":
        found = gap - strength * _clamped(gap / strength)
    else:
        found = r - strength * level
    if not standardise:
        return found
    spread = gap.std(-1, keepdims=True)
    return jnp.where(spread > 0, found / jnp.where(spread > 0, spread, 1.0), found)
