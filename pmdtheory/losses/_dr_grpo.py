"""Dr. GRPO: GRPO without its normalisations."""

from typing import Any, Final

from pmdtheory.losses._arrays import Array, scalar
from pmdtheory.losses._batch import prepare, reduced
from pmdtheory.losses._clip import clipped_gain

_HORIZON: Final = "horizon is a constant number of tokens, such as the longest response allowed, or 1"

__all__ = ["dr_grpo_loss"]


def dr_grpo_loss(
    logp: Array,
    old_logp: Array,
    advantages: Array,
    *,
    horizon: Any = 1,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    mask: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""The clipped surrogate of Dr. GRPO: summed over the tokens of a sequence, divided by a constant.

    Formula: the mean over sequences of \(-\tfrac1H\sum_t \min(\rho_{it}A_i,
    \mathrm{clip}(\rho_{it}, 1-\epsilon_{low}, 1+\epsilon_{high})A_i)\). At \(\pi_\theta = \pi_{old}\) with H = 1 the
    gradient is that of REINFORCE on whole sequences.

    Args:
        logp: `[B, T]` tokens, nats, or `[B]` for responses of one token: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled.
        advantages: `[B]`; Dr. GRPO's are rewards less the group's mean, not divided by a deviation.
        horizon: H, greater than zero, tokens; the same for all sequences.
        clip_low: in [0, 1].
        clip_high: at least 0.
        mask: of the shape of logp, true where a token counts; None counts all.
        weights: `[B]`, multiplies each sequence's term; not normalised.
        reduction: "mean" over the sequences that count, "sum", or "none" for `[B]`.

    Returns:
        A scalar or `[B]`, of the library and dtype of logp.

    Raises:
        ValueError: for old_logp None, shapes that do not match, a clip or horizon out of range, another reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: as `grpo_loss`.

    Source: arXiv:2503.20783.

    >>> import numpy as np
    >>> from pmdtheory.losses import grpo_loss
    >>> logp, old = np.log([[0.5, 0.3, 0.9], [0.2, 0.4, 0.6]]), np.log([[0.4, 0.3, 0.7], [0.3, 0.4, 0.5]])
    >>> bool(np.isclose(dr_grpo_loss(logp, old, [1.0, -2.0]), 3 * grpo_loss(logp, old, [1.0, -2.0])))  # 3 tokens each
    True
    """
    batch = prepare(
        logp,
        old_logp,
        advantages,
        name="advantages",
        mask=mask,
        weights=weights,
        reduction=reduction,
        scalars={"horizon": horizon},
    )
    divisor = scalar(batch.xp, "horizon", horizon, _HORIZON, like=batch.log_ratio, positive=True)
    gain = clipped_gain(batch.xp, batch.log_ratio, batch.signal[:, None], clip_low, clip_high)
    return reduced(batch, -batch.xp.sum(batch.xp.where(batch.keep, gain, 0.0), 1) / divisor)
