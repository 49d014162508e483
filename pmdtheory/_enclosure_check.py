r"""A claimed interval for the unknown, decided by the mass at its ends: \(E\rho\) falls in lambda, and in b.

The second opinion inside the package: Arb's Lambert W on balls, where the enclosures use none.
"""

from fractions import Fraction

from flint import arb, ctx

from pmdtheory._enclosure_law import Balls, exact_ball
from pmdtheory._enclosure_solve import Request

__all__ = ["confirmed"]


def confirmed(request: Request, low: Fraction, high: Fraction, max_precision: int) -> bool | None:
    """True, False, or None where the largest precision does not tell."""
    precision = 128
    above: bool | None = None
    below: bool | None = None
    while True:
        with ctx.workprec(precision):
            balls = request.law.balls()
            above = _at_least(request, balls, low) if above is None else above
            below = _at_most(request, balls, high) if below is None else below
        if above is False or below is False:
            return False
        if above and below:
            return True
        if precision >= max_precision:
            return None
        precision = min(max_precision, 2 * precision)


def _at_least(request: Request, balls: Balls, end: Fraction) -> bool | None:
    side = _defect_sign(request, balls, end)
    return None if side is None else side >= 0


def _at_most(request: Request, balls: Balls, end: Fraction) -> bool | None:
    side = _defect_sign(request, balls, end)
    return None if side is None else side <= 0


def _defect_sign(request: Request, balls: Balls, end: Fraction) -> int | None:
    """Sign of the mass less one with the unknown at `end`; None where it is not decided."""
    law = request.law
    given = request.weight if request.weight is not None else Fraction(0)
    searched_b = request.weight is not None or request.ideal
    if law.alone and law.seen == 1:  # the mass of one level is one where v = 0: everything is rational
        target = law.target(0)
        unknown = target - (given if searched_b else target if request.baseline is None else request.baseline)
        return (unknown > end) - (unknown < end)
    tau, value = exact_ball(Fraction(law.tau)), exact_ball(end)
    shift = balls.shift if law.sampler is None else balls.sampled_shift
    mean = (exact_ball(Fraction(law.reference)) + shift) / tau
    b = value if searched_b else mean if request.baseline is None else exact_ball(request.baseline)
    multiplier = exact_ball(given) if searched_b else value
    total = -balls.blind
    for k, m in enumerate(balls.mass):
        x = exact_ball(Fraction(law.reward[k])) / tau - b
        total += m * _change(x, multiplier if balls.scale is None else multiplier * balls.scale[k])
    if total.is_zero():
        return 0
    return 1 if total > 0 else -1 if total < 0 else None


def _change(x: arb, scale: arb) -> arb:
    """Rho - 1 with log rho + scale rho = x, NaN left of the branch point."""
    if scale.is_zero():
        return x.expm1()
    return (scale * x.exp()).lambertw() / scale - 1
