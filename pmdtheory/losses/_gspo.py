"""GSPO: a clipped, length-normalised ratio per sequence."""

from pmdtheory.losses._arrays import Array
from pmdtheory.losses._batch import prepare, reduced
from pmdtheory.losses._clip import clipped_gain

__all__ = ["gspo_loss"]


def gspo_loss(
    logp: Array,
    old_logp: Array,
    advantages: Array,
    *,
    clip_low: float = 3e-4,
    clip_high: float = 4e-4,
    mask: Array | None = None,
    lengths: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""The clipped surrogate of GSPO: one ratio per sequence, the geometric mean of its tokens' ratios.

    Formula: the mean of \(-\min(s_iA_i, \mathrm{clip}(s_i, 1-\epsilon_{low}, 1+\epsilon_{high})A_i)\),
    \(s_i = \exp\big(\tfrac{1}{T_i}\sum_t \log\pi_\theta - \log\pi_{old}\big)\).

    Args:
        logp: `[B]` sums over sequences or `[B, T]` tokens, nats: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled.
        advantages: `[B]`; GSPO's are those of GRPO.
        clip_low: in [0, 1].
        clip_high: at least 0.
        mask: of the shape of logp, true where a token counts; None counts all.
        lengths: `[B]`, tokens; None counts the mask. With logp of shape `[B]` it is needed unless responses are one
            token long.
        weights: `[B]`, multiplies each term; not normalised.
        reduction: "mean" over the sequences that count, "sum", or "none" for `[B]`.

    Returns:
        A scalar or `[B]`, of the library and dtype of logp.

    Raises:
        ValueError: for old_logp None, shapes that do not match, a clip out of range, an unknown reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: as `grpo_loss`; the mean over tokens keeps the exponent small.

    Source: arXiv:2507.18071.

    >>> import numpy as np
    >>> logp, old = np.log([[0.5, 0.3], [0.2, 0.4]]), np.log([[0.4, 0.3], [0.3, 0.4]])
    >>> once = gspo_loss(logp, old, [1.0, -2.0], clip_low=0.5, clip_high=0.5)
    >>> twice = gspo_loss(np.tile(logp, 2), np.tile(old, 2), [1.0, -2.0], clip_low=0.5, clip_high=0.5)
    >>> bool(np.isclose(once, twice))  # saying everything twice does not move the ratio
    True
    """
    batch = prepare(
        logp, old_logp, advantages, name="advantages", mask=mask, lengths=lengths, weights=weights, reduction=reduction
    )
    log_ratio = batch.xp.sum(batch.log_ratio, 1) / batch.lengths
    return reduced(batch, -clipped_gain(batch.xp, log_ratio, batch.signal, clip_low, clip_high))
