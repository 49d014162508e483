"""The committed 80-digit reference cases, mpmath oracles on generated ones, and continuous laws by other quadrature."""

import json
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import pmdtheory as pmd
from tests import oracles
from tests.strategies import Case, cases, informative, laws, rare_success, taus
from tests.tolerances import CONTINUOUS, LOG_RATIO, PRINTED, REFERENCE, ROOT, largest

CASES = json.loads((Path(__file__).parents[1] / "data" / "updates.json").read_text())["cases"]


def relative(value, reference):
    """Relative error against a high-precision number."""
    reference = mp.mpf(reference)
    return float(abs(mp.mpf(value) - reference) / abs(reference))


@pytest.fixture(params=range(len(CASES)), ids=[f"{i}-{case['kind']}" for i, case in enumerate(CASES)])
def case(request):
    return CASES[request.param]


def solve(case):
    problem = pmd.Problem.from_policy(case["policy"], case["reward"], case["tau"])
    if case["baseline"] is None:
        return problem, pmd.mean_update(problem)
    return problem, pmd.baseline_update(problem, baseline=float(case["baseline"]))


def test_all_reference_cases_are_there():
    assert len(CASES) == 60
    assert sum(case["baseline"] is not None for case in CASES) == 15


def test_reference_log_ratio(case):
    problem, solution = solve(case)
    update = solution.unwrap()
    error = max(
        float(abs(mp.mpf(v) - mp.mpf(expected)))
        for v, expected in zip(update.log_ratio.tolist(), case["log_ratio"], strict=True)
    )
    assert error <= LOG_RATIO * largest(problem.scaled_advantage)
    assert solution.residual <= ROOT


@pytest.mark.parametrize("field", ["multiplier", "kl", "reverse_kl", "chi2", "expected_reward"])
def test_reference_scalars(case, field):
    _, solution = solve(case)
    assert relative(getattr(solution.unwrap(), field), case[field]) <= REFERENCE


def test_reference_log_partition(case):
    problem, _ = solve(case)
    scale = max(largest(problem.scaled_advantage), abs(problem.mean_reward / problem.tau))
    assert abs(problem.log_partition - float(case["log_partition"])) <= LOG_RATIO * scale


# -- generated cases against the oracles -------------------------------------------------------------------------


def agree(problem, update, step, *, scale=1.0, weak=False):
    """A step against an oracle's: log-ratios to rounding, multiplier and divergences relative."""
    index = step.law.index
    found, expected = update.log_ratio[index], np.array([float(v) for v in step.log_ratio])
    size = max(largest(problem.scaled_advantage), scale)
    assert np.max(np.abs(found - expected)) <= LOG_RATIO * size
    if not weak and step.multiplier != 0:
        assert relative(update.multiplier, step.multiplier) <= REFERENCE
    for name in ("kl", "reverse_kl", "chi2"):
        reference = getattr(step, name)
        if reference != 0 and not weak:
            assert relative(getattr(update, name), reference) <= REFERENCE, name
    gain = float(step.improvement)
    assert abs(update.improvement - gain) <= REFERENCE * abs(gain) + LOG_RATIO * problem.tau * weak


@given(informative())
def test_mean_update_against_the_oracle(case):
    problem = case.problem()
    step = oracles.regression(case.policy, case.rewards, case.tau)
    agree(problem, pmd.mean_update(problem).unwrap(), step)


@given(rare_success())
def test_mean_update_with_rare_success_against_the_oracle(case):
    problem = case.problem()
    agree(problem, pmd.mean_update(problem).unwrap(), oracles.regression(case.policy, case.rewards, case.tau))


@given(informative())
def test_kl_update_against_the_oracle(case):
    problem = case.problem()
    update = pmd.kl_update(problem).unwrap()
    agree(problem, update, oracles.ideal(case.policy, case.rewards, case.tau))
    assert update.multiplier == 0.0


