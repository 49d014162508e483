"""Ranges of non-negative numbers, with Arb balls for ends. Everything a proof over boxes multiplies is non-negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from flint import arb, fmpq

__all__ = ["PRECISION", "Span", "exact", "larger", "smaller"]

PRECISION: Final = 320  # bits; the ends of boxes are exact, so precision alone pays for cancellation


def exact(value: Fraction) -> arb:
    """A rational number as a ball, of radius zero where it is dyadic and short enough."""
    return arb(fmpq(value.numerator, value.denominator))


def smaller(values: Sequence[arb]) -> arb:
    """A ball that encloses the least of the numbers."""
    found = values[0]
    for value in values[1:]:
        found = found.min(value)
    return found


def larger(values: Sequence[arb]) -> arb:
    """A ball that encloses the largest of the numbers."""
    found = values[0]
    for value in values[1:]:
        found = found.max(value)
    return found


@dataclass(frozen=True)
class Span:
    """All numbers between two numbers 0 <= lo <= hi, each of which is known as a ball.

    A sum, product or quotient of spans contains every sum, product or quotient of their members. Rounding needs no
    direction: the balls carry it, and only `lo.lower()` and `hi.upper()` are ever compared with anything.
    """

    lo: arb
    hi: arb

    def __add__(self, other: Span) -> Span:
        return Span(self.lo + other.lo, self.hi + other.hi)

    def __mul__(self, other: Span) -> Span:
        return Span(self.lo * other.lo, self.hi * other.hi)

    def __truediv__(self, other: Span) -> Span:
        """By a span above zero; an end at zero gives an upper end without bound."""
        top = self.hi / other.lo
        return Span(self.lo / other.hi, top if top.is_finite() else arb.pos_inf())

    def __pow__(self, power: int) -> Span:
        return Span(self.lo**power, self.hi**power)

    def meet(self, other: Span) -> Span:
        """What both contain, each being an enclosure of the same number."""
        return Span(self.lo.max(other.lo), self.hi.min(other.hi))

    def least(self, other: Span) -> Span:
        """The lesser of a member of either."""
        return Span(self.lo.min(other.lo), self.hi.min(other.hi))

    def most(self, other: Span) -> Span:
        """The larger of a member of either."""
        return Span(self.lo.max(other.lo), self.hi.max(other.hi))

    def sqrt(self) -> Span:
        """Square roots."""
        return Span(self.lo.sqrt(), self.hi.sqrt())
