"""The tilt on both signs of the multiplier: definition, branch point, derivatives and the weak-signal series."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory.lambertw import branch_tilt, tilt, tilt_slope, weak_signal_multiplier
from tests.tolerances import EPS, RATE


def exact_tilt(x, u):
    with mp.workdps(60):
        return float(mp.mpf(x) - mp.lambertw(mp.exp(mp.mpf(x) + mp.mpf(u))).real)


@given(st.floats(-1e6, 1e6), st.floats(-700.0, 20.0))
def test_tilt_against_mpmath(x, u):
    expected = exact_tilt(x, u)
    # the input z = x + u is rounded before omega sees it, and dv/dz is at most one
    assert abs(float(tilt(x, u)) - expected) <= 8 * EPS * max(1.0, abs(expected), abs(u)) + 2 * EPS * abs(x) * (
        x + u <= 1.0
    )


@given(st.floats(-1e6, 1e6), st.integers(-12, 4).map(lambda k: 10.0**k))
def test_tilt_solves_its_equation(x, weight):
    v = float(tilt(x, math.log(weight)))
    with mp.workdps(40):
        error = abs(mp.mpf(v) + mp.mpf(weight) * mp.exp(v) - mp.mpf(x))
        slope = 1 + mp.mpf(weight) * mp.exp(v)
        assert error <= 16 * EPS * max(1.0, abs(v), abs(math.log(weight))) * slope


@pytest.mark.parametrize("x", [-1e300, -1e6, 0.0, 1e6])
def test_no_multiplier_no_compression(x):
    assert float(tilt(x, -np.inf)) == x


def test_tilt_broadcasts():
    v = tilt(np.array([[0.0], [1.0]]), np.array([0.0, 1.0, 2.0]))
    assert v.shape == (2, 3)
    assert v[1, 2] == pytest.approx(exact_tilt(1.0, 2.0), rel=8 * EPS)


@given(st.floats(-30.0, 30.0), st.floats(-10.0, 10.0))
def test_tilt_slope_is_the_derivative(x, u):
    h = 1e-5
    difference = float(tilt(x + h, u) - tilt(x - h, u)) / (2 * h)
    slope = float(tilt_slope(tilt(x, u), u))
    assert 0.0 < slope <= 1.0
    assert abs(difference - slope) <= 1e-8  # h^2 of the central difference plus eps/h


@pytest.mark.parametrize("branch", [0, -1])
@given(st.one_of(st.floats(0.0, 5000.0), st.floats(0.0, 1e-3), st.integers(-30, 3).map(lambda k: 10.0**k)))
def test_branch_tilt_against_mpmath(branch, depth):
    found = float(branch_tilt(depth, branch))
    with mp.workdps(80):
        expected = -mp.lambertw(-mp.exp(-1 - mp.mpf(depth)), branch).real
        # in these coordinates T - 1 keeps its digits even where T is within 1e-15 of the branch point
        assert abs(mp.mpf(found) - expected) <= 8 * EPS * abs(expected) + mp.mpf(2) ** -1074
    assert found <= 1.0 if branch == 0 else found >= 1.0


def test_branch_tilt_at_and_around_the_branch_point():
    depth = np.array([0.0, 1e-16, 1e-8, 0.01, 0.0198, 0.0202, 0.03])
    low, high = branch_tilt(depth), branch_tilt(depth, -1)
    assert low[0] == high[0] == 1.0
    assert np.all(np.diff(low) < 0.0)
    assert np.all(np.diff(high) > 0.0)
    slope = np.polyfit(np.log(depth[1:3]), np.log(high[1:3] - 1.0), 1)[0]
    assert abs(slope - 0.5) <= RATE  # a square-root singularity


def test_branch_tilt_keeps_small_lifts():
    """T falls from .3 to .01 on this range, and keeps its relative accuracy."""
    for depth in np.linspace(0.5, 3.5, 61).tolist():
        with mp.workdps(50):
            expected = float(-mp.lambertw(-mp.exp(-1 - mp.mpf(depth))).real)
        assert float(branch_tilt(depth)) == pytest.approx(expected, rel=8 * EPS)


@pytest.mark.parametrize("branch", [0, -1])
def test_branch_tilt_is_smooth_across_its_switches(branch):
    """Series to Newton, Newton to contraction, lambertw to asymptotics: no step where the method changes."""
    for switch in (0.02, 3.0, 600.0):
        depth = switch * (1.0 + np.array([-1e-9, 1e-9]))
        low, high = branch_tilt(depth, branch)
        with mp.workdps(50):
            expected = [float(-mp.lambertw(-mp.exp(-1 - mp.mpf(float(d))), branch).real) for d in depth]
        assert low == pytest.approx(expected[0], rel=8 * EPS)
        assert high == pytest.approx(expected[1], rel=8 * EPS)


@pytest.mark.parametrize(
    ("depth", "branch", "text"),
    [
        (-1e-9, 0, "depth must be at least zero, got -1e-09"),
        ([1.0, -2.0], -1, "depth must be at least zero, got -2.0"),
        (math.nan, 0, "depth must be at least zero, got nan"),
        (1.0, 1, "branch must be 0 or -1, got 1"),
        (1.0, None, "branch must be 0 or -1, got None"),
    ],
    ids=["negative", "negative-entry", "nan", "branch-1", "branch-None"],
)
def test_branch_tilt_refuses(depth, branch, text):
    with pytest.raises(ValueError, match=text):
        branch_tilt(depth, branch)


LAW = [0.5, 0.3, 0.15, 0.05], [0.0, 0.3, 1.0, 2.5]


def test_weak_signal_series_by_the_order_of_its_remainder():
    """C11: seventh order in 1/tau, so the remainder falls like tau^-8."""
    with mp.workdps(60):
        policy = [mp.mpf(p) for p in LAW[0]]
        policy = [p / mp.fsum(policy) for p in policy]
        reward = [mp.mpf(r) for r in LAW[1]]
        mean = mp.fdot(policy, reward)
        taus, errors = [8.0, 16.0, 32.0], []
        for tau in taus:
            problem = pmd.Problem.from_policy(*LAW, tau=tau)
            a = [(r - mean) / tau for r in reward]
            m2, m3, m4, m5, m6, m7 = (mp.fsum(p * x**k for p, x in zip(policy, a, strict=True)) for k in range(2, 8))
            series = m2 / 2 + m3 / 6 + (m4 - 15 * m2**2) / 24 + (m5 - 90 * m2 * m3) / 120
            series += (m6 - 255 * m2 * m4 - 130 * m3**2 + 1200 * m2**3) / 720
            series += m7 / 5040 - 7 * m3 * m4 / 48 - 11 * m2 * m5 / 80 + 27 * m2**2 * m3 / 8
            found = weak_signal_multiplier(problem.policy, problem.scaled_advantage)
            assert abs(found / series - 1) <= 16 * EPS
            errors.append(oracle_multiplier(policy, a) - series)
        slope = np.polyfit(np.log(taus), [float(mp.log(abs(e))) for e in errors], 1)[0]
    assert abs(slope + 8.0) <= RATE


def oracle_multiplier(policy, a):
    def excess(weight):
        return mp.fsum(p * mp.lambertw(weight * mp.exp(x)).real for p, x in zip(policy, a, strict=True)) / weight - 1

    return mp.findroot(excess, mp.fsum(p * x**2 for p, x in zip(policy, a, strict=True)) / 2)


@pytest.mark.parametrize("tau", [1e3, 1e4, 1e6])
def test_weak_signal_series_is_the_multiplier(tau):
    problem = pmd.Problem.from_policy(*LAW, tau=tau)
    series = weak_signal_multiplier(problem.policy, problem.scaled_advantage)
    assert pmd.mean_update(problem).unwrap().multiplier == pytest.approx(series, rel=1e-11)
