"""The measures of a step against `mean_update`, `collapse`, `finite_sample` and finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import pmdtheory as pmd
from pmdtheory._binary import mean_gain
from pmdtheory.collapse import local_threshold
from pmdtheory.finite_sample import expect
from pmdtheory.lambertw import tilt
from pmdtheory.rollouts._binary_law import binary_measures, collapse_probability, no_signal_probability
from pmdtheory.rollouts._graded import empirical_measures, graded_groups, repeat_chance, unbiased_no_signal
from pmdtheory.rollouts._intervals import Curves
from pmdtheory.rollouts._measures import Measures
from pmdtheory.rollouts._regimes import REGIMES, SATURATED, SHARE, TINY, classify
from pmdtheory.rollouts._solve import solve_groups
from tests.strategies import taus
from tests.tolerances import REFERENCE, ROOT, SOLVER, exact

NAMES = {"multiplier": "multiplier", "kl": "kl", "chi2": "chi2", "improvement": "improvement"}


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=10), taus(-3, 3))
def test_groups_agree_with_the_update(rewards, tau):
    """Vectorised Newton against the solver of one law, relative, through nine decades of weak and strong signals."""
    found, v = empirical_measures(np.array([rewards, rewards[::-1]], dtype=float) / 4.0, tau)
    step = pmd.mean_update(pmd.Problem.from_rollouts(np.array(rewards) / 4.0, tau)).unwrap()
    for ours, theirs in NAMES.items():
        assert getattr(found, ours)[0] == pytest.approx(getattr(step, theirs), rel=REFERENCE, abs=1e-300)
    assert np.allclose(np.exp(v).mean(axis=1), 1.0, atol=exact(step.problem.scaled_advantage), rtol=0)
    assert found.log_max_ratio[0] == pytest.approx(step.level_log_ratio.max(), abs=exact(step.problem.scaled_advantage))


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=10), taus(-2, 2))
def test_lambda_is_the_root(rewards, tau):
    """Brent's method on the mass, which shares nothing with Newton's method but the tilt."""
    r = np.array(rewards) / 4.0
    a = (r - r.mean()) / tau
    found = empirical_measures(r[None], tau)[0].multiplier[0]
    if a.max() == a.min():
        assert found == 0.0
        return
    root = optimize.brentq(lambda u: np.exp(tilt(a, u)).mean() - 1.0, np.log(found) - 5.0, np.log(found) + 5.0)
    assert found == pytest.approx(np.exp(root), rel=max(SOLVER, 1e-10 / np.abs(a).max() ** 2))


@pytest.mark.parametrize("tau", [0.02, 0.3, 5.0])
@pytest.mark.parametrize("p", [1e-9, 0.01, 0.3, 0.97])
def test_binary_rewards_agree_with_the_update(p, tau):
    found = binary_measures(np.array([p, 0.0, 1.0]), tau)
    step = pmd.mean_update(pmd.Problem.binary(p, tau)).unwrap()
    for ours, theirs in NAMES.items():
        assert getattr(found, ours)[0] == pytest.approx(getattr(step, theirs), rel=REFERENCE)
    ideal = pmd.kl_update(pmd.Problem.binary(p, tau)).unwrap()
    assert found.ideal_chi2[0] == pytest.approx(ideal.chi2, rel=1e-7)
    assert found.travelled[0] == pytest.approx(step.improvement / (1.0 - p), rel=ROOT)  # TV = gain, at most 1 - p
    for name in ("multiplier", "kl", "chi2_share", "improvement", "travelled"):
        assert getattr(found, name)[1:].tolist() == [0.0, 0.0]


def test_a_group_of_binary_rewards_is_its_pass_rate():
    rewards = np.array([[0, 0, 0, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0, 1]], dtype=float)
    one, two = empirical_measures(rewards, 0.2)[0], binary_measures(rewards.mean(axis=1), 0.2)
    for name in ("expected_reward", "multiplier", "kl", "chi2_share", "travelled", "log_max_ratio", "ideal_chi2"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-9)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 10.0])
def test_the_new_pass_rate_increases_with_the_pass_rate(tau):
    """What makes the image of two ends an interval: monotone, and G(p, s) = 1/tau as the proof in the docs has it."""
    odds = np.linspace(-25.0, 25.0, 2001)  # near 1 the log-odds tell the pass rates apart
    assert np.all(np.diff(odds + mean_gain(odds, np.full(2001, 1.0 / tau))) > 0.0)
    p = Curves(tau).grid[1:-1]
    s = binary_measures(p, tau).expected_reward
    assert np.all(np.diff(s) >= -exact())
    inside = (p > 1e-3) & (1 - s > 1e-9)
    p, s = p[inside], s[inside]
    kl = p * np.log(p / s) + (1 - p) * np.log1p((s - p) / (1 - s))
    stationary = np.log(s / p) - np.log((1 - s) / (1 - p)) + kl * (s - p) / (p * (1 - p))
    assert stationary == pytest.approx(1.0 / tau, rel=1e-4)


@pytest.mark.parametrize(("p", "n", "tau"), [(0.05, 8, 0.1), (0.01, 16, 0.05), (0.3, 4, 0.5), (0.9, 4, 2.0)])
def test_collapse_probability(p, n, tau):
    """Against the sum over groups of `finite_sample.expect`, with the threshold of `collapse`."""
    problem = pmd.Problem.binary(p, tau)
    edge = problem.log_partition + local_threshold(problem)

    def beyond(counts, reward):
        return np.log((counts * np.exp((reward - 1.0) / tau)).sum(axis=1) / (n - 1)) + 1.0 / tau > edge

    wanted = float(expect(problem, n - 1, beyond).value)
    assert collapse_probability(np.array([p]), n, tau)[0] == pytest.approx(wanted, abs=1e-12)
    assert collapse_probability(np.array([0.0, 1.0]), n, tau).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("tau", [0.05, 1.0])
def test_laws_with_masses_of_their_own(tau):
    """Levels without mass among them, as the search over boxes of laws meets them."""
    mass = np.array([[0.5, 0.0, 0.3, 0.2], [0.0, 0.7, 0.3, 0.0], [0.0, 1.0, 0.0, 0.0], [0.9, 0.05, 0.04, 0.01]])
    reward = np.array([0.0, 0.2, 0.5, 1.0])
    v, multiplier = solve_groups((reward - (mass @ reward)[:, None]) / tau, mass)
    for row, one, found in zip(mass, v, multiplier, strict=True):
        step = pmd.mean_update(pmd.Problem.from_policy(row, reward, tau)).unwrap()
        assert found == pytest.approx(step.multiplier, rel=REFERENCE)
        held = row > 0.0
        assert one[held] == pytest.approx(step.log_ratio[held], abs=exact(step.problem.scaled_advantage))


def test_no_signal():
    table = np.array([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 2.0], [0, 1, 2, 3]])
    assert unbiased_no_signal(table, 2) == pytest.approx([1 / 3, 1.0, 1 / 2, 0.0])
    assert unbiased_no_signal(table, 4) == pytest.approx([0.0, 1.0, 0.0, 0.0])
    assert repeat_chance(table) == pytest.approx([1 / 8, 1.0, 0.75**4 + 0.25**4, 4 / 4**4])
    assert no_signal_probability(np.array([0.0, 0.5, 1.0]), 3).tolist() == [1.0, 0.25, 1.0]


@pytest.mark.parametrize("tau", [0.2, 1.0])
@pytest.mark.parametrize("name", ["new_pass_rate", "gain", "multiplier", "kl"])
def test_influence_functions_by_finite_differences(name, tau):
    """The variance from the influence function is that of the derivative along each rollout's mass."""
    rewards = np.array([0.0, 0.3, 0.3, 0.9, 1.0, 0.1])
    field = {"new_pass_rate": "expected_reward", "gain": "improvement"}.get(name, name)
    n, h = rewards.size, 1e-5

    def value(weights):
        step = pmd.mean_update(pmd.Problem.from_policy(weights / weights.sum(), rewards, tau)).unwrap()
        return getattr(step, field)

    slopes = []
    for i in range(n):
        towards = np.full(n, 1.0 / n)
        ends = [value((1.0 - e) * towards + e * np.eye(n)[i]) for e in (h, -h)]
        slopes.append((ends[0] - ends[1]) / (2 * h))
    wanted = np.sqrt(np.sum(np.square(slopes)) / (n * (n - 1)))
    assert graded_groups(rewards[None], tau).errors[name][0] == pytest.approx(wanted, rel=1e-5)


