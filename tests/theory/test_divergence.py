"""Divergences against their definitions in 70 digits, with the extremes where linear space has nothing left."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmdtheory import divergence
from pmdtheory._series import exp_remainder, log_mean_exp, weighted_exp
from tests import oracles
from tests.strategies import laws
from tests.tolerances import EPS, ROOT, exact, largest

NAMES = ("kl", "chi2", "total_variation", "hellinger")
FUNCTIONS = [getattr(divergence, name) for name in NAMES]


@st.composite
def pairs(draw, zeros=False):
    size = draw(st.integers(1, 6))
    return draw(laws(size, zeros=zeros)), draw(laws(size))


@pytest.mark.parametrize("name", NAMES)
@given(pairs(zeros=True))
def test_definitions(name, pair):
    expected = float(oracles.divergence_sums(*pair)[name])
    assert abs(getattr(divergence, name)(*pair) - expected) <= ROOT * expected + exact()


@pytest.mark.parametrize("order", [0.25, 0.5, 0.999, 1.001, 2.0, 3.5, 20.0])
@given(pairs(zeros=True))
def test_renyi_definition(order, pair):
    expected = float(oracles.renyi(*pair, order))
    # laws carry eps in their normalisation, which 1/(order - 1) magnifies
    assert abs(divergence.renyi(*pair, order) - expected) <= ROOT * max(1.0, expected) + exact() / abs(order - 1.0)


@given(pairs())
def test_renyi_anchors(pair):
    """Order 1 is KL, order 2 log(1 + chi2), order one half -2 log of the Hellinger affinity, inf the largest ratio."""
    p, q = pair
    assert abs(divergence.renyi(p, q, 1.0) - divergence.kl(p, q)) <= exact()
    assert abs(divergence.renyi(p, q, 2.0) - math.log1p(divergence.chi2(p, q))) <= exact(divergence.chi2(p, q))
    affinity = 1.0 - divergence.hellinger(p, q) ** 2
    assert abs(divergence.renyi(p, q, 0.5) + 2.0 * math.log(affinity)) <= ROOT
    assert divergence.renyi(p, q, math.inf) == float(np.max(p - q))


@given(pairs(), st.lists(st.integers(0, 60).map(lambda k: k / 10), min_size=2, max_size=2))
def test_renyi_is_monotone_in_its_order(pair, orders):
    low, high = sorted(orders)
    assert divergence.renyi(*pair, low) <= divergence.renyi(*pair, high) + exact()


@given(pairs())
def test_signs_symmetry_and_order(pair):
    p, q = pair
    assert divergence.reverse_kl(p, q) == divergence.kl(q, p)
    for function in (divergence.total_variation, divergence.hellinger):
        assert 0.0 <= function(p, q) <= 1.0
        assert abs(function(p, q) - function(q, p)) <= exact()
    for function in FUNCTIONS:
        assert function(p, q) >= -exact()
        assert function(p, p) == 0.0
    tv, h = divergence.total_variation(p, q), divergence.hellinger(p, q)
    assert h * h <= tv + exact()
    assert tv <= math.sqrt(2.0) * h + exact()
    assert tv <= math.sqrt(divergence.kl(p, q) / 2.0) + 1e-8  # Pinsker; the square root halves the digits near zero
    assert divergence.kl(p, q) <= math.log1p(divergence.chi2(p, q)) + exact()


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_near_equal_laws_keep_their_digits(gap):
    """p = q + gap (1, -1): KL ~ gap^2, of which linear space keeps nothing at 1e-9."""
    q = np.log(np.array([0.25, 0.75]))
    v = np.array([gap, math.log1p(-math.expm1(gap) / 3.0)])  # E_q e^v = 1 exactly in real arithmetic
    expected = oracles.divergence_sums(q + v, q)
    tolerance = 1e-9 + 4.0 * EPS / gap  # q + v itself is rounded, by eps against the gap
    assert abs(divergence.kl(q + v, q) / float(expected["kl"]) - 1.0) <= tolerance
    assert abs(divergence.chi2(q + v, q) / float(expected["chi2"]) - 1.0) <= tolerance
    assert abs(divergence.renyi(q + v, q, 2.0) / float(expected["chi2"]) - 1.0) <= tolerance + gap**2
    assert abs(divergence.renyi(q + v, q, 1.0) / float(expected["kl"]) - 1.0) <= tolerance
    assert abs(divergence.total_variation(q + v, q) / float(expected["total_variation"]) - 1.0) <= tolerance
    assert abs(divergence.hellinger(q + v, q) / float(expected["hellinger"]) - 1.0) <= tolerance


FAR = np.array([0.0, -800.0])
OTHER = np.array([-800.0, 0.0])


def test_ratios_that_overflow():
    """KL of point masses 800 nats apart is 800 although the ratio e^800 has no float."""
    assert divergence.kl(FAR, OTHER) == pytest.approx(800.0, rel=ROOT)
    assert divergence.reverse_kl(FAR, OTHER) == pytest.approx(800.0, rel=ROOT)
    assert divergence.chi2(FAR, OTHER) == math.inf
    assert divergence.renyi(FAR, OTHER, 2.0) == pytest.approx(800.0, rel=ROOT)
    assert divergence.renyi(FAR, OTHER, math.inf) == 800.0
    assert divergence.renyi(FAR, OTHER, 0.0) == pytest.approx(0.0, abs=exact())
    assert divergence.total_variation(FAR, OTHER) == 1.0
    assert divergence.hellinger(FAR, OTHER) == 1.0


def test_chi2_just_inside_float64():
    p, q = np.array([0.0, -350.0]), np.array([-350.0, 0.0])
    assert divergence.chi2(p, q) == pytest.approx(math.exp(350.0), rel=1e-12)
    assert divergence.kl(p, q) == pytest.approx(350.0, rel=ROOT)


NONE = -math.inf


@pytest.mark.parametrize(
    ("p", "q", "kl", "chi2", "tv", "renyi0", "renyi_half", "renyi2"),
    [
        ([0.0, NONE], [NONE, 0.0], math.inf, math.inf, 1.0, math.inf, math.inf, math.inf),
        ([0.0, NONE], np.log([0.5, 0.5]), math.log(2), 1.0, 0.5, math.log(2), math.log(2), math.log(2)),
        (np.log([0.5, 0.5]), [0.0, NONE], math.inf, math.inf, 0.5, 0.0, math.log(2), math.inf),
        ([0.0, NONE], [0.0, NONE], 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ],
    ids=["disjoint", "p-loses-an-action", "p-leaves-the-support", "shared-hole"],
)
def test_supports(p, q, kl, chi2, tv, renyi0, renyi_half, renyi2):
    assert divergence.kl(p, q) == pytest.approx(kl, abs=exact())
    assert divergence.reverse_kl(q, p) == pytest.approx(kl, abs=exact())
    assert divergence.chi2(p, q) == pytest.approx(chi2, abs=exact())
    assert divergence.total_variation(p, q) == pytest.approx(tv, abs=exact())
    assert divergence.renyi(p, q, 0.0) == pytest.approx(renyi0, abs=exact())
    assert divergence.renyi(p, q, 0.5) == pytest.approx(renyi_half, abs=exact())
    assert divergence.renyi(p, q, 2.0) == pytest.approx(renyi2, abs=exact())
    assert divergence.renyi(p, q, 1.0) == pytest.approx(kl, abs=exact())


def test_reverse_kl_is_infinite_where_mass_was_removed():
    assert divergence.reverse_kl([0.0, NONE], np.log([0.5, 0.5])) == math.inf


# -- the sums that the updates use --------------------------------------------------------------------------------


@given(st.lists(st.integers(-400, 400).map(lambda k: k / 40), min_size=1, max_size=5))
def test_step_sums_of_an_unnormalised_step(log_ratio):
    """excess, KL, reverse KL and chi2 in their generalised forms, whatever E e^v is."""
    v = np.array(log_ratio)
    mass = np.full(v.size, 1.0 / v.size)
    sums = divergence.step_sums(mass, np.log(mass), v, v)
    rho = np.exp(v)
    size = exact() * max(1.0, float(np.max(rho))) ** 2 * largest(v)
    assert abs(sums.excess - np.dot(mass, rho - 1.0)) <= size
    assert abs(sums.kl - np.dot(mass, v * rho - rho + 1.0)) <= size
    assert abs(sums.reverse_kl - np.dot(mass, rho - 1.0 - v)) <= size
    assert abs(sums.chi2 - np.dot(mass, (rho - 1.0) ** 2)) <= size
    assert abs(sums.gain - np.dot(mass, v * (rho - 1.0))) <= size


def test_step_sums_where_ratios_leave_float64():
    """Mass e^-800 lifted by 800 nats to one: the careful branch; removed mass makes reverse KL infinite."""
    log_mass = np.array([0.0, -800.0])
    sums = divergence.step_sums(np.exp(log_mass), log_mass, np.array([-800.0, 800.0]))
    assert sums.excess == pytest.approx(0.0, abs=exact())
    assert sums.kl == pytest.approx(800.0, rel=ROOT)
    assert sums.reverse_kl == pytest.approx(800.0, rel=ROOT)
    assert sums.chi2 == math.inf
    half = np.log([0.5, 0.5])
    removed = divergence.step_sums(np.exp(half), half, np.array([math.log(2.0), NONE]))
    assert removed.excess == pytest.approx(0.0, abs=exact())
    assert removed.kl == pytest.approx(math.log(2.0), abs=exact())
    assert removed.chi2 == pytest.approx(1.0, abs=exact())
    assert removed.reverse_kl == math.inf


@given(st.floats(-40.0, 40.0))
def test_exp_remainder(x):
    import mpmath as mp

    with mp.workdps(400):
        exact_value = mp.exp(mp.mpf(x)) - 1 - mp.mpf(x)
        found = mp.mpf(float(exp_remainder(np.array([x]))[0]))
        assert abs(found - exact_value) <= 8 * EPS * exact_value + mp.mpf(2) ** -1074


def test_exp_remainder_mixes_small_and_large():
    found = exp_remainder(np.array([1e-8, 3.0, 800.0, -800.0]))
    assert found[0] == pytest.approx(0.5e-16, rel=1e-8)
    assert found[1] == pytest.approx(math.exp(3.0) - 4.0, rel=8 * EPS)
    assert found[2] == math.inf
    assert found[3] == 799.0


def test_weighted_exp_keeps_what_either_factor_loses():
    log_mass = np.array([-720.0, -800.0, -800.0, 0.0])
    found = weighted_exp(np.exp(log_mass), log_mass, np.array([720.0, 800.0, 1600.0, 1.0]))
    assert found[0] == pytest.approx(1.0, rel=1e-12)
    assert found[1] == 1.0
    assert found[2] == math.inf
    assert found[3] == pytest.approx(math.e, rel=4 * EPS)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0.0, 0.0], 0.0),
        ([1e-12, -1e-12], 5e-25),
        ([-1000.0, -1000.0], -1000.0),
        ([1000.0, 1000.0], 1000.0),
        ([math.log(2.0), -800.0], 0.0),
        ([3.0, -900.0], 3.0 - math.log(2.0)),
    ],
    ids=["zero", "tiny", "far-down", "far-up", "cancelling", "one-term"],
)
def test_log_mean_exp(x, expected):
    mass = np.array([0.5, 0.5])
    found = log_mean_exp(mass, np.log(mass), np.array(x))
    assert abs(found - expected) <= 4 * EPS * max(1.0, abs(expected))


def test_log_mean_exp_near_zero_with_a_large_term():
    """One rare term of e^4 and many below: the total is near zero, its digits come from log1p."""
    mass = np.array([1e-3, 0.999])
    x = np.array([4.0, math.log((1.0 - 1e-3 * math.exp(4.0)) / 0.999)])
    assert abs(log_mean_exp(mass, np.log(mass), x)) <= 4 * EPS
