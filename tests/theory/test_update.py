"""The members of the family: identities between them, stationarity, limits, and where each ends."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory import Status, _multiplier
from pmdtheory._multiplier import _narrowed, negative_root, safeguarded_newton
from tests import oracles
from tests.strategies import any_case, informative, laws, rare_success, taus
from tests.tolerances import LOG_RATIO, PRINTED, RATE, REFERENCE, ROOT, exact, largest

LADDER = [0.4, 0.3, 0.2, 0.1], [0.0, 0.3, 0.5, 1.0]


def recomputed(update, solution, *, baseline=None, log_scale=None):
    """Stationarity residual over max(1, max|a|), summed exactly from the arrays a user sees."""
    problem = update.problem
    error = oracles.stationarity(
        problem.policy,
        problem.reward,
        problem.tau,
        update.log_ratio,
        solution.stats["log_multiplier"],
        sign=-1.0 if update.multiplier < 0.0 else 1.0,
        baseline=baseline,
        log_scale=log_scale,
    )
    return error / largest(problem.scaled_advantage)


# -- optimality, recomputed ---------------------------------------------------------------------------------------


@given(any_case())
def test_mean_update_is_stationary(case):
    """C1: log rho + lambda rho = a, with the mass equal to one."""
    solution = pmd.mean_update(case.problem())
    update = solution.unwrap()
    assert recomputed(update, solution) <= ROOT
    assert abs(oracles.total_mass(update.problem.policy, update.log_ratio)) <= ROOT
    assert solution.residual <= ROOT


@given(informative(), st.integers(-30, 12).map(lambda k: k / 10))
def test_baseline_update_is_stationary_or_says_why_not(case, share):
    """PMD(b) from far below the mean to beyond log Z, where it solves its equation or reports the collapse."""
    problem = case.problem()
    b = problem.log_partition + problem.jensen_gap * (share - 1.0)
    solution = pmd.baseline_update(problem, baseline=b)
    if solution.value is None:
        assert share > 1.0
        assert solution.status is Status.BASELINE_TOO_HIGH
        assert math.isnan(solution.residual)
        return
    update = solution.unwrap()
    scale = largest([largest(problem.scaled_advantage), b])
    assert recomputed(update, solution, baseline=b) <= ROOT * scale
    assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT
    assert update.baseline == b


@given(informative(), st.integers(-6, 6).map(lambda k: 10.0**k))
def test_mixed_update_is_stationary(case, weight):
    solution = pmd.mixed_update(case.problem(), weight=weight)
    update = solution.unwrap()
    levels = update.log_ratio[case.policy > 0.0] + weight * np.expm1(update.log_ratio[case.policy > 0.0])
    a = update.problem.scaled_advantage[case.policy > 0.0]
    spread = float(np.ptp(levels - a))  # constant over actions at the optimum
    assert spread <= ROOT * largest([largest(a), weight])
    assert abs(oracles.total_mass(update.problem.policy, update.log_ratio)) <= ROOT
    assert solution.residual <= ROOT
    assert update.multiplier == pytest.approx(weight, rel=exact())


@given(informative(zero_mass=False, tau=taus(-2, 2)), st.data())
def test_mismatched_update_is_stationary(case, data):
    """C15: log rho + lambda (pi/mu) rho = r/tau - b with b = E_mu r/tau."""
    problem = case.problem()
    log_mu = data.draw(laws(len(case.weights)))
    solution = pmd.mismatched_update(problem, log_sampler=log_mu)
    if solution.value is None:
        assert solution.status is Status.BASELINE_TOO_HIGH
        return
    update = solution.unwrap()
    mu = np.exp(log_mu)
    assert update.baseline * case.tau == pytest.approx(float(np.dot(mu, case.rewards)), abs=exact(3.0 + case.tau))
    rounding = exact() * abs(update.baseline) / largest(problem.scaled_advantage)
    error = recomputed(update, solution, baseline=update.baseline, log_scale=problem.log_policy - log_mu)
    assert error <= ROOT + rounding
    assert abs(oracles.total_mass(problem.policy, update.log_ratio)) <= ROOT
    ratio = np.exp(update.log_policy - log_mu)
    assert solution.stats["chi2_sampler"] == pytest.approx(float(np.dot(mu, (ratio - 1.0) ** 2)), rel=ROOT, abs=exact())


# -- the family fits together -------------------------------------------------------------------------------------


@given(informative(tau=taus(-3, 3)))
def test_the_weight_of_the_chi2_makes_mixed_the_mean_update(case):
    """C2."""
    problem = case.problem()
    mean = pmd.mean_update(problem).unwrap()
    mixed = pmd.mixed_update(problem, weight=mean.multiplier).unwrap()
    # both roots carry their rounding, and lambda itself is good to REFERENCE
    size = largest(problem.scaled_advantage) + mean.multiplier
    assert np.max(np.abs(mixed.log_ratio - mean.log_ratio)) <= exact(size)
    assert mixed.kl == pytest.approx(mean.kl, rel=REFERENCE)


@given(informative(tau=taus(-3, 3)))
def test_baselines_at_the_ends_are_the_named_members(case):
    problem = case.problem()
    size = largest(problem.scaled_advantage) + abs(problem.mean_reward / problem.tau)
    mean = pmd.mean_update(problem).unwrap()
    at_mean = pmd.baseline_update(problem, baseline=problem.mean_reward / problem.tau).unwrap()
    assert np.max(np.abs(at_mean.log_ratio - mean.log_ratio)) <= exact(size)
    kl = pmd.kl_update(problem).unwrap()
    at_log_z = pmd.baseline_update(problem, baseline=problem.log_partition).unwrap()
    assert np.max(np.abs(at_log_z.log_ratio - kl.log_ratio)) <= exact(size)
    assert abs(at_log_z.multiplier) <= exact(size)


@given(informative(zero_mass=False, tau=taus(-3, 3)))
def test_on_policy_sampler_is_the_mean_update(case):
    problem = case.problem()
    mean = pmd.mean_update(problem).unwrap()
    stale = pmd.mismatched_update(problem, log_sampler=problem.log_policy)
    assert np.max(np.abs(stale.unwrap().log_ratio - mean.log_ratio)) <= exact(problem.scaled_advantage)
    assert stale.stats["chi2_sampler"] == pytest.approx(mean.chi2, rel=1e-9, abs=exact())


def test_mixed_without_weight_is_kl():
    problem = pmd.Problem.from_policy(*LADDER, tau=0.2)
    assert np.array_equal(
        pmd.mixed_update(problem, weight=0.0).unwrap().log_ratio, pmd.kl_update(problem).unwrap().log_ratio
    )
    assert np.array_equal(pmd.mixed_update(problem, weight=0).unwrap().policy, pmd.kl_update(problem).unwrap().policy)


@given(any_case())
def test_the_multiplier_is_the_step(case):
    """C4: lambda = KL(pi || pi+), the divergence summed by another route."""
    update = pmd.mean_update(case.problem()).unwrap()
    alive = update.problem.policy > 0.0
    direct = -math.fsum(update.problem.policy[alive] * update.log_ratio[alive])
    assert abs(update.multiplier - direct) <= exact(update.log_ratio) * largest(update.problem.scaled_advantage)
    assert update.multiplier == pytest.approx(update.reverse_kl, rel=REFERENCE, abs=1e-300)


@given(informative(tau=taus(-2, 2)), st.integers(-30, 10).map(lambda k: k / 10))
def test_the_multiplier_of_a_baseline(case, share):
    """C4 for PMD(b): lambda = KL(pi || pi+) - (b - mean/tau)."""
    problem = case.problem()
    b = problem.mean_reward / problem.tau + share * problem.jensen_gap
    update = pmd.baseline_update(problem, baseline=b).unwrap()
    excess = b - problem.mean_reward / problem.tau
    size = largest([b, update.reverse_kl, problem.mean_reward / problem.tau])
    assert abs(update.multiplier - (update.reverse_kl - excess)) <= ROOT * size


@given(any_case())
def test_improvement_identity(case):
    """C5: the gain in reward is tau [KL + lambda (1 + chi2)], and it is never negative."""
    update = pmd.mean_update(case.problem()).unwrap()
    expected = case.tau * (update.kl + update.multiplier * (1.0 + update.chi2))
    assert update.improvement >= 0.0
    assert update.improvement == pytest.approx(expected, rel=REFERENCE, abs=1e-300)
    assert abs(update.expected_reward - update.problem.mean_reward - update.improvement) <= exact(case.rewards)


@given(any_case())
def test_improvement_identity_of_the_ideal_step(case):
    update = pmd.kl_update(case.problem()).unwrap()
    expected = case.tau * (update.kl + update.reverse_kl)
    assert update.improvement == pytest.approx(expected, rel=REFERENCE, abs=1e-300)


@given(informative())
def test_the_bracket_holds_the_multiplier(case):
    """C7: J/(1 + chi2_KL) <= lambda <= J/(1 + chi2) <= J."""
    problem = case.problem()
    update, ideal = pmd.mean_update(problem).unwrap(), pmd.kl_update(problem).unwrap()
    slack = 1.0 + REFERENCE
    assert problem.jensen_gap / (1.0 + ideal.chi2) <= update.multiplier * slack
    assert update.multiplier <= problem.jensen_gap / (1.0 + update.chi2) * slack


@given(any_case())
def test_fields_agree_with_the_arrays(case):
    """Divergences, expected reward and step size against the policy in linear space."""
    for update in (pmd.mean_update(case.problem()).unwrap(), pmd.kl_update(case.problem()).unwrap()):
        alive = update.problem.policy > 0.0
        old, new = update.problem.log_policy[alive], update.log_policy[alive]
        p, q = update.policy[alive], update.problem.policy[alive]
        # |log p| units in the last place: what log_policy = log pi + log rho can lose
        size = exact(old) * largest(update.log_ratio)
        assert abs(update.kl - np.dot(p, update.log_ratio[alive])) <= size
        assert np.max(np.abs(np.exp(new) - p)) <= size
        assert abs(update.step_size - 0.5 * np.sum(np.abs(p - q))) <= size
        assert abs(update.expected_reward - np.dot(p, update.problem.reward[alive])) <= size * largest(case.rewards)


@given(informative(), st.integers(1, 5).map(lambda k: k / 3))
def test_the_multiplier_falls_with_tau(case, factor):
    """C22: lambda and TV shrink when tau grows, for every law."""
    low, high = case.problem(), case.problem(tau=case.tau * (1.0 + factor))
    strong, weak = pmd.mean_update(low).unwrap(), pmd.mean_update(high).unwrap()
    assert weak.multiplier < strong.multiplier
    assert weak.step_size <= strong.step_size * (1.0 + REFERENCE)


# -- limits as rates ----------------------------------------------------------------------------------------------


def test_weak_signals_approach_the_ideal_step_at_the_stated_order():
    """C11: J - lambda = m2^2/2 + (2/3) m2 m3 + O(tau^-6); subtracting the leading term leaves tau^-5."""
    taus_ = np.array([32.0, 64.0, 128.0])
    leading, gaps, remainders = [], [], []
    for tau in taus_:
        problem = pmd.Problem.from_policy(*LADDER, tau=tau)
        step = oracles.regression(*LADDER, tau)
        with mp.workdps(60):
            law = step.law
            a = [t - law.mean for t in law.target]
            m2, m3 = (mp.fsum(p * x**k for p, x in zip(law.mass, a, strict=True)) for k in (2, 3))
            gap = oracles.log_partition(law) - law.mean - step.multiplier
            leading.append(float(gap - m2**2 / 2))
            remainders.append(float(gap - m2**2 / 2 - 2 * m2 * m3 / 3))
        update, ideal = pmd.mean_update(problem).unwrap(), pmd.kl_update(problem).unwrap()
        assert problem.jensen_gap - update.multiplier == pytest.approx(float(gap), rel=1e-9)
        gaps.append(float(np.max(np.abs(update.log_ratio - ideal.log_ratio))))
    logs = np.log(taus_)
    assert abs(np.polyfit(logs, np.log(np.abs(leading)), 1)[0] + 5.0) <= RATE
    assert abs(np.polyfit(logs, np.log(np.abs(remainders)), 1)[0] + 6.0) <= RATE
    # to first order both are the natural gradient step, so the steps differ at order tau^-3
    assert abs(np.polyfit(logs, np.log(gaps), 1)[0] + 3.0) <= RATE


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_truncated_series_by_their_remainders(terms):
    """C11 cut after order 1 + terms leaves the next order: the package's own multiplier shows the slope."""
    taus_, errors = np.array([40.0, 80.0, 160.0]), []
    for tau in taus_:
        problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0.0, 1.0, 2.0], tau=tau)
        a, p = problem.scaled_advantage, problem.policy
        m2, m3, m4 = (math.fsum(p * a**k) for k in (2, 3, 4))
        series = math.fsum([m2 / 2, m3 / 6, (m4 - 15 * m2**2) / 24][:terms])
        errors.append(abs(pmd.mean_update(problem).unwrap().multiplier - series))
    assert abs(np.polyfit(np.log(taus_), np.log(errors), 1)[0] + 2.0 + terms) <= RATE


