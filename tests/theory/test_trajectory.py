"""Iterated updates: the grid against one step at a time and against high precision, and what convergence must obey."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from scipy import special, stats

import pmdtheory as pmd
from pmdtheory import Problem, SolveError
from pmdtheory.trajectory import Trajectory, binary_grid, iterate, part_update
from tests import oracles
from tests.strategies import Case, informative, taus
from tests.tolerances import EPS, RATE, REFERENCE, ROOT, exact, largest
from tests.wrong import refused

UPDATES = {"mean": pmd.mean_update, "kl": pmd.kl_update, "part-2": part_update(2), "part-8": part_update(8)}
METHODS = {
    "mean": {"method": "mean"},
    "kl": {"method": "kl"},
    "part-2": {"method": "part", "n": 2},
    "part-8": {"method": "part", "n": 8},
}
MASSES = [1e-300, 1e-30, 1e-6, 0.01, 0.3, 0.9, 1.0 - 1e-12]
STRENGTHS = [1e-3, 0.03, 0.3, 1.0, 10.0, 1e4]
GRADED = Problem.from_policy([0.2, 0.3, 0.1, 0.15, 0.25], [0.0, 0.5, 1.0, 1.0, -0.5], 0.3)


def log_success(run: Trajectory) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(run.optimal_mass)


# -- one step at a time, and all at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("tau", STRENGTHS)
@pytest.mark.parametrize("p", MASSES)
def test_grid_and_iteration_agree(p: float, tau: float, name: str) -> None:
    run = iterate(Problem.binary(p, tau), UPDATES[name], steps=8)
    grid = binary_grid(p, tau, steps=8, **METHODS[name])
    success, failure = (float(run.final.log_policy[run.final.reward == r][0]) for r in (1.0, 0.0))
    assert success - failure == pytest.approx(float(grid.log_odds[-1]), rel=ROOT, abs=ROOT)
    np.testing.assert_allclose(run.log_failure, grid.log_failure, rtol=ROOT, atol=8 * EPS)
    np.testing.assert_allclose(run.optimal_mass, grid.success, rtol=ROOT * largest(grid.log_odds), atol=0.0)


@pytest.mark.parametrize("tau", STRENGTHS)
@pytest.mark.parametrize("p", [1e-300, 1e-30, 1e-6, 0.01, 0.3, 0.9, 1.0 - 2.0**-40])
@pytest.mark.parametrize("name", ["mean", "part-2", "part-8"])
def test_gains_match_high_precision(name: str, p: float, tau: float) -> None:
    """One step of the grid against the multiplier's root in 50 digits and more, with b_m summed there too."""
    gain = float(binary_grid(p, tau, steps=1, **METHODS[name]).gain[0])
    law, reward = [1.0 - p, p], [0.0, 1.0]
    baseline = None
    if name == "part-8":
        with mp.workdps(50):
            s, weight = 1 / mp.mpf(tau), mp.mpf(p)
            baseline = mp.fsum(
                mp.binomial(7, k) * weight**k * (1 - weight) ** (7 - k) * mp.log1p(mp.mpf(k) / 7 * mp.expm1(s))
                for k in range(8)
            )
        if float(baseline) < 1e-12 or tau > 1e3 or p > 0.99:
            return  # a baseline rounded to float64 says too little about a step of that size
    step = oracles.regression(law, reward, tau, baseline=None if baseline is None else float(baseline))
    wanted = float(step.log_ratio[1] - step.log_ratio[0])
    assert gain == pytest.approx(wanted, rel=REFERENCE)


def test_kl_multiplies_the_odds_exactly() -> None:
    """The odds grow by e^(1/tau) a step, whatever the mass: T steps add T/tau to the log-odds."""
    p0, tau = np.array([1e-300, 1e-9, 0.2, 0.7])[:, None], np.array([0.03, 0.5, 8.0])
    grid = binary_grid(p0, tau, steps=40, method="kl")
    np.testing.assert_array_equal(grid.gain, np.broadcast_to(1.0 / tau, grid.gain.shape))
    wanted = special.logit(p0) + np.arange(41)[:, None, None] / tau
    np.testing.assert_allclose(grid.log_odds, wanted, rtol=0.0, atol=40 * exact(wanted))
    for p in (1e-9, 0.2):
        run = iterate(Problem.binary(p, 0.5), pmd.kl_update, steps=10)
        odds = np.log(run.optimal_mass) - run.log_failure
        np.testing.assert_allclose(np.diff(odds), 2.0, rtol=ROOT)


