"""What one group of rollouts does to a prompt: the exact fit, against KKT conditions and a numerical minimiser."""

import math
from dataclasses import dataclass

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, special

import pmdtheory as pmd
from pmdtheory import Problem
from pmdtheory import finite_sample as fs
from tests.strategies import Case, cases, taus
from tests.tolerances import ROOT, SOLVER, exact, largest
from tests.wrong import refused

Baseline = str | float


# -- the loss, written down once more -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """The regression on one group: masses, shares c/n and targets of the sampled actions, and the rest's mass."""

    seen: NDArray[np.bool_]
    mass: NDArray[np.float64]
    share: NDArray[np.float64]
    target: NDArray[np.float64]
    rest: float

    def at(self, log_ratio: NDArray[np.float64]) -> float:
        return 0.5 * float(np.dot(self.share, (log_ratio[self.seen] - self.target) ** 2))

    def lowest(self, rng: np.random.Generator, starts: int = 4) -> tuple[float, NDArray[np.float64]]:
        """The lowest loss that BFGS finds over softmax blocks: sampled actions, and the rest as one more."""
        k, blocks = self.mass.size, self.mass.size + (self.rest > 0.0)

        def value(z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            log_x = special.log_softmax(z)
            miss = self.share * (log_x[:k] - np.log(self.mass) - self.target)
            slope = -miss.sum() * np.exp(log_x)
            slope[:k] += miss
            return 0.5 * float(np.dot(miss**2, 1.0 / self.share)), slope

        found = [
            optimize.minimize(value, rng.normal(size=blocks) * 2.0, jac=True, method="BFGS", options={"gtol": 1e-10})
            for _ in range(starts)
        ]
        best = min(found, key=lambda result: float(result.fun))
        return float(best.fun), np.asarray(special.log_softmax(best.x)[:k] - np.log(self.mass))


def loss_of(problem: Problem, actions: list[int], baseline: Baseline) -> Loss:
    """Targets by deleting one rollout at a time, in 40 digits."""
    with mp.workdps(40):
        scaled = [mp.mpf(float(problem.reward[a])) / mp.mpf(problem.tau) for a in actions]
        targets = {}
        for i, a in enumerate(actions):
            others = scaled[:i] + scaled[i + 1 :]
            if baseline == "mean":
                b = mp.fsum(others) / len(others)
            elif baseline == "partition":
                b = mp.log(mp.fsum(mp.exp(s) for s in others) / len(others))
            else:
                b = mp.mpf(baseline)
            targets[a] = float(scaled[i] - b)
    counts = np.bincount(actions, minlength=problem.reward.size)
    seen = counts > 0
    target = np.array([targets[a] for a in np.flatnonzero(seen)])
    rest = float(problem.policy[~seen].sum())
    return Loss(seen, problem.policy[seen], counts[seen] / len(actions), target, rest)


def check_fit(problem: Problem, actions: list[int], baseline: Baseline, fit: fs.GroupFit) -> str:
    """The KKT system and the recorded sums; returns the regime that the fit is in."""
    loss = loss_of(problem, actions, baseline)
    v = fit.log_ratio[loss.seen]
    assert fit.log_ratio.shape == problem.reward.shape
    if math.isnan(fit.multiplier):
        assert np.isnan(v).all()
        assert math.isnan(fit.expected_reward)
        assert math.isnan(fit.kl)
        return "collapse"
    scale = largest(loss.target)
    with np.errstate(under="ignore"):
        lift = fit.multiplier * (loss.mass / loss.share) * np.exp(v)
        sampled = float(np.dot(loss.mass, np.exp(v)))
    assert np.max(np.abs(v + lift - loss.target)) <= ROOT * scale  # stationarity
    alive = problem.log_policy > -math.inf
    assert np.all(fit.log_ratio[~alive] == 0.0)
    unsampled = fit.log_ratio[~loss.seen & alive]
    assert sampled + fit.unsampled_mass == pytest.approx(1.0, abs=ROOT * scale)
    if fit.multiplier == 0.0:
        regime = "fits"
        assert 0.0 <= fit.unsampled_mass < 1.0
        if unsampled.size:
            np.testing.assert_allclose(unsampled, unsampled[0], rtol=0.0, atol=exact(unsampled))  # old proportions
            assert math.exp(unsampled[0]) * loss.rest == pytest.approx(fit.unsampled_mass, rel=1e-10, abs=1e-300)
    elif fit.multiplier > 0.0:
        regime = "exceeds"
        assert np.all(v <= loss.target + exact(loss.target))
        assert np.all(unsampled == -math.inf)
        assert fit.unsampled_mass == 0.0
    else:
        regime = "short"
        assert unsampled.size == 0
        assert np.all(v >= loss.target - exact(loss.target))
    with np.errstate(under="ignore"):
        x = np.where(alive, problem.policy * np.exp(fit.log_ratio), 0.0)
    kl = float(np.sum(np.where(x > 0.0, x * np.where(x > 0.0, fit.log_ratio, 0.0), 0.0)))
    spread = largest(problem.reward)
    assert fit.expected_reward == pytest.approx(float(np.dot(x, problem.reward)), abs=1e-11 * spread * scale)
    assert fit.kl == pytest.approx(kl, abs=1e-11 * scale)
    assert fit.kl >= 0.0
    return regime


@st.composite
def fits(draw: st.DrawFn, low: int = -2, high: int = 3) -> tuple[Case, list[int], Baseline]:
    case = draw(cases(min_size=2, max_size=6, tau=taus(low=low, high=high)))
    living = [i for i, weight in enumerate(case.weights) if weight > 0]
    actions = draw(st.lists(st.sampled_from(living), min_size=2, max_size=7))
    baseline = draw(st.sampled_from(["mean", "partition"]) | st.integers(-12, 12).map(lambda k: k / 4))
    return case, actions, baseline


# -- the exact minimiser --------------------------------------------------------------------------------------------


@given(fits())
def test_fits_satisfy_the_kkt_system(drawn: tuple[Case, list[int], Baseline]) -> None:
    case, actions, baseline = drawn
    problem = case.problem()
    check_fit(problem, actions, baseline, fs.one_group_fit(problem, actions, baseline=baseline))


def random_fits(count: int, seed: int) -> list[tuple[Problem, list[int], Baseline]]:
    rng = np.random.default_rng(seed)
    found: list[tuple[Problem, list[int], Baseline]] = []
    for k in range(count):
        size, n = int(rng.integers(2, 6)), int(rng.integers(2, 7))
        law = rng.dirichlet(np.ones(size))
        problem = Problem.from_policy(law, rng.choice([0.0, 0.5, 1.0], size), 10.0 ** rng.uniform(-1, 1))
        baseline: Baseline = ("mean", "partition", float(rng.normal(-0.5)))[k % 3]
        found.append((problem, rng.choice(size, n, p=law).tolist(), baseline))
    return found


def test_nothing_found_numerically_is_lower() -> None:
    """BFGS from several starts neither beats the fit nor ends elsewhere, in every regime."""
    rng = np.random.default_rng(11)
    seen: dict[str, int] = {}
    for problem, actions, baseline in random_fits(150, seed=4):
        fit = fs.one_group_fit(problem, actions, baseline=baseline)
        regime = check_fit(problem, actions, baseline, fit)
        seen[regime] = seen.get(regime, 0) + 1
        if regime == "collapse":
            continue
        loss = loss_of(problem, actions, baseline)
        lowest, where = loss.lowest(rng)
        value = loss.at(fit.log_ratio)
        assert value <= lowest + 1e-12
        assert value >= lowest - SOLVER
        if regime != "exceeds" or loss.rest == 0.0:  # otherwise the softmax of the rest only creeps to zero
            np.testing.assert_allclose(fit.log_ratio[loss.seen], where, rtol=0.0, atol=1e-3)
        if regime == "fits":
            assert value <= exact(loss.target) ** 2
    assert seen["fits"] >= 40
    assert seen["exceeds"] >= 40
    assert seen["short"] >= 3


def test_without_the_rest_the_numerical_minimiser_lands_on_the_fit() -> None:
    """Where the targets exceed the simplex nothing is left for the rest, so the sampled actions alone decide."""
    rng = np.random.default_rng(12)
    checked = 0
    for problem, actions, baseline in random_fits(60, seed=5):
        fit = fs.one_group_fit(problem, actions, baseline=baseline)
        if not fit.multiplier > 0.0:
            continue
        loss = loss_of(problem, actions, baseline)
        alone = Loss(loss.seen, loss.mass, loss.share, loss.target, 0.0)
        lowest, where = alone.lowest(rng, starts=2)
        assert loss.at(fit.log_ratio) == pytest.approx(lowest, abs=1e-10)
        np.testing.assert_allclose(fit.log_ratio[loss.seen], where, rtol=0.0, atol=1e-4)
        checked += 1
    assert checked >= 15


def test_a_mutant_that_ignores_the_simplex_is_caught() -> None:
    problem = Problem.from_policy([0.4, 0.3, 0.3], [0, 1, 1], 0.2)
    loss = loss_of(problem, [0, 1], "mean")
    assert float(np.dot(loss.mass, np.exp(loss.target))) > 10.0  # the targets ask for ten times all mass
    fit = fs.one_group_fit(problem, [0, 1])
    assert check_fit(problem, [0, 1], "mean", fit) == "exceeds"
    renormalised = loss.target - math.log(float(np.dot(loss.mass, np.exp(loss.target))))
    mutant = np.full(3, -math.inf)
    mutant[loss.seen] = renormalised
    assert loss.at(mutant) > loss.at(fit.log_ratio) + 1e-3


def test_two_rollouts_by_hand() -> None:
    """A success and a failure of four equal actions at tau = 1: targets +1 and -1 ask for .77 of the mass."""
    problem = Problem.from_policy([0.25] * 4, [0, 0, 0, 1], 1.0)
    for baseline in ("mean", "partition"):
        fit = fs.one_group_fit(problem, [0, 3], baseline=baseline)
        left = 1.0 - 0.25 * (math.e + 1.0 / math.e)
        np.testing.assert_allclose(
            fit.log_ratio, [-1.0, math.log(2.0 * left), math.log(2.0 * left), 1.0], rtol=0.0, atol=1e-14
        )
        assert fit.multiplier == 0.0
        assert fit.unsampled_mass == pytest.approx(left, rel=1e-14)
        assert fit.expected_reward == pytest.approx(math.e / 4, rel=1e-14)


def test_equal_rewards_move_nothing() -> None:
    problem = Problem.from_policy([0.25] * 4, [0, 0, 0, 1], 0.05)
    for actions in ([0, 1], [0, 0, 1, 2], [3, 3, 3]):
        for baseline in ("mean", "partition"):
            fit = fs.one_group_fit(problem, actions, baseline=baseline)
            np.testing.assert_allclose(fit.log_ratio, 0.0, rtol=0.0, atol=1e-14)
            assert fit.kl == pytest.approx(0.0, abs=1e-15)
            assert fit.expected_reward == pytest.approx(0.25, abs=1e-15)


@given(fits(), st.randoms(use_true_random=False))
def test_the_order_of_rollouts_does_not_matter(drawn: tuple[Case, list[int], Baseline], random) -> None:
    case, actions, baseline = drawn
    shuffled = list(actions)
    random.shuffle(shuffled)
    problem = case.problem()
    one, two = (fs.one_group_fit(problem, order, baseline=baseline) for order in (actions, shuffled))
    targets = loss_of(problem, actions, baseline).target
    np.testing.assert_allclose(one.log_ratio, two.log_ratio, rtol=0.0, atol=1e-8 * largest(targets))


@given(fits())
def test_with_two_rollouts_both_baselines_agree(drawn: tuple[Case, list[int], Baseline]) -> None:
    case, actions, _ = drawn
    problem = case.problem()
    mean, partition = (fs.one_group_fit(problem, actions[:2], baseline=name) for name in ("mean", "partition"))
    tolerance = ROOT * largest(loss_of(problem, actions[:2], "mean").target)
    np.testing.assert_allclose(mean.log_ratio, partition.log_ratio, rtol=0.0, atol=tolerance)


def test_a_group_in_exact_proportion_makes_the_population_step() -> None:
    """Every action sampled as often as the policy says: with the population's baseline the fit is the update."""
    problem = Problem.from_policy([0.2, 0.5, 0.3], [-1.0, 0.25, 1.0], 0.4)
    actions = [0, 0] + [1] * 5 + [2] * 3
    mean = fs.one_group_fit(problem, actions, baseline=problem.mean_reward / problem.tau)
    step = pmd.mean_update(problem).unwrap()
    np.testing.assert_allclose(mean.log_ratio, step.log_ratio, rtol=0.0, atol=ROOT * 5)
    assert mean.multiplier == pytest.approx(step.multiplier, rel=1e-11)
    assert mean.kl == pytest.approx(step.kl, rel=1e-11)
    assert mean.expected_reward == pytest.approx(step.expected_reward, rel=1e-11)
    ideal = fs.one_group_fit(problem, actions, baseline=problem.log_partition)
    np.testing.assert_allclose(ideal.log_ratio, pmd.kl_update(problem).unwrap().log_ratio, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("baseline", [-1.0, 0.3, 1.2])
def test_a_group_is_a_sampler(baseline: float) -> None:
    """With a given baseline the group's fit is the regression under the empirical law (C15)."""
    problem = Problem.from_policy([0.2, 0.3, 0.1, 0.4], [0.0, 1.0, 1.0, 0.5], 0.3)
    actions = [0, 1, 1, 2, 3, 3, 3]
    sampler = np.bincount(actions) / len(actions)
    fit = fs.one_group_fit(problem, actions, baseline=baseline)
    step = pmd.mismatched_update(problem, log_sampler=np.log(sampler), baseline=baseline).unwrap()
    np.testing.assert_allclose(fit.log_ratio, step.log_ratio, rtol=0.0, atol=ROOT * 5)
    assert fit.multiplier == pytest.approx(step.multiplier, rel=1e-11)


@pytest.mark.parametrize(
    ("p", "actions", "regime"),
    [
        (0.1, [0, 0, 0, 1], "short"),
        (0.1, [0, 1], "short"),
        (0.5, [0, 1], "exceeds"),
        (0.9, [0, 1, 1], "exceeds"),
        (0.1, [1, 1], "fits"),
    ],
)
def test_two_actions_in_each_regime(p: float, actions: list[int], regime: str) -> None:
    """Binary problem: the loss over one unknown, minimised on a grid of half a million points."""
    problem = Problem.from_policy([1.0 - p, p], [0.0, 1.0], 1.0)
    fit = fs.one_group_fit(problem, actions)
    assert check_fit(problem, actions, "mean", fit) == regime
    loss = loss_of(problem, actions, "mean")
    odds = np.linspace(-40.0, 40.0, 500_001)
    log_ratio = np.column_stack([special.log_expit(-odds) - math.log1p(-p), special.log_expit(odds) - math.log(p)])
    value = 0.5 * ((log_ratio[:, loss.seen] - loss.target) ** 2 @ loss.share)
    assert loss.at(fit.log_ratio) <= float(value.min()) + 1e-15
    found = fit.log_ratio[1] - fit.log_ratio[0] + special.logit(p)
    assert abs(found - odds[value.argmin()]) <= 2 * (odds[1] - odds[0])


def test_targets_that_ask_for_exactly_all_the_mass() -> None:
    """Two of four equal actions with target log 2: they take everything, and nothing is left for the others."""
    problem = Problem.from_policy([0.25] * 4, [0, 0, 0, 0], 1.0)
    fit = fs.one_group_fit(problem, [0, 1], baseline=-math.log(2.0))
    np.testing.assert_allclose(fit.log_ratio[:2], math.log(2.0), rtol=0.0, atol=1e-14)
    assert np.all(fit.log_ratio[2:] < -30.0)
    assert fit.multiplier == pytest.approx(0.0, abs=1e-12)
    assert fit.unsampled_mass == pytest.approx(0.0, abs=1e-14)


def test_a_full_group_whose_targets_sum_to_one_has_no_multiplier() -> None:
    problem = Problem.from_policy([0.5, 0.5], [1.0, 1.0], 1.0)
    fit = fs.one_group_fit(problem, [0, 1])
    assert fit.multiplier == 0.0
    assert fit.unsampled_mass == 0.0
    np.testing.assert_array_equal(fit.log_ratio, [0.0, 0.0])


def test_collapse_is_nan_and_never_a_plausible_number() -> None:
    """Every action sampled and far too little asked for: no symmetric minimum is left (C14)."""
    problem = Problem.from_policy([0.5, 0.5], [0.0, 0.0], 1.0)
    fit = fs.one_group_fit(problem, [0, 1], baseline=5.0)
    assert check_fit(problem, [0, 1], 5.0, fit) == "collapse"
    held = fs.one_group_fit(problem, [0, 1], baseline=0.5)
    assert check_fit(problem, [0, 1], 0.5, held) == "short"
    np.testing.assert_allclose(held.log_ratio, 0.0, rtol=0.0, atol=1e-12)


def test_the_public_docstrings_say_what_happens_on_collapse() -> None:
    text = f"{fs.one_group_fit.__doc__} {fs.GroupFit.__doc__}".replace("Negative", "negative")
    assert "NaN" in text
    assert "negative" in text


@pytest.mark.parametrize("tau", [1e-3, 1e-5])
@pytest.mark.parametrize("baseline", ["mean", "partition"])
def test_strong_signals(tau: float, baseline: str) -> None:
    problem = Problem.from_policy([0.01, 0.19, 0.3, 0.5], [1.0, 0.0, 0.5, 0.0], tau)
    for actions in ([0, 1, 2], [0, 1, 2, 3], [1, 1, 2], [3, 3, 3, 0], [0, 0, 1]):
        fit = fs.one_group_fit(problem, actions, baseline=baseline)
        check_fit(problem, actions, baseline, fit)


def test_a_rare_success_takes_the_prompt_over() -> None:
    """One success of mass 1e-9 in a group: it is lifted by many nats, and the other sampled actions lose."""
    problem = Problem.from_policy([1e-9, 0.4, 0.6 - 1e-9], [1.0, 0.0, 0.0], 0.02)
    fit = fs.one_group_fit(problem, [0, 1, 1, 1])
    assert check_fit(problem, [0, 1, 1, 1], "mean", fit) == "exceeds"
    assert fit.log_ratio[0] > 10.0
    assert fit.expected_reward > 0.5


def test_actions_without_mass_stay_without() -> None:
    problem = Problem.from_policy([0.5, 0.5, 0.0], [0.0, 1.0, 2.0], 1.0)
    fit = fs.one_group_fit(problem, [0, 1])
    assert fit.log_ratio[2] == 0.0
    assert check_fit(problem, [0, 1], "mean", fit) == "exceeds"


def test_numpy_indices_of_any_integer_dtype() -> None:
    problem = Problem.from_policy([0.25] * 4, [0, 0, 0, 1], 1.0)
    wanted = fs.one_group_fit(problem, [0, 3]).log_ratio
    for dtype in (np.int8, np.uint16, np.int64, np.uint64):
        np.testing.assert_array_equal(fs.one_group_fit(problem, np.array([0, 3], dtype=dtype)).log_ratio, wanted)


# -- the distribution over groups -----------------------------------------------------------------------------------

NAMES = ("expected_reward", "kl", "unsampled_mass", "multiplier")


def test_distribution_repeats_with_its_seed() -> None:
    problem = Problem.from_policy([0.1, 0.2, 0.3, 0.4], [1, 0.5, 0, 0], 0.5)
    first, again, other = (fs.fit_distribution(problem, 4, groups=200, seed=seed) for seed in (1, 1, 2))
    assert tuple(first) == NAMES
    for name in NAMES:
        assert first[name].shape == (200,)
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["kl"], other["kl"])


def test_distribution_takes_the_values_of_single_fits() -> None:
    problem = Problem.from_policy([0.2, 0.3, 0.5], [1.0, 0.0, 0.5], 0.5)
    fits_of_pairs = [fs.one_group_fit(problem, [a, b], baseline="partition") for a in range(3) for b in range(a, 3)]
    drawn = fs.fit_distribution(problem, 2, baseline="partition", groups=300)
    for name in NAMES:
        allowed = {getattr(fit, name) for fit in fits_of_pairs}
        assert set(drawn[name].tolist()) <= allowed
        assert len(set(drawn[name].tolist())) > 1


@pytest.mark.parametrize("baseline", ["mean", "partition", 1.0])
def test_distribution_agrees_with_exact_binomial_sums(baseline: Baseline) -> None:
    """Two actions: five standard errors for each of four means, one false alarm in 400,000 seeds; the seed is fixed."""
    problem, n, draws = Problem.binary(0.3, 1.0), 5, 4000
    success = int(np.argmax(problem.reward))

    def all_four(counts: NDArray[np.int64], reward: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = []
        for count in counts[:, int(np.argmax(reward))]:
            actions = [success] * int(count) + [1 - success] * (n - int(count))
            fit = fs.one_group_fit(problem, actions, baseline=baseline)
            rows.append([getattr(fit, name) for name in NAMES])
        return np.array(rows)

    wanted = fs.expect(problem, n, all_four)
    assert wanted.exact
    assert np.isfinite(wanted.value).all()
    drawn = fs.fit_distribution(problem, n, baseline=baseline, groups=draws, seed=6)
    for name, mean in zip(NAMES, wanted.value, strict=True):
        sigma = float(drawn[name].std(ddof=1))
        assert abs(float(drawn[name].mean()) - mean) <= 5.0 * sigma / math.sqrt(draws) + 1e-12, name


def test_one_rollout_with_a_given_baseline() -> None:
    problem = Problem.from_policy([0.25] * 4, [0, 0, 0, 1], 1.0)
    drawn = fs.fit_distribution(problem, 1, baseline=0.25, groups=50)
    assert np.isfinite(drawn["kl"]).all()
    assert set(np.round(drawn["unsampled_mass"], 12)) <= {round(1 - math.exp(r - 0.25) / 4, 12) for r in (0.0, 1.0)}


# -- wrong inputs ---------------------------------------------------------------------------------------------------

PROBLEM = Problem.from_policy([0.25, 0.25, 0.25, 0.25, 0.0], [0, 0, 0, 1, 1], 1.0)
WRONG_ACTIONS = {
    "negative": (ValueError, [-1, 0], "-1"),
    "too-large": (ValueError, [0, 5], "holds 5"),
    "without-mass": (ValueError, [0, 4], "without mass"),
    "floats": (TypeError, [0.0, 1.0], "[0.0, 1.0]"),
    "bools": (TypeError, [True, False], "True"),
    "strings": (TypeError, ["a"], "'a'"),
    "none": (TypeError, None, "None"),
    "table": (TypeError, np.zeros((3, 3), dtype=int), "array"),
    "scalar": (TypeError, 1, "1"),
    "empty": (TypeError, [], "[]"),
    "ragged": (TypeError, [[1], [2, 3]], "ragged"),
    "long": (TypeError, np.zeros(500), "array"),
}


@pytest.mark.parametrize("case", WRONG_ACTIONS)
def test_wrong_actions(case: str) -> None:
    error, actions, fragment = WRONG_ACTIONS[case]
    refused(error, lambda: fs.one_group_fit(PROBLEM, actions), "actions", fragment)


WRONG_BASELINES = {
    "unknown": (ValueError, "best", "'best'"),
    "nan": (ValueError, math.nan, "nan"),
    "inf": (ValueError, math.inf, "inf"),
    "minus-inf": (ValueError, -math.inf, "inf"),
    "none": (TypeError, None, "None"),
    "bool": (TypeError, True, "True"),
    "complex": (TypeError, 1j, "1j"),
    "list": (TypeError, [1.0], "[1.0]"),
}


@pytest.mark.parametrize("case", WRONG_BASELINES)
def test_wrong_baselines(case: str) -> None:
    error, baseline, fragment = WRONG_BASELINES[case]
    refused(error, lambda: fs.one_group_fit(PROBLEM, [0, 3], baseline=baseline), "baseline", fragment)
    refused(error, lambda: fs.fit_distribution(PROBLEM, 4, baseline=baseline, groups=2), "baseline", fragment)


@pytest.mark.parametrize("baseline", ["mean", "partition"])
def test_one_rollout_has_no_others(baseline: str) -> None:
    refused(ValueError, lambda: fs.one_group_fit(PROBLEM, [0], baseline=baseline), "rollouts", "at least 2", "got 1")
    refused(ValueError, lambda: fs.fit_distribution(PROBLEM, 1, baseline=baseline), "at least 2", "got 1")


@pytest.mark.parametrize("name", ["n", "groups"])
@pytest.mark.parametrize(("error", "value"), [(ValueError, 0), (ValueError, -2), (TypeError, 2.0), (TypeError, True)])
def test_wrong_counts(name: str, error: type[Exception], value: float) -> None:
    arguments = {"n": 4, "groups": 10} | {name: value}
    refused(error, lambda: fs.fit_distribution(PROBLEM, **arguments), name, f"got {value}")
