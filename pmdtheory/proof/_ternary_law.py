r"""One step on three reward levels, over a box in (w, y, u1, u2).

w is the mass of the two upper levels and y the share of the top one in it: \(\pi = (1-w, w(1-y), wy)\). \(u_1, u_2\)
are the gains in log-odds between neighbouring levels, \(\log(\rho_1/\rho_0)\) and \(\log(\rho_2/\rho_1)\). Every law
and every pair of gains is a step of PMD-mean: with \(\lambda = KL(\pi\|\pi^+)\) the rewards over tau differ by
\(t_i = u_i + d_i\), \(d_1 = \lambda(\rho_1-\rho_0)\), \(d_2 = \lambda(\rho_2-\rho_1)\) (C1, C4), and
\(t_1 + t_2\) is the span of the rewards over tau.

A tilt of three levels is two tilts of one mass: y by \(u_2\), then w by \(U = u_1 + \log(1 + y(e^{u_2}-1))\); the
chain rule of KL makes \(\lambda = L(w, U) + wL(y, u_2)\). KL-PMD tilts \(\pi^+\) by \(d_2\), then by
\(V = d_1 + \log(1 + y^+(e^{d_2}-1))\).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from flint import arb

from pmdtheory.proof._kernel import Mass, Masses, gap, gap_top, growth, tilt
from pmdtheory.proof._span import Span, exact, smaller
from pmdtheory.proof._statement import Box

__all__ = ["TernaryLaw", "ternary_law"]


@dataclass(frozen=True)
class TernaryLaw:
    """Ranges of everything the statements multiply, over one box."""

    upper: tuple[Masses, Masses, Masses]  # w before, after, of the KL-PMD step
    top: tuple[Masses, Masses, Masses]  # y likewise
    joint: tuple[Span, Span]  # U and V
    gain: tuple[Span, Span]  # u1, u2
    excess: tuple[Span, Span]  # d1/u1, d2/u2
    delta: tuple[Span, Span]  # d1, d2
    strength: tuple[Span, Span]  # t1, t2
    multiplier: Span
    ratio: tuple[Span, Span]  # rho_0, rho_1


def _joined(first: Span, top: Masses, second: Span) -> Span:
    """First + log(1 + y(e^second - 1))."""
    return Span(first.lo + (top.lo.x * second.lo.expm1()).log1p(), first.hi + (top.hi.x * second.hi.expm1()).log1p())


def _steps(w: Masses, y: Masses, u1: Span, u2: Span) -> tuple[Span, Span]:
    r"""\(\rho_1 - \rho_0\) and \(\rho_2 - \rho_1\): the second rises in both gains, both fall in w and y."""

    def first(mass: Mass, share: Mass, a: arb, b: arb) -> arb:
        return a.expm1() / (mass.rest + mass.x * a.exp() * (1 + share.x * b.expm1()))

    def second(mass: Mass, share: Mass, a: arb, b: arb) -> arb:
        return b.expm1() / (mass.rest * (-a).exp() + mass.x * (1 + share.x * b.expm1()))

    return (
        Span(first(w.hi, y.hi, u1.lo, u2.hi), first(w.lo, y.lo, u1.hi, u2.lo)),
        Span(second(w.hi, y.hi, u1.lo, u2.lo), second(w.lo, y.lo, u1.hi, u2.hi)),
    )


def _rates(step: Span, u: Span, down: Span) -> Span:
    """A step over its gain, either as a quotient or as rho times (e^u - 1)/u."""
    smooth = Span(down.lo * growth(u.lo), down.hi * growth(u.hi))
    return smooth if u.lo.is_zero() else smooth.meet(Span(step.lo / u.hi, step.hi / u.lo))


def ternary_law(box: Box, limit: Fraction) -> TernaryLaw | None:
    """The ranges over a box with t1 + t2 at most `limit`; None where it has no such point."""
    (w0, w1), (y0, y1), (a0, a1), (b0, b1) = (tuple(map(exact, side)) for side in box)
    w, y = Masses(Mass(w0, 1 - w0), Mass(w1, 1 - w1)), Masses(Mass(y0, 1 - y0), Mass(y1, 1 - y1))
    u1, u2, most = Span(a0, a1), Span(b0, b1), exact(limit)
    joint = _joined(u1, y, u2)
    # lambda rises in both gains and is concave in w and in y: least at one of four corners
    low = smaller([_multiplier(mass, share, a0, b0) for mass, share in product(w, y)])
    multiplier = Span(low, gap_top(w, joint.hi) + w1 * gap_top(y, b1))
    down = Span(1 / (1 + w1 * joint.hi.expm1()), 1 / (1 + w0 * joint.lo.expm1()))
    middle = Span(
        1 / ((1 - w0) * (-a0).exp() + w1 * (1 + y1 * b1.expm1())),
        1 / ((1 - w1) * (-a1).exp() + w0 * (1 + y0 * b0.expm1())),
    )
    middle = middle.meet(Span(down.lo * a0.exp(), down.hi * a1.exp()))
    steps = _steps(w, y, u1, u2)
    excess = (multiplier * _rates(steps[0], u1, down), multiplier * _rates(steps[1], u2, middle))
    delta = (multiplier * steps[0], multiplier * steps[1])
    if a0 + b0 + delta[0].lo + delta[1].lo > most:
        return None
    room = most - a0 - b0  # t1 + t2 <= limit leaves no more than this to d1 + d2
    delta = (
        Span(delta[0].lo, delta[0].hi.min(room - delta[1].lo)),
        Span(delta[1].lo, delta[1].hi.min(room - delta[0].lo)),
    )
    strength = (u1 + delta[0], u2 + delta[1])
    after = (Masses(tilt(w.lo, joint.lo), tilt(w.hi, joint.hi)), Masses(tilt(y.lo, b0), tilt(y.hi, b1)))
    again = _joined(delta[0], after[1], delta[1])
    again = Span(again.lo, again.hi.min(room))  # V <= d1 + d2
    ideal = (
        Masses(tilt(after[0].lo, again.lo), tilt(after[0].hi, again.hi)),
        Masses(tilt(after[1].lo, delta[1].lo), tilt(after[1].hi, delta[1].hi)),
    )
    return TernaryLaw(
        upper=(w, after[0], ideal[0]),
        top=(y, after[1], ideal[1]),
        joint=(joint, again),
        gain=(u1, u2),
        excess=excess,
        delta=delta,
        strength=strength,
        multiplier=multiplier,
        ratio=(down, middle),
    )


def _multiplier(w: Mass, y: Mass, u1: arb, u2: arb) -> arb:
    """Lambda at a point, by the chain rule."""
    return gap(w, u1 + (y.x * u2.expm1()).log1p()) + w.x * gap(y, u2)
