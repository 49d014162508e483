"""Baselines beyond log Z: both thresholds, and the minimum against a global search that knows nothing of branches."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

import pmdtheory as pmd
from pmdtheory import Problem, Status
from pmdtheory.collapse import Minimum, global_minimum, global_switch, local_threshold
from tests import oracles
from tests.strategies import Case, cases, taus
from tests.tolerances import REFERENCE, ROOT, SOLVER, exact, largest
from tests.wrong import refused

EXAMPLE = Problem.from_policy([1 / 8] * 8, [0] * 5 + [1] * 3, 0.5)
UNEQUAL = Problem.from_policy([0.02, 0.38, 0.6], [0.0, 1.0, 0.5], 0.4)


def loss(problem: Problem, excess: float, log_ratio: np.ndarray) -> float:
    """Half the mean square of log-ratio less target, over the actions with mass."""
    alive = problem.log_policy > -math.inf
    target = problem.reward / problem.tau - problem.log_partition - excess
    return 0.5 * float(np.dot(problem.policy[alive], (log_ratio - target)[alive] ** 2))


def search(problem: Problem, excess: float, winners: list[int] | None = None) -> float:
    """The lowest loss that BFGS over the softmax finds, from starts in which one action holds much, and from none."""
    alive = problem.log_policy > -math.inf
    mass, log_mass = problem.policy[alive], problem.log_policy[alive]
    target = problem.reward[alive] / problem.tau - problem.log_partition - excess

    def value(z: np.ndarray) -> tuple[float, np.ndarray]:
        log_x = special.log_softmax(z)
        miss = mass * (log_x - log_mass - target)
        return 0.5 * float(np.dot(miss, log_x - log_mass - target)), miss - miss.sum() * np.exp(log_x)

    starts = [log_mass + target]
    for k in range(mass.size) if winners is None else winners:
        for share in (0.2, 0.5, 0.9):
            start = log_mass + target
            start[k] = (special.logsumexp(np.delete(start, k)) if start.size > 1 else 0.0) + special.logit(share)
            starts.append(start)
    found = [optimize.minimize(value, z, jac=True, method="BFGS", options={"gtol": 1e-9}) for z in starts]
    return min(float(result.fun) for result in found)


def check_minimum(problem: Problem, excess: float, minimum: Minimum) -> None:
    """Stationarity, mass, the recorded loss and reward, and at most one action beyond the branch point."""
    alive = problem.log_policy > -math.inf
    target = problem.reward / problem.tau - problem.log_partition - excess
    lift = (minimum.log_ratio - target)[alive]
    v = minimum.log_ratio[alive]
    scale = largest(target)
    x = problem.policy[alive] * np.exp(v)
    assert float(x.sum()) == pytest.approx(1.0, abs=1e-11 * scale)
    assert minimum.multiplier < 0.0
    with np.errstate(under="ignore"):
        # v + lambda e^v = t is lift = -lambda e^v, relative because the lifts of hopeless actions are tiny
        np.testing.assert_allclose(
            -minimum.multiplier * np.exp(v), lift, rtol=1e-9 * scale, atol=1e-10 * scale, err_msg="stationarity"
        )
    assert np.all(lift >= -exact(target))
    beyond = np.flatnonzero(minimum.log_ratio[alive] - target[alive] > 1.0 + 1e-7)
    if minimum.winner is None:
        assert beyond.size == 0
    else:
        assert set(np.flatnonzero(alive)[beyond]) <= {minimum.winner}
    assert minimum.loss == pytest.approx(loss(problem, excess, minimum.log_ratio), rel=1e-10)
    reward = float(np.dot(x, problem.reward[alive]))
    assert minimum.expected_reward == pytest.approx(reward, abs=1e-11 * scale * largest(problem.reward))
    assert np.all(minimum.log_ratio[~alive] == 0.0)


# -- the local threshold --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "printed"),
    [
        (EXAMPLE, 0.880),
        (Problem.binary(0.1, 0.1), 0.999),
        (Problem.binary(0.01, 0.3), 0.329),
        (Problem.binary(1e-4, 0.2), 0.027),
    ],
    ids=["eight", "p=.1", "p=.01", "p=1e-4"],
)
def test_local_thresholds_to_the_digits_given(problem: Problem, printed: float) -> None:
    assert abs(local_threshold(problem) - printed) < 1e-3  # some are cut, not rounded


@given(cases(min_size=1, max_size=6, tau=taus(low=-2, high=3)))
def test_local_threshold_matches_fifty_digits_and_lies_in_one_nat(case: Case) -> None:
    problem = case.problem()
    edge = local_threshold(problem)
    assert 0.0 < edge <= 1.0 + exact()
    wanted = float(oracles.excess_limit(case.policy, case.rewards, case.tau))
    assert edge == pytest.approx(wanted, rel=REFERENCE * largest(problem.reward / problem.tau))


@given(cases(min_size=2, max_size=6, tau=taus(low=-1, high=1)))
def test_the_symmetric_minimum_ends_at_the_threshold(case: Case) -> None:
    problem = case.problem()
    edge = local_threshold(problem)
    inside, outside = (
        pmd.baseline_update(problem, baseline=problem.log_partition + factor * edge).status for factor in (0.999, 1.001)
    )
    assert inside is Status.SUCCESS
    assert outside is Status.BASELINE_TOO_HIGH


def test_the_threshold_is_scale_free_and_does_not_see_how_the_law_is_divided() -> None:
    edge = local_threshold(EXAMPLE)
    assert local_threshold(Problem.from_policy([5 / 8, 3 / 8], [0, 1], 0.5)) == pytest.approx(edge, rel=1e-13)
    assert local_threshold(Problem.from_policy([5 / 8, 3 / 8], [7, 9], 1.0)) == pytest.approx(edge, rel=1e-13)
    assert local_threshold(Problem.from_policy([1.0], [3.0], 1.0)) == pytest.approx(1.0, rel=1e-13)


# -- the global minimum ---------------------------------------------------------------------------------------------


def test_shares_of_the_winner_of_eight_actions() -> None:
    """The largest share jumps from .306 to .44 between .85 and .86, and is .709 at 1.2 and .986 at 4."""
    share = {}
    jump = global_switch(EXAMPLE) + 1e-6
    for excess in (0.85, jump, 0.86, 1.2, 4.0):
        minimum = global_minimum(EXAMPLE, excess=excess)
        check_minimum(EXAMPLE, excess, minimum)
        share[excess] = float((EXAMPLE.policy * np.exp(minimum.log_ratio)).max())
        assert (minimum.winner is None) == (excess == 0.85)
    assert share[0.85] == pytest.approx(0.306, abs=5e-4)
    assert share[jump] < 0.44 < share[0.86] < 0.46
    assert share[1.2] == pytest.approx(0.709, abs=5e-4)
    assert share[4.0] == pytest.approx(0.986, abs=5e-4)


def test_at_large_excess_the_least_probable_action_wins_though_it_fails() -> None:
    success, failure = (global_minimum(UNEQUAL, excess=excess) for excess in (1.0, 2.0))
    for excess, minimum in ((1.0, success), (2.0, failure)):
        check_minimum(UNEQUAL, excess, minimum)
    assert success.winner == 1
    assert failure.winner == 0
    assert 0.38 * math.exp(success.log_ratio[1]) == pytest.approx(0.871, abs=5e-4)
    assert 0.02 * math.exp(failure.log_ratio[0]) == pytest.approx(0.860, abs=5e-4)
    assert success.expected_reward == pytest.approx(0.935, abs=5e-4)
    assert failure.expected_reward == pytest.approx(0.119, abs=5e-4)


@st.composite
def excesses(draw: st.DrawFn) -> tuple[Case, float]:
    case = draw(cases(min_size=2, max_size=4, tau=st.sampled_from([0.2, 0.5, 1.0, 2.0, 10.0])))
    return case, draw(st.sampled_from([0.05, 0.3, 0.7, 0.9, 1.0, 1.3, 2.0, 4.0]))


@given(excesses())
def test_no_global_search_finds_less(drawn: tuple[Case, float]) -> None:
    case, excess = drawn
    problem = case.problem()
    minimum = global_minimum(problem, excess=excess)
    check_minimum(problem, excess, minimum)
    lowest = search(problem, excess)
    assert minimum.loss <= lowest * (1.0 + 1e-9) + 1e-12
    assert minimum.loss == pytest.approx(lowest, rel=SOLVER, abs=SOLVER)


@given(excesses(), st.integers(0, 2**32 - 1))
def test_no_random_policy_does_better(drawn: tuple[Case, float], seed: int) -> None:
    case, excess = drawn
    problem = case.problem()
    lowest = global_minimum(problem, excess=excess).loss
    rng = np.random.default_rng(seed)
    alive = problem.log_policy > -math.inf
    for _ in range(40):
        x = rng.dirichlet(np.full(int(alive.sum()), 10.0 ** rng.uniform(-0.5, 1)))
        log_ratio = np.zeros(problem.reward.size)
        log_ratio[alive] = np.log(np.maximum(x, 1e-300)) - problem.log_policy[alive]
        assert loss(problem, excess, log_ratio) >= lowest * (1.0 - 1e-11)


def test_inside_it_is_the_symmetric_step() -> None:
    for excess in (1e-6, 0.1, 0.5):
        minimum = global_minimum(EXAMPLE, excess=excess)
        step = pmd.baseline_update(EXAMPLE, baseline=EXAMPLE.log_partition + excess).unwrap()
        assert minimum.winner is None
        np.testing.assert_allclose(minimum.log_ratio, step.log_ratio, rtol=0.0, atol=ROOT)
        assert minimum.multiplier == pytest.approx(step.multiplier, rel=1e-9)


@pytest.mark.parametrize(
    "problem", [Problem.binary(0.3, 1.0), Problem.from_policy([0.4, 0.35, 0.25], [0, 0.2, 1], 0.2)]
)
def test_a_best_action_of_its_own_passes_to_the_other_branch_smoothly(problem: Problem) -> None:
    """No jump at the local threshold: the policy moves by as little as the excess does."""
    edge = local_threshold(problem)
    below, above = (global_minimum(problem, excess=edge * factor) for factor in (1.0 - 1e-6, 1.0 + 1e-6))
    assert below.winner is None
    assert above.winner == int(np.argmax(problem.reward))
    np.testing.assert_allclose(below.log_ratio, above.log_ratio, rtol=0.0, atol=1e-4)
    assert above.loss == pytest.approx(below.loss, rel=1e-4)


def test_the_loss_grows_with_the_excess_without_a_jump() -> None:
    for problem in (EXAMPLE, UNEQUAL):
        excess = np.linspace(0.02, 3.0, 150)
        values = np.array([global_minimum(problem, excess=float(e)).loss for e in excess])
        assert np.all(np.diff(values) > 0.0)
        assert np.max(np.abs(np.diff(values, 2))) < 0.05


def test_actions_without_mass_cannot_win() -> None:
    dead = Problem.from_policy([0.02, 0.0, 0.38, 0.6], [0.0, 3.0, 1.0, 0.5], 0.4)
    for excess in (0.3, 1.0, 2.0):
        minimum, plain = global_minimum(dead, excess=excess), global_minimum(UNEQUAL, excess=excess)
        check_minimum(dead, excess, minimum)
        assert minimum.winner != 1
        np.testing.assert_allclose(minimum.log_ratio[[0, 2, 3]], plain.log_ratio, rtol=0.0, atol=1e-11)
        assert minimum.loss == pytest.approx(plain.loss, rel=1e-11)


def test_one_action_alone_takes_what_is_missing() -> None:
    problem = Problem.from_policy([1.0], [0.3], 0.5)
    for excess in (0.5, 0.99, 1.5, 5.0):
        minimum = global_minimum(problem, excess=excess)
        assert minimum.log_ratio[0] == pytest.approx(0.0, abs=1e-12)
        assert minimum.loss == pytest.approx(0.5 * excess**2, rel=1e-11)


@pytest.mark.parametrize("tau", [0.02, 0.05])
@pytest.mark.parametrize("excess", [0.5, 3.0, 50.0])
def test_strong_signals_and_large_excess(tau: float, excess: float) -> None:
    problem = Problem.from_policy([1e-6, 0.3, 0.2, 0.5 - 1e-6], [0.0, 1.0, 0.5, 0.0], tau)
    minimum = global_minimum(problem, excess=excess)
    check_minimum(problem, excess, minimum)


# -- the global switch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("actions", "wanted"), [(8, 0.855), (40, 0.60), (400, 0.28)])
def test_the_switch_comes_earlier_with_more_actions(actions: int, wanted: float) -> None:
    """First order: the largest share jumps, the loss does not. The wanted numbers are good to two hundredths."""
    reward = (np.arange(actions) >= actions * 5 // 8).astype(float)
    problem = Problem.from_policy(np.full(actions, 1.0 / actions), reward, 0.5)
    switch = global_switch(problem)
    assert switch == pytest.approx(wanted, abs=0.02)
    assert switch < local_threshold(problem)
    before, after = (global_minimum(problem, excess=switch + shift) for shift in (-1e-5, 1e-5))
    assert before.winner is None
    assert after.winner is not None
    jump = (problem.policy * np.exp(after.log_ratio)).max() - (problem.policy * np.exp(before.log_ratio)).max()
    assert jump > 0.1
    assert after.loss == pytest.approx(before.loss, rel=1e-3)


@pytest.mark.parametrize("actions", [8, 40])
def test_a_global_search_switches_at_the_same_excess(actions: int) -> None:
    """A search that knows no branches beats the symmetric loss just beyond the switch, and only there."""
    reward = (np.arange(actions) >= actions * 5 // 8).astype(float)
    problem = Problem.from_policy(np.full(actions, 1.0 / actions), reward, 0.5)
    switch = global_switch(problem)
    for shift in (-3e-3, 3e-3):
        step = pmd.baseline_update(problem, baseline=problem.log_partition + switch + shift).unwrap()
        symmetric = loss(problem, switch + shift, step.log_ratio)
        found = search(problem, switch + shift, winners=[0, actions - 1])
        if shift < 0:
            assert found == pytest.approx(symmetric, rel=1e-9)
        else:
            assert found < symmetric * (1.0 - 1e-5)


def test_a_best_action_of_its_own_has_no_earlier_switch() -> None:
    problem = Problem.binary(0.3, 1.0)
    assert global_switch(problem) == local_threshold(problem)


def test_the_switch_splits_where_a_rare_failure_wins() -> None:
    """Here the best action is its own, yet the rarest one overtakes it between excess 1 and 2."""
    assert global_switch(UNEQUAL) <= local_threshold(UNEQUAL)


@given(cases(min_size=2, max_size=5, tau=st.sampled_from([0.3, 1.0, 3.0])))
@settings(max_examples=20)
def test_winners_appear_exactly_beyond_the_switch(case: Case) -> None:
    problem = case.problem()
    switch = global_switch(problem)
    assert 0.0 < switch <= local_threshold(problem)
    assert global_minimum(problem, excess=0.999 * switch).winner is None
    assert global_minimum(problem, excess=1.001 * switch).winner is not None


# -- wrong inputs ---------------------------------------------------------------------------------------------------

EXCESSES = {
    "zero": (ValueError, 0.0, "0.0"),
    "negative": (ValueError, -0.5, "-0.5"),
    "nan": (ValueError, math.nan, "nan"),
    "inf": (ValueError, math.inf, "inf"),
    "string": (TypeError, "1", "'1'"),
    "none": (TypeError, None, "None"),
    "bool": (TypeError, True, "True"),
    "list": (TypeError, [1.0], "[1.0]"),
}


@pytest.mark.parametrize("case", EXCESSES)
def test_wrong_excesses(case: str) -> None:
    error, excess, fragment = EXCESSES[case]
    refused(error, lambda: global_minimum(EXAMPLE, excess=excess), "excess", fragment)


@pytest.mark.parametrize("case", ["zero", "negative", "nan", "string", "none"])
def test_wrong_tolerances(case: str) -> None:
    error, tolerance, fragment = EXCESSES[case]
    refused(error, lambda: global_switch(EXAMPLE, tolerance=tolerance), "tolerance", fragment)


def test_a_looser_tolerance_is_kept() -> None:
    assert global_switch(EXAMPLE, tolerance=1e-3) == pytest.approx(global_switch(EXAMPLE), abs=2e-3)


def test_an_infinite_partition_has_nothing_beyond_it() -> None:
    problem = Problem.from_distribution(stats.expon(), 0.5)
    for call in (local_threshold, global_switch, lambda p: global_minimum(p, excess=0.5)):
        refused(ValueError, lambda call=call: call(problem), "problem", "no finite log Z")