def test_never_greedy():
    """C21: as tau -> 0, rho -> (r - mean)^+ / E(r - mean)^+ and lambda tau -> E(r - mean)^+."""
    policy, reward = (np.array(x) for x in LADDER)
    positive = np.maximum(reward - policy @ reward, 0.0)
    size = policy @ positive
    errors, weights = [], []
    taus_ = np.array([1e-3, 1e-4, 1e-5, 1e-6])
    for tau in taus_:
        update = pmd.mean_update(pmd.Problem.from_policy(policy, reward, tau)).unwrap()
        errors.append(np.max(np.abs(np.exp(update.log_ratio) - positive / size)))
        weights.append(abs(update.multiplier * tau / size - 1.0))
    assert errors[-1] < 1e-4
    assert weights[-1] < 1e-4
    # corrections are tau times a logarithm of rho, hence first order
    assert abs(np.polyfit(np.log(taus_), np.log(errors), 1)[0] - 1.0) <= RATE
    assert abs(np.polyfit(np.log(taus_), np.log(weights), 1)[0] - 1.0) <= RATE
    greedy = pmd.kl_update(pmd.Problem.from_policy(policy, reward, 1e-3)).unwrap()
    assert greedy.policy[3] == 1.0
    assert update.policy[3] < 0.99  # the second-best action above the mean keeps its share


