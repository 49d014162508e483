"""Second opinions: what the solvers find, what they say when they fail, and that they share nothing with the update."""

import ast
import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

import pmdtheory as pmd
from pmdtheory import _conic, subproblem
from pmdtheory._program import Program
from pmdtheory.subproblem import gap_certificate, solve_regression, solve_subproblem
from tests import oracles

STEP = 1e-9  # error of the conic policy relative to the step; the project asks for 1e-5
POLICY = 1e-9  # total variation of the regression's policy; the project asks for 1e-6
IDENTITY = 1e-12  # C3, relative to its terms
CAUGHT = 1e3  # a mutant must miss by this many tolerances


def random_problem(rng: np.random.Generator, levels: int, taus: tuple[float, float]) -> pmd.Problem:
    """Dirichlet laws with masses down to 1e-12; normal, uniform, binary or rare-success rewards; tau log-uniform."""
    tau = 10.0 ** rng.uniform(*np.log10(taus))
    if rng.uniform() < 0.25:
        return pmd.Problem.binary(rng.choice([rng.uniform(), 10.0 ** rng.uniform(-12, 0)]), tau)
    size = int(rng.integers(2, levels + 1))
    law = np.maximum(rng.dirichlet(np.full(size, 10.0 ** rng.uniform(-1, 2))), 1e-12)
    kind = rng.integers(4)
    if kind == 0:
        reward = rng.standard_normal(size)
    elif kind == 1:
        reward = rng.uniform(size=size)
    elif kind == 2:
        reward = (rng.uniform(size=size) < 0.5).astype(float)
    else:
        reward = (np.arange(size) == np.argmin(law)).astype(float)
    return pmd.Problem.from_policy(law / law.sum(), reward, tau)


def random_weight(rng: np.random.Generator, problem: pmd.Problem) -> float:
    """PMD-mean's own weight, none, or anything between 1e-3 and 1e6."""
    own = pmd.mean_update(problem).unwrap().multiplier
    return float(rng.choice([own, 0.0, 10.0 ** rng.uniform(-3, 6)]))


def relative_error(problem: pmd.Problem, step: pmd.Update, exact: Any) -> float:
    """Total variation between two steps over the total variation of the exact one, both as changes of mass."""
    mass = problem.levels.mass
    found, wanted = mass * np.expm1(step.level_log_ratio), mass * np.expm1(exact)
    return float(np.sum(np.abs(found - wanted)) / np.sum(np.abs(wanted)))


def variation(first: pmd.Update, second: pmd.Update) -> float:
    return 0.5 * float(np.sum(np.abs(first.policy - second.policy)))


# -- the conic program --------------------------------------------------------------------------------------------


def test_conic_program_matches_the_exact_step_over_the_whole_range() -> None:
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(300):
        problem = random_problem(rng, 300, (1e-3, 1e3))
        weight = random_weight(rng, problem)
        exact = pmd.mixed_update(problem, weight=weight).unwrap()
        if exact.step_size < 1e-8:  # those go against 60 digits below
            continue
        solution = solve_subproblem(problem, weight=weight)
        step = solution.unwrap()
        seen += 1
        assert relative_error(problem, step, exact.level_log_ratio) <= STEP, (problem, weight)
        assert step.baseline == pytest.approx(exact.baseline, rel=1e-9, abs=1e-9)
        assert step.reverse_kl == pytest.approx(exact.reverse_kl, rel=1e-9)  # the light levels are right too
        assert step.multiplier == weight
        assert abs(step.mass_defect) < 1e-12
        assert 0.0 <= solution.residual <= 1e-12
    assert seen > 200


