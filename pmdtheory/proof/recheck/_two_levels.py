"""Lower bounds of slack/N over boxes of (p, u)."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pmdtheory.proof.recheck._interval import HALF, ONE, Box, Interval, Pair, hull, larger, lesser
from pmdtheory.proof.recheck._tilting import bend_of, gap_of, growth, range_of, share_top, slope_of, tilt

__all__ = ["BINARY", "binary"]


@dataclass
class BinaryBox:
    """Enclosures over a box of (p, u)."""

    before: tuple[Pair, Pair]
    after: tuple[Pair, Pair]
    ideal: tuple[Pair, Pair]
    u: Interval
    excess: Interval  # delta/u
    delta: Interval
    strength: Interval  # 1/tau
    multiplier: Decimal  # at least

    def slopes(self) -> tuple[Interval, Interval, Interval]:
        return (
            range_of(slope_of, *self.before, self.u),
            range_of(slope_of, *self.before, self.strength),
            range_of(slope_of, *self.after, self.delta),
        )

    def bends(self) -> tuple[Interval, Interval, Interval, Interval]:
        turned = self.ideal[1][::-1], self.ideal[0][::-1]
        return (
            range_of(bend_of, *self.before, self.u),
            range_of(bend_of, *self.before, self.strength),
            range_of(bend_of, *self.after, self.delta),
            range_of(bend_of, *turned, self.delta),
        )


def _excess(m: Pair, u: Interval) -> Interval:
    return gap_of(m, u) * growth(u) / (m[1] + m[0] * u.exp())


def binary(box: Box, limit: Interval) -> BinaryBox | None:
    (p0, p1), (u0, u1) = ((Interval.of(a), Interval.of(b)) for a, b in box)
    low, high = (p0, ONE - p0), (p1, ONE - p1)
    least = lesser(_excess(low, u0), _excess(high, u0))
    most = larger(_excess(low, u1), _excess(high, u1))
    if u1.lo > 0:
        m = u1.exp() - ONE
        where = ((ONE - u1 / m).exp() - ONE) / m
        if not (where.hi < p0.lo or where.lo > p1.hi):  # 1/tau is largest there, m e^{u/m - 1}
            most = m * (u1 / m - ONE).exp() / u1 - ONE
    strength = hull(u0 * (ONE + least), u1 * (ONE + most))
    if strength.lo > limit.hi:
        return None
    strength = Interval(strength.lo, min(strength.hi, limit.hi))
    delta = Interval((u0 * least).lo, min((u1 * most).hi, (limit - u0).hi))
    if u0.lo > 0:
        most = lesser(most, (limit - u0) / u0)
    return BinaryBox(
        (low, high),
        (tilt(low, u0), tilt(high, u1)),
        (tilt(low, Interval(strength.lo)), tilt(high, Interval(strength.hi))),
        hull(u0, u1),
        Interval(max(least.lo, Decimal(0)), most.hi),
        Interval(max(delta.lo, Decimal(0)), delta.hi),
        strength,
        lesser(gap_of(low, u0), gap_of(high, u0)).lo,
    )


def _moved(law: BinaryBox) -> Interval:
    """PK qK/(p+ q+), at least."""
    top = law.after[1][1] + law.after[1][0] * Interval(law.delta.hi).exp()
    return Interval(law.delta.lo).exp() / (top * top)


def _b_kl(law: BinaryBox) -> Interval:
    return law.slopes()[2] + _moved(law) * law.excess * law.bends()[3]


def _b_reverse(law: BinaryBox) -> Interval:
    top = law.before[1][1] + law.before[1][0] * Interval(law.u.hi).exp()
    return law.slopes()[0] + Interval(law.u.lo).exp() / (top * top) * law.excess * law.bends()[2]


def _b_chi2(law: BinaryBox) -> Interval:
    own, whole, moved = law.slopes()
    return moved * (own + (ONE + law.excess) * whole)


def _b_hellinger(law: BinaryBox) -> Interval:
    (low, high), found, sums = law.before, [], []
    for d in (law.u, law.strength):
        a, b = Interval(d.lo).exp(), Interval(d.hi).exp()
        down = hull(ONE / (high[1] + high[0] * b), ONE / (low[1] + low[0] * a)).sqrt()
        up = hull(a / (high[1] + high[0] * a), b / (low[1] + low[0] * b)).sqrt()
        found.append((down, up))
    for k, mass in ((0, hull(low[0], high[0])), (1, hull(high[1], low[1]))):
        pulls = (law.slopes()[0], (ONE + law.excess) * law.slopes()[1])
        top = mass * pulls[0] / (ONE + found[0][k]) + mass * pulls[1] / (ONE + found[1][k])
        sums.append(top / (found[0][k] + found[1][k]))
    factored = HALF * (sums[0] + sums[1])
    plain = ONE / (found[0][0] + found[1][0]) - ONE / (found[0][1] + found[1][1])
    if law.u.hi > 0 and plain.lo > 0:
        factored = larger(factored, Interval(plain.lo) / Interval(law.u.hi))
    return law.slopes()[2] * factored


def _b_price(law: BinaryBox) -> Interval:
    part = Interval(law.excess.hi) / (ONE + Interval(law.excess.hi))
    return ONE - part * share_top(law.after[1], law.delta)


def _variances(law: BinaryBox) -> tuple[Interval, Interval]:
    """What is lost in both tightness statements, but for A: p+ q+ delta (rho_1 - rho_0), and with pK qK."""
    own = law.u * law.slopes()[0]
    pull = law.delta * own
    (low, high), (low_k, high_k) = law.after, law.ideal
    first = hull(low[0], high[0]) * hull(high[1], low[1]) * pull
    second = hull(low_k[0], high_k[0]) * hull(high_k[1], low_k[1]) * pull
    return first, second


def _spread(law: BinaryBox) -> tuple[Interval, Interval]:
    """E rho^2 and E[rho rho_KL]."""
    own, whole = law.u * law.slopes()[0], law.strength * law.slopes()[1]
    (low, high) = law.before
    both = hull(low[0], high[0]) * hull(high[1], low[1])
    return ONE + both * own * own, ONE + both * own * whole


def _b_minimum(law: BinaryBox) -> Interval:
    ends = [HALF if u == 0 else ONE / Interval(u) - ONE / (Interval(u).exp() - ONE) for u in (law.u.lo, law.u.hi)]
    return lesser(ends[1], ONE - ends[0], law.slopes()[0])


BINARY: Final[dict[str, tuple[Callable[[BinaryBox], Interval], str, int]]] = {
    "C7-1": (lambda law: law.slopes()[2] * law.slopes()[1], "3/10000", 100),
    "C7-2": (lambda law: law.bends()[3], "1/60", 100),
    "C7-3": (lambda law: law.bends()[2], "1/100", 100),
    "C7-4": (lambda law: law.bends()[1] * law.slopes()[0] * law.slopes()[0], "9/10000000", 100),
    "C7-tight-upper": (lambda w: ONE / (ONE + _variances(w)[0] * w.bends()[2] / _spread(w)[0]), "197/200", 1),
    "C7-tight-lower": (lambda w: ONE - _variances(w)[1] * w.bends()[3] / _spread(w)[1], "197/200", 1),
    "C8-KL": (_b_kl, "1/100", 100),
    "C8-reverse-KL": (_b_reverse, "1/110", 100),
    "C8-chi2": (_b_chi2, "1/1000", 100),
    "C8-TV": (lambda law: law.slopes()[2], "1/100", 100),
    "C8-Hellinger": (_b_hellinger, "1/10000", 100),
    "C8-Renyi-2": (_b_chi2, "1/1000", 100),
    "C8-reward": (lambda law: law.slopes()[2], "1/100", 100),
    "C8-floor": (_b_kl, "1/100", 100),
    "C8-price": (_b_price, "57/1000", 100),
    "C9-contraction": (lambda law: law.bends()[0], "1/110", 100),
    "C9-fraction": (lambda law: ONE / (ONE + law.excess), "1/18", 100),
    "C9-minimum": (_b_minimum, "1/110", 100),
}