@pytest.mark.parametrize(
    ("tau", "p", "fraction"),
    [(1.0, 0.31940, 0.90393), (0.3, 0.15024, 0.61148), (0.1, 0.05789, 0.32087), (0.03, 0.01838, 0.13399)],
)
def test_binary_fraction_at_its_minimum(tau, p, fraction):
    """C9: the fraction of KL-PMD's log-odds gain is least at p*, with the values of the closed form."""

    def share(p):
        log_ratio = pmd.mean_update(pmd.Problem.binary(p, tau)).unwrap().log_ratio
        return (log_ratio[1] - log_ratio[0]) * tau

    assert share(p) == pytest.approx(fraction, abs=5e-6)
    assert share(p) < share(p * 1.1)
    assert share(p) < share(p / 1.1)


@given(rare_success(tau=taus(-2, 2)))
def test_failure_mass_bound(case):
    """C9: 1 - p+ <= (1 - p) e^{-p/tau}, in log space."""
    update = pmd.mean_update(case.problem()).unwrap()
    assert update.log_ratio[0] <= -case.policy[1] / case.tau * (1.0 - exact())


# -- beyond log Z -------------------------------------------------------------------------------------------------


def test_baseline_limit_quoted_in_the_theory():
    """C14's numbers: 8 uniform actions of which 3 succeed, and three binary laws."""
    uniform = [1 / 8] * 8, [1] * 3 + [0] * 5
    assert float(oracles.excess_limit(*uniform, 0.5)) == pytest.approx(0.880, abs=5e-4)
    for p, tau, limit in [(0.1, 0.1, 0.999), (0.01, 0.3, 0.329), (1e-4, 0.2, 0.027)]:
        law = [(1 - p) / 2, (1 - p) / 2, p / 2, p / 2], [0, 0, 1, 1]
        found = float(oracles.excess_limit(*law, tau))
        assert found == pytest.approx(limit, abs=1e-3)
        problem = pmd.Problem.from_policy(*law, tau=tau)
        inside = pmd.baseline_update(problem, baseline=problem.log_partition + limit - 1.5e-3)
        beyond = pmd.baseline_update(problem, baseline=problem.log_partition + limit + 1.5e-3)
        assert inside.status is Status.SUCCESS
        assert beyond.status is Status.BASELINE_TOO_HIGH


