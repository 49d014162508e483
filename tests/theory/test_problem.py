"""The problem: what constructors accept, how levels merge, and derived quantities that keep their digits."""

import dataclasses
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory import Problem
from pmdtheory._levels import merge_levels
from pmdtheory._series import BLOCK, blocks
from tests import oracles
from tests.strategies import any_case, cases
from tests.tolerances import EPS, LOG_RATIO, REFERENCE, exact, largest


def exact_gap(problem):
    with mp.workdps(oracles.digits_for(problem.policy, problem.reward, problem.tau)):
        law = oracles.law_of(problem.policy, problem.reward, problem.tau)
        return oracles.log_partition(law) - law.mean, law.mean


@given(any_case())
def test_mean_advantage_gap_and_partition(case):
    problem = case.problem()
    gap, mean = exact_gap(problem)
    assert abs(problem.mean_reward - float(mean * mp.mpf(case.tau))) <= exact(case.rewards) / 16
    assert problem.jensen_gap == pytest.approx(float(gap), rel=REFERENCE, abs=5e-324)
    assert problem.jensen_gap >= 0.0
    assert abs(problem.log_partition - float(gap + mean)) <= LOG_RATIO * largest([float(gap + mean), float(mean)])
    with mp.workdps(60):
        for index, a in enumerate(problem.scaled_advantage):
            expected = (mp.mpf(float(case.rewards[index])) - mean * mp.mpf(case.tau)) / mp.mpf(case.tau)
            # of the size of the largest advantage with mass; a zero-mass action only has its own
            size = 4 * EPS * max(abs(float(expected)), 2 * float(np.max(np.abs(case.rewards))) * EPS)
            assert abs(float(a - expected)) <= size + 4 * EPS * float(np.ptp(case.rewards)) / case.tau


@pytest.mark.parametrize("offset", [1e-290, 1.0, 1e6, 1e12])
def test_advantages_of_a_small_spread_on_a_large_offset(offset):
    """Two-pass centring: rewards that differ in their last digits give exact advantages."""
    reward = np.array([offset, np.nextafter(offset, np.inf), np.nextafter(np.nextafter(offset, np.inf), np.inf)])
    problem = Problem.from_policy([0.2, 0.3, 0.5], reward, tau=float(np.ptp(reward)))
    gap, mean = exact_gap(problem)
    expected = [float(mp.mpf(float(r)) / mp.mpf(problem.tau) - mean) for r in reward]
    assert np.max(np.abs(problem.scaled_advantage - expected)) <= 4 * EPS
    assert problem.jensen_gap == pytest.approx(float(gap), rel=1e-14)


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9])
def test_jensen_gap_over_fifteen_decades(tau):
    problem = Problem.from_policy([0.7, 0.2, 0.1], [0.0, 0.5, 1.0], tau)
    assert problem.jensen_gap == pytest.approx(float(exact_gap(problem)[0]), rel=1e-13)


# -- constructors -------------------------------------------------------------------------------------------------


def test_from_policy_renormalises_exactly():
    problem = Problem.from_policy([0.5 + 4e-10, 0.5], [0, 1], tau=1.0)
    assert math.fsum(problem.policy) == pytest.approx(1.0, abs=2 * EPS)
    assert problem.log_policy == pytest.approx(np.log(problem.policy), abs=exact())


def test_a_float32_softmax_passes():
    """A law of 50,000 actions in float32 sums to one within A eps of float32, and is accepted as such."""
    logits = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    shifted = np.exp(logits - logits.max())
    policy = shifted / shifted.sum()
    log_policy = np.log(policy)
    assert policy.dtype == log_policy.dtype == np.float32
    for problem in (
        Problem.from_policy(policy, np.zeros(policy.size), 1.0),
        Problem.from_log_policy(log_policy, np.zeros(policy.size), 1.0),
    ):
        assert math.fsum(problem.policy) == pytest.approx(1.0, abs=exact())
        assert problem.policy.dtype == np.float64
    with pytest.raises(ValueError, match="sums to"):
        Problem.from_policy(policy.astype(np.float64) * (1 + 1e-6), np.zeros(policy.size), 1.0)


def test_from_log_policy_is_from_policy():
    policy, reward = np.array([0.5, 0.0, 0.3, 0.2]), [0.0, 7.0, 0.5, 1.0]
    with np.errstate(divide="ignore"):
        by_log = Problem.from_log_policy(np.log(policy), reward, 0.3)
    by_law = Problem.from_policy(policy, reward, 0.3)
    assert by_log.policy == pytest.approx(by_law.policy, abs=EPS)
    first, second = pmd.mean_update(by_log).unwrap(), pmd.mean_update(by_law).unwrap()
    assert first.log_ratio == pytest.approx(second.log_ratio, abs=exact(by_law.scaled_advantage))
    assert first.log_policy[1] == -math.inf


