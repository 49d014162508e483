"""Leave-one-out baselines, expectations over groups and target errors, against sums that leave out nothing."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

import pmdtheory as pmd
from pmdtheory import Problem, _groups
from pmdtheory import finite_sample as fs
from tests.strategies import taus
from tests.tolerances import EPS, RATE, REFERENCE, exact, monte_carlo
from tests.wrong import refused

LOO = {"mean": fs.mean_baseline, "partition": fs.partition_baseline}
GROUP = {"mean": fs.group_mean_baseline, "partition": fs.group_partition_baseline}
EVERY = {
    "mean": fs.mean_baseline,
    "partition": fs.partition_baseline,
    "group-mean": fs.group_mean_baseline,
    "group-partition": fs.group_partition_baseline,
}


def groups(least: int = 2) -> st.SearchStrategy[np.ndarray]:
    """Rewards `[..., n]` in quarters, so that ties are common; up to three axes."""
    shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6).filter(lambda shape: shape[-1] >= least)
    return shapes.flatmap(
        lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(-12, 12).map(lambda k: k / 4))
    )


def one_group(least: int = 2) -> st.SearchStrategy[np.ndarray]:
    sizes = st.integers(least, 8)
    return sizes.flatmap(lambda n: hnp.arrays(np.float64, n, elements=st.integers(-12, 12).map(lambda k: k / 4)))


def log_mean_exp(values: list[float], tau: float) -> float:
    with mp.workdps(40):
        return float(mp.log(mp.fsum(mp.exp(mp.mpf(v) / mp.mpf(tau)) for v in values) / len(values)))


def mean_of(values: list[float], tau: float) -> float:
    with mp.workdps(40):
        return float(mp.fsum(mp.mpf(v) for v in values) / len(values) / mp.mpf(tau))


ORACLE = {"mean": mean_of, "partition": log_mean_exp}


def left_out(kind: str, rewards: np.ndarray, tau: float) -> np.ndarray:
    """The oracle: delete one's own reward, and reduce what is left in 40 digits."""
    rows = rewards.reshape(-1, rewards.shape[-1])
    values = [[ORACLE[kind](list(np.delete(row, i)), tau) for i in range(row.size)] for row in rows]
    return np.array(values).reshape(rewards.shape)


def clamped(rewards: np.ndarray, tau: float) -> np.ndarray:
    """What public code does: one's own term is subtracted from the sum, and what is left is clamped."""
    scaled = np.asarray(rewards) / tau
    top = scaled.max(axis=-1, keepdims=True)
    with np.errstate(under="ignore"):
        terms = np.exp(scaled - top)
    left = np.maximum(terms.sum(axis=-1, keepdims=True) - terms, 1e-8)
    return np.asarray(top + np.log(left / (scaled.shape[-1] - 1)))


# -- leave-one-out baselines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOO)
@given(rewards=groups(), tau=taus())
def test_baselines_match_deleting_ones_own_reward(kind: str, rewards: np.ndarray, tau: float) -> None:
    found = LOO[kind](rewards, tau)
    assert found.shape == rewards.shape
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, left_out(kind, rewards, tau), rtol=0.0, atol=exact(rewards / tau))


@pytest.mark.parametrize("kind", LOO)
@pytest.mark.parametrize(
    "scaled",
    [
        [1e6, -1e6],
        [-1e6, -1e6, 1e6],
        [1e6, 1e6, -1e6, -1e6],
        [1e6, 1e6 - 1.0, 1e6 - 2.0, -1e6],
        [0.0, -700.0, -710.0, -745.0, -760.0],
        [0.0, 0.0, 0.0],
        [1e-12, 0.0, -1e-12, 3e-13],
        list(np.linspace(-1e6, 1e6, 33)),
    ],
    ids=lambda scaled: f"{scaled[0]:g}..{scaled[-1]:g} of {len(scaled)}",
)
def test_huge_spreads_and_ties(kind: str, scaled: list[float]) -> None:
    rewards = np.array(scaled)
    for order in (rewards, rewards[::-1].copy()):
        np.testing.assert_allclose(
            LOO[kind](order, 1.0), left_out(kind, order, 1.0), rtol=0.0, atol=exact(order), strict=True
        )


@pytest.mark.parametrize("kind", LOO)
@given(rewards=one_group(), tau=taus(), data=st.data())
def test_permuting_rollouts_permutes_baselines(kind: str, rewards: np.ndarray, tau: float, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(rewards.size))))
    found = LOO[kind](rewards, tau)[order]
    np.testing.assert_allclose(LOO[kind](rewards[order], tau), found, rtol=0.0, atol=exact(rewards / tau))