@given(informative(tau=taus(-1, 1)), st.integers(4, 11))
def test_the_limit_is_where_the_status_changes(case, digits):
    """BASELINE_TOO_HIGH from log E_KL exp T(e^{-1-d}) on, to the last digits that b itself carries."""
    problem = case.problem()
    limit = float(oracles.excess_limit(case.policy, case.rewards, case.tau))
    distance = 10.0**-digits * limit
    below = pmd.baseline_update(problem, baseline=problem.log_partition + limit - distance)
    above = pmd.baseline_update(problem, baseline=problem.log_partition + limit + distance)
    resolution = 64 * LOG_RATIO * largest([problem.log_partition, largest(problem.scaled_advantage)])
    if distance > resolution:
        assert below.status is Status.SUCCESS
        assert above.status is Status.BASELINE_TOO_HIGH
        assert above.value is None
        assert "log_partition" in above.status.value
    else:
        assert {below.status, above.status} <= {Status.SUCCESS, Status.BASELINE_TOO_HIGH}
    if below.value is not None:
        # on W0: -lambda <= e^{-1 - max x}; the most lifted action is next to the branch point
        top = float(np.max(case.rewards[case.policy > 0.0])) / case.tau - below.value.baseline
        assert math.log(-below.value.multiplier) <= -1.0 - top + exact([top, problem.log_partition])
        lift = below.value.log_ratio[case.policy > 0.0].max() - top
        assert lift <= 1.0 + exact([top, problem.log_partition])


