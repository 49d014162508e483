"""Calibration: the target is reached, every crossing is found, the interval holds the true tau."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

import pmdtheory as pmd
from pmdtheory.rollouts import Rollouts, calibrate
from pmdtheory.rollouts._binary_law import binary_measures, no_signal_probability
from pmdtheory.rollouts._crossings import crossings
from pmdtheory.rollouts._graded import corrected, empirical_measures
from pmdtheory.rollouts._grouping import Scale, group
from pmdtheory.rollouts._responses import GradedResponse
from pmdtheory.rollouts._tau_slopes import corrected_slopes, plug_in_slopes
from tests.rollouts.laws import LAWS, expected
from tests.tolerances import monte_carlo
from tests.wrong import refused


def sampled(law, groups, n, seed):
    rng = np.random.default_rng(seed)
    rewards = rng.random((groups, n)) < LAWS[law](rng, groups)[:, None]
    return Rollouts.from_arrays(np.repeat(np.arange(groups), n), rewards.ravel().astype(float))


@pytest.mark.parametrize("sets", [2, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("law", "target", "goal"), [("uniform", "kl", 0.2), ("beta", "gain", 0.1)])
def test_the_interval_holds_the_true_tau(law, target, goal, sets):
    """Misses among data sets at a level of 95 %: no more than three standard errors above 5 %."""
    field = {"kl": "kl", "gain": "improvement"}[target]

    def mean(log_tau):
        return expected(law, lambda p: getattr(binary_measures(p, np.exp(log_tau)), field), 2000) - goal

    truth = float(np.exp(optimize.brentq(mean, np.log(0.05), np.log(10.0), xtol=1e-4)))
    found = [calibrate(sampled(law, 200, 8, seed), **{f"target_{target}": goal}) for seed in range(sets)]
    misses = sum(not one.low <= truth <= one.high for one in found) / sets
    assert misses <= 0.05 + monte_carlo(np.sqrt(0.05 * 0.95), sets, z=3.0)
    for one in found:
        assert one.monotone
        assert one.crossings == (one.tau,)
        assert one.low <= one.tau <= one.high


def test_rewards_of_minus_one_and_one_double_tau():
    one = sampled("uniform", 100, 8, 0)
    other = Rollouts.from_arrays(one.prompt, 2.0 * one.reward - 1.0)
    assert calibrate(other, target_kl=0.1).tau == pytest.approx(2.0 * calibrate(one, target_kl=0.1).tau, rel=1e-8)


def test_every_crossing_is_found():
    """The gain of r = (-1, 1, 100), pi = (.4999, .4999, .0002) rises and falls with tau (C22)."""

    def gain(tau):
        problem = pmd.Problem.from_policy([0.4999, 0.4999, 0.0002], [-1, 1, 100], tau)
        return pmd.mean_update(problem).unwrap().improvement

    taus = np.geomspace(0.1, 100.0, 60)
    values = np.array([gain(tau) for tau in taus])
    found = crossings(gain, taus, values, 6.0)
    assert len(found) == 2
    assert [gain(tau) for tau in found] == pytest.approx([6.0, 6.0], rel=1e-8)
    single = crossings(gain, taus, values, float(values[-2]))
    assert taus[-2] in single


def test_calibration_on_a_law_that_is_not_monotone():
    """Every group holds the same rewards, so the data are that law; the mean KL has two taus where the gain is 6."""
    rewards = np.tile(np.repeat([-1.0, 1.0, 100.0], [16, 16, 1]), 3)
    found = calibrate(Rollouts.from_arrays(np.repeat(np.arange(3), 33), rewards), max_ratio=8.0)
    assert found.safe_tau == pytest.approx(101.0 / np.log(8.0))
    problems = [pmd.Problem.from_rollouts(rewards[:33], tau) for tau in (*found.crossings, found.safe_tau)]
    ratios = [np.exp(pmd.mean_update(problem).unwrap().level_log_ratio.max()) for problem in problems]
    assert ratios[:-1] == pytest.approx([8.0] * len(found.crossings), rel=1e-6)
    assert ratios[-1] <= 8.0
    assert found.tau == max(found.crossings)


def rising_and_falling():
    """Groups whose gain rises and falls with tau (C22), and the largest gain with its tau.

    Both halves of a group hold the law of the whole, so that there is no bias to correct.
    """
    half = np.repeat([-1.0, 1.0, 100.0], [250, 250, 1])
    data = Rollouts.from_arrays(np.repeat(np.arange(2), 2 * half.size), np.tile(half, 4))
    curve = GradedResponse(data, group(data), Scale.of(data.reward), 0.95)
    top = optimize.minimize_scalar(
        lambda x: -curve.value("gain", np.exp(x)), bounds=(-2.0, 3.0), method="bounded", options={"xatol": 1e-10}
    )
    return data, curve, -float(top.fun), float(np.exp(top.x))


def test_two_crossings_between_neighbours_of_the_scan():
    """A goal just below the largest gain: the mutant, without slopes, finds none of the two. One above has none."""
    data, curve, most, top = rising_and_falling()
    goal = most * (1.0 - 1e-7)
    found = calibrate(data, target_gain=goal)
    first, second = found.crossings
    assert first < top < second < first * 10 ** (1 / 6)
    assert [curve.value("gain", tau) for tau in found.crossings] == pytest.approx([goal, goal], rel=1e-9)
    assert found.values.max() < goal
    assert crossings(lambda tau: curve.value("gain", tau), found.taus, found.values, goal) == ()
    refused(ValueError, lambda: calibrate(data, target_gain=most * (1.0 + 1e-6)), "out of reach")


@given(st.floats(0.02, 0.98), st.floats(0.1, 3.0), st.floats(-0.9, 0.9))
def test_crossings_of_curves_with_a_fold_in_one_cell(place, depth, goal):
    """A cubic with its maximum and its minimum within one cell of the scan has three crossings, or one."""
    x = np.linspace(-3.0, 4.0, 8)
    scale = 0.2 + 0.1 * depth

    def fold(tau):
        z = (np.log(tau) - place) / scale
        return 0.5 * z**3 - 1.5 * z  # extrema of -1 and 1 at z of 1 and -1

    def slope(tau):
        z = (np.log(tau) - place) / scale
        return 1.5 * (z**2 - 1.0) / scale

    taus = np.exp(x)
    found = crossings(fold, taus, fold(taus), goal, slope=slope)
    assert len(found) == 3
    assert [fold(tau) for tau in found] == pytest.approx([goal] * 3, abs=1e-7)
    assert len(crossings(fold, taus, fold(taus), goal + 2.0, slope=slope)) == 1


@pytest.mark.parametrize("tau", [0.05, 0.4, 3.0])
def test_slopes_in_tau_by_differences(tau):
    rewards, h = np.random.default_rng(0).random((4, 9)), 1e-5
    rewards[0] = 0.5
    ends = [empirical_measures(rewards, tau * np.exp(e))[0] for e in (h, -h)]
    found = plug_in_slopes(rewards, tau)
    for name, field in (("kl", "kl"), ("gain", "improvement"), ("log_max_ratio", "log_max_ratio")):
        wanted = (getattr(ends[0], field) - getattr(ends[1], field)) / (2.0 * h)
        assert found[name] == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    corrected_ends = [corrected(rewards, tau * np.exp(e), one) for e, one in zip((h, -h), ends, strict=True)]
    for name, slope in corrected_slopes(rewards, tau).items():
        wanted = (corrected_ends[0][name] - corrected_ends[1][name]) / (2.0 * h)
        assert slope == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_no_prompt_exceeds_the_ratio_at_the_safe_tau():
    found = calibrate(sampled("beta", 50, 8, 1), max_ratio=3.0)
    assert found.safe_tau is not None
    assert binary_measures(np.geomspace(1e-12, 0.999, 50), found.safe_tau).log_max_ratio.max() <= np.log(3.0)
    assert found.tau < found.safe_tau


def test_group_sizes():
    """Unbiased up to n, bounded beyond; the true chance lies between."""
    found = calibrate(sampled("uniform", 500, 8, 3), target_kl=0.1, no_signal=0.3)
    for one in found.sizes:
        truth = expected("uniform", lambda p, n=one.n: no_signal_probability(p, n))
        assert one.low <= truth <= one.high
        assert one.low <= one.probability <= one.high
    assert found.n == 8
    assert found.sure_n in (8, 16)


def test_graded_rewards():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(300, 8)) + rng.normal(size=(300, 1))
    found = calibrate(Rollouts.from_arrays(np.repeat(np.arange(300), 8), rewards.ravel()), target_kl=0.2)
    from scipy import stats

    truth = pmd.mean_update(pmd.Problem.from_distribution(stats.norm(), found.tau)).unwrap().kl
    assert truth == pytest.approx(0.2, rel=0.1)
    assert found.low < found.tau < found.high
    assert [one.n for one in found.sizes if np.isfinite(one.probability)] == [2, 4, 8]


WRONG = {
    "no target": ({}, "0 targets were given"),
    "two targets": ({"target_kl": 0.1, "max_ratio": 2.0}, "2 targets were given"),
    "negative": ({"target_kl": -0.1}, "target_kl must be greater than zero"),
    "ratio of one": ({"max_ratio": 1.0}, "max_ratio must be greater than one"),
    "out of reach": ({"target_gain": 2.0}, "target_gain = 2 is out of reach"),
    "share": ({"target_kl": 0.1, "no_signal": 1.0}, "no_signal must lie strictly between"),
    "level": ({"target_kl": 0.1, "level": 1.5}, "level must lie in [0, 1]"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_inputs(wrong):
    options, fragment = WRONG[wrong]
    refused(ValueError, lambda: calibrate(sampled("uniform", 30, 4, 0), **options), fragment)


def test_data_without_a_step():
    for rollouts, fragment in (
        (Rollouts.from_arrays([1, 1], [1, 1]), "reward is 1 in every row"),
        (Rollouts.from_arrays([1, 2], [0, 1]), "different one in every row"),
    ):
        refused(ValueError, lambda rollouts=rollouts: calibrate(rollouts, target_kl=0.1), fragment)
