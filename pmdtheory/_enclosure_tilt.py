r"""One log-ratio, enclosed: the v with \(v + \Lambda e^v = x\) and \(1 + \Lambda e^v > 0\), the branch \(W_0\).

The function h(v) = v + Lambda e^v - x has the slope 1 + Lambda e^v. With h and the slope D at a point v0, put
r = 2|h|/D. Where r <= 1/2, and in addition 4 r |Lambda| e^{v0} <= D if Lambda < 0, the slope is at least D/2 on
[v0 - r, v0 + r]; so h changes sign there, once, and the mean value theorem puts the zero into v0 - h/(1 + w)
for some w in Lambda e^{v0} (1 +- 2r). Nothing else is used: no Lambert W, no starting value that has to be good.
"""

from typing import Final

import numpy as np
from flint import arb

from pmdtheory._checks import FloatArray

__all__ = ["Unresolved", "enclosed_tilt", "missing_lift", "raised", "tilt_start"]

_STEPS: Final = 200


class Unresolved(ArithmeticError):
    """The precision does not suffice to prove what was asked."""


def raised(v: arb, change: arb) -> arb:
    """E^v from e^v - 1, or afresh where nothing is left of it."""
    return change + 1 if v > -20 else v.exp()


def enclosed_tilt(x: arb, lift: arb, start: arb, goal: arb, anchored: bool) -> tuple[arb, arb]:
    """Balls around v and around w = lift e^v, from an exact start.

    `goal` is the radius r that need not be improved. Anchored, the equation is v + lift (e^v - 1) = x, whose small
    solutions keep their digits however large the lift is.
    """
    v, last = start, None
    for _ in range(_STEPS):
        change = v.expm1()
        w = lift * raised(v, change)
        slope = 1 + w
        h = v + (lift * change if anchored else w) - x
        newton = h / slope
        r = 2 * newton.abs_upper()
        if slope > 0 and 2 * r <= 1 and (w >= 0 or 4 * r * -w <= slope):
            near = w * arb(1, 2 * r)
            if r <= goal * abs(v) or (last is not None and 4 * r >= last):
                return v - h / (1 + near), near
            last = r
        elif not newton.is_finite() or newton.mid() == 0:
            break
        v = (v + min(-newton.mid(), 2 + abs(v))).mid()  # Newton's step; to the right, where h is steep, in moderation
    raise Unresolved("a log-ratio could not be enclosed")


def tilt_start(z: FloatArray) -> FloatArray:
    """Log w with log w + w = z in float64, for the start: Newton from the right, where h is convex."""
    y = np.where(z > 1.0, np.log(np.maximum(z, 1.0)), z)
    with np.errstate(under="ignore"):
        for _ in range(8):
            w = np.exp(y)
            y = y - (y + w - z) / (1.0 + w)
    return y


def missing_lift(depth: FloatArray) -> FloatArray:
    """1 - L with L - log L - 1 = depth, L in (0, 1), in float64, for the start beyond the branch point."""
    p = np.sqrt(2.0 * np.minimum(depth, 0.5))
    near = p * (1.0 - p * (1.0 / 3.0 - p * (11.0 / 72.0 - p * 43.0 / 540.0)))
    with np.errstate(under="ignore"):
        y = np.where(depth < 0.5, np.log1p(-np.minimum(near, 0.9)), -1.0 - depth + np.exp(-1.0 - depth))
        for _ in range(6):
            lift = np.exp(y)
            slope = np.maximum(1.0 - lift, 1e-8)
            y = np.minimum(y - (y - lift + 1.0 + depth) / slope, -1e-9)
        return np.where(depth < 1e-6, near, -np.expm1(y))