def test_next_to_the_branch_point_the_step_is_a_square_root():
    """C14: the best action's lift approaches 1 like the square root of the distance to the limit."""
    law = [0.3, 0.3, 0.2, 0.2], [0, 0, 1, 1]
    problem = pmd.Problem.from_policy(*law, tau=0.5)
    limit = float(oracles.excess_limit(*law, 0.5))
    distances = np.array([1e-4, 1e-6, 1e-8])
    lifts = []
    for distance in distances:
        b = problem.log_partition + limit - distance
        update = pmd.baseline_update(problem, baseline=b).unwrap()
        lifts.append(1.0 - (update.log_ratio[3] - (1.0 / 0.5 - b)))
    # the total mass moves with the lift itself where others share it: a simple root, so the approach is linear
    slope = np.polyfit(np.log(distances), np.log(lifts), 1)[0]
    step = oracles.regression(*law, 0.5, baseline=problem.log_partition + limit - 1e-6)
    assert lifts[1] == pytest.approx(1.0 - float(step.log_ratio[3] - (2 - step.baseline)), rel=1e-6)
    assert abs(slope - 1.0) <= RATE


# -- another sampler ----------------------------------------------------------------------------------------------


def test_sign_region_of_the_mismatched_multiplier():
    """C15: lambda >= 0 iff E_mu r <= tau log Z(tau); with E_mu r above E_pi r that ends at a root tau*."""
    policy, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0])
    mu = np.array([0.35, 0.3, 0.35])

    def excess(tau):
        return tau * pmd.Problem.from_policy(policy, reward, tau).log_partition - mu @ reward

    low, high = 0.05, 50.0
    assert excess(low) > 0.0 > excess(high)
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    for factor, sign in [(0.2, 1), (0.9, 1), (0.999, 1), (1.001, -1), (1.1, -1)]:
        problem = pmd.Problem.from_policy(policy, reward, low * factor)
        update = pmd.mismatched_update(problem, log_sampler=np.log(mu)).unwrap()
        assert math.copysign(1, update.multiplier) == sign
        # lambda = KL(mu || pi+) - KL(mu || pi) for the sampler's own mean as baseline
        expected = pmd.divergence.kl(np.log(mu), update.log_policy) - pmd.divergence.kl(np.log(mu), np.log(policy))
        assert update.multiplier == pytest.approx(expected, abs=exact())


def test_a_pessimistic_sampler_never_turns_the_sign():
    """C15: E_mu r <= E_pi r gives lambda >= 0 at every tau."""
    policy, reward, mu = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0], np.log([0.6, 0.3, 0.1])
    for tau in 10.0 ** np.arange(-5, 6):
        update = pmd.mismatched_update(pmd.Problem.from_policy(policy, reward, tau), log_sampler=mu).unwrap()
        assert update.multiplier > 0.0


