"""The targets that both integrations hand over: against loops, and what they refuse."""

import numpy as np
import pytest

from pmdtheory.integrations import MEMBERS, targets
from tests.tolerances import exact
from tests.wrong import refused


def naive(rewards, tau, member):
    found = []
    for group in rewards:
        for i, reward in enumerate(group):
            pool = group if member.endswith("-group") else np.delete(group, i)
            level = pool.mean() / tau if "mean" in member else np.log(np.mean(np.exp(pool / tau)))
            found.append(reward / tau - level)
    return np.reshape(found, rewards.shape)


@pytest.mark.parametrize("member", MEMBERS)
def test_targets(member):
    rewards = np.random.default_rng(0).integers(0, 4, (5, 6)) / 3
    found = targets(rewards, 0.3, member)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, naive(rewards, 0.3, member), rtol=0, atol=exact(rewards / 0.3))
    for other in set(MEMBERS) - {member}:
        assert np.abs(found - naive(rewards, 0.3, other)).max() > 0.01  # no two members are one
    shifted = targets(rewards + 7.0, 0.3, member)
    np.testing.assert_allclose(shifted, found, rtol=0, atol=exact(8.0 / 0.3))  # a constant reward has no effect


def test_refusals():
    refused(ValueError, lambda: targets([[0.0, 1.0]], 0.1, "grpo"), "member", "grpo")
    refused(ValueError, lambda: targets([[0.0, 1.0]], 0.1, 3), "member", "3")
    refused(ValueError, lambda: targets([[0.0, 1.0]], 0.0, "pmd-mean"), "tau", "0.0")
    refused(ValueError, lambda: targets([[0.0]], 0.1, "pmd-mean"), "rewards", "n = 1")
    refused(ValueError, lambda: targets([[0.0, np.nan]], 0.1, "pmd-part"), "rewards", "nan")
    refused(TypeError, lambda: targets([["a", "b"]], 0.1, "pmd-part"), "rewards")