# -- regimes --------------------------------------------------------------------------------------------------------


def regime(p, tau):
    return REGIMES[int(classify(binary_measures(np.array([p]), tau))[0])]


def test_every_regime_occurs():
    assert regime(0.0, 1.0) == "no-signal"
    assert regime(0.5, 5.0) == "tiny-step"
    assert regime(0.5, 0.05) == "saturated"
    assert regime(0.02, 0.03) == "conservative"
    assert regime(0.3, 0.7) == "moderate"


@given(st.integers(1, 999), taus(-2, 2))
def test_regimes_are_what_they_say(thousandths, tau):
    p = thousandths / 1000
    problem = pmd.Problem.binary(p, tau)
    step, ideal = pmd.mean_update(problem).unwrap(), pmd.kl_update(problem).unwrap()
    penalty = 0.5 * step.multiplier * step.chi2
    share, travelled = penalty / (penalty + step.kl), step.improvement / (1.0 - p)
    found = regime(p, tau)
    near = min(abs(ideal.chi2 - TINY), abs(share - SHARE), abs(travelled - SATURATED)) < 1e-9
    if not near:
        assert (found == "tiny-step") == (ideal.chi2 <= TINY)
        if found == "tiny-step":  # C7, which the definition is chosen for
            assert problem.jensen_gap / (1.0 + TINY) <= step.multiplier * (1.0 + ROOT)
            assert step.multiplier <= problem.jensen_gap * (1.0 + ROOT)
        elif travelled >= SATURATED:
            assert found == "saturated"
        else:
            assert (found == "conservative") == (share >= SHARE)


def test_a_mutant_of_the_regimes_is_caught():
    """KL-PMD's chi2 in place of PMD-mean's share would call the conservative law something else."""
    m = binary_measures(np.array([0.02]), 0.03)
    other = Measures(**{**vars(m), "chi2_share": np.zeros(1)})
    assert REGIMES[int(classify(other)[0])] != "conservative"
