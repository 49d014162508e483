"""The clipped surrogate that GRPO, Dr. GRPO, DAPO and GSPO share."""

import math
from typing import Final

from pmdtheory._checks import finite_scalar, unit_interval
from pmdtheory.losses._arrays import Array, Namespace

_BOUND: Final = "pass a Python number such as 0.2, the distance from 1 at which the ratio is clipped"

__all__ = ["clipped_gain"]


def clipped_gain(xp: Namespace, log_ratio: Array, advantages: Array, clip_low: float, clip_high: float) -> Array:
    r"""\(\min(\rho A, \mathrm{clip}(\rho, 1 - \epsilon_{low}, 1 + \epsilon_{high}) A)\) for shapes that broadcast.

    It is \(A\min(\rho, 1+\epsilon_{high})\) for A >= 0 and \(A\max(\rho, 1-\epsilon_{low})\) for A < 0. The bound is
    applied to \(\log\rho\), before the exponential: a ratio that overflows is clipped with gradient zero, where
    clipping afterwards would give 0 times infinity.
    """
    low = unit_interval("clip_low", clip_low, _BOUND)
    high = finite_scalar("clip_high", clip_high, _BOUND)
    if high < 0.0:
        raise ValueError(f"clip_high must be at least zero, got {high}; {_BOUND}")
    floor = math.log1p(-low) if low < 1.0 else -math.inf
    above, below = xp.clip(log_ratio, None, math.log1p(high)), xp.clip(log_ratio, floor, None)
    return advantages * xp.exp(xp.where(advantages >= 0.0, above, below))