@pytest.mark.parametrize("weight", [None, 0.0, 3.0, 1e6])
@pytest.mark.parametrize(
    ("policy", "reward", "tau"),
    [
        ([1 - 1e-12, 1e-12], [0, 1], 1e3),  # the step is 1e-15: a cone alone has no digit of it
        ([1 - 1e-12, 1e-12], [0, 1], 1e-3),
        ([0.7, 0.2, 0.1 - 1e-9, 1e-9], [0, 0.5, 1, -1], 1e3),
        ([0.7, 0.2, 0.1 - 1e-9, 1e-9], [0, 0.5, 1, -1], 1e-3),
        ([1e-12, 1e-6, 1 - 1e-6 - 1e-12], [1, 0.3, 0], 0.03),
    ],
)
def test_conic_program_matches_60_digits_at_the_hard_ends(
    policy: list[float], reward: list[float], tau: float, weight: float | None
) -> None:
    problem = pmd.Problem.from_policy(policy, reward, tau)
    c = pmd.mean_update(problem).unwrap().multiplier if weight is None else weight
    solution = solve_subproblem(problem, weight=c)
    levels = problem.levels
    exact = oracles.mixed(levels.mass, levels.reward, tau, c)
    with mp.workdps(60):
        pairs = zip(exact.law.mass, exact.log_ratio, solution.unwrap().level_log_ratio, strict=True)
        terms = [(p * mp.expm1(v), p * mp.expm1(mp.mpf(float(w)))) for p, v, w in pairs]
        error = float(mp.fsum(abs(a - b) for a, b in terms) / mp.fsum(abs(a) for a, _ in terms))
    assert error <= STEP
    assert solution.stats["duality_gap"] >= 0.0
    assert solution.stats["refinements"] >= 1


def test_the_cones_alone_solve_the_step_where_it_is_not_small() -> None:
    """The quadratic programs that follow would repair a wrong cone program; so it is also judged before them."""
    rng = np.random.default_rng(8)
    seen = 0
    for _ in range(60):
        problem = random_problem(rng, 60, (0.05, 5.0))
        weight = random_weight(rng, problem)
        levels = problem.levels
        exact = pmd.mixed_update(problem, weight=weight).unwrap()
        if exact.step_size < 1e-2:
            continue
        program = Program(levels.mass, levels.log_mass, levels.advantage, weight, np.full(levels.mass.size, weight))
        point, _ = _conic.cone_program(program, 1e-12)
        assert point is not None
        error = levels.mass * (np.exp(point) - np.exp(exact.level_log_ratio))
        assert 0.5 * float(np.sum(np.abs(error))) <= 1e-4 * exact.step_size
        seen += 1
    assert seen > 20