@given(informative(tau=taus(-2, 2)), st.integers(-40, 9).map(lambda k: k / 10))
def test_baseline_below_log_z_against_the_oracle(case, share):
    """b = log Z - J (1 - share): the mean baseline at share 0, far below it for negative shares."""
    problem = case.problem()
    b = problem.log_partition - problem.jensen_gap * (1.0 - share)
    step = oracles.regression(case.policy, case.rewards, case.tau, baseline=b)
    # lambda's condition in b near log Z: rounding of b and of the mean both move it
    update = pmd.baseline_update(problem, baseline=b).unwrap()
    size = max(largest(problem.scaled_advantage), abs(b), abs(problem.mean_reward / problem.tau))
    expected = np.array([float(v) for v in step.log_ratio])
    assert np.max(np.abs(update.log_ratio[step.law.index] - expected)) <= LOG_RATIO * size
    assert abs(update.multiplier - float(step.multiplier)) <= REFERENCE * abs(float(step.multiplier)) + LOG_RATIO * size


@given(informative(tau=taus(-1, 1)), st.integers(1, 99).map(lambda k: k / 100))
def test_baseline_above_log_z_against_the_oracle(case, share):
    """A negative multiplier, at a share of the excess that the symmetric minimum survives (C14)."""
    problem = case.problem()
    limit = float(oracles.excess_limit(case.policy, case.rewards, case.tau))
    b = problem.log_partition + share * limit
    step = oracles.regression(case.policy, case.rewards, case.tau, baseline=b)
    update = pmd.baseline_update(problem, baseline=b).unwrap()
    assert update.multiplier < 0.0
    size = max(largest(problem.scaled_advantage), abs(b))
    expected = np.array([float(v) for v in step.log_ratio])
    # a branch point is a square root: next to it log-ratios move by sqrt(error), elsewhere by 1/(1 - T)
    condition = 1.0 / (1.0 - share)
    missed = max(limit * share, 1e-300)
    assert np.max(np.abs(update.log_ratio[step.law.index] - expected)) <= 8 * LOG_RATIO * size * condition / min(
        1.0, missed / limit
    )
    error = abs(update.multiplier - float(step.multiplier))
    assert error <= 8 * LOG_RATIO * size * condition + REFERENCE * abs(float(step.multiplier))


@given(informative(tau=taus(-3, 3)), st.integers(-3, 4).map(lambda k: 10.0**k))
def test_mixed_update_against_the_oracle(case, weight):
    problem = case.problem()
    update = pmd.mixed_update(problem, weight=weight).unwrap()
    step = oracles.mixed(case.policy, case.rewards, case.tau, weight)
    agree(problem, update, step)
    scale = max(1.0, weight, abs(problem.mean_reward / problem.tau), largest(problem.scaled_advantage))
    assert abs(update.baseline - float(step.baseline)) <= 8 * LOG_RATIO * scale


@st.composite
def mismatches(draw):
    case = draw(informative(zero_mass=False, tau=taus(-2, 2)))
    return case, draw(laws(len(case.weights)))


@given(mismatches())
def test_mismatched_update_against_the_oracle(pair):
    case, log_mu = pair
    problem = case.problem()
    try:
        step = oracles.mismatched(case.policy, case.rewards, case.tau, log_mu)
    except ArithmeticError:
        assert pmd.mismatched_update(problem, log_sampler=log_mu).status is pmd.Status.BASELINE_TOO_HIGH
        return
    update = pmd.mismatched_update(problem, log_sampler=log_mu).unwrap()
    expected = np.array([float(v) for v in step.log_ratio])
    size = largest(problem.scaled_advantage) + abs(problem.mean_reward / problem.tau)
    # a multiplier that nearly cancels its kappa makes log-ratios ill-conditioned: the slope is 1/(1 + lambda kappa rho)
    kappa = np.exp(problem.log_policy - log_mu)
    slope = np.max(1.0 / np.abs(1.0 + update.multiplier * kappa * np.exp(expected)))
    assert np.max(np.abs(update.log_ratio - expected)) <= 4 * LOG_RATIO * size * max(1.0, slope) ** 2
    assert abs(update.kl - float(step.kl)) <= REFERENCE * max(1.0, float(step.kl))


