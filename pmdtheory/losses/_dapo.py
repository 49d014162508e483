"""DAPO: a ratio clipped higher above than below, averaged over all tokens of the batch."""

from pmdtheory.losses._arrays import Array
from pmdtheory.losses._batch import prepare, reduced
from pmdtheory.losses._clip import clipped_gain

__all__ = ["dapo_loss"]


def dapo_loss(
    logp: Array,
    old_logp: Array,
    advantages: Array,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    mask: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""The clipped surrogate of DAPO: every token of the batch counts the same, and rare tokens have room to grow.

    Formula: \(-\tfrac{1}{\sum_i T_i}\sum_i\sum_t \min(\rho_{it}A_i,
    \mathrm{clip}(\rho_{it}, 1-\epsilon_{low}, 1+\epsilon_{high})A_i)\). Its dynamic sampling and its shaping of
    overlong responses concern the batch and the rewards, not the loss.

    Args:
        logp: `[B, T]` tokens, nats, or `[B]` for responses of one token: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled.
        advantages: `[B]`; DAPO's are rewards less the group's mean, over its standard deviation.
        clip_low: in [0, 1].
        clip_high: at least 0.
        mask: of the shape of logp, true where a token counts; None counts all.
        weights: `[B]`, multiplies each sequence's term; not normalised.
        reduction: "mean" over the tokens that count, "sum" over them, or "none" for `[B]` sums over sequences.

    Returns:
        A scalar or `[B]`, of the library and dtype of logp.

    Raises:
        ValueError: for old_logp None, shapes that do not match, a clip out of range, an unknown reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: as `grpo_loss`.

    Source: arXiv:2503.14476.

    >>> import numpy as np
    >>> logp = np.full((2, 6), -1.0)
    >>> mask = np.arange(6) < np.array([[2], [6]])
    >>> dapo_loss(logp, logp, [1.0, -1.0], mask=mask).item()  # (6 - 2)/8: the longer response has more votes
    0.5
    """
    batch = prepare(logp, old_logp, advantages, name="advantages", mask=mask, weights=weights, reduction=reduction)
    gain = clipped_gain(batch.xp, batch.log_ratio, batch.signal[:, None], clip_low, clip_high)
    return reduced(batch, -batch.xp.sum(batch.xp.where(batch.keep, gain, 0.0), 1), counting=batch.keep)