def test_log_policy_reaches_where_probabilities_underflow():
    """A success of probability e^-800 (3e-348): linear space has none of it, the KL step at tau = 1e-3 is all of it."""
    problem = Problem.from_log_policy([0.0, -800.0], [0.0, 1.0], tau=1e-3)
    assert problem.policy[1] == 0.0
    update = pmd.kl_update(problem).unwrap()
    assert update.policy[1] == pytest.approx(1.0, abs=exact())
    assert update.log_policy[0] == pytest.approx(-200.0, rel=1e-12)
    assert problem.log_partition == pytest.approx(200.0, rel=1e-12)


def test_merging_in_log_space_where_probabilities_underflow():
    """Three unseen successes of e^-800 each: the level's log-mass is log 3 - 800."""
    problem = Problem.from_log_policy([0.0, -800.0, -800.0, -800.0], [0.0, 1.0, 1.0, 1.0], tau=1e-3)
    assert problem.levels.log_mass[1] == pytest.approx(math.log(3.0) - 800.0, rel=1e-15)
    assert problem.log_partition == pytest.approx(200.0 + math.log(3.0), rel=1e-12)


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-12, 0.25, 0.5, 1.0 - 1e-12, 1.0])
def test_binary(p):
    problem = Problem.binary(p, 0.1)
    assert problem.policy.tolist() == [1.0 - p, p]
    assert problem.reward.tolist() == [0.0, 1.0]
    assert problem.mean_reward == p
    assert problem.log_policy[0] == (math.log1p(-p) if p < 1 else -math.inf)


def test_binary_failure_reaches_as_close_to_one():
    problem = Problem.binary(1.0, 0.1, failure=1e-300)
    assert problem.policy.tolist() == [1e-300, 1.0]
    update = pmd.mean_update(problem).unwrap()
    assert update.log_ratio[0] == pytest.approx(-10.0, rel=1e-14)
    assert 1e-300 < update.multiplier < 1e-298
    assert Problem.binary(0.25, 0.1, failure=0.75).policy.tolist() == [0.75, 0.25]
    assert Problem.binary(1.0, 0.1, failure=0.0).log_policy[0] == -math.inf
    assert Problem.binary(0.0, 0.1, failure=1.0).log_policy[1] == -math.inf


def test_binary_rewards():
    problem = Problem.binary(0.25, 0.1, rewards=(-1, 1))
    assert problem.mean_reward == -0.5
    assert problem.scaled_advantage == pytest.approx([-5.0, 15.0], rel=exact())


def test_from_rollouts():
    problem = Problem.from_rollouts([0, 1, 1, 0, 1], tau=0.5)
    assert problem.policy.tolist() == [0.2] * 5
    assert problem.mean_reward == pytest.approx(0.6, abs=EPS)
    assert problem.levels.reward.tolist() == [0.0, 1.0]
    same = Problem.from_policy([0.4, 0.6], [0, 1], 0.5)
    found, expected = pmd.mean_update(problem).unwrap(), pmd.mean_update(same).unwrap()
    assert found.multiplier == pytest.approx(expected.multiplier, rel=REFERENCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, bool, ">f8"])
def test_dtypes(dtype):
    problem = Problem.from_policy([0.5, 0.5], np.array([0, 1], dtype=dtype), np.float32(0.5))
    assert problem.reward.dtype == np.float64
    assert problem.reward.dtype.isnative
    assert isinstance(problem.tau, float)
    assert problem.mean_reward == 0.5


# -- a value --------------------------------------------------------------------------------------------------------


