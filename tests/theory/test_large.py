"""Many reward levels: the binned path against the general one, what it refuses, and what it costs in memory."""

import tracemalloc

import numpy as np
import pytest

import pmdtheory as pmd
from pmdtheory import Problem, Status
from pmdtheory._large import LARGE, large_root
from pmdtheory._multiplier import positive_root
from pmdtheory._series import log_mean_exp
from tests.tolerances import LOG_RATIO, REFERENCE, ROOT, largest


def levels_of(size, tau, *, kind="uniform", seed=0):
    rng = np.random.default_rng(seed)
    reward = {
        "uniform": rng.random,
        "normal": rng.standard_normal,
        "exponential": rng.standard_exponential,
        "lumps": lambda n: rng.integers(0, 3, n) + 1e-6 * rng.random(n),
    }[kind](size)
    return Problem.from_policy(rng.dirichlet(np.ones(size)), reward, tau).levels


@pytest.mark.parametrize("kind", ["uniform", "normal", "exponential", "lumps"])
@pytest.mark.parametrize("tau", [0.1, 0.3, 3.0, 1e3])
def test_both_paths_agree(kind, tau):
    """The same equation, tilted by a table and a fourth-order step, or by wrightomega."""
    levels = levels_of(40_000, tau, kind=kind)
    a = levels.advantage
    gap = log_mean_exp(levels.mass, levels.log_mass, a)
    general = positive_root(levels.mass, levels.log_mass, a, gap=gap, shift=0.0)
    found = large_root(levels.mass, levels.log_mass, a, 0.0)
    assert found is not None
    assert found.converged
    assert found.multiplier == pytest.approx(general.multiplier, rel=1e-12)
    assert np.max(np.abs(found.log_ratio - general.log_ratio)) <= 4 * LOG_RATIO * largest(a)
    assert abs(found.log_total) <= ROOT
    assert found.evaluations <= 5


def test_both_paths_agree_on_100_000_levels():
    levels = levels_of(100_000, 0.1)
    gap = log_mean_exp(levels.mass, levels.log_mass, levels.advantage)
    general = positive_root(levels.mass, levels.log_mass, levels.advantage, gap=gap, shift=0.0)
    found = large_root(levels.mass, levels.log_mass, levels.advantage, 0.0)
    assert found.multiplier == pytest.approx(general.multiplier, rel=1e-12)


@pytest.mark.parametrize("shift", [-2.0, -0.1, 0.01])
def test_baselines_take_either_path(shift):
    levels = levels_of(40_000, 0.2)
    x = levels.advantage - shift
    gap = log_mean_exp(levels.mass, levels.log_mass, x)
    general = positive_root(levels.mass, levels.log_mass, x, gap=gap, shift=shift)
    found = large_root(levels.mass, levels.log_mass, x, shift)
    assert found.multiplier == pytest.approx(general.multiplier, rel=1e-11)
    assert np.max(np.abs(found.log_ratio - general.log_ratio)) <= 8 * LOG_RATIO * largest(x)


def test_refuses_a_range_beyond_its_table():
    levels = levels_of(40_000, 1e-3)
    assert float(np.ptp(levels.advantage)) > 300.0
    assert large_root(levels.mass, levels.log_mass, levels.advantage, 0.0) is None


def test_refuses_subnormal_masses():
    levels = levels_of(40_000, 1.0)
    mass = levels.mass.copy()
    mass[7] = 1e-305
    assert large_root(mass, np.log(mass), levels.advantage, 0.0) is None


def test_refuses_a_multiplier_that_its_table_does_not_hold():
    """lambda e^a below e^-24 everywhere: KL-PMD to rounding."""
    rng = np.random.default_rng(0)
    mass = np.full(40_000, 1.0 / 40_000)
    a = 1e-6 * rng.standard_normal(40_000)
    a -= a.mean()
    assert large_root(mass, np.log(mass), a, 0.0) is None


