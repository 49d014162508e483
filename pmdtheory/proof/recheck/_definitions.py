"""Slack over N at one point, from the definitions of steps and divergences, on any number of levels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from pmdtheory.proof.recheck._interval import HALF, ONE, Interval, larger, lesser

__all__ = ["defined"]


def _sum(values: Sequence[Interval]) -> Interval:
    total = Interval(0)
    for value in values:
        total = total + value
    return total


def _mean(law: Sequence[Interval], values: Sequence[Interval]) -> Interval:
    return _sum([a * b for a, b in zip(law, values, strict=True)])


def _covariance(law: Sequence[Interval], left: Sequence[Interval], right: Sequence[Interval]) -> Interval:
    a, b = _mean(law, left), _mean(law, right)
    return _mean(law, [(x - a) * (y - b) for x, y in zip(left, right, strict=True)])


class _Laws:
    """The step, KL-PMD's step and what the claims compare, on any number of levels, as they are defined."""

    def __init__(self, pi: list[Interval], gains: list[Interval]) -> None:
        rises = [_sum(gains[:k]) for k in range(len(pi))]
        total = _mean(pi, [one.exp() for one in rises])
        self.pi, self.gains = pi, gains
        self.rho = [one.exp() / total for one in rises]
        self.lam = Interval(0) - _mean(pi, [one.log() for one in self.rho])  # KL(pi | pi+)
        self.reward = [a + self.lam * (b - self.rho[0]) for a, b in zip(rises, self.rho, strict=True)]
        self.strength = self.reward[-1] - self.reward[0]

    def finish(self) -> _Laws:
        """KL-PMD's step too, which is beyond decimals where 1/tau is astronomical."""
        pi = self.pi
        scale = _mean(pi, [one.exp() for one in self.reward])
        self.tilted = [one.exp() / scale for one in self.reward]
        self.jensen = scale.log() - _mean(pi, self.reward)
        self.new = [a * b for a, b in zip(pi, self.rho, strict=True)]
        self.ideal = [a * b for a, b in zip(pi, self.tilted, strict=True)]
        self.gain = _mean(self.ideal, self.reward) - _mean(self.new, self.reward)
        self.delta = self.strength - _sum(self.gains)
        return self

    def sizes(self, measure: str) -> tuple[Interval, Interval]:
        """The measure of KL-PMD's step, then of PMD-mean's."""
        found = []
        for ratio in (self.tilted, self.rho):
            square = _mean(self.pi, [one * one for one in ratio])
            if measure == "KL":
                found.append(_mean(self.pi, [one * one.log() for one in ratio]))
            elif measure == "reverse-KL":
                found.append(Interval(0) - _mean(self.pi, [one.log() for one in ratio]))
            elif measure == "chi2":
                found.append(square - ONE)
            elif measure == "Renyi-2":
                found.append(square.log())
            elif measure == "TV":
                found.append(HALF * _mean(self.pi, [larger(one - ONE, ONE - one) for one in ratio]))
            elif measure == "Hellinger":
                roots = [one.sqrt() - ONE for one in ratio]
                found.append(HALF * _mean(self.pi, [one * one for one in roots]))
            else:
                found.append(_mean(self.pi, [a * b for a, b in zip(ratio, self.reward, strict=True)]))
        return found[0], found[1]

    def slack(self, claim: str, case: str) -> Interval:
        """Slack over N of one statement."""
        p, q, u = self.pi[-1], self.pi[0], self.gains[0]
        masses, delta, strength = self.new[-1] * self.new[0], self.delta, self.strength
        square, own = (one + ONE for one in self.sizes("chi2"))
        cross = _mean(self.new, self.tilted)
        three, pull = len(self.pi) == 3, [self.lam * one for one in self.rho]
        if claim == "C7":
            chain = [self.jensen / square, self.jensen / cross, self.lam, self.jensen / own, self.jensen]
            if case == "tight-upper":
                return self.lam / chain[3]
            if case == "tight-lower":
                return chain[1] / self.lam
            normalisers = [
                self.jensen * (self.gain if three else masses * delta * strength) / (cross * square),
                (_covariance(self.ideal, pull, pull) if three else self.ideal[0] * self.ideal[1] * delta * delta)
                / cross,
                (_covariance(self.new, pull, pull) if three else masses * delta * delta) / own,
                (
                    _covariance(self.pi, self.reward, self.reward) * (own - ONE)
                    if three
                    else p * q * strength * u * p * q * strength * u
                )
                / own,
            ]
            k = int(case)
            return (chain[k] - chain[k - 1]) / normalisers[k - 1]
        if case == "contraction":
            down = self.rho[0]
            return (q * (Interval(0) - p * strength).exp() - self.new[0]) / (p * q * q * u * u * down * down)
        if case == "fraction":
            return u / strength
        if case == "minimum":
            m = u.exp() - ONE
            return lesser((ONE - u / m) / u, (u / m + u - ONE) / u, m / (ONE + p * m) / u)
        large, small = self.sizes({"price": "KL", "floor": "KL"}.get(case, case))
        turned = ONE - (Interval(0) - delta).exp()
        normaliser = {
            "KL": u * masses * delta,
            "reverse-KL": p * q * u * delta,
            "chi2": masses * delta * u,
            "TV": masses * delta,
            "Hellinger": masses * delta * u,
            "Renyi-2": masses * delta * u / square,
            "reward": masses * delta * strength,  # the reward is measured in units of tau here
            "price": self.gain,
            "floor": u * masses * self.new[0] * delta * turned,
        }[case]
        if three:
            normaliser = {
                "KL": self.gain,
                "price": self.gain,
                "reverse-KL": _covariance(self.new, pull, pull) + self.lam * (own - ONE),
                "chi2": self.gain,
                "reward": _covariance(self.new, pull, self.reward),
            }[case]
        return (large - small - (u * masses * turned if case == "floor" else Interval(0))) / normaliser


def defined(name: str, point: Sequence[Fraction], limit: int) -> Interval | None:
    """Slack over N from the definitions; None where 1/tau exceeds the limit."""
    values = [Interval.of(x) for x in point]
    if len(point) == 2:
        p, gains = values[0], values[1:]
        laws = _Laws([ONE - p, p], gains)
    else:
        w, y, *gains = values
        laws = _Laws([ONE - w, w * (ONE - y), w * y], gains)
    if laws.strength.lo > limit:
        return None
    claim, _, case = name.removesuffix("-ternary").partition("-")
    return laws.finish().slack(claim, case)