@pytest.mark.parametrize("kind", EVERY)
@given(rewards=one_group(), tau=taus(), shift=st.integers(-40, 40).map(lambda k: k / 4))
def test_shifted_rewards_shift_the_baseline_by_c_over_tau(
    kind: str, rewards: np.ndarray, tau: float, shift: float
) -> None:
    moved = EVERY[kind](rewards + shift, tau)
    tolerance = exact([*(rewards / tau), *((rewards + shift) / tau), shift / tau])
    np.testing.assert_allclose(moved, EVERY[kind](rewards, tau) + shift / tau, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("kind", LOO)
@given(rewards=one_group(), tau=taus(), data=st.data())
def test_baselines_rise_with_the_others_and_ignore_ones_own(
    kind: str, rewards: np.ndarray, tau: float, data: st.DataObject
) -> None:
    j = data.draw(st.integers(0, rewards.size - 1))
    raised = rewards.copy()
    raised[j] += data.draw(st.integers(1, 12)) / 4
    before, after = LOO[kind](rewards, tau), LOO[kind](raised, tau)
    tolerance = exact(raised / tau)
    assert abs(after[j] - before[j]) <= tolerance
    assert np.all(after >= before - tolerance)


@given(rewards=groups(), tau=taus())
def test_partition_lies_between_the_mean_and_the_best_of_the_others(rewards: np.ndarray, tau: float) -> None:
    partition, mean = fs.partition_baseline(rewards, tau), fs.mean_baseline(rewards, tau)
    tolerance = exact(rewards / tau)
    assert np.all(partition >= mean - tolerance)
    rows = rewards.reshape(-1, rewards.shape[-1])
    best = np.array([[np.delete(row, i).max() for i in range(row.size)] for row in rows]).reshape(rewards.shape)
    assert np.all(partition <= best / tau + tolerance)


@given(rewards=groups().filter(lambda r: r.shape[-1] == 2), tau=taus())
def test_with_two_rollouts_both_are_the_other_reward(rewards: np.ndarray, tau: float) -> None:
    np.testing.assert_array_equal(fs.mean_baseline(rewards, tau), rewards[..., ::-1] / tau)
    np.testing.assert_allclose(
        fs.partition_baseline(rewards, tau), rewards[..., ::-1] / tau, rtol=0.0, atol=exact(rewards / tau)
    )


@given(rewards=one_group(), tau=taus())
def test_leave_one_out_means_average_to_the_group_mean(rewards: np.ndarray, tau: float) -> None:
    average = fs.mean_baseline(rewards, tau).mean()
    assert average == pytest.approx(fs.group_mean_baseline(rewards, tau)[0], abs=exact(rewards / tau))


def test_the_only_success_keeps_its_target_and_the_clamped_formula_does_not() -> None:
    rewards, tau = np.array([-1.0, -1.0, -1.0, 1.0]), 0.01
    target = rewards - tau * fs.partition_baseline(rewards, tau)
    assert target[3] == pytest.approx(2.0, abs=exact(rewards / tau) * tau)
    mutant = rewards - tau * clamped(rewards, tau)
    assert mutant[3] == pytest.approx(0.195, abs=0.005)  # 0.01 log(3e8): wrong by a factor of ten
    assert abs(mutant[3] - 2.0) > 1.0


@pytest.mark.parametrize("floor", [1e-8, 1e-12, 1e-300])
def test_every_clamp_caps_the_target(floor: float) -> None:
    """The exact target has no cap: it grows like 2/tau, the clamped one stops at log((n - 1)/floor)."""
    for tau in (1e-2, 1e-3, 1e-5):
        target = (1.0 / tau) - fs.partition_baseline([-1.0, -1.0, -1.0, 1.0], tau)[3]
        assert target == pytest.approx(2.0 / tau, rel=64 * EPS)
    assert target > math.log(3.0 / floor)


def test_subtracting_ones_own_term_loses_digits_without_a_clamp_too() -> None:
    rewards, tau = np.array([0.0, 0.0, 0.0, 1.0]), 0.03
    wanted = left_out("partition", rewards, tau)
    np.testing.assert_allclose(fs.partition_baseline(rewards, tau), wanted, rtol=0.0, atol=exact(rewards / tau))
    terms = np.exp((rewards - 1.0) / tau)
    naive = 1.0 / tau + np.log((terms.sum() - terms[3]) / 3)
    assert abs(naive - wanted[3]) > 1e6 * exact(rewards / tau)


def test_many_groups_are_handled_like_one() -> None:
    """More groups than one block holds, in three axes."""
    rewards = np.random.default_rng(0).integers(-2, 3, size=(3, 3001, 5)) / 2
    for baseline in EVERY.values():
        whole = baseline(rewards, 0.3)
        assert whole.shape == rewards.shape
        for g, k in ((0, 0), (1, 1095), (1, 1096), (2, 3000)):
            np.testing.assert_array_equal(whole[g, k], baseline(rewards[g, k], 0.3))


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_, np.float32, np.float16])
def test_other_dtypes_are_read_as_the_numbers_they_hold(kind: str, dtype: type) -> None:
    rewards = np.array([[0, 1, 1, 0], [1, 1, 1, 0]], dtype=dtype)
    kept = rewards.copy()
    found = EVERY[kind](rewards, 0.1)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, EVERY[kind](rewards.astype(np.float64), 0.1))
    np.testing.assert_array_equal(rewards, kept)
    assert rewards.dtype == kept.dtype