def test_refuses_a_law_without_a_positive_multiplier():
    levels = levels_of(40_000, 1.0)
    assert large_root(levels.mass, levels.log_mass, levels.advantage - 5.0, 5.0) is None


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 0.1, 1.0, 1e3, 1e6])
def test_updates_above_the_threshold(tau):
    """Whichever path is taken, a problem of 40,000 distinct rewards is solved to the usual residuals."""
    size = 40_000
    assert size > LARGE
    rng = np.random.default_rng(0)
    problem = Problem.from_policy(rng.dirichlet(np.ones(size)), rng.random(size), tau)
    for solution in (
        pmd.mean_update(problem),
        pmd.baseline_update(problem, baseline=problem.mean_reward / tau - 1.0),
        pmd.baseline_update(problem, baseline=problem.mean_reward / tau + 0.5 * problem.jensen_gap),
        pmd.kl_update(problem),
        pmd.mixed_update(problem, weight=0.7),
    ):
        assert solution.status is Status.SUCCESS
        assert solution.residual <= ROOT
        update = solution.unwrap()
        assert abs(update.policy.sum() - 1.0) <= ROOT
        assert update.log_ratio.shape == (size,)
    mean = pmd.mean_update(problem).unwrap()
    assert mean.multiplier == pytest.approx(mean.reverse_kl, rel=REFERENCE)


def test_more_levels_than_the_threshold_beyond_log_z():
    """A negative multiplier has only the general path."""
    rng = np.random.default_rng(0)
    policy = np.append(rng.dirichlet(np.ones(40_000)) * 0.5, [0.25, 0.25])
    problem = Problem.from_policy(policy, np.append(rng.random(40_000), [2.0, 2.0]), 0.5)
    solution = pmd.baseline_update(problem, baseline=problem.log_partition + 0.05)
    assert solution.unwrap().multiplier < 0.0
    assert solution.residual <= ROOT


def test_a_binary_problem_over_two_million_actions_is_two_levels():
    size = 2_000_000
    reward = np.zeros(size)
    reward[::7] = 1.0
    problem = Problem.from_policy(np.full(size, 1.0 / size), reward, 0.1)
    assert problem.levels.reward.tolist() == [0.0, 1.0]
    solution = pmd.mean_update(problem)
    update = solution.unwrap()
    assert solution.stats["levels"] == 2
    small = pmd.mean_update(Problem.binary(float(problem.levels.mass[1]), 0.1)).unwrap()
    assert update.multiplier == pytest.approx(small.multiplier, rel=REFERENCE)
    assert np.unique(update.log_ratio).tolist() == pytest.approx(small.log_ratio.tolist(), rel=REFERENCE)
    assert update.policy.sum() == pytest.approx(1.0, abs=ROOT)


def test_memory_of_a_million_distinct_rewards():
    """At most twelve arrays of the problem's size at once, constructor, solve and every field included."""
    size = 1_000_000
    rng = np.random.default_rng(0)
    policy, reward = rng.dirichlet(np.ones(size)), rng.random(size)
    tracemalloc.start()
    problem = Problem.from_policy(policy, reward, 0.1)
    update = pmd.mean_update(problem).unwrap()
    total = float(update.policy.sum() + update.log_policy.max() + update.log_ratio.max())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(total)
    assert peak <= 12 * 8 * size


def test_gives_up_after_its_passes(monkeypatch):
    """Too few passes to converge: the general path takes over, unseen."""
    rng = np.random.default_rng(0)
    problem = Problem.from_policy(rng.dirichlet(np.ones(40_000)), rng.random(40_000), 0.1)
    levels = problem.levels
    expected = large_root(levels.mass, levels.log_mass, levels.advantage, 0.0)
    monkeypatch.setattr("pmdtheory._large._PASSES", 1)
    assert large_root(levels.mass, levels.log_mass, levels.advantage, 0.0) is None
    assert pmd.mean_update(problem).unwrap().multiplier == pytest.approx(expected.multiplier, rel=ROOT)