def test_a_problem_is_frozen():
    policy = np.array([0.5, 0.5])
    problem = Problem.from_policy(policy, [0, 1], 1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.tau = 2.0
    for name in ("policy", "log_policy", "reward"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(problem, name)[0] = 0.25


def test_the_callers_array_stays_writeable():
    reward = np.array([0.0, 1.0])
    Problem.from_policy([0.5, 0.5], reward, 1.0)
    assert reward.flags.writeable


def test_a_problem_shows_itself():
    assert repr(Problem.binary(0.25, 0.1)) == "Problem(2 actions, mean_reward=0.25, tau=0.1)"


def test_only_laws_of_heavy_tails_lack_a_second_moment():
    assert Problem.binary(0.25, 0.1).upper_second_moment_finite


# -- levels ---------------------------------------------------------------------------------------------------------


@given(cases())
def test_levels_are_the_law_of_the_reward(case):
    problem = case.problem()
    levels = problem.levels
    alive = case.policy > 0.0
    assert sorted(levels.reward.tolist()) == np.unique(case.rewards[alive]).tolist()
    for reward, mass, log_mass in zip(levels.reward, levels.mass, levels.log_mass, strict=True):
        expected = case.policy[alive & (case.rewards == reward)].sum()
        assert mass == pytest.approx(expected, abs=exact())
        assert log_mass == pytest.approx(math.log(expected), abs=exact())
    assert problem.atomic().levels.reward.size == int(alive.sum())
    assert levels.depth.max() == 0.0
    # advantages are centred exactly, up to their own rounding
    centre = math.fsum(levels.mass * levels.advantage)
    assert abs(centre) <= 4 * EPS * float(np.max(np.abs(levels.advantage), initial=0.0)) + 5e-324


@given(cases())
def test_expand_undoes_the_merge(case):
    for problem in (case.problem(), case.problem().atomic()):
        expanded = problem.expand(problem.levels.reward, missing=-99.0)
        alive = case.policy > 0.0
        assert np.array_equal(expanded[alive], case.rewards[alive])
        assert np.all(expanded[~alive] == -99.0)


def many(levels, size=20_000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(size)), rng.integers(0, levels, size=size).astype(np.float64)


@pytest.mark.parametrize("levels", [1, 2, 3, 126, 127, 2000])
def test_large_problems_merge_by_matching_a_probe(levels):
    """The quick paths (two levels, int8, int16) give the same law as np.unique."""
    policy, reward = many(levels)
    values, inverse = np.unique(reward, return_inverse=True)
    expected = np.bincount(inverse, weights=policy)
    problem = Problem.from_policy(policy, reward, 1.0)
    assert np.array_equal(problem.levels.reward, values)
    assert problem.levels.mass == pytest.approx(expected, rel=1e-12)
    assert np.array_equal(problem.expand(values), reward)


def test_a_probe_that_misses_a_level_is_not_believed():
    policy, reward = many(2)
    hidden = 20_000 // 4096 - 1  # an index the probe steps over
    reward[hidden] = 0.5
    problem = Problem.from_policy(policy, reward, 1.0)
    assert problem.levels.reward.tolist() == [0.0, 0.5, 1.0]
    assert problem.levels.mass[1] == pytest.approx(policy[hidden], rel=1e-12)
    assert np.array_equal(problem.expand(problem.levels.reward), reward)


def test_large_distinct_rewards_are_not_sorted():
    rng = np.random.default_rng(0)
    policy, reward = rng.dirichlet(np.ones(20_000)), rng.random(20_000)
    problem = Problem.from_policy(policy, reward, 1.0)
    assert np.shares_memory(problem.levels.reward, problem.reward)
    assert np.shares_memory(problem.levels.mass, problem.policy)


def test_large_problems_with_zero_mass_are_merged_too():
    policy, reward = many(3)
    policy[7] = 0.0
    problem = Problem.from_policy(policy / policy.sum(), reward, 1.0)
    assert problem.levels.reward.tolist() == [0.0, 1.0, 2.0]
    assert problem.expand(problem.levels.reward, missing=-1.0)[7] == -1.0


def test_merge_keeps_the_arrays_when_nothing_merges():
    policy, reward = np.array([0.5, 0.5]), np.array([0.0, 1.0])
    merge = merge_levels(policy, np.log(policy), reward)
    assert merge.inverse is None
    assert merge.reward is reward
    assert merge_levels(policy, np.log(policy), np.zeros(2), equal=False).inverse is None


@given(st.integers(1, 4 * BLOCK))
def test_blocks_cover_every_index_once(size):
    covered = np.concatenate([np.arange(size)[block] for block in blocks(size)])
    assert np.array_equal(covered, np.arange(size))
    assert max(block.stop - block.start for block in blocks(size)) <= BLOCK


def test_what_the_caller_does_to_its_arrays_later_does_not_reach_the_problem():
    policy, reward = np.array([0.5, 0.5]), np.array([0.0, 1.0])
    problem = Problem.from_policy(policy, reward, 0.1)
    policy[0], reward[0] = 0.9, -5.0
    assert problem.policy.tolist() == [0.5, 0.5]
    assert problem.reward.tolist() == [0.0, 1.0]
