"""From balls to floats and fractions, outward."""

import math
from fractions import Fraction

from flint import arb

__all__ = ["ends", "outward", "relative_width"]

_TINY = -1080  # numbers below 2^-1080 are zero or the smallest float


def outward(ball: arb) -> tuple[float, float]:
    """The tightest floats around a ball: what is not a float is rounded away from it."""
    low, high = ball.lower(), ball.upper()
    down, up = float(low), float(high)
    if not arb(down) <= low:
        down = math.nextafter(down, -math.inf)
    if not arb(up) >= high:
        up = math.nextafter(up, math.inf)
    return down, up


def ends(ball: arb) -> tuple[Fraction, Fraction]:
    """The end points of a ball, rounded outward to the precision, as exact fractions."""
    return _fraction(ball.lower()), _fraction(ball.upper())


def _fraction(number: arb) -> Fraction:
    mantissa, exponent = (int(part) for part in number.man_exp())
    return Fraction(mantissa) * (Fraction(2) ** exponent)


def relative_width(ball: arb, scale: arb | None = None) -> float:
    """Width over the smallest modulus in the ball, or over `scale`; zero where float64 cannot tell it from zero."""
    if ball.is_exact():
        return 0.0
    if not ball.is_finite():
        return math.inf
    if scale is None and ball.abs_upper() < arb(2) ** _TINY:
        return 0.0
    least = ball.abs_lower() if scale is None else scale.abs_lower()
    if not least > 0:
        return math.inf
    return float((2 * ball.rad() / least).upper())
