r"""One step on two reward levels, over a box in (p, u): p the mass of successes, u its gain in log-odds.

With \(m = e^u - 1\), \(D = 1 + pm\): \(\rho_0 = 1/D\), \(\rho_1 = e^u/D\), \(\lambda = \log D - pu\) and
\(1/\tau = T = u + \delta\), \(\delta = \lambda(\rho_1 - \rho_0)\). At fixed u, T and \(\delta\) rise in p up to
\((e^{1 - u/m} - 1)/m\) and fall beyond (C9); at fixed p they and \(\delta/u\) rise in u.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from flint import arb

from pmdtheory.proof._kernel import Mass, Masses, bends, gap, gap_top, growth, slopes, tilt
from pmdtheory.proof._span import Span, exact, larger, smaller
from pmdtheory.proof._statement import Box

__all__ = ["BinaryLaw", "binary_law", "excess"]


def excess(mass: Mass, u: arb) -> arb:
    r"""\(\delta/u\) at a point, \(\lambda(\rho_1 - \rho_0)/u\)."""
    return gap(mass, u) * growth(u) / (1 + mass.x * u.expm1())


@dataclass(frozen=True)
class BinaryLaw:
    """Ranges of everything the statements multiply, over one box."""

    before: Masses  # p
    after: Masses  # p+
    ideal: Masses  # p of the KL-PMD step
    u: Span
    excess: Span  # delta/u
    delta: Span
    strength: Span  # T = 1/tau
    multiplier: Span
    normal: Span  # D


def _turning(u: arb) -> Mass:
    """Where T stands highest at this u."""
    m = u.expm1()
    where = (1 - u / m).expm1() / m
    return Mass(where, 1 - where)


def binary_law(box: Box, limit: Fraction) -> BinaryLaw | None:
    """The ranges over a box of (p, u) with 1/tau at most `limit`; None where it has no such point."""
    (p0, p1), (u0, u1) = (tuple(map(exact, side)) for side in box)
    before, u, most = Masses(Mass(p0, 1 - p0), Mass(p1, 1 - p1)), Span(u0, u1), exact(limit)
    low, high = smaller([excess(one, u0) for one in before]), larger([excess(one, u1) for one in before])
    if not u1.is_zero():
        top = _turning(u1)
        if not (top.x < p0 or top.x > p1):
            high = larger([high, excess(top, u1)])
    rate = Span(low, high)
    strength = Span(u0 * (1 + low), u1 * (1 + high))
    if strength.lo > most:
        return None
    strength = Span(strength.lo, strength.hi.min(most))
    delta = Span(u0 * low, (u1 * high).min(most - u0))
    if not u0.is_zero():
        rate = Span(low, high.min((most - u0) / u0))
    return BinaryLaw(
        before=before,
        after=Masses(tilt(before.lo, u0), tilt(before.hi, u1)),
        ideal=Masses(tilt(before.lo, strength.lo), tilt(before.hi, strength.hi)),
        u=u,
        excess=rate,
        delta=delta,
        strength=strength,
        multiplier=Span(smaller([gap(one, u0) for one in before]), gap_top(before, u1)),
        normal=Span(1 + p0 * u0.expm1(), 1 + p1 * u1.expm1()),
    )


def first(law: BinaryLaw) -> tuple[Span, Span, Span]:
    """Slopes G of p under u and T, and of p+ under delta."""
    return slopes(law.before, law.u), slopes(law.before, law.strength), slopes(law.after, law.delta)


def second(law: BinaryLaw) -> tuple[Span, Span, Span, Span]:
    """Bends A of p under u and T, of p+ under delta, and of the KL-PMD failures under delta."""
    return (
        bends(law.before, law.u),
        bends(law.before, law.strength),
        bends(law.after, law.delta),
        bends(law.ideal.turned(), law.delta),
    )