@pytest.mark.parametrize("kind", EVERY)
def test_results_are_new_writable_arrays_and_lists_are_accepted(kind: str) -> None:
    rewards = np.array([0.0, 1.0, 0.5])
    rewards.flags.writeable = False
    found = EVERY[kind](rewards, 1.0)
    found[0] = 7.0
    assert rewards[0] == 0.0
    np.testing.assert_array_equal(EVERY[kind]([0, 1, 0.5], 1)[1:], found[1:])
    np.testing.assert_array_equal(
        EVERY[kind](rewards[::-1], 1.0)[::-1][1:], EVERY[kind](rewards[::-1].copy(), 1.0)[1::-1]
    )


# -- baselines that include one's own reward ------------------------------------------------------------------------


@given(rewards=groups(), tau=taus())
def test_group_mean_is_pmd_mean_at_a_larger_tau(rewards: np.ndarray, tau: float) -> None:
    n = rewards.shape[-1]
    larger = tau * n / (n - 1)
    own = rewards / tau - fs.group_mean_baseline(rewards, tau)
    others = rewards / larger - fs.mean_baseline(rewards, larger)
    np.testing.assert_allclose(own, others, rtol=0.0, atol=exact(rewards / tau))


@pytest.mark.parametrize("kind", GROUP)
@given(rewards=groups(least=1), tau=taus())
def test_group_baselines_match_the_oracle(kind: str, rewards: np.ndarray, tau: float) -> None:
    rows = rewards.reshape(-1, rewards.shape[-1])
    wanted = np.array([[ORACLE[kind](list(row), tau)] * row.size for row in rows]).reshape(rewards.shape)
    np.testing.assert_allclose(GROUP[kind](rewards, tau), wanted, rtol=0.0, atol=exact(rewards / tau))


@given(rewards=groups(least=1), tau=taus())
def test_group_partition_caps_the_target_at_log_n(rewards: np.ndarray, tau: float) -> None:
    target = rewards / tau - fs.group_partition_baseline(rewards, tau)
    assert target.max() <= math.log(rewards.shape[-1]) + exact(rewards / tau)


@given(others=one_group(least=1), tau=taus(low=-2, high=2))
def test_group_partition_target_is_concave_in_ones_own_reward_and_leave_one_out_is_linear(
    others: np.ndarray, tau: float
) -> None:
    own = np.linspace(-4.0, 4.0, 65)
    table = np.column_stack([own, np.broadcast_to(others, (own.size, others.size))])
    tolerance = 4 * exact(table / tau)
    bent = own / tau - fs.group_partition_baseline(table, tau)[:, 0]
    straight = own / tau - fs.partition_baseline(table, tau)[:, 0]
    assert np.all(np.diff(bent, 2) <= tolerance)
    assert np.all(np.diff(bent) >= -tolerance)
    assert np.all(np.abs(np.diff(straight, 2)) <= tolerance)


def test_the_distortion_is_no_rescaling_of_tau() -> None:
    """A rescaling would keep the ratios of the targets' differences; the group's own log-mean-exp bends them."""
    own = np.array([-1.0, 0.0, 1.0])
    table = np.column_stack([own, np.zeros((3, 3))])
    rises = np.diff(own / 0.2 - fs.group_partition_baseline(table, 0.2)[:, 0])
    assert rises[1] < 0.7 * rises[0]


