"""The second program's arithmetic: what comes out contains the exact result, at six digits, where rounding shows."""

from decimal import Decimal
from fractions import Fraction

import pytest
from flint import arb, ctx
from hypothesis import assume, given
from hypothesis import strategies as st

from pmdtheory.proof.recheck import _interval, _tilting
from pmdtheory.proof.recheck._interval import DIGITS, ONE, Interval, Invalid, precise

numbers = st.fractions(min_value=-20, max_value=20, max_denominator=997)
shares = st.fractions(min_value=0, max_value=1, max_denominator=97)


@pytest.fixture(autouse=True)
def six_digits():
    precise(6)
    yield
    precise(DIGITS[0])


def hull_of(low, high):
    return Interval(Interval.of(low).lo, Interval.of(high).hi)


def within(interval, value):
    return Fraction(interval.lo) <= value <= Fraction(interval.hi)


@given(numbers)
def test_fractions_are_enclosed(x):
    found = Interval.of(x)
    assert within(found, x)
    assert len(found.lo.as_tuple().digits) <= 6


@given(st.tuples(numbers, numbers).map(sorted), st.tuples(numbers, numbers).map(sorted), shares, shares)
def test_sums_products_and_quotients_of_members_are_enclosed(a, b, s, t):
    one, other = hull_of(*a), hull_of(*b)
    x, y = a[0] + s * (a[1] - a[0]), b[0] + t * (b[1] - b[0])
    assert within(one + other, x + y)
    assert within(one - other, x - y)
    assert within(one * other, x * y)
    if other.lo > 0:
        assert within(one / other, x / y)
    else:
        with pytest.raises(Invalid, match="divided"):
            one / other


@pytest.mark.parametrize("name", ["exp", "log", "sqrt"])
@given(x=numbers)
def test_functions_are_enclosed(name, x):
    """Decimals round these to the nearest whatever they are told: a bound takes one more unit."""
    assume(x > 0 or name == "exp")
    point = Interval.of(x).lo  # a decimal of six digits, and exactly that
    found = getattr(Interval(point), name)()
    with ctx.workprec(200):
        value = getattr(arb(str(point)), name)()
        assert arb(str(found.lo)) < value < arb(str(found.hi))
    assert found.hi - found.lo <= abs(found.hi) * Decimal("1e-4")


def test_no_logarithm_of_zero():
    with pytest.raises(Invalid, match="logarithm"):
        Interval(0, 1).log()


@given(st.tuples(shares, shares).map(sorted), st.tuples(shares, shares).map(sorted), shares, shares)
def test_ranges_contain_their_values(mass, tilt, s, t):
    """Slope and bend over masses and tilts, with digits enough for their cancellation."""
    precise(DIGITS[0])
    low, high = (10 * d for d in tilt)
    x, d = mass[0] + s * (mass[1] - mass[0]), low + t * (high - low)
    pairs = [(Interval.of(m), ONE - Interval.of(m)) for m in (*mass, x)]
    for function in (_tilting.slope_of, _tilting.bend_of):
        if function is _tilting.bend_of and not 0 < x < 1:
            continue
        ranged = _tilting.range_of(function, pairs[0], pairs[1], hull_of(low, high))
        value = function(pairs[2], Interval.of(d))
        assert ranged.lo <= value.hi
        assert ranged.hi >= value.lo


def test_a_share_of_bend_and_slope_is_bounded():
    """An upper bound of A/G lies above A/G itself."""
    precise(DIGITS[0])
    for x in (Fraction(1, 50), Fraction(1, 2), Fraction(49, 50)):
        mass = Interval.of(x), ONE - Interval.of(x)
        for d in (Fraction(1, 4), Fraction(2), Fraction(8)):
            tilt = Interval.of(d)
            ratio = _tilting.bend_of(mass, tilt) / _tilting.slope_of(mass, tilt)
            assert _tilting.share_top(mass, tilt).hi >= ratio.lo
    assert _interval.lesser(ONE, Interval(2)).hi == 1
    assert _interval.larger(ONE, Interval(2)).lo == 2
