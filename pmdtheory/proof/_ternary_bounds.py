"""Enclosures of slack/N on three reward levels: each is a mean of two-level terms, enclosed by the worse of them."""

from flint import arb

from pmdtheory.proof._kernel import bends, growth, slopes
from pmdtheory.proof._span import Span
from pmdtheory.proof._ternary_law import TernaryLaw

__all__ = [
    "c7_1",
    "c7_2",
    "c7_3",
    "c7_4",
    "chi2",
    "kl",
    "reverse",
    "reward",
]


def _after(law: TernaryLaw) -> tuple[Span, Span]:
    """Bends of w+ under V and of y+ under d2."""
    return bends(law.upper[1], law.joint[1]), bends(law.top[1], law.delta[1])


def c7_1(law: TernaryLaw) -> Span:
    """A mean of the slopes rho_KL,0 (e^{t1} - 1)/t1 and rho_KL,1 (e^{t2} - 1)/t2."""
    first, second = law.strength
    lowest = _lowest(law)
    upper = Span(lowest.lo * first.lo.exp(), lowest.hi * first.hi.exp())
    return _between(lowest * _growth(first), upper * _growth(second))


def _between(one: Span, other: Span) -> Span:
    """What a weighted mean of the two can be."""
    return Span(one.lo.min(other.lo), one.hi.max(other.hi))


def _lowest(law: TernaryLaw) -> Span:
    r"""\(\rho_{KL,0} = \rho_0 (1 - w_K)/(1 - w^+)\)."""
    return law.ratio[0] * _shrunk(law)


def _shrunk(law: TernaryLaw) -> Span:
    """(1 - wK)/(1 - w+) = 1/(1 + w+(e^V - 1))."""
    w, v = law.upper[1], law.joint[1]
    return Span(1 / (1 + w.hi.x * v.hi.expm1()), 1 / (1 + w.lo.x * v.lo.expm1()))


def _growth(d: Span) -> Span:
    return Span(growth(d.lo), growth(d.hi))


def c7_2(law: TernaryLaw) -> Span:
    """Bends of the lower mass of pi_KL under V, times (V/(d1 + yK d2))^2, and of 1 - yK under d2."""
    one, two = bends(law.upper[2].turned(), law.joint[1]), bends(law.top[2].turned(), law.delta[1])
    d, y = law.delta[1], law.top[1]
    z = y.lo.x * d.lo.expm1()
    rise = (1 + z) * z.log1p() / z if z.lower() > 0 else arb(1)  # (1 + z) log(1 + z)/z rises from one
    ratio = (rise * growth(d.hi) * (-d.hi).exp()).min(arb(1))
    return Span((one.lo * ratio**2).min(two.lo), one.hi.max(two.hi))


def c7_3(law: TernaryLaw) -> Span:
    """The bends, as V is no less than d1 + y+ d2."""
    one, two = _after(law)
    return Span(one.lo.min(two.lo), arb.pos_inf())


def c7_4(law: TernaryLaw) -> Span:
    """Bends of w and of y under the whole of r/tau."""
    first, second = law.strength
    joined = Span(
        first.lo + (law.top[0].lo.x * second.lo.expm1()).log1p(),
        first.hi + (law.top[0].hi.x * second.hi.expm1()).log1p(),
    )
    return Span(bends(law.upper[0], joined).lo.min(bends(law.top[0], second).lo), arb.pos_inf())


def kl(law: TernaryLaw) -> Span:
    """1 - [sum d_i X_i/sum t_i X_i] max(A/G): the slack is t1 X + t2 Y less KL(pi+ | pi_KL)."""
    shares, bent = [], []
    for masses, d in ((law.upper[1], law.joint[1]), (law.top[1], law.delta[1])):
        shares.append(slopes(masses, d))
        bent.append((bends(masses, d).hi / shares[-1].lo).min(arb(1)).min(d.hi.exp() / 2))
    one, two = (excess.hi for excess in law.excess)
    mixed = one.max(one + (two - one) * _top_part(law, *shares))
    return Span(1 - mixed / (1 + mixed) * bent[0].max(bent[1]), arb(1))


def _top_part(law: TernaryLaw, first: Span, second: Span) -> arb:
    """An upper bound of u2 Y/(u1 X + u2 Y), one where nothing better is known.

    Y/X = yK + w+(yK - y+)/(wK - w+), and y+ d2 <= V.
    """
    (u1, u2), top, v = law.gain, law.top[1], law.joint[1]
    if u1.lo.is_zero() or law.upper[1].hi.rest.is_zero():
        return arb(1)
    pull = top.hi.x * law.delta[1].hi
    pull = pull / v.lo if v.lo.lower() > 0 else arb(1)
    relative = law.top[2].hi.x + top.lo.rest * pull.min(arb(1)) * second.hi / (law.upper[1].hi.rest * first.lo)
    return u2.hi * relative / (u1.lo + u2.hi * relative)


def reverse(law: TernaryLaw) -> Span:
    """One, and the bends of C7-3-ternary."""
    one, two = _after(law)
    return Span(one.lo.min(two.lo).min(arb(1)), arb.pos_inf())


def reward(law: TernaryLaw) -> Span:
    """The least value of rho_KL/rho over its pairs, (1 - wK)/(1 - w+)."""
    return Span(_shrunk(law).lo, arb.pos_inf())


def chi2(law: TernaryLaw) -> Span:
    """Slopes of rho_KL + rho in r/tau."""
    first, second = law.strength
    lowest = _lowest(law)
    upper = Span(lowest.lo * first.lo.exp(), lowest.hi * first.hi.exp())
    sums = []
    for ideal, ratio, t, u, excess in (
        (lowest, law.ratio[0], first, law.gain[0], law.excess[0]),
        (upper, law.ratio[1], second, law.gain[1], law.excess[1]),
    ):
        share = Span(1 / (1 + excess.hi), 1 / (1 + excess.lo))
        sums.append(ideal * _growth(t) + share * ratio * _growth(u))
    return _between(*sums)