def test_gap_bounds_the_error_of_the_cone_program_alone() -> None:
    """The residual is a certificate: the squared relative error of an unrefined point cannot exceed it by much."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        problem = random_problem(rng, 40, (0.05, 5.0))
        weight = random_weight(rng, problem)
        levels = problem.levels
        if levels.mass.size == 1:
            continue
        program = Program(levels.mass, levels.log_mass, levels.advantage, weight, np.full(levels.mass.size, weight))
        point, _ = _conic.cone_program(program, 1e-6)
        assert point is not None
        point = point - math.log(float(np.sum(levels.mass * np.exp(point))))
        exact = pmd.mixed_update(problem, weight=weight).unwrap()
        shift = _conic._best_shift(program, point)
        gap, gain = program.gap(point, shift), program.gain(exact.level_log_ratio)
        lost = gain - program.gain(point)  # what the point falls short of the optimum
        assert lost <= gap * (1.0 + 1e-6) + 1e-12 * gain
        assert gap > 0.0


@pytest.mark.parametrize("mutate", [lambda c: 0.5 * c, lambda c: 2.0 * c, lambda c: 0.0])
def test_a_wrong_weight_is_told_apart_from_the_right_one(mutate: Any) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        problem = random_problem(rng, 10, (0.1, 1.0))
        exact = pmd.mean_update(problem).unwrap()
        if exact.multiplier < 1e-4:
            continue
        step = solve_subproblem(problem, weight=mutate(exact.multiplier)).unwrap()
        assert relative_error(problem, step, exact.level_log_ratio) > CAUGHT * STEP


def test_kl_the_wrong_way_round_is_told_apart() -> None:
    """max <x, r> - tau KL(pi||x) is x = pi/(1 - (r - b)/tau): not the step that weight 0 asks for."""
    problem = pmd.Problem.binary(0.3, tau=2.0)
    wrong = 0.0
    low, high = 0.0, 1.0  # b - r_max/tau + 1 by bisection on the mass
    for _ in range(200):
        wrong = 0.5 * (low + high)
        mass = 0.7 / (wrong + 0.5) + 0.3 / wrong
        low, high = (wrong, high) if mass > 1.0 else (low, wrong)
    reverse = np.array([-math.log(wrong + 0.5), -math.log(wrong)])
    step = solve_subproblem(problem, weight=0.0).unwrap()
    assert relative_error(problem, step, reverse) > CAUGHT * STEP


def test_conic_program_with_a_sampler_matches_the_regression_under_it() -> None:
    rng = np.random.default_rng(3)
    blind = 0
    for index in range(60):
        size = int(rng.integers(3, 30))
        policy, sampler = rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size))
        if index % 3 == 0:
            sampler[0] = 0.0
            sampler /= sampler.sum()
        reward = rng.standard_normal(size) if index % 2 else rng.choice([0.0, 0.5, 1.0], size=size)
        problem = pmd.Problem.from_policy(policy, reward, 10.0 ** rng.uniform(-2, 2))
        with np.errstate(divide="ignore"):
            log_sampler = np.log(sampler)
        fit = solve_regression(problem, log_sampler=log_sampler)
        if fit.value is None or fit.value.multiplier <= 0.0:
            assert fit.value is not None or fit.status is pmd.Status.BLIND_ACTIONS
            continue
        blind += index % 3 == 0
        step = solve_subproblem(problem, weight=fit.value.multiplier, log_sampler=log_sampler).unwrap()
        moved = 0.5 * float(np.sum(np.abs(step.policy - problem.policy)))
        assert variation(step, fit.unwrap()) <= 1e-9 * max(moved, 1e-6)
        assert step.baseline == pytest.approx(fit.value.baseline, rel=1e-9, abs=1e-9)
        assert step.policy.sum() == pytest.approx(1.0, abs=1e-12)
        wrong = solve_subproblem(problem, weight=fit.value.multiplier).unwrap()  # the chi2 against the policy
        assert variation(wrong, step) > CAUGHT * 1e-9 * moved
    assert blind > 3


def test_blind_actions_match_50_digits() -> None:
    policy, sampler, reward = [0.5, 0.3, 0.2], [0.6, 0.4, 0.0], [0.0, 1.0, 0.5]
    problem = pmd.Problem.from_policy(policy, reward, 0.5)
    with np.errstate(divide="ignore"):
        log_sampler = np.log(sampler)
    exact = oracles.mismatched(policy, reward, 0.5, log_sampler)
    wanted = [float(v) for v in exact.log_ratio]
    fit = solve_regression(problem, log_sampler=log_sampler).unwrap()
    step = solve_subproblem(problem, weight=float(exact.multiplier), log_sampler=log_sampler).unwrap()
    for update in (fit, step):
        np.testing.assert_allclose(update.log_ratio[:2], wanted, rtol=1e-10)
        assert update.policy[2] == 0.0
        assert update.baseline == pytest.approx(float(exact.baseline), rel=1e-10)
    assert fit.multiplier == pytest.approx(float(exact.multiplier), rel=1e-10)


def test_blind_actions_that_would_gain_are_reported() -> None:
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0, 1, 0.5], 0.5)
    with np.errstate(divide="ignore"):
        log_sampler = np.log([0.6, 0.4, 0.0])
    solution = solve_regression(problem, log_sampler=log_sampler, baseline=5.0)
    assert solution.status is pmd.Status.BLIND_ACTIONS
    assert solution.value is None


def test_weight_zero_ignores_the_sampler() -> None:
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0, 1, 1], 0.5)
    with np.errstate(divide="ignore"):
        step = solve_subproblem(problem, weight=0.0, log_sampler=np.log([0.9, 0.1, 0.0])).unwrap()
    assert variation(step, pmd.kl_update(problem).unwrap()) < 1e-12


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-100, 1e-20, 1 - 1e-12, 1.0])
@pytest.mark.parametrize("tau", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("weight", [0.0, 1.0, 1e9])
def test_conic_program_beyond_its_range_neither_raises_nor_warns(p: float, tau: float, weight: float) -> None:
    problem = pmd.Problem.binary(p, tau)
    solution = solve_subproblem(problem, weight=weight)
    assert solution.status is pmd.Status.SUCCESS
    assert abs(solution.unwrap().mass_defect) < 1e-12
    assert solution.stats.get("refinements", 0) <= 25


def test_a_heavy_tailed_law_whose_advantages_reach_1e76() -> None:
    problem = pmd.Problem.from_distribution(stats.t(3), tau=1.0)
    exact = pmd.mean_update(problem).unwrap()
    step = solve_subproblem(problem, weight=exact.multiplier).unwrap()
    assert variation(step, exact) < 1e-12


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_constant_rewards_do_not_move(weight: float) -> None:
    step = solve_subproblem(pmd.Problem.from_policy([0.4, 0.6], [3, 3], 0.5), weight=weight).unwrap()
    assert step.kl == 0.0
    assert step.baseline == pytest.approx(6.0 - weight)  # log 1 + c = r/tau - b


# -- statuses -----------------------------------------------------------------------------------------------------


def test_an_unreachable_tolerance_keeps_the_value_but_is_no_success() -> None:
    problem = pmd.Problem.from_policy(np.full(7, 1 / 7), np.sin(np.arange(7.0)), 0.3)
    solution = solve_subproblem(problem, weight=0.5, tolerance=1e-300)
    assert solution.status is pmd.Status.ALMOST_SOLVED
    assert solution.value is not None
    exact = pmd.mixed_update(problem, weight=0.5).unwrap()
    assert variation(solution.value, exact) < 1e-12
    with pytest.raises(pmd.SolveError, match="ALMOST_SOLVED"):
        solution.unwrap()


def test_no_point_is_a_failure_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        iterations = 3
        status = "NumericalError"

    monkeypatch.setattr(_conic, "cone_program", lambda program, tolerance: (None, Answer()))
    solution = solve_subproblem(pmd.Problem.binary(0.3, 0.5), weight=1.0)
    assert solution.status is pmd.Status.SOLVER_FAILED
    assert solution.value is None
    assert solution.stats["iterations"] == 3


def test_a_solver_that_stops_at_once_gives_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = pmd.Problem.binary(0.3, 0.5)
    program = Program(problem.levels.mass, problem.levels.log_mass, np.full(2, math.nan), 0.0, np.zeros(2))
    point, answer = _conic.cone_program(program, 1e-12)
    assert point is None
    assert str(answer.status) != "Solved"


def test_refinement_stops_at_numbers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        iterations = 1

    monkeypatch.setattr(
        _conic, "recentred_program", lambda program, log_ratio, shift: (log_ratio * math.nan, shift, Answer())
    )
    solution = solve_subproblem(pmd.Problem.binary(0.3, 0.5), weight=1.0)
    assert solution.status is pmd.Status.ALMOST_SOLVED
    assert solution.stats["refinements"] == 1
    assert math.isfinite(solution.residual)


def test_a_curvature_beyond_float64_is_a_failure() -> None:
    problem = pmd.Problem.from_policy([0.5, 0.5], [0, 1], 0.5)
    sampler = np.array([0.0, -700.0])
    solution = solve_subproblem(problem, weight=1e10, log_sampler=sampler)
    assert solution.status is pmd.Status.SOLVER_FAILED


def test_stats_tell_what_was_done() -> None:
    stats = solve_subproblem(pmd.Problem.binary(0.3, 0.5), weight=1.0).stats
    assert set(stats) == {
        *("iterations", "cone_iterations", "cone_solved", "cone_residual"),
        *("levels", "refinements", "duality_gap", "solve_time"),
    }
    assert stats["levels"] == 2
    assert stats["iterations"] >= stats["cone_iterations"] > 0
    assert 0.0 < stats["solve_time"] < 10.0


# -- the regression -----------------------------------------------------------------------------------------------


def test_regression_finds_the_policy_without_a_multiplier() -> None:
    rng = np.random.default_rng(4)
    for _ in range(80):
        problem = random_problem(rng, 30, (1e-2, 1e3))
        exact = pmd.mean_update(problem).unwrap()
        solution = solve_regression(problem, seed=int(rng.integers(1000)))
        assert solution.value is not None
        assert variation(solution.value, exact) <= POLICY, problem
        if exact.multiplier > 1e-6:
            step = solution.unwrap()
            assert step.multiplier == pytest.approx(exact.multiplier, rel=1e-7)
            assert step.multiplier == pytest.approx(step.reverse_kl, rel=1e-7)  # C4
            assert solution.stats["loss_spread"] <= 1e-8 * max(solution.stats["loss"], 1.0)


@pytest.mark.parametrize("shift", [-3.0, -0.2, 0.1])
def test_regression_towards_another_baseline(shift: float) -> None:
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0, 0.4, 1], 0.4)
    baseline = problem.mean_reward / problem.tau + shift
    step = solve_regression(problem, baseline=baseline).unwrap()
    exact = pmd.baseline_update(problem, baseline=baseline).unwrap()
    assert variation(step, exact) <= POLICY
    assert step.baseline == pytest.approx(baseline)
    assert step.multiplier == pytest.approx(exact.multiplier, abs=1e-8)
    assert variation(step, pmd.mean_update(problem).unwrap()) > CAUGHT * POLICY  # the wrong baseline shows


def test_starts_that_disagree_are_reported() -> None:
    """Far beyond C14's limit mass collapses, here onto the rarest action although it is a failure (C14's example)."""
    problem = pmd.Problem.from_policy([0.02, 0.38, 0.6], [0, 1, 0.5], 0.4)
    solution = solve_regression(problem, baseline=problem.log_partition + 2.0, starts=8)
    assert solution.status is pmd.Status.DISAGREEING_STARTS
    assert solution.value is not None
    assert solution.value.policy[0] == pytest.approx(0.860, abs=5e-4)
    assert solution.value.expected_reward == pytest.approx(0.119, abs=5e-4)
    assert solution.stats["loss_spread"] > 0.1
    assert solution.stats["starts"] == 8
    with pytest.raises(pmd.SolveError, match="DISAGREEING_STARTS"):
        solution.unwrap()


def test_too_few_steps_are_reported() -> None:
    size = 1500  # beyond the levels whose Hessian is factorised, so that no root-finder repairs it
    problem = pmd.Problem.from_policy(np.full(size, 1 / size), np.sin(np.arange(float(size))), 0.02)
    short = solve_regression(problem, max_steps=1, starts=1)
    assert short.status is pmd.Status.ALMOST_SOLVED
    assert short.value is not None
    exact = pmd.mean_update(problem).unwrap()
    assert variation(short.value, exact) > 1e-3
    assert variation(solve_regression(problem).unwrap(), exact) < 1e-6


def test_product_with_the_hessian_is_the_hessian_and_both_are_the_slope_of_the_gradient() -> None:
    from pmdtheory._regression_fit import Regression

    rng = np.random.default_rng(5)
    policy, sampler = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    regression = Regression(np.log(policy), sampler, rng.standard_normal(6))
    point, direction = rng.standard_normal(6), rng.standard_normal(6)
    product = regression.product(point, direction)
    np.testing.assert_allclose(regression.hessian(point) @ direction, product, atol=1e-12)
    h = 1e-5
    slope = (regression.gradient(point + h * direction) - regression.gradient(point - h * direction)) / (2 * h)
    np.testing.assert_allclose(slope, product, atol=1e-7)
    rise = (regression.objective(point + h * direction) - regression.objective(point - h * direction)) / (2 * h)
    assert rise == pytest.approx(float(regression.gradient(point) @ direction), abs=1e-8)


def test_ratios_beyond_float64_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = pmd.Problem.binary(0.3, 0.5)
    with np.errstate(under="ignore"):
        solution = solve_regression(problem, log_sampler=[0.0, -744.0])
    assert solution.status is not pmd.Status.SUCCESS
    monkeypatch.setattr(subproblem, "fit_logits", lambda *_: None)
    assert solve_regression(problem).status is pmd.Status.SOLVER_FAILED


def test_random_starts_repeat_with_the_seed() -> None:
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0, 0.4, 1], 0.4)
    first, again = (solve_regression(problem, seed=7) for _ in range(2))
    assert first.stats == again.stats
    assert np.array_equal(first.unwrap().policy, again.unwrap().policy)


# -- the gap identity ---------------------------------------------------------------------------------------------


def gap_points(rng: np.random.Generator, step: pmd.Update) -> np.ndarray:
    """Corners, the policy, the step, points about as far from the step as it is from the policy, and far ones."""
    policy = step.problem.policy
    noise = rng.standard_normal((4, policy.size)) * min(1.0, step.step_size)
    near = step.policy * np.exp(noise)
    far = rng.dirichlet(np.ones(policy.size), 3)
    rows = [np.eye(policy.size)[:3], policy[None], step.policy[None], near / near.sum(axis=1, keepdims=True), far]
    return np.concatenate(rows)


def test_gap_identity_holds_for_every_member_and_every_size_of_step() -> None:
    rng = np.random.default_rng(6)
    for index in range(120):
        problem = random_problem(rng, 30, (1e-6, 1e6))
        if index % 2:
            step = pmd.mean_update(problem).unwrap()
        else:
            step = pmd.mixed_update(problem, weight=random_weight(rng, problem)).unwrap()
        if step.step_size < 1e-9:
            continue
        certificate = gap_certificate(problem, step, gap_points(rng, step))
        assert certificate.residual <= IDENTITY, problem
        assert certificate.optimal
        assert np.all(certificate.bregman >= 0.0)


def test_gap_identity_fails_for_neighbouring_claims() -> None:
    rng = np.random.default_rng(7)
    for tau in (0.1, 1.0, 1e3):
        problem = pmd.Problem.from_policy([0.5, 0.3, 0.15, 0.05], [0, 0.3, 0.6, 1], tau)
        step = pmd.mean_update(problem).unwrap()
        points = gap_points(rng, step)
        assert gap_certificate(problem, step, points).residual <= IDENTITY
        halved = dataclasses.replace(step, multiplier=0.5 * step.multiplier)
        ideal = dataclasses.replace(pmd.kl_update(problem).unwrap(), multiplier=step.multiplier)
        for wrong in (halved, ideal):
            assert gap_certificate(problem, wrong, points).residual > CAUGHT * IDENTITY
        if tau > 10.0:  # the impostor's loss is of fourth order in 1/tau: below rounding there
            continue
        beaten = gap_certificate(problem, ideal, step.policy[None])
        assert not beaten.optimal  # the exact step beats an impostor
        assert beaten.gap[0] < 0.0


def test_gap_identity_against_its_formula() -> None:
    """The KL of the right side runs from x to the step; the other way round misses."""
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2, 0.0], [0, 0.4, 1, 9], 0.4)
    step = pmd.mean_update(problem).unwrap()
    x = np.array([0.2, 0.0, 0.8, 0.0])
    certificate = gap_certificate(problem, step, x[None])
    live, new, old = x > 0, step.policy, problem.policy

    def value(law: np.ndarray) -> float:
        entropy = sum(float(q * math.log(q / p)) for q, p in zip(law, old, strict=True) if q > 0)
        chi2 = float(np.sum(law[:3] ** 2 / old[:3])) - 1.0
        return float(law @ problem.reward) / problem.tau - entropy - 0.5 * step.multiplier * chi2

    kl = float(np.sum(x[live] * np.log(x[live] / new[live])))
    square = 0.5 * step.multiplier * float(np.sum((x - new)[:3] ** 2 / old[:3]))
    assert certificate.gap[0] == pytest.approx(value(new) - value(x), rel=1e-12)
    assert certificate.bregman[0] == pytest.approx(kl + square, rel=1e-12)
    middle = np.array([0.3, 0.3, 0.4, 0.0])
    reverse = float(np.sum(new[:3] * np.log(new[:3] / middle[:3])))
    square = 0.5 * step.multiplier * float(np.sum((middle - new)[:3] ** 2 / old[:3]))
    assert abs(gap_certificate(problem, step, middle[None]).gap[0] - reverse - square) > 1e-6


def test_solvers_agree_with_the_identity_too() -> None:
    problem = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0, 0.4, 1], 0.4)
    fit = solve_regression(problem).unwrap()
    conic = solve_subproblem(problem, weight=fit.multiplier).unwrap()
    for step in (fit, conic):
        assert gap_certificate(problem, step, np.eye(3)).residual < 1e-9


# -- wrong input --------------------------------------------------------------------------------------------------

PROBLEM = pmd.Problem.from_policy([0.5, 0.3, 0.2], [0, 0.4, 1], 0.4)
HOLED = pmd.Problem.from_policy([0.5, 0.5, 0.0], [0, 0.4, 1], 0.4)
EXACT = pmd.mean_update(PROBLEM).unwrap()
LOG3 = np.log([0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: solve_subproblem(PROBLEM, weight=-1.0), ValueError, ("weight", "-1.0", "c >= 0")),
        (lambda: solve_subproblem(PROBLEM, weight=math.nan), ValueError, ("weight", "nan", "c >= 0")),
        (lambda: solve_subproblem(PROBLEM, weight=math.inf), ValueError, ("weight", "inf", "c >= 0")),
        (lambda: solve_subproblem(PROBLEM, weight="1"), TypeError, ("weight", "'1'", "c >= 0")),  # type: ignore[arg-type]
        (lambda: solve_subproblem(PROBLEM, weight=1.0, tolerance=0.0), ValueError, ("tolerance", "0.0", "1e-12")),
        (lambda: solve_subproblem(PROBLEM, weight=1.0, log_sampler=LOG3[:2]), ValueError, ("log_sampler", "2", "3")),
        (
            lambda: solve_subproblem(PROBLEM, weight=1.0, log_sampler=LOG3 - 1),
            ValueError,
            ("log_sampler", "0.36", "one"),
        ),
        (lambda: solve_subproblem(PROBLEM, weight=1.0, log_sampler=LOG3 * np.nan), ValueError, ("log_sampler", "NaN")),
        (lambda: solve_subproblem(HOLED, weight=1.0, log_sampler=LOG3), ValueError, ("log_sampler", "action 2")),
        (lambda: solve_regression(PROBLEM, baseline=math.nan), ValueError, ("baseline", "nan", "nats")),
        (lambda: solve_regression(PROBLEM, baseline="0"), TypeError, ("baseline", "'0'", "nats")),  # type: ignore[arg-type]
        (lambda: solve_regression(PROBLEM, starts=0), ValueError, ("starts", "0", "instance 2")),
        (lambda: solve_regression(PROBLEM, starts=1.5), ValueError, ("starts", "1.5", "whole")),  # type: ignore[arg-type]
        (lambda: solve_regression(PROBLEM, seed=-1), ValueError, ("seed", "-1", "zero")),
        (lambda: solve_regression(PROBLEM, max_steps=0), ValueError, ("max_steps", "0", "500")),
        (lambda: solve_regression(HOLED, log_sampler=LOG3), ValueError, ("log_sampler", "action 2")),
        (lambda: gap_certificate(PROBLEM, EXACT, [0.5, 0.3, 0.2]), ValueError, ("points", "(3,)", "row")),
        (lambda: gap_certificate(PROBLEM, EXACT, [[0.5, 0.5]]), ValueError, ("points", "2", "3")),
        (lambda: gap_certificate(PROBLEM, EXACT, [[0.5, 0.5, 0.5]]), ValueError, ("points", "1.5", "one")),
        (lambda: gap_certificate(PROBLEM, EXACT, [[1.5, -0.5, 0.0]]), ValueError, ("points", "-0.5", "zero")),
        (lambda: gap_certificate(PROBLEM, EXACT, [["a", "b", "c"]]), TypeError, ("points", "real")),  # type: ignore[list-item]
        (lambda: gap_certificate(PROBLEM, EXACT, [[math.inf, 0, 0]]), ValueError, ("points", "inf", "one")),
        (lambda: gap_certificate(HOLED, EXACT, [[0.5, 0, 0.5]]), ValueError, ("points", "row 0", "zero")),
        (lambda: gap_certificate(PROBLEM, EXACT, np.eye(3), tolerance=-1), ValueError, ("tolerance", "-1", "1e-12")),
        (
            lambda: gap_certificate(pmd.Problem.binary(0.5, 1.0), EXACT, np.eye(2)),
            ValueError,
            ("update", "3", "2", "this problem"),
        ),
    ],
)
def test_wrong_input_names_argument_value_and_remedy(call: Any, error: type[Exception], parts: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(parts[0])
    assert all(part in message for part in parts), message
    assert "\n" not in message


# -- independence -------------------------------------------------------------------------------------------------

SOURCES = ("subproblem", "_conic", "_program", "_regression_fit", "_sampled", "_gap")
FORBIDDEN = {"update", "lambertw", "_multiplier", "_large", "batch", "claims"}


def test_second_opinions_never_reach_the_closed_form() -> None:
    """Neither they nor anything of the package that they import, directly or not, knows the Lambert-W form."""
    folder = Path(pmd.__file__).parent
    queue, done = list(SOURCES), set()
    while queue:
        module = queue.pop()
        if module in done:
            continue
        done.add(module)
        tree = ast.parse((folder / f"{module}.py").read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"lambertw", "wrightomega"}, module
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pmdtheory":
                assert node.module != "pmdtheory", f"{module} imports from the package's root"
                queue.append(node.module.split(".")[1])
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("pmdtheory") for alias in node.names)
    assert not done & FORBIDDEN, done & FORBIDDEN
    assert {"problem", "solution", "divergence"} <= done


def test_importing_the_second_opinions_does_not_load_the_solvers() -> None:
    folder = Path(pmd.__file__).parent
    for module in SOURCES:
        for node in ast.parse((folder / f"{module}.py").read_text()).body:
            if isinstance(node, ast.ImportFrom):
                assert node.module is not None
                assert node.module.split(".")[0] not in {"clarabel", "scipy"}, module
            if isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] in {"clarabel", "scipy"} for alias in node.names), module
    code = "import sys, pmdtheory.subproblem; print('clarabel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