def test_shapes_broadcast_and_scalars_are_grids_too() -> None:
    scalar = binary_grid(0.2, 0.5, steps=3)
    assert scalar.log_odds.shape == (4,)
    assert scalar.gain.shape == (3,)
    assert scalar.steps_to(0.9).shape == ()
    table = binary_grid([[0.1], [0.2]], [0.5, 1.0, 2.0], steps=3)
    assert table.log_odds.shape == (4, 2, 3)
    np.testing.assert_array_equal(table.log_odds[:, 1, 0], scalar.log_odds)
    np.testing.assert_allclose(table.success[0], [[0.1] * 3, [0.2] * 3], rtol=4 * EPS)
    np.testing.assert_allclose(np.exp(table.log_failure) + table.success, 1.0, rtol=4 * EPS)
    np.testing.assert_array_equal(
        binary_grid(np.float32(0.25), 1, steps=3).log_odds, binary_grid(0.25, 1.0, steps=3).log_odds
    )


@pytest.mark.parametrize("name", ["mean", "part-2", "part-8"])
@pytest.mark.parametrize("tau", [1e-2, 0.03, 0.3, 3.0, 100.0])
def test_gains_stay_finite_and_tend_to_those_of_kl(name: str, tau: float) -> None:
    """Three hundred steps: the log-odds reach tens of thousands, and the gain its limit 1/tau from below."""
    grid = binary_grid([1e-300, 1e-3, 0.5, 1.0 - 1e-15], tau, steps=300, **METHODS[name])
    assert np.isfinite(grid.log_odds).all()
    assert np.all(grid.gain > 0.0)
    assert np.all(grid.gain <= (1.0 + 4e-12) / tau)
    if tau <= 0.3:
        np.testing.assert_allclose(grid.gain[-1, 1:], 1.0 / tau, rtol=1e-10)


def test_gains_far_beyond_where_the_masses_underflow() -> None:
    """Log-odds of ten million, as after tens of thousands of steps at a small tau."""
    from pmdtheory._binary import mean_gain

    for odds in (1e5, 1e7, 1e9):
        for tau in (10.0**-2.5, 10.0**-1.5, 0.3, 1.0):
            gain = mean_gain(np.array(odds), np.array(1.0 / tau))
            assert float(gain) == pytest.approx(1.0 / tau, rel=1e-9), (odds, tau)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_more_rollouts_converge_faster(tau: float) -> None:
    """PMD-part lies between PMD-mean (two rollouts) and KL-PMD, in the order of n (C8, C12)."""
    p0 = np.geomspace(1e-6, 0.9, 7)
    paths = [binary_grid(p0, tau, steps=15, method="part", n=n).log_odds for n in (2, 4, 16, 64)]
    paths.append(binary_grid(p0, tau, steps=15, method="kl").log_odds)
    np.testing.assert_allclose(paths[0], binary_grid(p0, tau, steps=15).log_odds, rtol=1e-11, atol=1e-11)
    for slow, fast in zip(paths, paths[1:], strict=False):
        assert np.all(fast >= slow - 1e-9 * largest(fast))


# -- what C17 says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 10.0])
def test_failure_mass_obeys_the_recursion(tau: float) -> None:
    """1 - p' <= (1 - p) e^(-p/tau), and monotone; rounding of the logs is all that is granted."""
    grid = binary_grid([1e-12, 1e-3, 0.05, 0.5, 0.99], tau, steps=60)
    drop = -np.diff(grid.log_failure, axis=0)
    slack = exact(grid.log_odds)
    assert np.all(drop >= grid.success[:-1] / tau - slack)
    assert np.all(drop <= 1.0 / tau + slack)  # never faster than KL-PMD from near one, C8
    assert np.all(np.diff(grid.log_failure, axis=0) <= 0.0)


