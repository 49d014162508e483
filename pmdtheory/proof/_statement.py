"""A statement over a box: slack >= c N there, with the enclosure that proves it and the definition that it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Literal, NamedTuple

from flint import arb

from pmdtheory._checks import finite_scalar, shown
from pmdtheory.proof._span import Span, exact

__all__ = ["Box", "Statement", "Terms", "volume"]

Box = tuple[tuple[Fraction, Fraction], ...]


class Terms(NamedTuple):
    """One inequality at one point, from definitions: larger >= smaller + c normaliser."""

    larger: arb
    smaller: arb
    normaliser: arb


def volume(box: Box) -> Fraction:
    """Product of the lengths."""
    return prod((high - low for low, high in box), start=Fraction(1))


@dataclass(frozen=True)
class Statement:
    r"""An inequality of a claim, in the form slack \(\ge c N\), over a closed box of laws.

    The box stands in coordinates in which the step is explicit, and covers every law of `covers`. Points of the box
    that are no such law (their 1/tau exceeds `limit`) need no proof: there `enclose` returns None.

    Attributes:
        id: such as "C8-KL"; "C8-KL-ternary" speaks about three reward levels.
        claim: id of the claim.
        kind: "certified" where a short proof is known and boxes confirm it; "quantitative" where the constant has none.
        formula: the inequality of the claim.
        normaliser: N, in words of the notation.
        at_least: the constant c, a rational number.
        root: the box, one pair of ends for each of `coordinates`.
        coordinates: names of the coordinates.
        limit: the largest 1/tau (reward span one).
        covers: the laws that the box covers.
        reason: the proof in words: how the slack factors.
        enclose: a box to an enclosure of slack/N over it, or None where no law of `covers` is in the box.
        terms: a point to its inequalities, from the definitions of divergences and steps.
    """

    id: str
    claim: str
    kind: Literal["certified", "quantitative"]
    formula: str
    normaliser: str
    at_least: Fraction
    root: Box
    coordinates: tuple[str, ...]
    limit: Fraction
    covers: str
    reason: str
    enclose: Callable[[Box], Span | None]
    terms: Callable[[Sequence[arb]], tuple[Terms, ...]]

    def slack(self, point: Sequence[arb]) -> arb:
        """Slack over N at a point, from definitions: a ball, useless where numerator and N vanish together.

        Args:
            point: one number, or ball, for each coordinate.
        """
        ratios = [(one.larger - one.smaller) / one.normaliser for one in self.terms(point)]
        least = ratios[0]
        for ratio in ratios[1:]:
            least = least.min(ratio)
        return least

    def mutant(self, *, factor: float = 1.0, sign: int = 1) -> Statement:
        """A wrong version: (smaller + c N) times `factor`, or the inequality turned round (and c = 0).

        It is enclosed by plain ball arithmetic of its definition, as nothing is known about how it factors; only where
        the smaller side is zero does a factor change nothing but the constant.

        Args:
            factor: above one.
            sign: 1 or -1.

        Raises:
            TypeError, ValueError: for other numbers.
        """
        if sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, got {shown(sign)}; -1 turns the inequality round")
        factor = finite_scalar("factor", factor, "pass a number of at least one, such as 2")
        if factor < 1.0 or (factor == 1.0 and sign == 1):
            raise ValueError(f"factor must exceed one, got {factor}; below it the mutant would be weaker, and true")

        least = self.at_least * Fraction(factor) if sign == 1 else Fraction(0)

        def terms(point: Sequence[arb]) -> tuple[Terms, ...]:
            changed = [Terms(one.larger, factor * one.smaller, one.normaliser) for one in self.terms(point)]
            if sign == 1:
                return tuple(changed)
            return tuple(Terms(one.smaller, one.larger, one.normaliser) for one in changed)

        def enclose(box: Box) -> Span | None:
            own = self.enclose(box)
            balls = [exact(low).union(exact(high)) for low, high in box]
            if own is None or (sign == 1 and all(one.smaller.is_zero() for one in self.terms(balls))):
                return own
            found = wrong.slack(balls)
            return Span(found.lower(), found.upper()) if found.is_finite() else Span(arb.neg_inf(), arb.pos_inf())

        wrong = replace(self, id=f"{self.id} (mutant)", at_least=least, terms=terms, enclose=enclose)
        return wrong
