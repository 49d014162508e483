"""GRPO: a clipped ratio per token, averaged within each sequence."""

from pmdtheory.losses._arrays import Array
from pmdtheory.losses._batch import prepare, reduced
from pmdtheory.losses._clip import clipped_gain

__all__ = ["grpo_loss"]


def grpo_loss(
    logp: Array,
    old_logp: Array,
    advantages: Array,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    mask: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""The clipped surrogate of GRPO, without a KL to a reference: each sequence counts once, however long.

    Formula: the mean over sequences of \(-\tfrac{1}{T_i}\sum_t \min(\rho_{it}A_i,
    \mathrm{clip}(\rho_{it}, 1-\epsilon_{low}, 1+\epsilon_{high})A_i)\), \(\rho_{it}\) the ratio of a token.

    Args:
        logp: `[B, T]` tokens, nats, or `[B]` for responses of one token: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled.
        advantages: `[B]`; GRPO's are rewards less the group's mean, over its standard deviation.
        clip_low: in [0, 1].
        clip_high: at least 0.
        mask: of the shape of logp, true where a token counts; None counts all.
        weights: `[B]`, multiplies each sequence's term; not normalised.
        reduction: "mean" over the sequences that count, "sum", or "none" for `[B]`.

    Returns:
        A scalar or `[B]`, of the library and dtype of logp.

    Raises:
        ValueError: for old_logp None, shapes that do not match, a clip out of range, an unknown reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: clipped before the exponential. For A < 0 the surrogate has no upper clip, and a ratio may overflow.

    Source: arXiv:2402.03300.

    >>> import numpy as np
    >>> mask = np.arange(6) < np.array([[2], [6]])
    >>> grpo_loss(np.full((2, 6), -1.0), np.full((2, 6), -1.0), [1.0, -1.0], mask=mask).item()  # length has no vote
    0.0
    """
    batch = prepare(logp, old_logp, advantages, name="advantages", mask=mask, weights=weights, reduction=reduction)
    gain = clipped_gain(batch.xp, batch.log_ratio, batch.signal[:, None], clip_low, clip_high)
    return reduced(batch, -batch.xp.sum(batch.xp.where(batch.keep, gain, 0.0), 1) / batch.lengths)
