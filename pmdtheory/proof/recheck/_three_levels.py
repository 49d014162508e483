"""Lower bounds of slack/N over boxes of (w, y, u1, u2)."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pmdtheory.proof.recheck._interval import ONE, TINY, Box, Interval, Pair, hull, larger, lesser, minus
from pmdtheory.proof.recheck._tilting import bend_of, gap_of, growth, range_of, share_top, slope_of, tilt

__all__ = ["TERNARY", "ternary"]


@dataclass
class TernaryBox:
    """Enclosures over a box of (w, y, u1, u2)."""

    upper: tuple[tuple[Pair, Pair], ...]  # w before, after, of the KL-PMD step
    top: tuple[tuple[Pair, Pair], ...]
    joint: Interval  # V
    gain: tuple[Interval, Interval]
    excess: tuple[Interval, Interval]
    delta: tuple[Interval, Interval]
    strength: tuple[Interval, Interval]
    lowest: tuple[Interval, Interval]  # rho_0 and rho_1
    shrunk: Interval  # (1 - wK)/(1 - w+)


def _join(first: Interval, y: tuple[Pair, Pair], second: Interval) -> Interval:
    low = Interval(first.lo) + (y[0][1] + y[0][0] * Interval(second.lo).exp()).log()
    high = Interval(first.hi) + (y[1][1] + y[1][0] * Interval(second.hi).exp()).log()
    return Interval(max(low.lo, Decimal(0)), high.hi)


def ternary(box: Box, limit: Interval) -> TernaryBox | None:
    (w0, w1), (y0, y1), (a0, a1), (b0, b1) = ((Interval.of(a), Interval.of(b)) for a, b in box)
    w, y = ((w0, ONE - w0), (w1, ONE - w1)), ((y0, ONE - y0), (y1, ONE - y1))
    u1, u2 = hull(a0, a1), hull(b0, b1)
    joint = _join(u1, y, u2)
    least = lesser(*(gap_of(m, _join(a0, (s, s), b0)) + m[0] * gap_of(s, b0) for m in w for s in y)).lo
    most = (_gap_top(w, Interval(joint.hi)) + w1 * _gap_top(y, b1)).hi
    lam = Interval(max(least, Decimal(0)), most)
    low = ONE / (w[1][1] + w1 * Interval(joint.hi).exp())
    high = ONE / (w[0][1] + w0 * Interval(joint.lo).exp())
    down, tops = hull(low, high), (_top_of(y[0], b0), _top_of(y[1], b1))
    middle = hull(ONE / (w[0][1] * minus(a0).exp() + w1 * tops[1]), ONE / (w[1][1] * minus(a1).exp() + w0 * tops[0]))
    middle = Interval(max(middle.lo, (low * a0.exp()).lo), min(middle.hi, (high * a1.exp()).hi))
    first = hull(  # rho_1 - rho_0
        (a0.exp() - ONE) / (w[1][1] + w1 * a0.exp() * _top_of(y[1], b1)),
        (a1.exp() - ONE) / (w[0][1] + w0 * a1.exp() * _top_of(y[0], b0)),
    )
    second = hull(  # rho_2 - rho_1
        (b0.exp() - ONE) / (w[1][1] * minus(a0).exp() + w1 * _top_of(y[1], b0)),
        (b1.exp() - ONE) / (w[0][1] * minus(a1).exp() + w0 * _top_of(y[0], b1)),
    )
    rates = []
    for step, u, ratio in ((first, u1, down), (second, u2, middle)):
        rate = ratio * hull(growth(Interval(u.lo)), growth(Interval(u.hi)))
        if u.lo > 0:
            other = step / u
            rate = Interval(max(rate.lo, other.lo), min(rate.hi, other.hi))
        rates.append(lam * rate)
    d1, d2 = lam * first, lam * second
    if (a0 + b0 + d1 + d2).lo > limit.hi:
        return None
    room = limit - a0 - b0
    d1, d2 = (
        Interval(max(d1.lo, Decimal(0)), min(d1.hi, (room - Interval(d2.lo)).hi)),
        Interval(max(d2.lo, Decimal(0)), min(d2.hi, (room - Interval(d1.lo)).hi)),
    )
    after = (tilt(w[0], Interval(joint.lo)), tilt(w[1], Interval(joint.hi))), (tilt(y[0], b0), tilt(y[1], b1))
    again = _join(d1, after[1], d2)
    again = Interval(again.lo, min(again.hi, room.hi))
    ideal = (
        (tilt(after[0][0], Interval(again.lo)), tilt(after[0][1], Interval(again.hi))),
        (tilt(after[1][0], Interval(d2.lo)), tilt(after[1][1], Interval(d2.hi))),
    )
    shrunk = hull(
        ONE / (after[0][1][1] + after[0][1][0] * Interval(again.hi).exp()),
        ONE / (after[0][0][1] + after[0][0][0] * Interval(again.lo).exp()),
    )
    return TernaryBox(
        (w, after[0], ideal[0]),
        (y, after[1], ideal[1]),
        again,
        (u1, u2),
        (rates[0], rates[1]),
        (d1, d2),
        (u1 + d1, u2 + d2),
        (down, middle),
        shrunk,
    )


def _top_of(y: Pair, b: Interval) -> Interval:
    """1 + y(e^b - 1)."""
    return y[1] + y[0] * b.exp()


def _gap_top(masses: tuple[Pair, Pair], d: Interval) -> Interval:
    """At least the largest L(x, d): the value at the mass where it peaks, or the larger end."""
    ends = larger(gap_of(masses[0], d), gap_of(masses[1], d))
    if d.hi < TINY:
        return d * d
    where = ONE / d - ONE / (d.exp() - ONE)
    if where.hi < masses[0][0].lo or where.lo > masses[1][0].hi:
        return ends
    return larger(ends, gap_of((where, ONE - where), d))


def _t_bends(law: TernaryBox) -> Interval:
    return lesser(range_of(bend_of, *law.upper[1], law.joint), range_of(bend_of, *law.top[1], law.delta[1]))


def _t_c71(law: TernaryBox) -> Interval:
    first, second = law.strength
    lowest = law.lowest[0] * law.shrunk
    return lesser(lowest * _grow(first), lowest * first.exp() * _grow(second))


def _grow(d: Interval) -> Interval:
    return hull(growth(Interval(d.lo)), growth(Interval(d.hi)))


def _t_c72(law: TernaryBox) -> Interval:
    turned = [(pair[1][::-1], pair[0][::-1]) for pair in (law.upper[2], law.top[2])]
    d, y = law.delta[1], law.top[1][0][0]
    z = y * (Interval(d.lo).exp() - ONE)
    rise = (ONE + z) * (ONE + z).log() / z if z.lo > TINY else ONE
    fall = growth(Interval(d.hi)) / Interval(d.hi).exp() if d.hi > 0 else ONE
    ratio = lesser(ONE, rise * fall)
    return lesser(range_of(bend_of, *turned[0], law.joint) * ratio * ratio, range_of(bend_of, *turned[1], d))


def _t_c74(law: TernaryBox) -> Interval:
    joined = _join(law.strength[0], law.top[0], law.strength[1])
    return lesser(range_of(bend_of, *law.upper[0], joined), range_of(bend_of, *law.top[0], law.strength[1]))


def _t_kl(law: TernaryBox) -> Interval:
    one, two = Interval(law.excess[0].hi), Interval(law.excess[1].hi)
    mixed = one
    if two.hi > one.hi:
        mixed = one + (two - one) * _t_part(law)
    share = larger(share_top(law.upper[1][1], law.joint), share_top(law.top[1][1], law.delta[1]))
    return ONE - mixed / (ONE + mixed) * share


def _t_part(law: TernaryBox) -> Interval:
    (u1, u2), after, v = law.gain, law.upper[1][1], law.joint
    if u1.lo <= 0 or after[1].lo <= 0:
        return ONE
    pull = law.top[1][1][0] * Interval(law.delta[1].hi)
    pull = lesser(ONE, pull / Interval(v.lo)) if v.lo > 0 else ONE
    slope = Interval(range_of(slope_of, *law.top[1], law.delta[1]).hi) / Interval(
        range_of(slope_of, *law.upper[1], v).lo
    )
    relative = Interval(u2.hi) * (law.top[2][1][0] + law.top[1][0][1] * pull * slope / after[1])
    return Interval((relative / (Interval(u1.lo) + relative)).hi)


def _t_chi2(law: TernaryBox) -> Interval:
    lowest = law.lowest[0] * law.shrunk
    sums = []
    for ideal, k in ((lowest, 0), (lowest * law.strength[0].exp(), 1)):
        part = ONE / (ONE + law.excess[k])
        sums.append(ideal * _grow(law.strength[k]) + part * law.lowest[k] * _grow(law.gain[k]))
    return lesser(*sums)


TERNARY: Final[dict[str, tuple[Callable[[TernaryBox], Interval], str, int]]] = {
    "C7-1-ternary": (_t_c71, "1/1000", 5),
    "C7-2-ternary": (_t_c72, "1/50", 5),
    "C7-3-ternary": (_t_bends, "1/10", 5),
    "C7-4-ternary": (_t_c74, "1/10", 5),
    "C8-KL-ternary": (_t_kl, "1/20", 5),
    "C8-price-ternary": (_t_kl, "4/5", 2),
    "C8-reverse-KL-ternary": (_t_bends, "1/10", 5),
    "C8-chi2-ternary": (_t_chi2, "1/100", 5),
    "C8-reward-ternary": (lambda law: law.shrunk, "1/50", 5),
}
