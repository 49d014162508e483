"""Advantages against the NumPy estimators of `pmdtheory.finite_sample`, and what must hold of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmdtheory import finite_sample
from tests.strategies import REWARDS, taus
from tests.tolerances import exact
from tests.wrong import refused

jax = pytest.importorskip("jax")
advantage = pytest.importorskip("tiny_llm_rl.advantage")

pytestmark = pytest.mark.jax
REFERENCE = {
    "mean": finite_sample.group_mean_baseline,
    "mean-loo": finite_sample.mean_baseline,
    "partition": finite_sample.group_partition_baseline,
    "partition-loo": finite_sample.partition_baseline,
}


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


@st.composite
def groups(draw, rollouts=4):
    """Three groups of rewards of one kind, `[3, n]`."""
    kind = draw(st.sampled_from(sorted(REWARDS)))
    return np.array([draw(REWARDS[kind](rollouts)) for _ in range(3)])


def by_reference(name, rewards, tau):
    return rewards - tau * REFERENCE[name](rewards, tau)


def found(name, rewards, tau, **options):
    return np.asarray(advantage.advantage(rewards, tau, baseline=name, **options))


@settings(max_examples=25)
@given(rewards=groups(), tau=taus(-3, 2))
def test_they_are_the_numpy_estimators(rewards, tau):
    for name in REFERENCE:
        want = by_reference(name, rewards, tau)
        assert np.abs(found(name, rewards, tau) - want).max() <= exact(rewards) * max(1.0, tau), name


def test_another_estimator_would_be_seen():
    """The mutants: one's own reward in or out of the baseline, partition for mean."""
    rewards, tau = np.array([[0.0, 0.0, 0.0, 1.0]]), 0.3
    for name in REFERENCE:
        for other in set(REFERENCE) - {name}:
            assert np.abs(found(name, rewards, tau) - by_reference(other, rewards, tau)).max() > 0.01


@settings(max_examples=25)
@given(rewards=groups(), tau=taus(-3, 2), shift=st.integers(-3, 3))
def test_a_constant_in_the_reward_changes_nothing(rewards, tau, shift):
    for name in (*REFERENCE, "partition-clamped"):
        here, there = found(name, rewards, tau), found(name, rewards + shift, tau)
        assert np.abs(here - there).max() <= exact(4.0) * max(1.0, tau), name


@pytest.mark.parametrize("name", [*REFERENCE, "partition-clamped"])
@pytest.mark.parametrize("value", [0.1, 1.0, -7.3])
def test_equal_rewards_have_no_signal_at_all(name, value):
    rewards = np.full((2, 5), value, np.float32)
    assert np.all(np.abs(found(name, rewards, 0.1)) <= 1e-7)
    if "mean" in name:
        assert np.all(found(name, rewards, 0.1, standardise=True) == 0.0)


@settings(max_examples=25)
@given(rewards=groups())
def test_mean_advantages_add_up_to_nothing(rewards):
    for name in ("mean", "mean-loo"):
        assert np.abs(found(name, rewards, 0.3).sum(-1)).max() <= exact(rewards)
    np.testing.assert_allclose(found("mean-loo", rewards, 0.3), found("mean", rewards, 0.3) * 4 / 3, atol=exact(4.0))


@settings(max_examples=25)
@given(rewards=groups())
def test_standardised_advantages_have_deviation_one(rewards):
    a = found("mean", rewards, 0.3, standardise=True)
    differ = rewards.max(-1) > rewards.min(-1)
    np.testing.assert_allclose(a.std(-1), np.where(differ, 1.0, 0.0), atol=exact(4.0))


def test_two_rollouts_make_partition_and_mean_one():
    """C12: the log-mean-exp of one number is that number."""
    rewards = np.array([[0.0, 1.0], [0.25, -3.0]])
    np.testing.assert_allclose(found("mean-loo", rewards, 0.07), found("partition-loo", rewards, 0.07), atol=exact(4.0))


def naive_clamped(rewards, tau):
    """Subtract one's own term, clamp: a loop that shares nothing with the code."""
    top, n = max(rewards), len(rewards)
    terms = [np.exp((r - top) / tau) for r in rewards]
    return [
        r - top - tau * np.log(max((sum(terms) - own) / (n - 1), 1e-8)) for r, own in zip(rewards, terms, strict=True)
    ]


def test_the_clamp_is_that_of_public_code():
    rewards = np.array([[-1.0, -1.0, -1.0, 1.0], [-1.0, 1.0, -1.0, 1.0]])
    for tau in (0.01, 0.3):
        want = [naive_clamped(list(row), tau) for row in rewards]
        np.testing.assert_allclose(found("partition-clamped", rewards, tau), want, atol=1e-12)
    clamped, whole = (found(name, rewards, 0.01) for name in ("partition-clamped", "partition-loo"))
    assert abs(clamped[0, 3] - 0.184) < 1e-3  # the only success of its group
    assert whole[0, 3] == 2.0
    np.testing.assert_allclose(clamped[1], whole[1], atol=1e-12)


def test_a_level_is_taken_off():
    np.testing.assert_allclose(found("level", np.array([[0.0, 1.0]]), 0.5, level=0.4), [[-0.2, 0.8]])
    assert found("level", np.array([[3.0]]), 0.5).tolist() == [[3.0]]


def test_integers_and_half_precision_become_float32():
    assert advantage.advantage([1, 0, 0, 1], 0.3).dtype == np.float32
    assert advantage.advantage(jax.numpy.ones((2, 4), jax.numpy.bfloat16), 0.3).dtype == np.float32


@pytest.mark.parametrize("name", ["mean-loo", "partition-loo", "partition-clamped"])
def test_one_rollout_has_no_others(name):
    refused(ValueError, lambda: advantage.advantage([[1.0]], 0.3, baseline=name), "rewards", "(1, 1)", name)


def test_wrong_inputs():
    refused(ValueError, lambda: advantage.advantage([1.0, 0.0], 0.3, baseline="median"), "baseline", "median")
    refused(ValueError, lambda: advantage.advantage(1.0, 0.3), "rewards", "()")
