"""REINFORCE with the advantages of leave-one-out."""

import numpy as np

from pmdtheory.losses._arrays import Array
from pmdtheory.losses._batch import prepare, reduced

__all__ = ["rloo_loss"]


def rloo_loss(
    logp: Array,
    old_logp: Array | None,
    advantages: Array,
    *,
    mask: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""REINFORCE on whole sequences, with advantages as given: for RLOO the reward less the mean of the others.

    Formula: the mean of \(-\rho_i A_i\), \(\rho_i = \exp(\sum_t \log\pi_\theta - \log\pi_{old})\), whose gradient
    \(-\rho_i A_i\nabla\log\pi_\theta\) is unbiased however stale the responses are. Without old_logp the mean of
    \(-A_i\sum_t\log\pi_\theta\), with gradient \(-A_i\nabla\log\pi_\theta\): the same on fresh responses, and
    uncorrected on stale ones.

    Args:
        logp: `[B]` sums over sequences or `[B, T]` tokens, nats: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled; None for the uncorrected form. This is the one
            loss that may go without, being a plain policy gradient by name.
        advantages: `[B]`, reward units.
        mask: of the shape of logp, true where a token counts; None counts all.
        weights: `[B]`, multiplies each term; not normalised.
        reduction: "mean" over the sequences that count, "sum", or "none" for `[B]`.

    Returns:
        A scalar or `[B]`, of the library and dtype of logp.

    Raises:
        ValueError: for shapes that do not match and an unknown reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: the ratio is not clipped; it overflows for a sequence log-ratio above 88 in float32, 709 in float64.

    Source: arXiv:2402.14740.

    >>> import numpy as np
    >>> old, new, advantages = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8]), np.array([-1.0, 0.0, 2.0])
    >>> loss = rloo_loss(np.log(new), np.log(old), advantages, weights=old, reduction="sum")
    >>> bool(abs(loss + new @ advantages) < 1e-14)  # expected under the old policy: minus the new one's advantage
    True
    """
    anchor = np.zeros(np.shape(logp)) if old_logp is None else old_logp
    batch = prepare(logp, anchor, advantages, name="advantages", mask=mask, weights=weights, reduction=reduction)
    log_ratio = batch.xp.sum(batch.log_ratio, 1)
    gain = log_ratio if old_logp is None else batch.xp.exp(log_ratio)
    return reduced(batch, -gain * batch.signal)