# -- wrong inputs ---------------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
WRONG_TAUS = {
    "zero": (ValueError, 0.0, "got 0.0"),
    "negative": (ValueError, -0.5, "got -0.5"),
    "nan": (ValueError, NAN, "got nan"),
    "inf": (ValueError, INF, "got inf"),
    "string": (TypeError, "0.1", "'0.1'"),
    "none": (TypeError, None, "None"),
    "bool": (TypeError, True, "True"),
    "list": (TypeError, [0.1], "[0.1]"),
}
WRONG_REWARDS = {
    "scalar": (ValueError, 1.0, "shape ()"),
    "empty": (ValueError, [], "shape (0,)"),
    "no-groups": (ValueError, np.zeros((0, 4)), "(0, 4)"),
    "no-rollouts": (ValueError, np.zeros((4, 0)), "(4, 0)"),
    "nan": (ValueError, [0.0, NAN], "nan"),
    "inf": (ValueError, [0.0, INF], "inf"),
    "minus-inf": (ValueError, [0.0, -INF], "-inf"),
    "ragged": (ValueError, [[0.0, 1.0], [1.0]], "ragged"),
    "strings": (TypeError, ["a", "b"], "real numbers"),
    "complex": (TypeError, [1j, 0.0], "complex"),
    "none": (TypeError, None, "object"),
    "objects": (TypeError, [None, 1.0], "object"),
}


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("case", WRONG_TAUS)
def test_wrong_tau(kind: str, case: str) -> None:
    error, tau, fragment = WRONG_TAUS[case]
    refused(error, lambda: EVERY[kind]([0.0, 1.0], tau), "tau", fragment)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("case", WRONG_REWARDS)
def test_wrong_rewards(kind: str, case: str) -> None:
    error, rewards, fragment = WRONG_REWARDS[case]
    refused(error, lambda: EVERY[kind](rewards, 0.1), "rewards", fragment)


@pytest.mark.parametrize("kind", EVERY)
def test_rewards_over_tau_that_overflow_are_refused(kind: str) -> None:
    refused(ValueError, lambda: EVERY[kind]([1e300, 0.0], 1e-20), "rewards", "tau")


@pytest.mark.parametrize("kind", LOO)
@pytest.mark.parametrize("rewards", [[1.0], [[1.0], [0.0]]], ids=["one", "two-groups"])
def test_one_rollout_has_no_others(kind: str, rewards: list) -> None:
    refused(ValueError, lambda: LOO[kind](rewards, 0.1), "n = 1", "at least 2")


@pytest.mark.parametrize("kind", GROUP)
def test_one_rollout_may_be_its_own_group(kind: str) -> None:
    assert GROUP[kind]([[2.0]], 0.5).tolist() == [[4.0]]


WHOLE = {
    "zero": (ValueError, 0, "got 0"),
    "negative": (ValueError, -3, "got -3"),
    "float": (TypeError, 4.0, "4.0"),
    "bool": (TypeError, True, "True"),
    "numpy-bool": (TypeError, np.True_, "True"),
    "none": (TypeError, None, "None"),
    "string": (TypeError, "4", "'4'"),
    "table": (TypeError, np.zeros((3, 3)), "array"),
}
COUNTED = {
    "expect-n": ("n", lambda k: fs.expect(Problem.binary(0.5, 0.1), k, lambda counts, reward: counts @ reward)),
    "expected_baseline-m": ("m", lambda k: fs.expected_baseline(Problem.binary(0.5, 0.1), k)),
    "target_error-n": ("n", lambda k: fs.target_error(Problem.binary(0.5, 0.1), k)),
    "expect-samples": (
        "samples",
        lambda k: fs.expect(many_levels(), 8, lambda counts, reward: counts @ reward, samples=k),
    ),
}


@pytest.mark.parametrize("where", COUNTED)
@pytest.mark.parametrize("case", WHOLE)
def test_wrong_counts(where: str, case: str) -> None:
    error, value, fragment = WHOLE[case]
    name, call = COUNTED[where]
    refused(error, lambda: call(value), name, fragment)


def test_wrong_problems_for_a_target_error() -> None:
    refused(ValueError, lambda: fs.target_error(Problem.binary(0.5, 0.1), 1), "n must be at least 2", "got 1")
    refused(ValueError, lambda: fs.target_error(Problem.from_policy([0.5, 0.5], [1, 1], 0.1), 4), "constant rewards")
    infinite = Problem.from_distribution(stats.expon(), 0.5)  # E e^(2r) of an exponential law
    assert math.isinf(infinite.jensen_gap)
    refused(ValueError, lambda: fs.target_error(infinite, 4), "problem", "no finite log Z")


# -- expectations over groups ---------------------------------------------------------------------------------------


def many_levels() -> Problem:
    """Thirty levels: groups of eight are sampled, not summed."""
    rng = np.random.default_rng(5)
    return Problem.from_policy(rng.dirichlet(np.ones(30)), rng.uniform(size=30), 0.5)


