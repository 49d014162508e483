"""Where float64 ends: no exception, warning or NaN, mass and stationarity as everywhere, and the oracle's digits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory import Problem, Status
from tests import oracles
from tests.tolerances import EPS, LOG_RATIO, REFERENCE, ROOT, exact, largest

TAUS = [10.0**k for k in range(-6, 7)]
SUCCESS = [1e-300, 1e-200, 1e-100, 1e-30, 1e-12, 1e-3, 0.5, 0.999, 1.0 - 1e-12]
FAILURE = [1e-300, 1e-100, 1e-16, 1e-12]


def members(problem):
    """Every update of the problem, the mismatched one under a reversed law where that is a law."""
    found = {
        "kl": pmd.kl_update(problem),
        "mean": pmd.mean_update(problem),
        "baseline": pmd.baseline_update(problem, baseline=problem.mean_reward / problem.tau - 0.5),
        "mixed-light": pmd.mixed_update(problem, weight=1e-3),
        "mixed-heavy": pmd.mixed_update(problem, weight=1e3),
        "on-policy": pmd.mismatched_update(problem, log_sampler=problem.log_policy),
    }
    return {name: (solution, solution.unwrap()) for name, solution in found.items()}


def healthy(problem):
    """Finite everywhere, a law, and a solution of its equation, judged by what the arrays say."""
    for name, (solution, update) in members(problem).items():
        numbers = (update.multiplier, update.baseline, update.expected_reward, update.improvement)
        divergences = (update.kl, update.reverse_kl, update.chi2)  # chi2 alone may leave float64
        assert np.isfinite([*numbers, update.kl, update.reverse_kl, update.step_size]).all(), name
        assert not np.isnan(divergences).any(), name
        assert min(divergences) >= 0.0, name
        assert solution.residual <= ROOT, name
        assert abs(math.fsum(update.policy) - 1.0) <= ROOT, name
        assert abs(update.mass_defect) <= ROOT, name
        assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT, name
        low, high = float(problem.reward.min()), float(problem.reward.max())
        slack = exact(update.log_ratio) * max(abs(low), abs(high))  # e^460 in float64 is good to 460 eps
        assert low - slack <= update.expected_reward <= high + slack, name
    solution, update = members(problem)["mean"]
    error = oracles.stationarity(
        problem.policy, problem.reward, problem.tau, update.log_ratio, solution.stats["log_multiplier"]
    )
    assert error <= ROOT * largest(problem.scaled_advantage)
    assert update.multiplier >= 0.0


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("p", SUCCESS)
def test_binary(p, tau):
    healthy(Problem.binary(p, tau))


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("failure", FAILURE)
def test_rare_failures(failure, tau):
    healthy(Problem.binary(1.0, tau, failure=failure))


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("p", [1e-300, 1e-30, 1e-3, 0.5])
def test_binary_against_the_oracle(p, tau):
    problem = Problem.binary(p, tau)
    step = oracles.regression(problem.policy, problem.reward, tau)
    accurate(problem, pmd.mean_update(problem).unwrap(), step)


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("failure", [1e-300, 1e-16])
def test_rare_failures_against_the_oracle(failure, tau):
    problem = Problem.binary(1.0, tau, failure=failure)
    step = oracles.regression(problem.policy, problem.reward, tau)
    accurate(problem, pmd.mean_update(problem).unwrap(), step)


def accurate(problem, update, step):
    """Log-ratio to rounding; multiplier, divergences and improvement to REFERENCE, relative, however small."""
    expected = np.array([float(v) for v in step.log_ratio])
    found = update.log_ratio[step.law.index]
    assert np.max(np.abs(found - expected)) <= LOG_RATIO * largest(problem.scaled_advantage)
    for name in ("multiplier", "kl", "reverse_kl", "chi2", "improvement"):
        assert getattr(update, name) == pytest.approx(float(getattr(step, name)), rel=REFERENCE), name


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_the_ideal_step_against_the_oracle(tau):
    for p in (1e-300, 1e-3, 0.5):
        problem = Problem.binary(p, tau)
        accurate_ideal(problem, oracles.ideal(problem.policy, problem.reward, tau))


def accurate_ideal(problem, step):
    update = pmd.kl_update(problem).unwrap()
    expected = np.array([float(v) for v in step.log_ratio])
    assert np.max(np.abs(update.log_ratio - expected)) <= LOG_RATIO * largest(problem.scaled_advantage)
    for name in ("kl", "reverse_kl", "improvement"):
        assert getattr(update, name) == pytest.approx(float(getattr(step, name)), rel=REFERENCE), name
    if float(step.chi2) < math.inf:
        assert update.chi2 == pytest.approx(float(step.chi2), rel=REFERENCE)


GRADED = [0.4, 0.3, 0.2, 0.1], [0.0, 0.25, 0.5, 1.0]


@pytest.mark.parametrize("tau", TAUS)
def test_graded(tau):
    problem = Problem.from_policy(*GRADED, tau=tau)
    healthy(problem)
    accurate(problem, pmd.mean_update(problem).unwrap(), oracles.regression(*GRADED, tau))


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
@pytest.mark.parametrize("tau", [1e-3, 1.0, 1e3])
def test_huge_and_tiny_rewards(scale, tau):
    """Rewards of 1e+-300 with tau scaled along take the step of rewards of order one."""
    if scale * tau > 1e300:
        tau /= 1e3
    scaled = Problem.from_policy(GRADED[0], np.array(GRADED[1]) * scale, tau * scale)
    plain = Problem.from_policy(*GRADED, tau=tau)
    healthy(scaled)
    update, expected = pmd.mean_update(scaled).unwrap(), pmd.mean_update(plain).unwrap()
    assert np.max(np.abs(update.log_ratio - expected.log_ratio)) <= 4 * LOG_RATIO * largest(plain.scaled_advantage)
    assert update.multiplier == pytest.approx(expected.multiplier, rel=REFERENCE)
    assert update.improvement == pytest.approx(expected.improvement * scale, rel=REFERENCE)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("reward", [-1e300, -1.0, 0.0, 1e-300, 0.1, 1e6])
def test_constant_rewards(reward, tau):
    """Nothing moves, whatever the constant; tau grows with it so that reward/tau stays a float."""
    tau = tau * max(1.0, abs(reward))
    if math.isinf(tau):
        tau = 1e300
    problem = Problem.from_policy([0.25, 0.25, 0.5], [reward] * 3, tau)
    assert problem.jensen_gap == 0.0
    for name, (_, update) in members(problem).items():
        assert np.array_equal(update.log_ratio, np.zeros(3)), name
        assert update.expected_reward == reward, name
        assert update.kl == update.chi2 == 0.0, name


@pytest.mark.parametrize("tau", TAUS)
def test_one_action(tau):
    problem = Problem.from_policy([1.0], [0.3], tau)
    healthy(problem)
    assert pmd.mean_update(problem).unwrap().multiplier == 0.0
    assert problem.scaled_advantage.tolist() == [0.0]


@pytest.mark.parametrize("tau", TAUS)
def test_one_action_with_mass(tau):
    """p = 0 and p = 1 are legal: the other action stays without mass."""
    for p, alive in ((0.0, 0), (1.0, 1)):
        problem = Problem.binary(p, tau)
        for name, (_, update) in members(problem).items():
            assert update.policy[alive] == 1.0, name
            assert update.policy[1 - alive] == 0.0, name
            expected = {"mixed-light": 1e-3, "mixed-heavy": 1e3, "baseline": 0.5}.get(name, 0.0)
            assert update.multiplier == pytest.approx(expected, rel=exact(), abs=exact(1 / tau)), name


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("centre", [1e-6, 1.0, 0.1, 1e6])
def test_spreads_at_the_rounding_level(centre, tau):
    """Rewards that differ in their last bit: lambda is 1e-32 or so, and still right to eleven digits."""
    reward = [centre, float(np.nextafter(centre, math.inf)), centre]
    policy = [0.3, 0.3, 0.4]
    problem = Problem.from_policy(policy, reward, tau)
    healthy(problem)
    step = oracles.regression(problem.policy, reward, tau)
    accurate(problem, pmd.mean_update(problem).unwrap(), step)


@given(st.integers(-16, 0), st.integers(-3, 3), st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_small_spreads_on_an_offset(power, decade, weights):
    """Spreads from 1 down to 1e-16 on an offset of one."""
    policy = np.array(weights) / sum(weights)
    reward = 1.0 + 10.0**power * np.arange(len(weights))
    problem = Problem.from_policy(policy, reward, 10.0**decade)
    update = pmd.mean_update(problem).unwrap()
    if np.ptp(reward) == 0.0:
        assert update.multiplier == 0.0
    else:
        accurate(problem, update, oracles.regression(problem.policy, reward, problem.tau))


@pytest.mark.parametrize("size", [2, 100, 5000])
def test_advantages_of_a_million_nats(size):
    rng = np.random.default_rng(1)
    problem = Problem.from_policy(rng.dirichlet(np.ones(size)), rng.normal(size=size), 1e-6)
    assert largest(problem.scaled_advantage) > 2e5
    healthy(problem)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 10.0, 1e3])
def test_laws_over_six_hundred_decades(tau):
    """Masses from 1e-300 to one, rewards that favour the rare ones."""
    exponents = np.array([0.0, -10.0, -50.0, -150.0, -300.0])
    policy = 10.0**exponents
    problem = Problem.from_policy(policy / policy.sum(), -exponents, tau)
    healthy(problem)
    step = oracles.regression(problem.policy, problem.reward, tau)
    accurate(problem, pmd.mean_update(problem).unwrap(), step)


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("p", [1e-300, 1e-12, 0.5])
def test_mismatched_extremes(p, tau):
    """A sampler that swaps the two masses: huge and tiny pi/mu."""
    problem = Problem.binary(p, tau)
    for baseline in (None, problem.mean_reward / tau - 1.0, 0.5 / tau):
        solution = pmd.mismatched_update(problem, log_sampler=problem.log_policy[::-1], baseline=baseline)
        if solution.status is Status.SUCCESS:
            update = solution.unwrap()
            assert solution.residual <= ROOT
            assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT
            scale = problem.log_policy - problem.log_policy[::-1]
            error = oracles.stationarity(
                problem.policy,
                problem.reward,
                tau,
                update.log_ratio,
                solution.stats["log_multiplier"],
                sign=-1.0 if update.multiplier < 0.0 else 1.0,
                baseline=update.baseline,
                log_scale=scale,
            )
            assert error <= ROOT * largest([1.0 / tau, update.baseline])
        else:
            assert solution.status is Status.BASELINE_TOO_HIGH
            assert update_excess(problem, solution, baseline) > 0.0


def update_excess(problem, solution, baseline):
    """How far the baseline of a refused step lies above log Z, which alone can be a reason to refuse."""
    assert solution.value is None
    mean_under_sampler = float(problem.policy[0]) * 1.0 / problem.tau  # the swapped law succeeds with mass 1 - p
    return (mean_under_sampler if baseline is None else baseline) - problem.log_partition


@pytest.mark.parametrize("excess", [-1e6, -1e3, -1.0, -1e-6, -1e-12, 0.0, 1e-12, 1e-6, 1e-2])
@pytest.mark.parametrize("tau", [1e-3, 1.0, 1e3])
def test_baselines_around_log_z(excess, tau):
    """From a million nats below log Z to just above it, the step exists and is a law."""
    problem = Problem.from_policy([0.4, 0.3, 0.2, 0.1], GRADED[1], tau)
    b = problem.log_partition + excess
    solution = pmd.baseline_update(problem, baseline=b)
    update = solution.unwrap()
    assert solution.residual <= ROOT
    assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT
    step = oracles.regression(problem.policy, problem.reward, tau, baseline=b)
    scale = largest([b, largest(problem.scaled_advantage)])
    expected = np.array([float(v) for v in step.log_ratio])
    assert np.max(np.abs(update.log_ratio - expected)) <= 4 * LOG_RATIO * scale
    assert update.multiplier == pytest.approx(float(step.multiplier), rel=REFERENCE, abs=8 * EPS * scale)


@pytest.mark.parametrize("excess", [1.001, 10.0, 800.0, 1e6, 1e15, 1e300])
@pytest.mark.parametrize("tau", [1e-6, 1.0, 1e6])
def test_baselines_far_above_log_z(excess, tau):
    """However far: the status says that the baseline is too high, and by whose measure to lower it."""
    problem = Problem.from_policy(*GRADED, tau=tau)
    b = problem.log_partition + excess
    for solution in (
        pmd.baseline_update(problem, baseline=b),
        pmd.mismatched_update(problem, log_sampler=problem.log_policy[::-1], baseline=b),
    ):
        if excess > 4 * EPS * abs(problem.log_partition) + 1.0:
            assert solution.status is Status.BASELINE_TOO_HIGH
            assert solution.value is None


@pytest.mark.parametrize("b", [-1e3, -1e9, -1e15, -1e300])
@pytest.mark.parametrize("tau", [1e-3, 1.0, 1e6])
def test_baselines_far_below_log_z(b, tau):
    """The further below, the smaller the step: lambda takes up all of b."""
    problem = Problem.from_policy(*GRADED, tau=tau)
    solution = pmd.baseline_update(problem, baseline=b)
    update = solution.unwrap()
    assert solution.residual <= ROOT
    assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT
    assert update.multiplier == pytest.approx(problem.mean_reward / tau - b, rel=ROOT + 2e3 / (1e3 + abs(b)))
    assert update.step_size <= 1.0 / (tau * min(abs(b), 1.0 / EPS)) + exact()


@pytest.mark.parametrize("weight", [1e-300, 1e-12, 1e-3, 1.0, 1e6, 1e12, 1e300])
@pytest.mark.parametrize("tau", [1e-6, 1.0, 1e6])
def test_extreme_weights(weight, tau):
    problem = Problem.from_policy(*GRADED, tau=tau)
    solution = pmd.mixed_update(problem, weight=weight)
    update = solution.unwrap()
    assert np.isfinite(update.log_ratio).all()
    assert solution.residual <= ROOT
    assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT
    assert np.all(np.diff(update.log_ratio) >= 0.0)
    if weight == 1e300:
        assert update.kl <= exact()
    if weight == 1e-300:
        ideal = pmd.kl_update(problem).unwrap()
        assert np.max(np.abs(ideal.log_ratio - update.log_ratio)) <= exact(problem.scaled_advantage)


@pytest.mark.parametrize(
    ("log_mass", "tau", "log_multiplier"),
    [(-1500.0, 1e-3, -747.24481050927879), (-3000.0, 1e-4, None), (-1e5, 1e-5, None)],
)
def test_a_success_rarer_than_float64_can_hold(log_mass, tau, log_multiplier):
    """Whole responses have such log-masses; lambda underflows, its logarithm and the log-ratio do not (mpmath)."""
    solution = pmd.mean_update(Problem.from_log_policy([log_mass, 0.0], [1.0, 0.0], tau))
    step = solution.unwrap()
    lift = solution.stats["log_multiplier"] + step.log_ratio[0]
    assert lift + math.log(step.log_ratio[0] + math.exp(lift)) - lift == pytest.approx(
        math.log(1.0 / tau), abs=exact(log_mass)
    )
    if log_multiplier is not None:
        assert solution.stats["log_multiplier"] == pytest.approx(log_multiplier, abs=1e-10)
