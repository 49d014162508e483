"""Many prompts at once: the same numbers as one problem after the other, whatever the dtype and the order."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory import batch
from tests.strategies import taus
from tests.tolerances import REFERENCE, ROOT

FIELDS = ("multiplier", "expected_reward", "improvement", "kl", "reverse_kl", "chi2")
TAU = 0.3


def draw(kind, groups=40, n=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "binary": lambda: (rng.random((groups, n)) < rng.random((groups, 1))).astype(float),
        "signed": lambda: 2.0 * rng.integers(0, 2, (groups, n)) - 1.0,
        "three levels": lambda: rng.choice([0.0, 0.25, 1.0], (groups, n)),
        "twenty levels": lambda: rng.integers(0, 20, (groups, n)) / 20.0,
        "all distinct": lambda: rng.normal(size=(groups, n)),
        "int8": lambda: rng.integers(0, 2, (groups, n)).astype(np.int8),
        "uint8": lambda: rng.integers(0, 3, (groups, n)).astype(np.uint8),
        "int64": lambda: rng.integers(-2, 3, (groups, n)),
        "bool": lambda: rng.random((groups, n)) < 0.3,
        "float32": lambda: rng.choice([0.0, 0.1, 1.0], (groups, n)).astype(np.float32),
        "float16": lambda: rng.choice([0.0, 0.1, 1.0], (groups, n)).astype(np.float16),
        "negative zero": lambda: rng.choice([-0.0, 0.0, 1.0], (groups, n)),
        "close together": lambda: 1.0 + 1e-9 * rng.integers(0, 2, (groups, n)),
        "huge": lambda: 1e300 * rng.integers(0, 2, (groups, n)),
    }[kind]()


KINDS = (
    "binary",
    "signed",
    "three levels",
    "twenty levels",
    "all distinct",
    "int8",
    "uint8",
    "int64",
    "bool",
    "float32",
    "float16",
    "negative zero",
    "close together",
)


def matches(step, rewards, tau):
    """Each entry of a batch is the step of that row as a problem of its own."""
    table = np.asarray(rewards)
    for name in (*FIELDS, "mean_reward"):
        assert getattr(step, name).shape == (table.shape[0],), name
    for group, row in enumerate(table):
        problem = pmd.Problem.from_rollouts(row, tau)
        one = pmd.mean_update(problem).unwrap()
        assert step.mean_reward[group] == pytest.approx(problem.mean_reward, rel=ROOT, abs=1e-15)
        for name in FIELDS:
            value = getattr(step, name)[group]
            assert value == pytest.approx(getattr(one, name), rel=REFERENCE, abs=1e-18), (name, row)


@pytest.mark.parametrize("kind", KINDS)
def test_row_by_row(kind):
    rewards = draw(kind)
    matches(batch.mean_update(rewards, TAU), rewards, TAU)


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 0.1, 10.0, 1e6])
def test_row_by_row_for_every_tau(tau):
    rewards = draw("binary", groups=15)
    matches(batch.mean_update(rewards, tau), rewards, tau)


def test_huge_rewards_with_a_huge_tau():
    rewards = draw("huge", groups=10)
    matches(batch.mean_update(rewards, 1e300), rewards, 1e300)


def test_lists_are_fine():
    step = batch.mean_update([[0, 1], [1, 1]], 0.5)
    matches(step, [[0, 1], [1, 1]], 0.5)


def test_memory_layout_does_not_matter():
    rewards = draw("three levels")
    straight = batch.mean_update(rewards, TAU)
    for other in (np.asfortranarray(rewards), np.repeat(rewards, 2, axis=1)[:, ::2], rewards[::-1][::-1]):
        assert np.array_equal(batch.mean_update(other, TAU).multiplier, straight.multiplier)


def test_the_input_is_left_alone():
    rewards = draw("three levels")
    before = rewards.copy()
    rewards.flags.writeable = False
    batch.mean_update(rewards, TAU)
    assert np.array_equal(rewards, before)


def test_binary_groups_are_counted():
    """17 problems for any number of prompts with 16 binary rollouts."""
    rewards = draw("binary", groups=5000, n=16)
    step = batch.mean_update(rewards, TAU)
    assert step.distinct == np.unique(rewards.sum(axis=1)).size == 17
    successes = rewards.sum(axis=1)
    for count in range(17):
        assert np.ptp(step.multiplier[successes == count]) == 0.0


def test_rewards_that_appear_only_late():
    """The first rows show two rewards, a later one a third, the last a fourth."""
    rewards = np.zeros((6000, 4))
    rewards[::3, 0] = 1.0
    rewards[4000, 1] = 0.5
    rewards[5999, 2:] = 0.25
    step = batch.mean_update(rewards, TAU)
    assert step.distinct == 4
    chosen = [0, 1, 4000, 5998, 5999]
    matches(
        batch.BatchUpdate(*(getattr(step, name)[chosen] for name in ("mean_reward", *FIELDS)), distinct=step.distinct),
        rewards[chosen],
        TAU,
    )


def test_more_rewards_than_can_be_counted_appear_late():
    """Counting is given up half-way: the rows are then solved one by one."""
    rng = np.random.default_rng(0)
    rewards = np.zeros((1500, 4))
    rewards[1400:] = rng.normal(size=(100, 4))
    step = batch.mean_update(rewards, TAU)
    assert step.distinct == 1500
    chosen = [0, 1399, 1400, 1499]
    for group in chosen:
        one = pmd.mean_update(pmd.Problem.from_rollouts(rewards[group], TAU)).unwrap()
        assert step.multiplier[group] == pytest.approx(one.multiplier, rel=REFERENCE)


@pytest.mark.parametrize("levels", [3, 20, 60, 64, 65])
def test_long_groups_of_many_levels(levels):
    """Where the counts of a group no longer fit one integer nothing may collide."""
    rng = np.random.default_rng(levels)
    rewards = rng.integers(0, levels, (60, 200)) / levels
    rewards[30:] = rewards[:30, ::-1]
    step = batch.mean_update(rewards, TAU)
    assert np.allclose(step.multiplier[30:], step.multiplier[:30], rtol=REFERENCE, atol=0.0)
    matches(batch.mean_update(rewards[:6], TAU), rewards[:6], TAU)


@pytest.mark.parametrize("value", [0, 1, -1, 0.1, 1e300, -7.3])
@pytest.mark.parametrize("n", [1, 2, 16])
def test_groups_of_equal_rewards_stay(value, n):
    step = batch.mean_update(np.full((3, n), value), 0.5 if abs(value) < 1e6 else 1e300)
    assert np.array_equal(step.mean_reward, np.full(3, value))
    assert np.array_equal(step.expected_reward, np.full(3, value))
    for name in ("multiplier", "improvement", "kl", "reverse_kl", "chi2"):
        assert np.array_equal(getattr(step, name), np.zeros(3)), name
    assert step.distinct == 1


def test_one_rollout_says_nothing():
    step = batch.mean_update(np.arange(5.0)[:, None], TAU)
    assert np.array_equal(step.multiplier, np.zeros(5))
    assert np.array_equal(step.expected_reward, np.arange(5.0))


def test_identities_over_a_batch():
    """C4, C5 and the order of things, on every group at once."""
    step = batch.mean_update(draw("three levels", groups=200), TAU)
    assert np.allclose(step.multiplier, step.reverse_kl, rtol=ROOT, atol=0.0)
    assert np.allclose(step.improvement, TAU * (step.kl + step.multiplier * (1.0 + step.chi2)), rtol=1e-11, atol=1e-15)
    assert np.allclose(step.expected_reward, step.mean_reward + step.improvement, rtol=1e-15)
    assert (step.improvement >= 0.0).all()


def test_plus_minus_one_doubles_the_effective_inverse_tau():
    binary = draw("binary")
    signed = batch.mean_update(2 * binary - 1, 2 * TAU)
    assert np.allclose(signed.multiplier, batch.mean_update(binary, TAU).multiplier, rtol=REFERENCE, atol=1e-18)


@st.composite
def tables(draw):
    groups, n = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    values = draw(
        st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 0.25, 0.5, 0.75, 1.0), tuple(k / 7 for k in range(100))])
    )
    rows = st.lists(st.sampled_from(values), min_size=n, max_size=n)
    return np.array(draw(st.lists(rows, min_size=groups, max_size=groups)))


@given(tables(), taus(), st.randoms(use_true_random=False))
def test_order_does_not_matter(rewards, tau, random):
    """Rollouts within a group, and groups, in any order."""
    groups, n = rewards.shape
    order = np.array(random.sample(range(groups), groups))
    within = np.array([random.sample(range(n), n) for _ in range(groups)])
    step = batch.mean_update(rewards, tau)
    moved = batch.mean_update(np.take_along_axis(rewards, within, axis=1)[order], tau)
    for name in (*FIELDS, "mean_reward"):
        assert np.allclose(getattr(moved, name), getattr(step, name)[order], rtol=REFERENCE, atol=1e-18), name


@given(tables(), taus())
def test_row_by_row_on_anything(rewards, tau):
    matches(batch.mean_update(rewards, tau), rewards, tau)


# -- bad input ------------------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
REWARDS = {
    "nan": ([[0.0, NAN]], ValueError, "rewards holds NaN or infinity in group 0"),
    "late infinity": ([[0.0, 1.0], [0.0, -INF]], ValueError, "rewards holds NaN or infinity in group 1"),
    "complex": ([[0j, 1 + 0j]], TypeError, "dtype complex128"),
    "strings": ([["a", "b"]], TypeError, "dtype <U1"),
    "bytes": (np.array([[b"a"]]), TypeError, "dtype |S1"),
    "objects": (np.array([[None, 1]]), TypeError, "dtype object"),
    "none": (None, TypeError, "dtype object"),
    "dates": (np.array([["2020-01-01"]], dtype="M8[D]"), TypeError, "dtype datetime64"),
    "ragged": ([[0.0, 1.0], [1.0]], ValueError, "rewards is ragged"),
    "one axis": ([0.0, 1.0], ValueError, "shape (2,)"),
    "three axes": (np.zeros((2, 2, 2)), ValueError, "shape (2, 2, 2)"),
    "scalar": (0.5, ValueError, "shape ()"),
    "no groups": (np.zeros((0, 4)), ValueError, "shape (0, 4)"),
    "no rollouts": (np.zeros((4, 0)), ValueError, "shape (4, 0)"),
    "empty": ([], ValueError, "shape (0,)"),
}


@pytest.mark.parametrize("wrong", REWARDS)
def test_rewards_are_refused(wrong):
    value, kind, fragment = REWARDS[wrong]
    with pytest.raises((TypeError, ValueError)) as caught:
        batch.mean_update(value, TAU)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert fragment in message
    assert message.startswith("rewards")
    assert "; pass finite rewards as an array [G, n]" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("tau", "kind"),
    [(0.0, ValueError), (-1.0, ValueError), (NAN, ValueError), (INF, ValueError), ("0.1", TypeError), (None, TypeError)]
    + [([0.1], TypeError), (True, TypeError), (0.1 + 0j, TypeError)],
)
def test_tau_is_refused(tau, kind):
    with pytest.raises(kind, match=r"tau must be .*; tau is the regularisation strength"):
        batch.mean_update([[0, 1]], tau)


def test_a_tau_that_is_too_small_for_the_rewards():
    with pytest.raises(ValueError, match="makes r/tau overflow"):
        batch.mean_update([[0.0, 1e300]], 1e-300)
