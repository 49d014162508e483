"""What may not change a step (C10): shifts, joint scaling, permutations, merging; and the orders it must respect."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from tests.strategies import any_case, cases, informative, laws, rare_success, taus
from tests.tolerances import EPS, LOG_RATIO, REFERENCE, exact, largest


def steps(problem):
    """Every on-policy member that a problem has without further choices."""
    return {
        "kl": pmd.kl_update(problem).unwrap(),
        "mean": pmd.mean_update(problem).unwrap(),
        "mixed": pmd.mixed_update(problem, weight=0.5).unwrap(),
        "baseline": pmd.baseline_update(problem, baseline=problem.mean_reward / problem.tau - 1.0).unwrap(),
    }


def same(first, second, *, size=1.0, order=slice(None)):
    """Two steps agree: log-ratios to rounding, multiplier and divergences relatively or as the log-ratio allows."""
    a, b = first.log_ratio[order], second.log_ratio
    assert np.max(np.abs(a - b)) <= 4 * LOG_RATIO * size
    for name in ("multiplier", "kl", "reverse_kl", "chi2"):
        one, two = getattr(first, name), getattr(second, name)
        # all four are sums of squares of the step: an error of its log-ratio reaches them times the step
        assert one == pytest.approx(two, rel=REFERENCE, abs=4 * LOG_RATIO * size * float(np.max(np.abs(b)))), name


@given(any_case())
def test_a_step_is_a_law(case):
    problem = case.problem()
    for name, update in steps(problem).items():
        assert np.all(np.isfinite(update.log_ratio)), name
        assert np.all(update.policy >= 0.0), name
        assert np.all((update.log_policy > -math.inf) == (problem.policy > 0.0)), name
        assert abs(math.fsum(update.policy) - 1.0) <= 1e-12, name
        assert abs(update.mass_defect) <= exact(problem.scaled_advantage), name
        assert min(update.kl, update.reverse_kl, update.chi2) >= 0.0, name
        assert 0.0 <= update.step_size <= 1.0 + exact(update.log_ratio), name


@given(any_case())
def test_the_multiplier_vanishes_only_for_constant_rewards(case):
    update = pmd.mean_update(case.problem()).unwrap()
    assert update.multiplier >= 0.0
    assert (update.multiplier == 0.0) == case.constant


@given(cases())
def test_better_actions_gain_more(case):
    """r_i >= r_j implies rho_i >= rho_j; strictly better means strictly more."""
    problem = case.problem()
    alive = problem.policy > 0.0
    for name, update in steps(problem).items():
        order = np.argsort(problem.reward[alive], kind="stable")
        reward, ratio = problem.reward[alive][order], update.log_ratio[alive][order]
        assert np.all(np.diff(ratio)[np.diff(reward) > 0.0] > 0.0), name
        assert np.all(np.diff(ratio)[np.diff(reward) == 0.0] == 0.0), name


@given(cases(), st.integers(-64, 64).map(lambda k: k / 4))
def test_reward_shift(case, shift):
    """The rewards of these cases and the shifts are dyadic or short decimals; what rounds is r + c itself."""
    before = case.problem()
    after = case.problem(reward=case.rewards + shift)
    rounding = EPS * (abs(shift) + 3.0) / case.tau / LOG_RATIO
    size = largest(before.scaled_advantage) + rounding
    for name, update in steps(before).items():
        assert np.max(np.abs(steps(after)[name].log_ratio - update.log_ratio)) <= 4 * LOG_RATIO * size, name


@given(informative(kinds=("binary", "signed")), st.integers(-8, 8))
def test_exact_reward_shift_changes_no_digit_that_counts(case, shift):
    """Multiples of 1/4 shift exactly in float64, so the step may only differ by the rounding of centring."""
    before, after = case.problem(), case.problem(reward=case.rewards + shift)
    size = largest(before.scaled_advantage)
    for update, moved in zip(steps(before).values(), steps(after).values(), strict=True):
        same(update, moved, size=size + (8 + 3) / case.tau * 0.25)


@given(st.one_of(cases(), rare_success(decades=100)), st.integers(-200, 200).map(lambda k: 2.0**k))
def test_joint_scaling_by_powers_of_two_is_bitwise(case, factor):
    """(r, tau) -> (k r, k tau) is exact in float64 short of subnormals, so nothing at all may move."""
    before = pmd.mean_update(case.problem()).unwrap()
    after = pmd.mean_update(case.problem(reward=case.rewards * factor, tau=case.tau * factor)).unwrap()
    assert np.array_equal(before.log_ratio, after.log_ratio)
    assert before.multiplier == after.multiplier
    assert before.kl == after.kl
    assert after.improvement == before.improvement * factor


@given(informative(), st.integers(1, 99).map(lambda k: k / 7))
def test_joint_scaling(case, factor):
    before, after = case.problem(), case.problem(reward=case.rewards * factor, tau=case.tau * factor)
    size = 4 * largest(before.scaled_advantage) + 3.0 / case.tau
    for update, scaled in zip(steps(before).values(), steps(after).values(), strict=True):
        assert np.max(np.abs(update.log_ratio - scaled.log_ratio)) <= 4 * LOG_RATIO * size


@given(cases(min_size=2), st.randoms(use_true_random=False))
def test_permutation(case, random):
    order = list(range(len(case.weights)))
    random.shuffle(order)
    before = case.problem()
    after = case.problem(policy=case.policy[order], reward=case.rewards[order])
    for update, permuted in zip(steps(before).values(), steps(after).values(), strict=True):
        same(update, permuted, size=largest(before.scaled_advantage), order=order)


@given(cases(kinds=("binary", "tied"), min_size=2))
def test_merging_commutes_with_the_update(case):
    """One action per reward level, with the summed mass, takes the same step."""
    problem = case.problem()
    rewards = np.unique(case.rewards)
    mass = np.array([case.policy[case.rewards == r].sum() for r in rewards])
    merged = case.problem(policy=mass, reward=rewards)
    index = np.searchsorted(rewards, case.rewards)
    for name, update in steps(problem).items():
        expected = steps(merged)[name].log_ratio[index]
        error = np.abs(update.log_ratio - expected)[case.policy > 0.0]
        assert np.max(error) <= 4 * LOG_RATIO * largest(problem.scaled_advantage), name
        shares = np.array([update.policy[case.rewards == r].sum() for r in rewards])
        assert np.max(np.abs(shares - steps(merged)[name].policy)) <= 1e-12, name


@given(cases(min_size=2))
def test_unmerged_levels_take_the_same_step(case):
    problem = case.problem()
    for update, apart in zip(steps(problem).values(), steps(problem.atomic()).values(), strict=True):
        assert np.max(np.abs(update.log_ratio - apart.log_ratio)) <= 4 * LOG_RATIO * largest(problem.scaled_advantage)


@given(cases(min_size=1), st.integers(-40, 40))
def test_actions_without_mass_stay_and_do_not_matter(case, reward):
    """A zero-mass action of any reward, even the best by far, changes nothing and gets nothing."""
    problem = case.problem()
    wider = case.problem(policy=np.append(case.policy, 0.0), reward=np.append(case.rewards, float(reward)))
    for update, extended in zip(steps(problem).values(), steps(wider).values(), strict=True):
        assert extended.policy[-1] == 0.0
        assert extended.log_policy[-1] == -math.inf
        assert extended.log_ratio[-1] == 0.0
        same(extended, update, size=largest(problem.scaled_advantage), order=slice(0, -1))


@given(cases(min_size=2, zero_mass=False, tau=taus(-2, 2)), st.data())
def test_mismatched_invariances(case, data):
    """Shift, scaling and permutation leave the off-policy step alone as well."""
    log_mu = data.draw(laws(len(case.weights)))
    problem = case.problem()
    solution = pmd.mismatched_update(problem, log_sampler=log_mu)
    order = data.draw(st.permutations(range(len(case.weights))))
    changed = case.problem(policy=case.policy[order], reward=4.0 * case.rewards[order] + 8.0, tau=4.0 * case.tau)
    moved = pmd.mismatched_update(changed, log_sampler=log_mu[order])
    if solution.value is None:
        assert moved.status is solution.status
    else:
        multiplier = abs(solution.value.multiplier) * np.exp(problem.log_policy - log_mu + solution.value.log_ratio)
        condition = np.max(1.0 / np.abs(1.0 + np.sign(solution.value.multiplier) * multiplier)) ** 2
        size = (largest(problem.scaled_advantage) + 5.0 / case.tau) * max(1.0, condition)
        error = np.max(np.abs(moved.unwrap().log_ratio - solution.value.log_ratio[order]))
        assert error <= 4 * LOG_RATIO * size


@given(informative(tau=taus(-3, 3)))
def test_signed_binary_rewards_are_half_the_tau(case):
    """Rewards of -1 and +1 take the step of 0 and 1 at tau/2."""
    hits = (case.rewards >= np.median(case.rewards[case.policy > 0.0])).astype(float)
    signed = pmd.mean_update(case.problem(reward=2.0 * hits - 1.0)).unwrap()
    halved = pmd.mean_update(case.problem(reward=hits, tau=case.tau / 2.0)).unwrap()
    same(signed, halved, size=2.0 * largest(halved.problem.scaled_advantage))
