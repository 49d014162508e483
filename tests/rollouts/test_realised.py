"""The realised step: an exact step is recognised, half a step is half a step, and the scale of lambda is C4's."""

import json

import numpy as np
import pytest

import pmdtheory as pmd
from pmdtheory.rollouts import Rollouts, diagnose
from pmdtheory.rollouts._json import diagnosis_data
from pmdtheory.rollouts._report import realised_rows

TAU, N, GROUPS = 0.5, 16, 1500


def made(share, seed=0, noise=0.1, level=0.95):
    """Prompts with a pass rate of 0.2, 0.5 or 0.8, and log-probabilities after `share` of PMD-mean's step."""
    rng = np.random.default_rng(seed)
    rates = rng.choice([0.2, 0.5, 0.8], GROUPS)
    rewards = (rng.random((GROUPS, N)) < rates[:, None]).astype(int)
    steps = {p: pmd.mean_update(pmd.Problem.binary(p, TAU)).unwrap() for p in (0.2, 0.5, 0.8)}
    log_ratio = np.array([steps[p].log_ratio for p in rates.tolist()])
    log_ratio = share * log_ratio[np.arange(GROUPS)[:, None], rewards]
    # a stretched step is not normalised: only its shape is PMD-mean's
    old = rng.normal(-50.0, 5.0, (GROUPS, N))
    jitter = rng.normal(0.0, noise, (GROUPS, N))
    wanted = {name: np.mean([getattr(steps[p], name) for p in rates.tolist()]) for name in ("kl", "multiplier")}
    wanted["new_pass_rate"] = np.mean([steps[p].expected_reward for p in rates.tolist()])
    data = Rollouts.from_arrays(
        np.repeat(np.arange(GROUPS), N),
        rewards.ravel(),
        old_log_prob=old.ravel(),
        new_log_prob=(old + log_ratio + jitter).ravel(),
    )
    return diagnose(data, TAU, level=level), wanted


def test_the_exact_step_is_recognised():
    """The realised values hold the truth, and so do the predicted intervals: C4 from two sides."""
    found, wanted = made(1.0, noise=0.0, level=0.999)
    assert found.realised is not None
    for name, truth in wanted.items():
        for one in (found.overall[name], getattr(found.realised, name)):
            assert one.low <= truth <= one.high, name
    assert found.realised.mass.low <= 1.0 <= found.realised.mass.high
    assert found.realised.slope.value == pytest.approx(1.0, abs=0.05)
    assert 0.3 < found.realised.effective_share < 1.0


def test_half_a_step_is_half_a_step():
    whole, half = made(1.0)[0].realised, made(0.5)[0].realised
    assert half.slope.value == pytest.approx(0.5 * whole.slope.value, rel=0.02)
    assert half.slope.high < 0.6
    assert made(0.0)[0].realised.slope.low < 0.0 < made(0.0)[0].realised.slope.high


def test_the_realised_step_is_reported():
    found, _ = made(1.0)
    assert [row[0] for row in realised_rows(found)][0] == "KL(old||new) = lambda, nats"
    document = json.loads(diagnosis_data(found))
    assert document["realised"]["slope"]["value"] == pytest.approx(found.realised.slope.value)
    assert set(document["groups"][0]["realised"]) == {"multiplier", "slope"}


def test_without_log_probabilities_there_is_none():
    found = diagnose(Rollouts.from_arrays([1, 1], [0, 1]), TAU)
    assert found.realised is None
    assert realised_rows(found) == []
    only = Rollouts.from_arrays([1, 1, 1], [1, 1, 1], old_log_prob=[-1, -1, -1], new_log_prob=[-1, -2, -1])
    assert np.isnan(diagnose(only, TAU).realised.slope.value)