@given(informative(zero_mass=False, tau=taus(-2, 1)), st.data())
def test_blind_actions(case, data):
    """Where the sampler never goes: all mass leaves when lambda > 0, otherwise the loss does not decide."""
    log_mu = data.draw(laws(len(case.weights), zeros=True).filter(lambda law: np.isneginf(law).any()))
    problem = case.problem()
    solution = pmd.mismatched_update(problem, log_sampler=log_mu)
    blind = np.isneginf(log_mu)
    with mp.workdps(40):
        law = oracles.law_of(case.policy, case.rewards, case.tau)
        mu = [mp.exp(mp.mpf(float(x))) if x > -math.inf else mp.mpf(0) for x in log_mu]
        b = mp.fdot(mu, law.target) / mp.fsum(mu)
        seen = mp.log(mp.fsum(p * mp.exp(t - b) for p, t, m in zip(law.mass, law.target, mu, strict=True) if m > 0))
        margin = float(seen)
    if margin < -exact():
        assert solution.status is Status.BLIND_ACTIONS
        assert "sample" in solution.status.value
    elif margin > exact(problem.scaled_advantage):
        update = solution.unwrap()
        assert np.all(update.policy[blind] == 0.0)
        assert np.all(update.log_ratio[blind] == -math.inf)
        assert abs(math.fsum(update.policy) - 1.0) <= ROOT
        assert update.multiplier > 0.0
        assert update.reverse_kl == math.inf
        step = oracles.mismatched(case.policy, case.rewards, case.tau, log_mu)
        expected = np.array([float(v) for v in step.log_ratio])
        found = update.log_ratio[~blind]
        condition = 1.0 + largest(problem.scaled_advantage) / max(margin, 1e-3)
        assert np.max(np.abs(found - expected)) <= 4 * LOG_RATIO * largest(problem.scaled_advantage) * condition
        assert update.kl == pytest.approx(float(step.kl), rel=1e-9, abs=ROOT)


def test_blind_and_beyond():
    """A high baseline on a blind sampler is reported as blindness, on a full one as a baseline too high."""
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], 0.5)
    with np.errstate(divide="ignore"):
        blind = pmd.mismatched_update(problem, log_sampler=np.log([0.5, 0.5, 0.0]), baseline=50.0)
    full = pmd.mismatched_update(problem, log_sampler=np.log([0.5, 0.4, 0.1]), baseline=50.0)
    assert blind.status is Status.BLIND_ACTIONS
    assert full.status is Status.BASELINE_TOO_HIGH


def test_mismatched_negative_multiplier_on_its_own_region():
    """Slightly above log Z the W0 solution exists under a sampler as well, and matches the oracle."""
    law = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0]
    log_mu = np.log([0.2, 0.3, 0.5])
    problem = pmd.Problem.from_policy(*law, 0.5)
    b = problem.log_partition + 0.05
    solution = pmd.mismatched_update(problem, log_sampler=log_mu, baseline=b)
    step = oracles.mismatched(*law, 0.5, log_mu, baseline=b)
    assert solution.unwrap().multiplier == pytest.approx(float(step.multiplier), rel=1e-11)
    assert solution.unwrap().multiplier < 0.0
    assert np.max(np.abs(solution.unwrap().log_ratio - [float(v) for v in step.log_ratio])) <= exact()


def test_mismatched_at_log_z_exactly_has_no_multiplier():
    """Rewards that cancel exactly: E e^x = 1 to the last digit."""
    problem = pmd.Problem.from_policy([0.5, 0.5], [0.0, 0.0], 1.0)
    update = pmd.mismatched_update(problem, log_sampler=np.log([0.25, 0.75])).unwrap()
    assert update.multiplier == 0.0
    assert np.array_equal(update.log_ratio, [0.0, 0.0])


def test_mismatched_skips_actions_without_mass():
    with np.errstate(divide="ignore"):
        log_mu = np.log([0.25, 0.0, 0.75])
    problem = pmd.Problem.from_policy([0.5, 0.0, 0.5], [0.0, 9.0, 1.0], 0.5)
    narrow = pmd.Problem.from_policy([0.5, 0.5], [0.0, 1.0], 0.5)
    update = pmd.mismatched_update(problem, log_sampler=log_mu).unwrap()
    expected = pmd.mismatched_update(narrow, log_sampler=np.log([0.25, 0.75])).unwrap()
    assert np.array_equal(update.log_ratio[[0, 2]], expected.log_ratio)
    assert update.log_ratio[1] == 0.0
    assert update.policy[1] == 0.0


# -- one level, and the record ------------------------------------------------------------------------------------


CONSTANT = pmd.Problem.from_policy([0.25, 0.75], [2.0, 2.0], 0.5)