def test_kl_itself_breaks_no_bound_but_a_faster_mutant_does() -> None:
    """A step with the linear rate e^(-1/tau) from the start violates nothing in theory only near p = 1."""
    tau, p = 0.1, 0.05
    failure = float(binary_grid(p, tau, steps=1).log_failure[1])
    mutant = math.log1p(-p) - 1.0 / tau  # the local rate taken for a global one
    assert failure > mutant + 5.0


@pytest.mark.parametrize("tau", [0.1, 0.3, 1.0])
def test_local_rate_is_that_of_kl(tau: float) -> None:
    """As p -> 1 the rate log((1 - p')/(1 - p)) + 1/tau vanishes in proportion to 1 - p: a slope of one."""
    failure = np.array([1e-2, 1e-3, 1e-4, 1e-5])
    grid = binary_grid(1.0 - failure, tau, steps=1)
    off = grid.log_failure[1] - grid.log_failure[0] + 1.0 / tau
    assert np.all(off > 0.0)
    assert np.polyfit(np.log(failure), np.log(off), 1)[0] == pytest.approx(1.0, abs=RATE)


def regret_identity(run: Trajectory, problem: Problem) -> float:
    """Right side of the identity of C17, reward units."""
    tau = problem.tau
    moved = float(np.log(run.optimal_mass[-1]) - np.log(run.optimal_mass[0]))
    with np.errstate(over="ignore"):
        pull = run.multiplier * (np.expm1(run.best_ratio) - run.chi2)
    return tau * (moved + math.fsum(pull) - math.fsum(run.kl))


@pytest.mark.parametrize("name", ["mean", "part-2", "part-8", "kl"])
@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_regret_identity_on_graded_problems(name: str, tau: float) -> None:
    rng = np.random.default_rng(3)
    for size in (2, 3, 5):
        rewards = rng.integers(0, 5, size) / 4
        problem = Problem.from_policy(rng.dirichlet(np.ones(size)), rewards, tau)
        if np.ptp(rewards) == 0.0:
            continue
        run = iterate(problem, UPDATES[name], steps=15)
        scale = largest([run.regret[-1], tau * float(np.max(run.multiplier * np.exp(run.best_ratio)))])
        assert float(run.regret[-1]) == pytest.approx(regret_identity(run, problem), abs=1e-10 * scale)


@given(informative(tau=taus(low=-1, high=2)))
def test_regret_identity_on_any_problem(case: Case) -> None:
    problem = case.problem()
    run = iterate(problem, steps=6)
    terms = [run.regret[-1], problem.tau, problem.tau * float(np.max(run.multiplier * np.exp(run.best_ratio)))]
    assert float(run.regret[-1]) == pytest.approx(regret_identity(run, problem), abs=1e-10 * largest(terms))


def test_a_mutant_identity_without_the_multiplier_fails() -> None:
    run = iterate(GRADED, steps=15)
    mutant = GRADED.tau * (float(np.log(run.optimal_mass[-1] / run.optimal_mass[0])) - math.fsum(run.kl))
    assert abs(float(run.regret[-1]) - mutant) > 1e-3


@given(informative(tau=taus(low=-3, high=3)))
def test_rewards_and_optimal_mass_rise(case: Case) -> None:
    problem = case.problem()
    for update in (pmd.mean_update, pmd.kl_update):
        run = iterate(problem, update, steps=5)
        assert np.all(np.diff(run.expected_reward) >= -exact(problem.reward))
        assert np.all(np.diff(run.optimal_mass) >= -exact())
        live = np.isfinite(run.log_failure[1:])
        assert np.all(np.diff(run.log_failure)[live] <= exact(run.log_failure[np.isfinite(run.log_failure)]))
        assert np.all(run.best_ratio >= -exact())
        assert np.all(run.multiplier >= 0.0)


@given(informative(tau=taus(low=-2, high=2)))
def test_population_updates_keep_every_optimal_action(case: Case) -> None:
    """Actions of equal reward keep their proportions (C10), so exp of the entropy among the best never changes."""
    problem = case.problem()
    for update in (pmd.mean_update, pmd.kl_update):
        kept = iterate(problem, update, steps=5).kept
        np.testing.assert_allclose(kept, kept[0], rtol=1e-11)