def brute_force(problem: Problem, n: int, statistic) -> np.ndarray:
    """Every ordered group, one by one."""
    levels = problem.levels
    terms = []
    for group in itertools.product(range(levels.mass.size), repeat=n):
        counts = np.bincount(group, minlength=levels.mass.size)[None]
        terms.append(math.prod(levels.mass[list(group)]) * np.asarray(statistic(counts, levels.reward))[0])
    return np.sum(terms, axis=0)


STATISTICS = {
    "mean": lambda counts, reward: counts @ reward / counts.sum(axis=1),
    "best": lambda counts, reward: np.where(counts > 0, reward, -np.inf).max(axis=1),
    "none-but-the-worst": lambda counts, reward: (counts[:, 1:].sum(axis=1) == 0).astype(float),
    "products": lambda counts, reward: counts[:, :, None] * counts[:, None, :],
    "exponential": lambda counts, reward: np.log((counts * np.exp(3 * reward)).sum(axis=1)),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("law", [(1.0,), (0.3, 0.7), (1e-9, 1.0 - 1e-9), (0.2, 0.3, 0.5), (0.05, 0.9, 0.05)])
def test_exact_expectations_match_every_ordered_group(name: str, n: int, law: tuple[float, ...]) -> None:
    problem = Problem.from_policy(law, np.linspace(0.0, 1.0, len(law)) - 0.3, 0.5)
    found = fs.expect(problem, n, STATISTICS[name])
    assert found.exact
    assert found.groups == math.comb(n + len(law) - 1, n)
    assert np.all(found.standard_error == 0.0)
    assert found.value.shape == found.standard_error.shape
    np.testing.assert_allclose(found.value, brute_force(problem, n, STATISTICS[name]), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("p", [1e-12, 1e-100, 1e-300, 0.5, 1.0 - 1e-12])
@pytest.mark.parametrize("n", [1, 16, 128, 4096])
def test_weights_sum_to_one_and_keep_rare_groups(p: float, n: int) -> None:
    problem = Problem.binary(p, 0.1)
    one = fs.expect(problem, n, lambda counts, reward: np.ones(counts.shape[0]))
    assert float(one.value) == pytest.approx(1.0, abs=4 * EPS)
    successes = fs.expect(problem, n, lambda counts, reward: counts[:, -1] / n)
    assert float(successes.value) == pytest.approx(p, rel=1e-12)
    some = fs.expect(problem, n, lambda counts, reward: (counts[:, -1] > 0).astype(float))
    assert float(some.value) == pytest.approx(-math.expm1(n * math.log1p(-p)), rel=1e-11)


def test_actions_without_mass_and_equal_rewards_form_one_group_law() -> None:
    merged = Problem.from_policy([0.3, 0.7], [0.0, 1.0], 0.5)
    split = Problem.from_policy([0.1, 0.0, 0.2, 0.3, 0.4], [0.0, 5.0, 0.0, 1.0, 1.0], 0.5)
    for name in ("mean", "best", "none-but-the-worst", "products"):
        found, wanted = (fs.expect(problem, 5, STATISTICS[name]).value for problem in (split, merged))
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_several_blocks_of_groups_add_up() -> None:
    """Four levels and 60 rollouts: 39,711 distinct groups, more than one block."""
    problem = Problem.from_policy([0.1, 0.2, 0.3, 0.4], [0.0, 0.3, 0.5, 1.0], 0.5)
    found = fs.expect(problem, 60, lambda counts, reward: np.column_stack([counts @ reward / 60, counts[:, 0] ** 2]))
    assert found.groups == 39_711
    np.testing.assert_allclose(found.value, [problem.mean_reward, 60 * 0.1 * 0.9 + 36.0], rtol=1e-13)


def test_sampled_expectations_lie_within_their_standard_error() -> None:
    """Five standard errors and three numbers: a correct sampler fails one seed in 500,000; the seed is fixed."""
    problem = many_levels()
    variance = float(np.dot(problem.levels.mass, (problem.levels.reward - problem.mean_reward) ** 2))
    share = problem.levels.mass[7]
    found = fs.expect(
        problem,
        8,
        lambda counts, reward: np.column_stack([counts @ reward / 8, (counts @ reward / 8) ** 2, counts[:, 7] > 0]),
        samples=40_001,
        seed=3,
    )
    assert not found.exact
    assert found.groups == 40_001
    wanted = [problem.mean_reward, problem.mean_reward**2 + variance / 8, 1.0 - (1.0 - share) ** 8]
    assert np.all(np.abs(found.value - wanted) <= 5.0 * found.standard_error)
    sigma = math.sqrt(variance / 8)
    assert found.standard_error[0] == pytest.approx(sigma / math.sqrt(40_001), rel=0.03)
    assert abs(found.value[0] - wanted[0]) <= monte_carlo(sigma, 40_001)


def test_sampling_agrees_with_summing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five standard errors and four statistics: a correct sampler fails one seed in 400,000; the seeds are fixed."""
    problem = Problem.from_policy([0.2, 0.3, 0.5], [0.0, 0.4, 1.0], 0.5)
    summed = {name: fs.expect(problem, 6, STATISTICS[name]) for name in STATISTICS}
    monkeypatch.setattr(_groups, "_EXACT", 0)
    for name in ("mean", "best", "none-but-the-worst", "exponential"):
        drawn = fs.expect(problem, 6, STATISTICS[name], samples=30_000, seed=1)
        assert summed[name].exact
        assert not drawn.exact
        assert abs(float(drawn.value - summed[name].value)) <= 5.0 * float(drawn.standard_error)


def test_sampled_intervals_cover_at_their_rate() -> None:
    """Of 600 intervals of 1.96 standard errors 95 % cover the exact value.

    The count lies inside its central binomial range of probability 1 - 1e-6: that is the rate of false alarms.
    """
    problem, repeats = many_levels(), 600
    covered = 0
    for seed in range(repeats):
        found = fs.expect(problem, 8, STATISTICS["mean"], samples=400, seed=seed)
        covered += abs(float(found.value) - problem.mean_reward) <= 1.959964 * float(found.standard_error)
    low, high = stats.binom.ppf([5e-7, 1.0 - 5e-7], repeats, 0.95)
    assert low <= covered <= high


def test_samples_repeat_with_their_seed() -> None:
    problem = many_levels()
    first, again, other = (fs.expect(problem, 8, STATISTICS["mean"], samples=500, seed=seed) for seed in (4, 4, 5))
    assert first.value == again.value
    assert first.value != other.value


@pytest.mark.parametrize("size", [1500, 3000])
def test_many_levels_and_one_rollout(size: int) -> None:
    """One rollout of many levels: as many groups as levels, and no recursion through them."""
    problem = Problem.from_policy(np.full(size, 1.0 / size), np.linspace(0.0, 1.0, size), 0.1)
    found = fs.expected_baseline(problem, 1)
    assert abs(float(found.value) - problem.mean_reward / problem.tau) <= max(
        exact(problem.mean_reward / problem.tau), 5.0 * float(found.standard_error)
    )


# -- the expected baseline (C12) ------------------------------------------------------------------------------------


def binary_moments(p: float, tau: float, m: int) -> tuple[float, float, float, float]:
    """b_m, log Z, and bias and sd of the estimated baseline, all summed in 60 digits."""
    with mp.workdps(60 + int(-2 * math.log10(p))):
        q, s = mp.mpf(p), 1 / mp.mpf(tau)
        z = mp.log1p(q * mp.expm1(s))
        weight = [mp.binomial(m, k) * q**k * (1 - q) ** (m - k) for k in range(m + 1)]
        value = [mp.log1p(mp.mpf(k) / m * mp.expm1(s)) for k in range(m + 1)]
        mean = mp.fdot(weight, value)
        sd = mp.sqrt(mp.fsum(w * (v - mean) ** 2 for w, v in zip(weight, value, strict=True)))
        return float(mean), float(z), float(mean - z), float(sd)


BINARY = [(p, tau, m) for p in (1e-12, 1e-3, 0.1, 0.5, 0.97) for tau in (0.02, 0.3, 1.0, 30.0) for m in (1, 2, 7, 31)]


@pytest.mark.parametrize(("p", "tau", "m"), BINARY)
def test_expected_baseline_matches_sixty_digits(p: float, tau: float, m: int) -> None:
    found = fs.expected_baseline(Problem.binary(p, tau), m)
    assert found.exact
    assert float(found.value) == pytest.approx(binary_moments(p, tau, m)[0], rel=REFERENCE, abs=0.0)


def test_expected_baseline_of_graded_rewards_matches_every_group() -> None:
    problem = Problem.from_policy([0.2, 0.5, 0.3], [-1.0, 0.25, 1.0], 0.4)
    for m in (1, 2, 3, 4):
        wanted = brute_force(problem, m, lambda counts, reward: np.log((counts * np.exp(reward / 0.4)).sum(axis=1)))
        assert float(fs.expected_baseline(problem, m).value) == pytest.approx(float(wanted) - math.log(m), rel=1e-13)


@given(weights=st.lists(st.integers(1, 9), min_size=2, max_size=3), tau=taus(low=-2, high=2))
def test_expected_baseline_rises_from_the_mean_towards_log_z(weights: list[int], tau: float) -> None:
    law = np.array(weights) / sum(weights)
    problem = Problem.from_policy(law, np.linspace(0.0, 1.0, law.size), tau)
    b = [float(fs.expected_baseline(problem, m).value) for m in (1, 2, 3, 5, 9, 17, 33)]
    tolerance = exact(problem.reward / tau)
    assert b[0] == pytest.approx(problem.mean_reward / tau, abs=tolerance)
    assert np.all(np.diff(b) >= -tolerance)
    assert b[-1] <= problem.log_partition + tolerance


def test_expected_baseline_reaches_log_z_like_one_over_m() -> None:
    """Log Z - b_m = Var(e^a)/(2 m Z^2) + O(1/m^2): the slope is -1 and so is the constant."""
    problem = Problem.binary(0.3, tau=0.5)
    rollouts = np.array([512, 1024, 2048, 4096])
    gap = problem.log_partition - np.array([float(fs.expected_baseline(problem, int(m)).value) for m in rollouts])
    slope = np.polyfit(np.log(rollouts), np.log(gap), 1)[0]
    assert slope == pytest.approx(-1.0, abs=RATE)
    spread = 0.3 * 0.7 * math.expm1(2.0) ** 2 / math.exp(2.0 * problem.log_partition)
    assert gap[-1] * 2 * rollouts[-1] == pytest.approx(spread, rel=1e-2)


def test_two_rollouts_are_pmd_mean_in_population() -> None:
    problem = Problem.from_policy([0.2, 0.5, 0.3], [-1.0, 0.25, 1.0], 0.4)
    step = pmd.baseline_update(problem, baseline=float(fs.expected_baseline(problem, 1).value)).unwrap()
    np.testing.assert_allclose(step.policy, pmd.mean_update(problem).unwrap().policy, rtol=0.0, atol=1e-13)


def test_expected_baseline_is_sampled_where_groups_are_many() -> None:
    """Against 400,000 groups drawn here: five standard errors of both, one false alarm in a million seeds."""
    problem = many_levels()
    found = fs.expected_baseline(problem, 8, seed=2)
    assert not found.exact
    rng = np.random.default_rng(99)
    drawn = rng.choice(problem.levels.reward, p=problem.levels.mass / problem.levels.mass.sum(), size=(400_000, 8))
    value = np.log(np.exp(drawn / problem.tau).mean(axis=1))
    error = math.hypot(float(found.standard_error), float(value.std()) / math.sqrt(value.size))
    assert abs(float(found.value) - float(value.mean())) <= 5.0 * error


# -- the error of the target (C16) ----------------------------------------------------------------------------------

RATIOS = [
    (0.01, 16, 0.03, "31.1"),
    (0.1, 8, 0.1, "4.71"),
    (0.1, 8, 1.0, "1.39"),
    (0.5, 8, 0.1, ".492"),
    (0.5, 16, 0.03, ".079"),
]


@pytest.mark.parametrize(("p", "n", "tau", "printed"), RATIOS)
def test_rmse_ratios_to_the_digits_given(p: float, n: int, tau: float, printed: str) -> None:
    found = fs.target_error(Problem.binary(p, tau), n)
    assert found.exact
    unit = 10.0 ** -len(printed.partition(".")[2])
    assert abs(found.ratio - float(printed)) < unit  # some are cut, not rounded


@pytest.mark.parametrize(("p", "tau", "m"), [case for case in BINARY if case[0] > 1e-12])
def test_target_error_matches_sixty_digits(p: float, tau: float, m: int) -> None:
    found = fs.target_error(Problem.binary(p, tau), m + 1)
    _, _, bias, sd = binary_moments(p, tau, m)
    mean_sd = math.sqrt(p * (1.0 - p) / m) / tau
    scale = mean_sd + abs(bias)
    assert found.n == m + 1
    assert found.mean_sd == pytest.approx(mean_sd, rel=REFERENCE)
    assert found.partition_bias == pytest.approx(bias, abs=REFERENCE * scale)
    assert found.partition_sd == pytest.approx(sd, rel=REFERENCE)
    assert found.partition_rmse == pytest.approx(math.hypot(bias, sd), rel=REFERENCE)
    assert found.ratio == pytest.approx(math.hypot(bias, sd) / mean_sd, rel=REFERENCE)


@pytest.mark.parametrize(("p", "tau", "n"), [(1e-12, 0.03, 8), (1e-20, 0.02, 8), (1e-9, 0.05, 16)])
def test_spread_survives_a_bias_that_dwarfs_it(p: float, tau: float, n: int) -> None:
    """Rare success: nearly every group misses it, so the sd is tiny next to the bias and must not cancel."""
    found = fs.target_error(Problem.binary(p, tau), n)
    _, _, bias, sd = binary_moments(p, tau, n - 1)
    assert found.partition_bias == pytest.approx(bias, rel=1e-10)
    assert found.partition_sd == pytest.approx(sd, rel=1e-8)


@pytest.mark.parametrize("tau", [1e4, 1e8, 1e12, 1e15])
def test_both_errors_agree_for_weak_signals(tau: float) -> None:
    """To first order in 1/tau log-mean-exp is the mean, so the ratio tends to one like 1/tau."""
    assert fs.target_error(Problem.binary(0.3, tau), 8).ratio == pytest.approx(1.0, abs=1.0 / tau + 1e-9)


def test_with_two_rollouts_the_estimates_coincide_and_only_their_targets_differ() -> None:
    problem = Problem.binary(0.3, 0.5)
    found = fs.target_error(problem, 2)
    assert found.partition_sd == pytest.approx(found.mean_sd, rel=1e-13)
    assert found.partition_bias == pytest.approx(-problem.jensen_gap, rel=1e-13)


BOUNDARY = {4: 2.2, 8: 3.1, 16: 4.0, 32: 5.1, 64: 6.3, 128: 7.5}


def boundary(n: int) -> float:
    """Root p of (n - 1)(1 - p)^(n - 2) = p."""
    return float(optimize.brentq(lambda p: math.log(n - 1) + (n - 2) * math.log1p(-p) - math.log(p), 1e-9, 1.0 - 1e-9))


@pytest.mark.parametrize("n", BOUNDARY)
def test_boundary_as_tau_vanishes(n: int) -> None:
    p = boundary(n)
    assert n * p == pytest.approx(BOUNDARY[n], abs=0.1)  # cut after the first decimal, not rounded
    strengths = np.array([1e-3, 1e-4, 1e-5])
    off = np.array([abs(fs.target_error(Problem.binary(p, tau), n).ratio - 1.0) for tau in strengths])
    assert off[-1] < 1e-3
    assert np.polyfit(np.log(strengths), np.log(off), 1)[0] == pytest.approx(1.0, abs=RATE)
    assert (
        fs.target_error(Problem.binary(0.8 * p, 1e-4), n).ratio
        > 1.0
        > fs.target_error(Problem.binary(1.1 * p, 1e-4), n).ratio
    )


@pytest.mark.parametrize("tau", [0.1, 0.3, 1.0, 10.0])
def test_boundary_as_rollouts_grow(tau: float) -> None:
    """The ratio at p* = tau - 1/(e^(1/tau) - 1) tends to one like 1/n, and p* to one half for large tau."""
    p = tau - 1.0 / math.expm1(1.0 / tau)
    rollouts = np.array([1001, 2001, 4001, 8001])
    off = np.array([abs(fs.target_error(Problem.binary(p, tau), int(n)).ratio - 1.0) for n in rollouts])
    assert off[-1] < 1e-2
    assert np.polyfit(np.log(rollouts - 1), np.log(off), 1)[0] == pytest.approx(-1.0, abs=RATE)
    above = fs.target_error(Problem.binary(1.05 * p, tau), 8001).ratio
    assert above < 1.0 < fs.target_error(Problem.binary(0.95 * p, tau), 8001).ratio
    if tau == 10.0:
        assert p == pytest.approx(0.5, abs=1.0 / (12.0 * tau) + 1e-3)


def test_the_region_matters() -> None:
    """Without its region the statement 'the mean is the easier target' is false."""
    ratios = [fs.target_error(Problem.binary(p, tau), n).ratio for p, n, tau, _ in RATIOS]
    assert max(ratios) > 1.0 > min(ratios)


def test_target_error_of_many_levels_is_sampled() -> None:
    """Sampled bias and rmse within 5 standard errors of 400,000 groups drawn here; fixed seeds."""
    problem = many_levels()
    found = fs.target_error(problem, 9, seed=1)
    assert not found.exact
    rng = np.random.default_rng(7)
    drawn = rng.choice(problem.levels.reward, p=problem.levels.mass / problem.levels.mass.sum(), size=(400_000, 8))
    error = np.log(np.exp(drawn / problem.tau).mean(axis=1)) - problem.log_partition
    assert abs(found.partition_bias - error.mean()) <= monte_carlo(float(error.std()), 19_000)
    square = error**2
    assert abs(found.partition_rmse**2 - square.mean()) <= monte_carlo(float(square.std()), 19_000)
    assert found.partition_sd == pytest.approx(math.sqrt(found.partition_rmse**2 - found.partition_bias**2), rel=1e-9)
    assert found.mean_sd == pytest.approx(float(drawn.std()) / 0.5 / math.sqrt(8), rel=0.01)
