r"""Exponential tilting of one mass x by d >= 0, and the ranges of what it is measured by.

With \(k_x(s) = e^s/(1 + x(e^s - 1))^2\):

- `tilt`: \(x' = x e^d/(1 + x(e^d - 1))\), increasing in x and d;
- `gap`: \(L(x, d) = \log(1 + x(e^d - 1)) - xd = KL(x\|x')\), increasing in d, concave in x;
- `slope`: \(G = (x' - x)/(x(1-x)d) = \int_0^1 k_x(td)\,dt\);
- `bend`: \(A = L/(x(1-x)d^2) = \int_0^1 (1-t)\,k_x(td)\,dt\).

\(k_x\) falls in x, and in s it rises up to \(\log((1-x)/x)\) and falls beyond. Hence G and A fall in x, and in d they
rise to one maximum and fall: over a box their least values stand at corners. Both are positive on the closed box, x = 0
and x = 1 and d = 0 included, where `slope` is 1 and `bend` one half.
"""

from typing import Final, NamedTuple

from flint import arb

from pmdtheory.proof._span import Span, larger, smaller

__all__ = ["Mass", "Masses", "bend", "bends", "gap", "gap_top", "growth", "slope", "slopes", "tilt"]

_SMALL: Final = arb(2) ** -30


class Mass(NamedTuple):
    """A probability and its complement, both with full relative accuracy."""

    x: arb
    rest: arb

    def turned(self) -> "Mass":
        """The complement as a mass."""
        return Mass(self.rest, self.x)


class Masses(NamedTuple):
    """All masses between two."""

    lo: Mass
    hi: Mass

    def turned(self) -> "Masses":
        """All complements."""
        return Masses(self.hi.turned(), self.lo.turned())

    def span(self) -> Span:
        """As a range of numbers."""
        return Span(self.lo.x, self.hi.x)

    def rest(self) -> Span:
        """The complements as a range of numbers."""
        return Span(self.hi.rest, self.lo.rest)


def growth(d: arb) -> arb:
    """(e^d - 1)/d, one at zero; increasing."""
    if d.is_zero():
        return arb(1)
    return d.expm1() / d if d.lower() > 0 else arb(1).union(d.upper().exp())


def tilt(mass: Mass, d: arb) -> Mass:
    """The mass after tilting by d."""
    if mass.x.is_zero() or mass.rest.is_zero():
        return mass
    total = 1 + mass.x * d.expm1()
    return Mass(mass.x * d.exp() / total, mass.rest / total)


def gap(mass: Mass, d: arb) -> arb:
    """L(x, d), from the end of [0, 1] that x is nearer to."""
    if mass.x.is_zero() or mass.rest.is_zero():
        return arb(0)
    if mass.x < mass.rest:
        return (mass.x * d.expm1()).log1p() - mass.x * d
    return (mass.rest * (-d).expm1()).log1p() + mass.rest * d


def gap_top(masses: Masses, d: arb) -> arb:
    """The largest L(x, d) for x between two masses; L is concave in x, with its maximum at 1/d - 1/(e^d - 1)."""
    if d.is_zero():
        return arb(0)
    ends = larger([gap(masses.lo, d), gap(masses.hi, d)])
    where = 1 / d - 1 / d.expm1()
    if where < masses.lo.x or where > masses.hi.x:
        return ends
    return larger([ends, gap(Mass(where, 1 - where), d)])


def slope(mass: Mass, d: arb) -> arb:
    """G(x, d)."""
    return growth(d) / (1 + mass.x * d.expm1())


def bend(mass: Mass, d: arb) -> arb:
    """A(x, d)."""
    if d.upper() < _SMALL:
        return ((-d.upper()).exp() / 2).union(d.upper().exp() / 2)
    if mass.x.is_zero():
        return (d.expm1() - d) / d**2
    if mass.rest.is_zero():
        return ((-d).expm1() + d) / d**2
    return gap(mass, d) / (mass.x * mass.rest * d**2)


def slopes(masses: Masses, d: Span) -> Span:
    """The range of G over masses and d: least at the larger mass and an end of d."""
    least = smaller([slope(masses.hi, d.lo), slope(masses.hi, d.hi)])
    return Span(least, _top(masses.lo, d, slope(masses.lo, d.lo), slope(masses.lo, d.hi), 1))


def bends(masses: Masses, d: Span) -> Span:
    """The range of A over masses and d: least at the larger mass and an end of d."""
    least = smaller([bend(masses.hi, d.lo), bend(masses.hi, d.hi)])
    return Span(least, _top(masses.lo, d, bend(masses.lo, d.lo), bend(masses.lo, d.hi), 2))


def _top(mass: Mass, d: Span, first: arb, last: arb, order: int) -> arb:
    """An upper bound of d^-order times what increases in d, given its values at the ends."""
    if mass.x >= mass.rest:
        return first  # the kernel falls throughout
    if mass.x * d.hi.exp() <= mass.rest:
        return last  # it rises throughout
    peak = 1 / (4 * order * mass.x * mass.rest)  # the kernel is at most 1/(4 x (1 - x)); A halves it
    return peak if d.lo.lower() <= 0 else peak.min(last * (d.hi / d.lo) ** order)