# -- the record -----------------------------------------------------------------------------------------------------


def test_the_record_repeats_single_steps() -> None:
    steps = 6
    run = iterate(GRADED, steps=steps)
    problem = GRADED
    best = GRADED.reward == 1.0
    for t in range(steps):
        np.testing.assert_allclose(run.expected_reward[t], float(np.dot(problem.policy, problem.reward)), rtol=1e-13)
        np.testing.assert_allclose(run.optimal_mass[t], problem.policy[best].sum(), rtol=1e-13)
        np.testing.assert_allclose(run.log_failure[t], math.log(problem.policy[~best].sum()), rtol=1e-12)
        np.testing.assert_allclose(run.entropy[t], stats.entropy(problem.policy), rtol=1e-12)
        np.testing.assert_allclose(run.kept[t], math.exp(stats.entropy(problem.policy[best])), rtol=1e-12)
        step = pmd.mean_update(problem).unwrap()
        for name in ("multiplier", "kl", "reverse_kl", "chi2"):
            assert getattr(run, name)[t] == pytest.approx(getattr(step, name), rel=1e-11), name
        assert run.best_ratio[t] == pytest.approx(float(step.log_ratio[2]), rel=1e-11)
        problem = Problem.from_policy(step.policy / step.policy.sum(), GRADED.reward, GRADED.tau)
    np.testing.assert_allclose(run.final.policy, problem.policy, rtol=1e-11)
    np.testing.assert_allclose(run.regret, np.cumsum(1.0 - run.expected_reward[1:]), rtol=1e-12)
    assert run.regret.shape == (steps,)
    assert run.expected_reward.shape == run.entropy.shape == run.kept.shape == (steps + 1,)


def test_multiplier_is_the_reverse_kl_of_every_step() -> None:
    run = iterate(GRADED, steps=30)
    np.testing.assert_allclose(run.multiplier, run.reverse_kl, rtol=1e-11)  # C4


def test_regret_keeps_its_digits_next_to_the_optimum() -> None:
    """Failure mass 1e-20: each step still costs what it costs."""
    start = Problem.from_log_policy([math.log1p(-1e-20), math.log(1e-20)], [1.0, 0.0], 1.0)
    run = iterate(start, pmd.kl_update, steps=3)
    np.testing.assert_allclose(run.regret, np.cumsum(np.exp(run.log_failure[1:])), rtol=1e-9)


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 1e-3, 1e-12, 1e-200])
def test_steps_to(epsilon: float) -> None:
    run = iterate(Problem.binary(0.01, 0.3), steps=120)
    slow = [t for t in range(121) if run.log_failure[t] <= math.log(epsilon)]
    assert run.steps_to(epsilon) == (slow[0] if slow else None)
    grid = binary_grid([0.01, 0.9999], [0.3], steps=120)
    counts = grid.steps_to(epsilon)
    assert counts.shape == (2,)
    assert (None if math.isnan(counts[0]) else int(counts[0])) == run.steps_to(epsilon)
    if epsilon >= 1e-3:
        assert counts[1] == 0.0


def test_steps_to_never_reached() -> None:
    assert iterate(Problem.binary(0.01, 0.3), steps=2).steps_to(1e-6) is None
    assert np.isnan(binary_grid([0.01, 0.02], 0.3, steps=2).steps_to(1e-6)).all()


def test_nothing_but_optimal_actions_from_the_start() -> None:
    run = iterate(Problem.from_policy([0.25, 0.75, 0.0], [1.0, 1.0, 0.0], 0.5), steps=3)
    assert np.all(run.log_failure == -math.inf)
    assert np.all(run.regret == 0.0)
    assert np.all(run.optimal_mass == 1.0)
    assert run.steps_to(1e-300) == 0


def test_actions_without_mass_are_not_the_best() -> None:
    run = iterate(Problem.from_policy([0.5, 0.5, 0.0], [0.0, 1.0, 2.0], 0.5), steps=5)
    plain = iterate(Problem.from_policy([0.5, 0.5], [0.0, 1.0], 0.5), steps=5)
    np.testing.assert_allclose(run.optimal_mass, plain.optimal_mass, rtol=1e-13)
    np.testing.assert_allclose(run.regret, plain.regret, rtol=1e-13)
    assert run.final.policy[2] == 0.0