@given(cases(min_size=2, kinds=("binary", "signed"), tau=taus(-1, 0)).filter(lambda case: not case.constant))
def test_the_multiplier_is_the_one_plain_bisection_finds(case):
    """The textbook formula in linear space, where it does not overflow."""
    problem = case.problem()
    expected = oracles.naive_bisection(problem.policy, problem.scaled_advantage)
    assert abs(pmd.mean_update(problem).unwrap().multiplier - expected) <= 100 * ROOT * max(1.0, expected)


def test_a_case_prints_itself():
    case = Case((1.0, 3.0), (0.0, 1.0), 0.1)
    assert repr(case) == "Case(weights=(1.0, 3.0), reward=(0.0, 1.0), tau=0.1)"
    assert case.problem().mean_reward == 0.75


# -- continuous laws ----------------------------------------------------------------------------------------------


def by_density(density, *points):
    """E f(r) by mpmath's quadrature over the density."""
    return lambda f: mp.quad(lambda r: density(r) * f(r), list(points))


def by_quantile(quantile, *points):
    return lambda f: mp.quad(lambda u: f(quantile(u)), list(points))


LAWS = {
    "uniform": (stats.uniform(), by_density(lambda r: mp.mpf(1), 0, 1), mp.mpf(1) / 2),
    "exponential": (stats.expon(), by_density(lambda r: mp.exp(-r), 0, 2, 8, 30, mp.inf), mp.mpf(1)),
    "normal": (
        stats.norm(1.0, 2.0),
        by_density(lambda r: mp.npdf(r, 1, 2), -mp.inf, -9, -3, 1, 5, 11, mp.inf),
        mp.mpf(1),
    ),
    "beta": (stats.beta(2, 5), by_density(lambda r: 30 * r * (1 - r) ** 4, 0, 0.5, 1), mp.mpf(2) / 7),
    "logistic": (
        stats.logistic(),
        by_density(lambda r: mp.sech(r / 2) ** 2 / 4, -mp.inf, -20, -5, 0, 5, 20, mp.inf),
        mp.mpf(0),
    ),
    "triangular": (stats.triang(0.5), by_density(lambda r: 4 * min(r, 1 - r), 0, 0.5, 1), mp.mpf(1) / 2),
}


@pytest.mark.parametrize("tau", [0.5, 5.0])
@pytest.mark.parametrize("name", LAWS)
def test_continuous_laws(name, tau):
    frozen, expectation, mean = LAWS[name]
    expected = oracles.continuous_multiplier(expectation, mean, tau)
    problem = pmd.Problem.from_distribution(frozen, tau)
    update = pmd.mean_update(problem).unwrap()
    assert abs(problem.mean_reward - float(mean)) <= ROOT * max(1.0, float(mean))
    assert abs(update.multiplier / expected - 1.0) <= CONTINUOUS


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0, 100.0])
def test_uniform_rewards_in_closed_form(tau):
    """log Z of the uniform law is log(tau (e^{1/tau} - 1)); KL-PMD's mean is 1/(1 - e^{-1/tau}) - tau."""
    problem = pmd.Problem.from_distribution(stats.uniform(), tau)
    with mp.workdps(40):
        scale = mp.mpf(tau)
        log_z = mp.log(scale * mp.expm1(1 / scale))
        mean = 1 / (1 - mp.exp(-1 / scale)) - scale
    assert abs(problem.log_partition - float(log_z)) <= ROOT * max(1.0, float(log_z))
    assert abs(pmd.kl_update(problem).unwrap().expected_reward - float(mean)) <= CONTINUOUS


@pytest.mark.parametrize(
    ("frozen", "tau", "multiplier"),
    [
        (stats.expon(), 0.5, 0.66408482),
        (stats.expon(), 0.1, 3.54387143),
        (stats.t(3), 0.5, 1.04918551),
        (stats.lognorm(1), 0.2, 3.06681857),
    ],
    ids=["expon-.5", "expon-.1", "t3-.5", "lognorm-.2"],
)
def test_heavy_tails_quoted_in_the_theory(frozen, tau, multiplier):
    """C19: log Z is infinite, the multiplier is not."""
    problem = pmd.Problem.from_distribution(frozen, tau)
    assert problem.log_partition == np.inf
    assert abs(pmd.mean_update(problem).unwrap().multiplier / multiplier - 1.0) <= PRINTED
