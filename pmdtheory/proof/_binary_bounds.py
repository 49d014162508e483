"""Enclosures of slack/N on two reward levels, from the slopes G and bends A of the masses: one for each statement."""

from flint import arb

from pmdtheory.proof._binary_law import BinaryLaw, first, second
from pmdtheory.proof._kernel import growth
from pmdtheory.proof._span import Span

__all__ = [
    "c7_1",
    "c7_2",
    "c7_3",
    "c7_4",
    "chi2",
    "contraction",
    "floor",
    "fraction",
    "hellinger",
    "kl",
    "minimum",
    "price",
    "renyi",
    "reverse",
    "tight_lower",
    "tight_upper",
    "tv",
]


def c7_1(law: BinaryLaw) -> Span:
    _, under_t, under_delta = first(law)
    return under_delta * under_t


def c7_2(law: BinaryLaw) -> Span:
    return second(law)[3]


def c7_3(law: BinaryLaw) -> Span:
    return second(law)[2]


def c7_4(law: BinaryLaw) -> Span:
    return second(law)[1] * first(law)[0] ** 2


def kl(law: BinaryLaw) -> Span:
    """G(p+, delta) + [pK qK/(p+ q+)] (delta/u) A(qK, delta)."""
    return first(law)[2] + _moved(law) * law.excess * second(law)[3]


def _moved(law: BinaryLaw) -> Span:
    r"""\(p_K q_K/(p^+ q^+) = e^\delta/(1 + p^+(e^\delta - 1))^2\)."""
    total = Span(1 + law.after.lo.x * law.delta.lo.expm1(), 1 + law.after.hi.x * law.delta.hi.expm1())
    return Span(law.delta.lo.exp(), law.delta.hi.exp()) / total**2


def price(law: BinaryLaw) -> Span:
    """1 - [delta/(u + delta)] A/G; A/G <= 1 is the mean of a rising function over its last value."""
    part = Span(law.excess.lo / (1 + law.excess.lo), law.excess.hi / (1 + law.excess.hi))
    under_delta, bent = first(law)[2], second(law)[2]
    share = bent / under_delta
    share = Span(share.lo, share.hi.min(arb(1)).min(law.delta.hi.exp() / 2))
    lost = part * share
    return Span(1 - lost.hi, 1 - lost.lo)


def reverse(law: BinaryLaw) -> Span:
    """G(p, u) + [p+ q+/(p q)] (delta/u) A(p+, delta)."""
    moved = Span(law.u.lo.exp(), law.u.hi.exp()) / law.normal**2
    return first(law)[0] + moved * law.excess * second(law)[2]


def chi2(law: BinaryLaw) -> Span:
    under_u, under_t, under_delta = first(law)
    one = Span(arb(1), arb(1))
    return under_delta * (under_u + (one + law.excess) * under_t)


def renyi(law: BinaryLaw) -> Span:
    """That of chi2 times (1 + y) log(1 + y)/y >= 1, which is left out; so there is no upper end."""
    return Span(chi2(law).lo, arb.pos_inf())


def floor(law: BinaryLaw) -> Span:
    """G(p+, delta) and a term that is the KL divergence over its normaliser, bounded below only."""
    kl = _moved(law) * law.excess * second(law)[3]
    return Span(first(law)[2].lo + kl.lo, arb.pos_inf())


def tight_upper(law: BinaryLaw) -> Span:
    """1/(1 + p+ q+ delta (rho_1 - rho_0) A(p+, delta)/E rho^2)."""
    pull = law.u * first(law)[0]
    own = _one_and(law.before.span() * law.before.rest() * pull**2)
    lost = law.after.span() * law.after.rest() * law.delta * pull * second(law)[2] / own
    return Span(1 / (1 + lost.hi), 1 / (1 + lost.lo))


def tight_lower(law: BinaryLaw) -> Span:
    """1 - pK qK delta (rho_1 - rho_0) A(qK, delta)/E[rho rho_KL]."""
    under_u, under_t, _ = first(law)
    pull, other = law.u * under_u, law.strength * under_t
    cross = _one_and(law.before.span() * law.before.rest() * pull * other)
    lost = law.ideal.span() * law.ideal.rest() * law.delta * pull * second(law)[3] / cross
    return Span(1 - lost.hi, 1 - lost.lo)


def _one_and(other: Span) -> Span:
    return Span(1 + other.lo, 1 + other.hi)


def fraction(law: BinaryLaw) -> Span:
    """Phi = 1/(1 + delta/u)."""
    return Span(1 / (1 + law.excess.hi), 1 / (1 + law.excess.lo))


def tv(law: BinaryLaw) -> Span:
    return first(law)[2]


def hellinger(law: BinaryLaw) -> Span:
    under_u, under_t, under_delta = first(law)
    one, half = Span(arb(1), arb(1)), Span(arb(0.5), arb(0.5))
    p, q = law.before.span(), law.before.rest()
    low, high = _roots(law)
    stretched = (one + law.excess) * under_t
    failures = p * under_u / (one + low[0]) + p * stretched / (one + low[1])
    successes = q * under_u / (one + high[0]) + q * stretched / (one + high[1])
    below, above = low[0] + low[1], high[0] + high[1]
    found = half * (failures / below + successes / above)
    plain = (1 / below.hi - 1 / above.lo) / law.u.hi  # the same before it is factored: better far from the edges
    return under_delta * Span(found.lo.max(plain), found.hi)


def _roots(law: BinaryLaw) -> tuple[tuple[Span, Span], tuple[Span, Span]]:
    r"""Square roots of \(\rho_0\), \(\rho_{0,KL}\), then of \(\rho_1\), \(\rho_{1,KL}\)."""
    p, found = law.before.span(), []
    for d in (law.u, law.strength):
        down = Span(1 / (1 + p.hi * d.hi.expm1()), 1 / (1 + p.lo * d.lo.expm1()))
        up = Span(1 / (p.hi + law.before.hi.rest * (-d.lo).exp()), 1 / (p.lo + law.before.lo.rest * (-d.hi).exp()))
        found.append((down.sqrt(), up.sqrt()))
    return (found[0][0], found[1][0]), (found[0][1], found[1][1])


def contraction(law: BinaryLaw) -> Span:
    """A(p, u) times (e^x - 1)/x at x = lambda/D."""
    x = law.multiplier / law.normal
    return second(law)[0] * Span(growth(x.lo), growth(x.hi))


def minimum(law: BinaryLaw) -> Span:
    """The three signs that make one minimum: 1/u - 1/m falls in u from one half, and G(p, u) > 0."""
    middle = Span(_start(law.u.hi), _start(law.u.lo))
    last = Span(1 - middle.hi, 1 - middle.lo)
    return middle.least(last).least(first(law)[0])


def _start(u: arb) -> arb:
    """1/u - 1/(e^u - 1), one half at zero."""
    return arb(0.5) if u.is_zero() else 1 / u - 1 / u.expm1()
