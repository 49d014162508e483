"""Tilting one mass x by d: the gap L, its slope G and bend A, and their ranges."""

from collections.abc import Callable
from decimal import Decimal

from pmdtheory.proof.recheck._interval import HALF, ONE, TINY, Interval, Pair, hull, lesser, minus

__all__ = ["bend_of", "range_of", "gap_of", "growth", "share_top", "slope_of", "tilt"]


def tilt(m: Pair, d: Interval) -> Pair:
    total = m[1] + m[0] * d.exp()
    return m[0] * d.exp() / total, m[1] / total


def gap_of(m: Pair, d: Interval) -> Interval:
    found = (m[1] + m[0] * d.exp()).log() - m[0] * d
    return Interval(max(found.lo, Decimal(0)), max(found.hi, Decimal(0)))


def growth(d: Interval) -> Interval:
    if d.lo <= 0 or d.hi < TINY:
        return Interval(1, d.exp().hi)
    return (d.exp() - ONE) / d


def slope_of(m: Pair, d: Interval) -> Interval:
    return growth(d) / (m[1] + m[0] * d.exp())


def bend_of(m: Pair, d: Interval) -> Interval:
    if d.hi < TINY:
        return HALF * hull(minus(d).exp(), d.exp())
    if m[0].hi == 0:
        return (d.exp() - ONE - d) / (d * d)
    if m[1].hi == 0:
        return (minus(d).exp() - ONE + d) / (d * d)
    return gap_of(m, d) / (m[0] * m[1] * d * d)


def range_of(function: Callable[[Pair, Interval], Interval], low: Pair, high: Pair, d: Interval) -> Interval:
    """Below: the larger mass and either end of d. Above: the smaller mass, where the function is monotone in d."""
    a, b = Interval(d.lo), Interval(d.hi)
    least = lesser(function(high, a), function(high, b))
    if low[0].lo >= low[1].hi:
        return Interval(least.lo, function(low, a).hi)
    if (low[0] * b.exp()).hi <= low[1].lo:
        return Interval(least.lo, function(low, b).hi)
    start = ONE if function is slope_of else HALF
    most = lesser(start * b.exp(), start / (Interval(4) * low[0] * low[1])).hi  # the kernel is at most 1/(4x(1 - x))
    return Interval(least.lo, most)


def share_top(high: Pair, d: Interval) -> Interval:
    """An upper bound of A/G over masses up to `high`, where it is largest."""
    a, b = Interval(d.lo), Interval(d.hi)
    found = [ONE, HALF * b.exp()]
    if a.lo > 0:  # d^2 A and d G rise in d
        found.append(bend_of(high, b) * b * b / (a * a * slope_of(high, a)))
    found.append(Interval(range_of(bend_of, high, high, d).hi) / Interval(range_of(slope_of, high, high, d).lo))
    return lesser(*found)
