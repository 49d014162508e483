"""The inequalities on three reward levels from definitions, at a point (w, y, u1, u2); nothing is factored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from flint import arb

from pmdtheory.proof._statement import Terms

__all__ = ["TERMS"]

_Law = list[arb]


def _sum(values: Sequence[arb]) -> arb:
    total = arb(0)
    for value in values:
        total += value
    return total


def _mean(law: _Law, values: _Law) -> arb:
    return _sum([mass * value for mass, value in zip(law, values, strict=True)])


def _variance(law: _Law, values: _Law) -> arb:
    return _covariance(law, values, values)


def _covariance(law: _Law, left: _Law, right: _Law) -> arb:
    a, b = _mean(law, left), _mean(law, right)
    return _sum([mass * (x - a) * (y - b) for mass, x, y in zip(law, left, right, strict=True)])


@dataclass(frozen=True)
class _Point:
    """Laws, ratios and r/tau (up to a constant) at one point."""

    pi: _Law
    new: _Law
    ideal: _Law
    rho: _Law
    tilted: _Law  # rho_KL
    reward: _Law
    multiplier: arb

    @property
    def jensen(self) -> arb:
        """Log E e^{r/tau} - E r/tau."""
        return _mean(self.pi, [one.exp() for one in self.reward]).log() - _mean(self.pi, self.reward)

    @property
    def gain(self) -> arb:
        """(E_{pi_KL} r - E_{pi+} r)/tau."""
        return _mean(self.ideal, self.reward) - _mean(self.new, self.reward)

    @property
    def pull(self) -> _Law:
        """Lambda rho."""
        return [self.multiplier * one for one in self.rho]


def _point(point: Sequence[arb]) -> _Point:
    w, y, first, second = point
    pi = [1 - w, w * (1 - y), w * y]
    weight = [arb(1), first.exp(), (first + second).exp()]
    total = _mean(pi, weight)
    rho = [one / total for one in weight]
    multiplier = -_mean(pi, [one.log() for one in rho])  # C4
    reward = [one.log() + multiplier * one for one in rho]  # C1
    reward = [one - reward[0] for one in reward]
    scale = _mean(pi, [one.exp() for one in reward])
    tilted = [one.exp() / scale for one in reward]
    return _Point(
        pi,
        [mass * one for mass, one in zip(pi, rho, strict=True)],
        [mass * one for mass, one in zip(pi, tilted, strict=True)],
        rho,
        tilted,
        reward,
        multiplier,
    )


def _kl(ratio: _Law, pi: _Law) -> arb:
    return _mean(pi, [one * one.log() for one in ratio])


def _square(ratio: _Law, pi: _Law) -> arb:
    return _mean(pi, [one**2 for one in ratio])


def _bracket(which: int) -> Callable[[_Point], Terms]:
    def terms(one: _Point) -> Terms:
        cross, jensen = _mean(one.new, one.tilted), one.jensen
        square, own = _square(one.tilted, one.pi), _square(one.rho, one.pi)
        chain = (jensen / square, jensen / cross, one.multiplier, jensen / own, jensen)
        normaliser = (
            jensen * one.gain / (cross * square),
            _variance(one.ideal, one.pull) / cross,
            _variance(one.new, one.pull) / own,
            _variance(one.pi, one.reward) * (own - 1) / own,
        )
        return Terms(chain[which], chain[which - 1], normaliser[which - 1])

    return terms


def _reverse(one: _Point) -> Terms:
    larger = -_mean(one.pi, [ratio.log() for ratio in one.tilted])
    smaller = -_mean(one.pi, [ratio.log() for ratio in one.rho])
    return Terms(larger, smaller, _variance(one.new, one.pull) + one.multiplier * (_square(one.rho, one.pi) - 1))


def _reward(one: _Point) -> Terms:
    means = _mean(one.ideal, one.reward), _mean(one.new, one.reward)
    return Terms(*means, _covariance(one.new, one.pull, one.reward))


_AT: Final[dict[str, Callable[[_Point], Terms]]] = {
    "C7-1-ternary": _bracket(1),
    "C7-2-ternary": _bracket(2),
    "C7-3-ternary": _bracket(3),
    "C7-4-ternary": _bracket(4),
    "C8-KL-ternary": lambda one: Terms(_kl(one.tilted, one.pi), _kl(one.rho, one.pi), one.gain),
    "C8-price-ternary": lambda one: Terms(_kl(one.tilted, one.pi), _kl(one.rho, one.pi), one.gain),
    "C8-reverse-KL-ternary": _reverse,
    "C8-chi2-ternary": lambda one: Terms(_square(one.tilted, one.pi) - 1, _square(one.rho, one.pi) - 1, one.gain),
    "C8-reward-ternary": _reward,
}


def _at(name: str) -> Callable[[Sequence[arb]], tuple[Terms, ...]]:
    return lambda point: (_AT[name](_point(point)),)


TERMS: Final = {name: _at(name) for name in _AT}