@pytest.mark.parametrize("update", [pmd.kl_update, pmd.mean_update], ids=["kl", "mean"])
def test_constant_rewards_move_nothing(update):
    step = update(CONSTANT).unwrap()
    assert np.array_equal(step.log_ratio, [0.0, 0.0])
    assert np.array_equal(step.policy, CONSTANT.policy)
    assert step.multiplier == step.kl == step.reverse_kl == step.chi2 == step.improvement == step.step_size == 0.0
    assert step.expected_reward == 2.0


@pytest.mark.parametrize(("excess", "multiplier"), [(-2.0, 2.0), (0.0, 0.0), (0.5, -0.5), (1.0, -1.0)])
def test_constant_rewards_with_a_baseline(excess, multiplier):
    """log 1 + lambda = r/tau - b: the multiplier takes up the whole difference, down to the branch point at -1."""
    step = pmd.baseline_update(CONSTANT, baseline=4.0 + excess).unwrap()
    assert step.multiplier == pytest.approx(multiplier, abs=exact())
    assert np.array_equal(step.log_ratio, [0.0, 0.0])


def test_constant_rewards_beyond_the_branch_point():
    assert pmd.baseline_update(CONSTANT, baseline=5.01).status is Status.BASELINE_TOO_HIGH


def test_constant_rewards_with_a_weight():
    step = pmd.mixed_update(CONSTANT, weight=3.0).unwrap()
    assert np.array_equal(step.log_ratio, [0.0, 0.0])
    assert step.multiplier == pytest.approx(3.0, rel=exact())
    assert step.baseline == pytest.approx(4.0 - 3.0, abs=exact())


def test_unwrap_raises_with_the_status_message():
    solution = pmd.baseline_update(pmd.Problem.from_policy(*LADDER, tau=0.2), baseline=100.0)
    with pytest.raises(pmd.SolveError, match="^BASELINE_TOO_HIGH: .*lower the baseline") as caught:
        solution.unwrap()
    assert "\n" not in str(caught.value)


def test_unwrap_refuses_a_success_without_a_value():
    with pytest.raises(pmd.SolveError, match="SUCCESS"):
        pmd.Solution(None, Status.SUCCESS).unwrap()
    with pytest.raises(pmd.SolveError, match="residual 0.5"):
        pmd.Solution(1.0, Status.ALMOST_SOLVED, 0.5).unwrap()


@pytest.mark.parametrize("status", list(Status), ids=lambda status: status.name)
def test_every_status_is_a_sentence_with_a_remedy(status):
    assert "\n" not in status.value
    remedy = (";", "please", "solved to the stated tolerance")
    assert any(mark in status.value for mark in remedy)


def test_solver_statistics():
    solution = pmd.mean_update(pmd.Problem.from_policy(*LADDER, tau=0.2))
    assert solution.stats["levels"] == 4
    assert 1 <= solution.stats["evaluations"] <= 20
    assert math.exp(solution.stats["log_multiplier"]) == solution.unwrap().multiplier


def test_an_update_shows_its_numbers():
    text = repr(pmd.mean_update(pmd.Problem.from_policy(*LADDER, tau=0.2)).unwrap())
    assert text.startswith("Update(multiplier=")
    for name in ("expected_reward", "kl", "reverse_kl", "chi2"):
        assert f"{name}=" in text


def test_few_evaluations():
    """Newton from the lower bracket of C7: few passes in the median (the theory measured 4)."""
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(300):
        size = int(rng.integers(2, 50))
        problem = pmd.Problem.from_policy(rng.dirichlet(np.ones(size)), rng.random(size), 10.0 ** rng.uniform(-3, 2))
        counts.append(pmd.mean_update(problem).stats["evaluations"])
    assert np.median(counts) <= 6
    assert max(counts) <= 20


def test_numbers_of_a_worked_example():
    """The README-sized example, to the digits of the high-precision reference."""
    step = oracles.regression([0.7, 0.2, 0.1], [0, 0, 1], 0.1)
    update = pmd.mean_update(pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], 0.1)).unwrap()
    assert update.multiplier == pytest.approx(0.93721757412907845, rel=PRINTED)
    assert update.multiplier == pytest.approx(float(step.multiplier), rel=REFERENCE)
    assert update.policy.sum() == pytest.approx(1.0, abs=ROOT)


