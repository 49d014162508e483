"""Intervals of decimals with directed rounding: the arithmetic of the second program."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any, Final

__all__ = [
    "DIGITS",
    "HALF",
    "ONE",
    "TINY",
    "Box",
    "Interval",
    "Invalid",
    "Pair",
    "hull",
    "lesser",
    "minus",
    "larger",
    "precise",
]

DIGITS: Final = (45, 260)  # the second where the first is too few
TINY: Final = Decimal("1e-9")
_down = Context(prec=DIGITS[0], rounding=ROUND_FLOOR, Emax=MAX_EMAX, Emin=MIN_EMIN)
_up = Context(prec=DIGITS[0], rounding=ROUND_CEILING, Emax=MAX_EMAX, Emin=MIN_EMIN)
Box = tuple[tuple[Fraction, Fraction], ...]


def precise(digits: int) -> None:
    """Set how many digits ends have."""
    _down.prec = _up.prec = digits


class Invalid(Exception):
    """Why a certificate does not pass."""


class Interval:
    """An interval of reals; ends are decimals, rounded outwards."""

    __slots__ = ("hi", "lo")

    def __init__(self, lo: Any, hi: Any = None) -> None:
        self.lo, self.hi = Decimal(lo), Decimal(lo if hi is None else hi)

    @staticmethod
    def of(x: Fraction) -> Interval:
        top, bottom = Decimal(x.numerator), Decimal(x.denominator)
        return Interval(_down.divide(top, bottom), _up.divide(top, bottom))

    def __add__(self, other: Interval) -> Interval:
        return Interval(_down.add(self.lo, other.lo), _up.add(self.hi, other.hi))

    def __sub__(self, other: Interval) -> Interval:
        return Interval(_down.subtract(self.lo, other.hi), _up.subtract(self.hi, other.lo))

    def __mul__(self, other: Interval) -> Interval:
        pairs = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Interval(min(_down.multiply(a, b) for a, b in pairs), max(_up.multiply(a, b) for a, b in pairs))

    def __truediv__(self, other: Interval) -> Interval:
        if other.lo <= 0:
            raise Invalid("an interval around zero was divided by")
        return self * Interval(_down.divide(Decimal(1), other.hi), _up.divide(Decimal(1), other.lo))

    def exp(self) -> Interval:
        return Interval(_down.next_minus(_down.exp(self.lo)), _up.next_plus(_up.exp(self.hi)))

    def log(self) -> Interval:
        if self.lo <= 0:
            raise Invalid("a logarithm of zero was taken")
        return Interval(_down.next_minus(_down.ln(self.lo)), _up.next_plus(_up.ln(self.hi)))

    def sqrt(self) -> Interval:
        return Interval(_down.next_minus(_down.sqrt(self.lo)), _up.next_plus(_up.sqrt(self.hi)))


ONE: Final = Interval(1)
HALF: Final = Interval("0.5")
Pair = tuple[Interval, Interval]  # a mass and its complement


def hull(low: Interval, high: Interval) -> Interval:
    return Interval(low.lo, high.hi)


def lesser(*values: Interval) -> Interval:
    return Interval(min(v.lo for v in values), min(v.hi for v in values))


def larger(*values: Interval) -> Interval:
    return Interval(max(v.lo for v in values), max(v.hi for v in values))


def minus(d: Interval) -> Interval:
    return Interval(0) - d
