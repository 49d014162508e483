"""Measured steps: what is held against the theory has to be unbiased itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wrong import refused
from tiny_llm_rl import measured_step as module
from tiny_llm_rl.config import TrainConfig
from tiny_llm_rl.measured_step import PassRates, binned, log_odds_change, measured_step, pass_rates
from tiny_llm_rl.pretrain import rehearsed
from tiny_llm_rl.train import RunStatus, load_base

pytestmark = pytest.mark.jax

RATES = st.floats(0.001, 0.999)
TINY = TrainConfig(prompts=16, rollouts=8, minibatches=2, learning_rate=1e-9)


@pytest.fixture(scope="module")
def base():
    return load_base("digit-sum")


@given(RATES, RATES)
def test_the_odds_grow_by_the_factor(p, q):
    factor = np.exp(log_odds_change(p, q))
    np.testing.assert_allclose(q / (1 - q), factor * p / (1 - p), rtol=1e-11)


def test_bins_do_not_sort_by_what_they_show():
    """Luck of one measurement must not look like a step: all prompts have pass rate .3 and nothing was trained."""
    rng = np.random.default_rng(0)
    draws = [rng.binomial(8, 0.3, 40_000) / 8 for _ in range(3)]
    honest = binned(PassRates(*draws), [0.0, 0.2, 0.4, 1.0])
    assert np.abs(honest[:, 1] - honest[:, 0]).max() < 0.01
    biased = binned(PassRates(draws[0], draws[0], draws[2]), [0.0, 0.2, 0.4, 1.0])  # sorted by what is shown
    assert biased[0, 1] - biased[0, 0] > 0.1
    assert honest[:, 2].sum() == 40_000


def test_an_empty_bin_is_not_a_number():
    found = binned(PassRates(*[np.array([0.9, 1.0])] * 3), [0.0, 0.5, 1.0])
    assert np.isnan(found[0, :2]).all()
    assert found[:, 2].tolist() == [0.0, 2.0]


def test_a_rate_at_an_edge_belongs_to_the_bin_above():
    found = binned(PassRates(*[np.array([0.0, 0.5, 0.5, 1.0])] * 3), [0.0, 0.5, 1.0])
    assert found[:, 2].tolist() == [1.0, 3.0]


def test_pass_rates_do_not_depend_on_how_prompts_are_cut(base, monkeypatch):
    prompts = ["3+4+5+6=", "1+1+1+1=", "9+8+7+6="]
    whole = pass_rates(*base, prompts, 4, 0)
    assert whole.shape == (3,)
    assert set((whole * 4).tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    monkeypatch.setattr(module, "_ROWS", 8)
    assert pass_rates(*base, prompts, 4, 0).shape == (3,)  # two parts, the last one filled up
    refused(ValueError, lambda: pass_rates(*base, prompts, 0, 0), "samples", "0")


def test_a_step_of_no_size_changes_no_rate(base):
    rates = measured_step(TINY, base, samples=32)
    means = [each.mean() for each in rates]
    error = np.sqrt(2 * 0.25 / (16 * 32))
    assert abs(means[2] - means[1]) < 5 * error
    assert (rates.before != rates.sorting).any()  # separate responses


def test_a_batch_that_failed_is_said(base, monkeypatch):
    monkeypatch.setattr(module.Run, "batch", lambda self: (RunStatus.NO_SIGNAL, {}))
    refused(ValueError, lambda: measured_step(TINY, base, samples=2), "NO_SIGNAL", "rollouts")


def test_rehearsal_raises_the_pass_rate(base):
    model = rehearsed(base, 12, batch=128)
    prompts = [base[1].prompt(np.random.default_rng([5, i])) for i in range(64)]
    low, high = (pass_rates(each, *base[1:], prompts, 16, 0).mean() for each in (base[0], model))
    assert high > low + 0.03
    refused(ValueError, lambda: rehearsed(base, -1), "steps", "-1")
    refused(ValueError, lambda: rehearsed(base, 1, learning_rate=0.0), "learning_rate", "0")