# -- the root-finder, on its own ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("root", [-3.0, -1e-9, 0.0, 1e-3, 2.0, 5.0])
@pytest.mark.parametrize("start", [-3.0, 1.0, 5.0])
def test_safeguarded_newton_finds_roots_anywhere_in_the_bracket(root, start, rising):
    """A steep monotone function, roots at both ends of the bracket included; the last call is at the result."""
    sign, called = (1.0 if rising else -1.0), []

    def evaluate(x):
        called.append(x)
        return sign * (math.expm1(x - root) + (x - root) ** 3), sign * (math.exp(x - root) + 3.0 * (x - root) ** 2)

    x, evaluations, converged = safeguarded_newton(evaluate, -3.0, 5.0, start, rising=rising)
    assert converged
    assert abs(x - root) <= ROOT
    assert called[-1] == x
    assert len(called) == evaluations <= 60


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize(("noise", "end"), [(1e-17, 0.0), (-1e-17, 1.0)])
def test_safeguarded_newton_believes_the_direction_it_is_told(rising, noise, end):
    """A root at an end of the bracket, where the value is rounding of either sign: the end is the answer."""
    x, _, converged = safeguarded_newton(
        lambda x: ((noise + (x - end)) * (1.0 if rising else -1.0), 1.0 if rising else -1.0),
        0.0,
        1.0,
        end,
        rising=rising,
    )
    assert converged
    assert x == pytest.approx(end, abs=exact())


def test_safeguarded_newton_without_slopes_bisects():
    x, _, converged = safeguarded_newton(lambda x: (x - 0.3, 0.0), 0.0, 1.0, 0.5, rising=True)
    assert converged
    assert x == pytest.approx(0.3, abs=1e-9)  # where a Newton step would be the last


def test_safeguarded_newton_ends_creeping_by_bisection():
    """A slope a hundred times too steep makes steps of a hundredth; bisection takes over and still finds the root."""
    x, evaluations, converged = safeguarded_newton(lambda x: (x - 7e5, 1e2), 0.0, 1e6, 0.0, rising=True)
    assert converged
    assert evaluations < 120
    assert x == pytest.approx(7e5, rel=1e-12)


def test_safeguarded_newton_gives_up(monkeypatch):
    monkeypatch.setattr(_multiplier, "_MAX_STEPS", 5)
    _, evaluations, converged = safeguarded_newton(lambda x: (x - 7e5, 1e6), 0.0, 1e6, 0.0, rising=True)
    assert not converged
    assert evaluations == 5


@pytest.mark.parametrize("root", [-99.0, -3.5, 0.0, 0.5, 17.0, 49.5])
def test_narrowed_brackets_hold_the_root(root):
    low, high, _ = _narrowed(lambda x: (root - x, -1.0), -100.0, 50.0)
    assert low <= root <= high
    assert high - low <= 2.0 * max(1.0, abs(root)) + 1.0


def test_narrowed_brackets_end_where_the_function_does():
    assert _narrowed(lambda x: (1.0, -1.0), -100.0, 0.0)[:2] == (0.0, 0.0)


def test_a_negative_multiplier_needs_missing_mass():
    mass = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="a multiplier that is not negative"):
        negative_root(mass, np.log(mass), np.array([1.0, 0.0]))


STEPS = {
    "mean": pmd.mean_update,
    "baseline": lambda problem: pmd.baseline_update(problem, baseline=0.1),
    "mixed": lambda problem: pmd.mixed_update(problem, weight=0.5),
    "mismatched": lambda problem: pmd.mismatched_update(problem, log_sampler=np.log([0.5, 0.3, 0.1, 0.1])),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_root_finder_that_runs_out_of_steps_says_so(name, monkeypatch):
    monkeypatch.setattr("pmdtheory._multiplier._MAX_STEPS", 1)
    solution = STEPS[name](pmd.Problem.from_policy(*LADDER, tau=0.2))
    assert solution.status is Status.MAX_STEPS
    assert solution.value is None
    with pytest.raises(pmd.SolveError, match="MAX_STEPS"):
        solution.unwrap()


@pytest.mark.parametrize("name", STEPS)
def test_a_residual_above_tolerance_is_no_success(name, monkeypatch):
    monkeypatch.setattr("pmdtheory.update._ACCURATE", -1.0)
    solution = STEPS[name](pmd.Problem.from_policy(*LADDER, tau=0.2))
    assert solution.status is Status.ALMOST_SOLVED
    assert solution.residual <= ROOT
    with pytest.raises(pmd.SolveError, match="ALMOST_SOLVED"):
        solution.unwrap()