@pytest.mark.parametrize("p", [1e-300, 1e-100])
@pytest.mark.parametrize("tau", [1e-2, 1e-3])
def test_rare_success_is_found_in_few_steps(p: float, tau: float) -> None:
    """KL-PMD needs log(1/p) tau steps; PMD-mean's own count is not less, and both are finite."""
    mean, kl = (binary_grid(p, tau, steps=400, method=method) for method in ("mean", "kl"))
    assert np.isfinite(mean.log_odds).all()
    fast, slow = float(kl.steps_to(0.5)), float(mean.steps_to(0.5))
    assert fast == math.ceil(-math.log(p) * tau)
    assert fast <= slow <= 400
    run = iterate(Problem.binary(p, tau), steps=3)
    np.testing.assert_allclose(run.log_failure, mean.log_failure[:4], rtol=ROOT, atol=8 * EPS)
    np.testing.assert_allclose(log_success(run), special.log_expit(mean.log_odds[:4]), rtol=ROOT, atol=8 * EPS)


@pytest.mark.parametrize("p", [5e-324, 1e-310])
@pytest.mark.parametrize("tau", [1e-3, 1.0])
def test_masses_below_the_normal_range(p: float, tau: float) -> None:
    grid = binary_grid(p, tau, steps=3)
    assert np.isfinite(grid.log_odds).all()
    assert np.all(grid.gain > 0.0)


def test_continuous_laws_iterate_on_their_nodes() -> None:
    run = iterate(Problem.from_distribution(stats.uniform(), 0.1), steps=10)
    assert run.expected_reward[0] == pytest.approx(0.5, abs=1e-12)
    assert np.all(np.diff(run.expected_reward) > 0.0)
    assert run.expected_reward[-1] < 1.0
    step = pmd.mean_update(Problem.from_distribution(stats.uniform(), 0.1)).unwrap()
    assert run.expected_reward[1] == pytest.approx(step.expected_reward, rel=1e-9)


# -- PMD-part with its baseline estimated anew ----------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.05, 0.5, 5.0])
def test_two_rollouts_of_part_are_pmd_mean(tau: float) -> None:
    problem = Problem.from_policy([0.2, 0.3, 0.5], [1.0, 0.25, 0.0], tau)
    part, mean = (iterate(problem, update, steps=10) for update in (part_update(2), pmd.mean_update))
    for name in ("expected_reward", "log_failure", "multiplier", "kl", "chi2"):
        np.testing.assert_allclose(getattr(part, name), getattr(mean, name), rtol=1e-9, atol=1e-12, err_msg=name)


def test_part_updates_use_the_expected_baseline_of_their_problem() -> None:
    from pmdtheory.finite_sample import expected_baseline

    update = part_update(5)
    for problem in (GRADED, Problem.binary(0.02, 0.1)):
        step = update(problem).unwrap()
        assert step.baseline == pytest.approx(float(expected_baseline(problem, 4).value), rel=1e-12)
        assert problem.mean_reward / problem.tau < step.baseline < problem.log_partition


def test_part_updates_sample_with_their_seed() -> None:
    problem = Problem.from_policy(np.full(40, 1 / 40), np.linspace(0.0, 1.0, 40), 0.5)
    one, again, other = (part_update(8, samples=500, seed=s)(problem).unwrap().baseline for s in (1, 1, 2))
    assert one == again
    assert one != other


# -- wrong inputs ---------------------------------------------------------------------------------------------------

COUNTS = {
    "zero": (ValueError, 0, "got 0"),
    "negative": (ValueError, -1, "got -1"),
    "float": (TypeError, 3.0, "3.0"),
    "bool": (TypeError, True, "True"),
    "none": (TypeError, None, "None"),
    "table": (TypeError, np.zeros((3, 3)), "array"),
}


@pytest.mark.parametrize("case", COUNTS)
def test_wrong_numbers_of_steps(case: str) -> None:
    error, steps, fragment = COUNTS[case]
    refused(error, lambda: iterate(GRADED, steps=steps), "steps", fragment)
    refused(error, lambda: binary_grid(0.5, 0.1, steps=steps), "steps", fragment)


