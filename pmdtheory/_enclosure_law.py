"""The exact numbers that an enclosure refers to, and balls around them at the current precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from flint import arb, fmpq

__all__ = ["Balls", "ExactLaw", "LawKind", "exact_ball"]

LawKind = Literal["policy", "log_policy", "weights"]


def exact_ball(number: Fraction) -> arb:
    """A ball around a rational: of radius zero where the precision holds it."""
    return arb(fmpq(number.numerator, number.denominator))


@dataclass(frozen=True, eq=False)
class Balls:
    r"""Balls around what a law says, at one precision; `K` levels, `N` actions with mass.

    Attributes:
        part: `[N]`, \(\pi_i\), normalised.
        mass: `[K]`, of the levels that the sampler sees (all of them on-policy).
        offset: `[K]`, reward less `reference`, reward units.
        scale: `[K]`, \(\kappa = \pi/\mu\); None on-policy.
        blind: mass of the levels that the sampler does not see.
        shift: \(E_\pi r\) less `reference`; `sampled_shift` the same under the sampler.
        sampled_shift: see `shift`.
        lost: `[B]`, masses of the blind levels, and `lost_offset` their offsets.
        lost_offset: see `lost`.
    """

    part: list[arb]
    mass: list[arb]
    offset: list[arb]
    scale: list[arb] | None
    blind: arb
    shift: arb
    sampled_shift: arb
    lost: list[arb]
    lost_offset: list[arb]


@dataclass(frozen=True, eq=False)
class ExactLaw:
    """Exact data: actions with mass grouped into levels that the step cannot tell apart (C10).

    Attributes:
        kind: what `terms` are: probabilities, log-probabilities or weights.
        terms: `[N]`, exact, of the actions with mass.
        sampler: `[N]`, log-probabilities of the sampler, or None on-policy.
        reward: `[K]`, of the levels, those that the sampler sees first.
        members: `[K]`, positions of the actions of each level.
        seen: how many levels the sampler sees.
        reference: the reward of the heaviest level: rewards are measured from it.
        tau: reward units.
    """

    kind: LawKind
    terms: Sequence[Fraction]
    sampler: Sequence[float] | None
    reward: Sequence[float]
    members: Sequence[Sequence[int]]
    seen: int
    reference: float
    tau: float

    @classmethod
    def build(
        cls,
        kind: LawKind,
        terms: Sequence[Fraction],
        reward: Sequence[float],
        tau: float,
        sampler: Sequence[float] | None,
    ) -> "ExactLaw":
        """Group the actions: by reward on-policy, by reward, mass and sampler with one."""
        groups: dict[object, list[int]] = {}
        for i, r in enumerate(reward):
            key: object = r if sampler is None else (sampler[i] == -math.inf, r, terms[i], sampler[i])
            groups.setdefault(key, []).append(i)
        members = list(groups.values())
        if sampler is not None:
            members.sort(key=lambda group: sampler[group[0]] == -math.inf)
            seen = sum(sampler[group[0]] > -math.inf for group in members)
        else:
            seen = len(members)
        heaviest = max(range(len(terms)), key=lambda i: terms[i])
        values = [reward[group[0]] for group in members]
        return cls(kind, terms, sampler, values, members, seen, reward[heaviest], tau)

    @property
    def constant(self) -> bool:
        """Whether every action with mass has the same reward."""
        return min(self.reward) == max(self.reward)

    @property
    def alone(self) -> bool:
        """Whether all actions form one level, on which nothing can move."""
        return len(self.members) == 1

    def target(self, level: int) -> Fraction:
        """The reward of a level over tau, exactly."""
        return Fraction(self.reward[level]) / Fraction(self.tau)

    def balls(self) -> Balls:
        """Balls around the law at the current precision."""
        part = _normalised([self._term(t) for t in self.terms])
        level = [sum((part[i] for i in group[1:]), part[group[0]]) for group in self.members]
        if self.alone:
            level = [arb(1)]
        offset = [arb(r) - arb(self.reference) for r in self.reward]
        zero = arb(0)
        shift = sum((m * d for m, d in zip(level, offset, strict=True)), zero)
        if self.sampler is None:
            return Balls(part, level, offset, None, zero, shift, shift, [], [])
        top = max(self.sampler)
        visits = _normalised([(arb(s) - arb(top)).exp() if s > -math.inf else zero for s in self.sampler])
        sampled = sum((visits[i] * offset[k] for k, group in enumerate(self.members) for i in group), zero)
        seen = range(self.seen)
        scale = [part[self.members[k][0]] / visits[self.members[k][0]] for k in seen]
        if self.alone and self.seen == 1:
            scale = [arb(1)]
        lost, lost_offset = level[self.seen :], offset[self.seen :]
        blind = sum(lost, zero)
        return Balls(part, level[: self.seen], offset[: self.seen], scale, blind, shift, sampled, lost, lost_offset)

    def _term(self, term: Fraction) -> arb:
        if self.kind == "log_policy":
            return (exact_ball(term) - exact_ball(max(self.terms))).exp()
        return exact_ball(term)

    def partition_is_one(self, baseline: Fraction) -> bool:
        r"""Whether \(E e^{r/\tau-b} = 1\) exactly, for a rational b.

        By Lindemann and Weierstrass exponentials of different rationals are linearly independent over the
        rationals, so that the two sides agree only term by term.
        """
        if self.seen < len(self.members):
            return False  # the seen terms alone would have to be as many as all of them
        x = [self.target(k) - baseline for k in range(len(self.members))]
        if self.kind != "log_policy":
            return not any(x)
        before = sorted(self.terms)
        after = sorted(self.terms[i] + x[k] for k, group in enumerate(self.members) for i in group)
        return before == after


def _normalised(terms: list[arb]) -> list[arb]:
    total = sum(terms[1:], terms[0])
    return [t / total for t in terms]
