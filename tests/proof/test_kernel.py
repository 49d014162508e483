"""Tilting one mass: values against mpmath, and ranges that contain what they should."""

from fractions import Fraction

import pytest
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st
from mpmath import exp, expm1, log, mp, mpf, workdps

from pmdtheory.proof._kernel import Mass, Masses, bend, bends, gap, gap_top, growth, slope, slopes, tilt
from pmdtheory.proof._span import PRECISION, Span, exact


@pytest.fixture(autouse=True)
def precision():
    with ctx.workprec(PRECISION):
        yield


def mass(x):
    return Mass(exact(x), exact(1 - x))


shares = st.tuples(st.integers(0, 64), st.integers(0, 40)).map(lambda found: Fraction(found[0], 64 * 2 ** found[1]))
masses = st.one_of(shares, shares.map(lambda x: 1 - x))
tilts = st.tuples(st.integers(0, 400), st.integers(0, 30)).map(lambda found: Fraction(found[0], 4 * 2 ** found[1]))
inner = masses.filter(lambda x: 0 < x < 1)


def number(ball):
    """The middle of a ball as an mpmath number, and its radius, which must be small."""
    value = mpf(ball.mid().str(60, radius=False).strip("[]")) if not ball.is_zero() else mpf(0)
    assert ball.is_finite()
    return value


def agrees(ball, value, digits=25):
    return abs(number(ball) - value) <= mpf(10) ** -digits * max(abs(value), mpf(10) ** -200)


@given(x=inner, d=tilts.filter(lambda d: d >= Fraction(1, 2**20)))
def test_values(x, d):
    with workdps(120), ctx.workprec(PRECISION):
        a, t = mpf(x.numerator) / x.denominator, mpf(d.numerator) / d.denominator
        new = a * exp(t) / (1 - a + a * exp(t))
        found = log(1 - a + a * exp(t)) - a * t
        assert agrees(tilt(mass(x), exact(d)).x, new)
        assert agrees(tilt(mass(x), exact(d)).rest, (1 - a) / (1 - a + a * exp(t)))
        assert agrees(gap(mass(x), exact(d)), found)
        assert agrees(slope(mass(x), exact(d)), (new - a) / (a * (1 - a) * t))
        assert agrees(bend(mass(x), exact(d)), found / (a * (1 - a) * t**2))
        assert agrees(growth(exact(d)), expm1(t) / t)
        mp.dps = 15


@pytest.mark.parametrize("x", [Fraction(0), Fraction(1, 3), Fraction(1)])
def test_edges(x):
    """At d = 0 the slope is one and the bend one half; at x = 0 and x = 1 both have a limit."""
    zero, tiny = arb(0), exact(Fraction(1, 2**60))
    assert slope(mass(x), zero) == 1
    assert bend(mass(x), zero).contains(arb(1) / 2)
    assert bend(mass(x), tiny).contains(arb(1) / 2)
    assert gap(mass(x), zero) == 0
    assert gap(mass(Fraction(0)), arb(3)) == gap(mass(Fraction(1)), arb(3)) == 0
    assert abs(bend(mass(Fraction(1)), arb(3)) - ((-arb(3)).exp() + 2) / 9) < exact(Fraction(1, 10**60))
    assert abs(bend(mass(Fraction(0)), arb(3)) - (arb(3).exp() - 4) / 9) < exact(Fraction(1, 10**60))


@pytest.mark.parametrize("x", [Fraction(1, 8), Fraction(7, 8)])
def test_a_bend_under_a_tiny_tilt_is_not_quite_one_half(x):
    """A = 1/2 + (1 - 2x) d/6 + ..., by the gap with enough bits for its cancellation."""
    tiny = Fraction(1, 2**40)
    found = bend(mass(x), exact(tiny))
    with ctx.workprec(1000):
        value = gap(mass(x), exact(tiny)) / exact(x * (1 - x) * tiny**2)
        assert value.rel_accuracy_bits() > 500
        assert value != arb(1) / 2
        assert found.contains(value)
        assert found.rad() < 1e-11


@given(
    x=st.tuples(masses, masses).map(sorted),
    d=st.tuples(tilts, tilts).map(sorted),
    k=st.integers(0, 8),
    n=st.integers(0, 8),
)
def test_ranges_contain_their_values(x, d, k, n):
    with ctx.workprec(PRECISION):
        both, span = Masses(mass(x[0]), mass(x[1])), Span(exact(d[0]), exact(d[1]))
        one = mass(x[0] + (x[1] - x[0]) * Fraction(k, 8))
        t = exact(d[0] + (d[1] - d[0]) * Fraction(n, 8))
        for ranged, value in ((slopes(both, span), slope(one, t)), (bends(both, span), bend(one, t))):
            assert not value < ranged.lo
            assert not value > ranged.hi
            assert ranged.lo > 0
        assert not gap(one, span.hi) > gap_top(both, span.hi)


@given(x=inner, d=tilts.filter(lambda d: d > 0), more=tilts.filter(lambda d: d > 0))
def test_one_maximum_in_d(x, d, more):
    """Slope and bend have no interior minimum: in the middle they are at least as large as at one of the ends."""
    with ctx.workprec(PRECISION):
        points = [exact(d), exact(d + more / 2), exact(d + more)]
        for function in (slope, bend):
            first, middle, last = (function(mass(x), t) for t in points)
            assert not middle < first.min(last)


@given(x=st.tuples(inner, inner).map(sorted), d=tilts)
def test_slope_and_bend_fall_in_the_mass(x, d):
    with ctx.workprec(PRECISION):
        for function in (slope, bend):
            assert not function(mass(x[1]), exact(d)) > function(mass(x[0]), exact(d))


def test_spans_refuse_nothing_silently():
    """A quotient by a span that touches zero has no upper end."""
    top = Span(arb(1), arb(2)) / Span(arb(0), arb(1))
    assert top.lo == 1
    assert not top.hi.is_finite()
