"""The inequalities on two reward levels from definitions, at a point (p, u): what a witness and a test are about.

Divergences, means and masses of the three laws pi, pi+ and pi_KL are summed as they are defined; nothing is factored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from flint import arb

from pmdtheory.proof._statement import Terms

__all__ = ["TERMS"]


@dataclass(frozen=True)
class _Point:
    """Laws (failure, success) before the step, after it and after KL-PMD's, and what belongs to them."""

    pi: tuple[arb, arb]
    new: tuple[arb, arb]
    ideal: tuple[arb, arb]
    u: arb
    strength: arb
    multiplier: arb

    @property
    def delta(self) -> arb:
        return self.strength - self.u

    @property
    def jensen(self) -> arb:
        """J = log E e^{r/tau} - E r/tau."""
        return (self.pi[0] + self.pi[1] * self.strength.exp()).log() - self.pi[1] * self.strength


def _point(point: Sequence[arb]) -> _Point:
    p, u = point
    total = 1 - p + p * u.exp()
    down, up = 1 / total, u.exp() / total
    multiplier = -(1 - p) * down.log() - p * up.log()  # C4: KL(pi | pi+)
    strength = u + multiplier * (up - down)
    partition = 1 - p + p * strength.exp()
    return _Point(
        (1 - p, p),
        ((1 - p) * down, p * up),
        ((1 - p) / partition, p * strength.exp() / partition),
        u,
        strength,
        multiplier,
    )


_Law = tuple[arb, arb]


def _mean(weight: _Law, value: _Law) -> arb:
    return weight[0] * value[0] + weight[1] * value[1]


def _over(a: _Law, b: _Law) -> _Law:
    return a[0] / b[0], a[1] / b[1]


def _kl(a: _Law, b: _Law) -> arb:
    ratio = _over(a, b)
    return _mean(a, (ratio[0].log(), ratio[1].log()))


def _chi2(a: _Law, b: _Law) -> arb:
    return _mean(a, _over(a, b)) - 1


def _tv(a: _Law, b: _Law) -> arb:
    return (abs(a[0] - b[0]) + abs(a[1] - b[1])) / 2


def _hellinger(a: _Law, b: _Law) -> arb:
    return ((a[0].sqrt() - b[0].sqrt()) ** 2 + (a[1].sqrt() - b[1].sqrt()) ** 2) / 2


def _renyi(a: _Law, b: _Law) -> arb:
    return _mean(a, _over(a, b)).log()


def _c7(one: _Point) -> tuple[arb, arb, arb]:
    """E[rho rho_KL], E rho_KL^2 and E rho^2."""
    return _mean(one.new, _over(one.ideal, one.pi)), 1 + _chi2(one.ideal, one.pi), 1 + _chi2(one.new, one.pi)


def _bracket(which: int) -> Callable[[_Point], tuple[Terms, ...]]:
    def terms(one: _Point) -> tuple[Terms, ...]:
        cross, square, own = _c7(one)
        jensen = one.jensen
        chain = (jensen / square, jensen / cross, one.multiplier, jensen / own, jensen)
        masses, ideal, before = one.new[0] * one.new[1], one.ideal[0] * one.ideal[1], one.pi[0] * one.pi[1]
        normaliser = (
            jensen * masses * one.delta * one.strength / (cross * square),
            ideal * one.delta**2 / cross,
            masses * one.delta**2 / own,
            (before * one.strength * one.u) ** 2 / own,
        )
        return (Terms(chain[which], chain[which - 1], normaliser[which - 1]),)

    return terms


def _ordered(
    measure: Callable[[_Law, _Law], arb], normaliser: Callable[[_Point], arb]
) -> Callable[[_Point], tuple[Terms, ...]]:
    def terms(one: _Point) -> tuple[Terms, ...]:
        return (Terms(measure(one.ideal, one.pi), measure(one.new, one.pi), normaliser(one)),)

    return terms


def _plain(one: _Point) -> arb:
    return one.new[0] * one.new[1] * one.delta


def _stretched(one: _Point) -> arb:
    return _plain(one) * one.u


def _contraction(one: _Point) -> tuple[Terms, ...]:
    p, q = one.pi[1], one.pi[0]
    normaliser = p * q**2 * one.u**2 * (one.new[0] / q) ** 2
    return (Terms(q * (-p * one.strength).exp(), one.new[0], normaliser),)


def _minimum(one: _Point) -> tuple[Terms, ...]:
    p, u = one.pi[1], one.u
    m = u.exp() - 1
    return (
        Terms(arb(1), u / m, u),
        Terms(u + u / m, arb(1), u),
        Terms((1 + p * m).log() + m / (1 + p * m), (1 + p * m).log(), u),
    )


def _floor(one: _Point) -> tuple[Terms, ...]:
    turn = 1 - (-one.delta).exp()
    extra = one.u * one.new[0] * one.new[1] * turn
    normaliser = one.u * one.new[1] * one.new[0] ** 2 * one.delta * turn
    return (Terms(_kl(one.ideal, one.pi), _kl(one.new, one.pi) + extra, normaliser),)


def _tight(one: _Point) -> tuple[Terms, ...]:
    bound = one.jensen / _c7(one)[2]
    return (Terms(one.multiplier, arb(0), bound),)


def _tight_lower(one: _Point) -> tuple[Terms, ...]:
    return (Terms(one.jensen / _c7(one)[0], arb(0), one.multiplier),)


_AT: Final[dict[str, Callable[[_Point], tuple[Terms, ...]]]] = {
    "C7-1": _bracket(1),
    "C7-2": _bracket(2),
    "C7-3": _bracket(3),
    "C7-4": _bracket(4),
    "C7-tight-upper": _tight,
    "C7-tight-lower": _tight_lower,
    "C8-KL": _ordered(_kl, _stretched),
    "C8-reverse-KL": _ordered(lambda a, b: _kl(b, a), lambda one: one.pi[0] * one.pi[1] * one.u * one.delta),
    "C8-chi2": _ordered(_chi2, _stretched),
    "C8-TV": _ordered(_tv, _plain),
    "C8-Hellinger": _ordered(_hellinger, _stretched),
    "C8-Renyi-2": _ordered(_renyi, lambda one: _stretched(one) / (1 + _chi2(one.ideal, one.pi))),
    "C8-reward": _ordered(lambda a, _: a[1], _plain),
    "C8-floor": _floor,
    "C8-price": _ordered(_kl, lambda one: (one.ideal[1] - one.new[1]) * one.strength),
    "C9-contraction": _contraction,
    "C9-fraction": lambda one: (Terms(one.u, arb(0), one.strength),),
    "C9-minimum": _minimum,
}


def _at(name: str) -> Callable[[Sequence[arb]], tuple[Terms, ...]]:
    return lambda point: _AT[name](_point(point))


TERMS: Final = {name: _at(name) for name in _AT}