@pytest.mark.parametrize("case", [name for name in COUNTS if name != "none"] + ["one"])
def test_wrong_numbers_of_rollouts(case: str) -> None:
    error, n, fragment = {**COUNTS, "one": (ValueError, 1, "got 1")}[case]
    refused(error, lambda: part_update(n), "n must be", fragment)
    refused(error, lambda: binary_grid(0.5, 0.1, method="part", n=n), "n must be", fragment)


GRIDS = {
    "p0-zero": (ValueError, lambda: binary_grid(0.0, 0.1), "p0", "0.0"),
    "p0-one": (ValueError, lambda: binary_grid([0.5, 1.0], 0.1), "p0", "1.0"),
    "p0-negative": (ValueError, lambda: binary_grid(-0.5, 0.1), "p0", "-0.5"),
    "p0-nan": (ValueError, lambda: binary_grid(math.nan, 0.1), "p0", "nan"),
    "p0-some-nan": (ValueError, lambda: binary_grid([math.nan, 0.5], 0.1), "p0", "nan"),
    "p0-string": (TypeError, lambda: binary_grid("a", 0.1), "p0", "a"),
    "p0-complex": (TypeError, lambda: binary_grid(0.5 + 0j, 0.1), "p0", ""),
    "p0-none": (TypeError, lambda: binary_grid(None, 0.1), "p0", ""),
    "p0-ragged": (TypeError, lambda: binary_grid([[0.5], [0.5, 0.4]], 0.1), "p0", "ragged"),
    "p0-empty": (TypeError, lambda: binary_grid([], 0.1), "p0", "[]"),
    "tau-zero": (ValueError, lambda: binary_grid(0.5, 0.0), "tau", "0.0"),
    "tau-negative": (ValueError, lambda: binary_grid(0.5, [0.1, -0.1]), "tau", "-0.1"),
    "tau-inf": (ValueError, lambda: binary_grid(0.5, math.inf), "tau", "inf"),
    "tau-nan": (ValueError, lambda: binary_grid(0.5, math.nan), "tau", "nan"),
    "tau-denormal": (ValueError, lambda: binary_grid(0.5, 1e-320), "tau", "1e-320"),
    "tau-string": (TypeError, lambda: binary_grid(0.5, "x"), "tau", "x"),
    "shapes": (ValueError, lambda: binary_grid([0.5, 0.4], [0.1, 0.2, 0.3]), "p0", "tau"),
    "method": (ValueError, lambda: binary_grid(0.5, 0.1, method="best"), "method", "'best'"),
    "method-none": (ValueError, lambda: binary_grid(0.5, 0.1, method=None), "method", "None"),
    "n-missing": (ValueError, lambda: binary_grid(0.5, 0.1, method="part"), "n=None", "method='part'"),
    "n-unused": (ValueError, lambda: binary_grid(0.5, 0.1, n=8), "n=8", "method='part'"),
}


@pytest.mark.parametrize("case", GRIDS)
def test_wrong_grids(case: str) -> None:
    error, call, *fragments = GRIDS[case]
    refused(error, call, *fragments)


@pytest.mark.parametrize(
    ("error", "epsilon"),
    [
        (ValueError, 0.0),
        (ValueError, -1.0),
        (ValueError, math.nan),
        (ValueError, 2.0),
        (TypeError, "x"),
        (TypeError, None),
    ],
)
def test_wrong_epsilons(error: type[Exception], epsilon: float) -> None:
    run, grid = iterate(GRADED, steps=2), binary_grid(0.5, 0.1, steps=2)
    refused(error, lambda: run.steps_to(epsilon), "epsilon", str(epsilon))
    refused(error, lambda: grid.steps_to(epsilon), "epsilon", str(epsilon))


def test_a_step_without_a_solution_stops_the_iteration() -> None:
    with pytest.raises(SolveError, match="BASELINE_TOO_HIGH"):
        iterate(GRADED, lambda problem: pmd.baseline_update(problem, baseline=100.0), steps=3)
