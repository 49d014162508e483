"""The vectorised steps of the hunter against the library's, and against their own defining equations."""

import numpy as np
import pytest
from hypothesis import given, settings

import pmdtheory as pmd
from pmdtheory.hunt import _steps as steps
from pmdtheory.hunt._families import case_of, coordinates
from tests import strategies, tolerances


@pytest.fixture(scope="module")
def laws():
    """Laws of every family, four actions."""
    case, _ = case_of(coordinates(np.random.default_rng(1), 300, 4, {}), 4, {})
    return case


def test_the_families_have_laws(laws):
    assert len(laws.mass) > 290
    assert np.abs(laws.mass.sum(1) - 1.0).max() < tolerances.ROOT
    assert (np.ptp(laws.reward, axis=1) >= 0.01).all()


def test_steps_agree_with_mean_update_on_random_laws(laws):
    step = laws.step()
    for k in range(0, len(laws.mass), 5):
        exact = pmd.mean_update(pmd.Problem.from_log_policy(laws.log_mass[k], laws.reward[k], 1.0)).unwrap()
        size = tolerances.largest(laws.advantage[k])
        assert np.abs(step.log_ratio[k] - exact.log_ratio).max() < 10 * tolerances.ROOT * size
        assert step.multiplier[k] == pytest.approx(exact.multiplier, rel=1e-7), laws.reward[k]


@settings(max_examples=40)
@given(strategies.informative())
def test_steps_agree_with_mean_update(case):
    problem = case.problem()
    log_mass, reward = problem.log_policy[None], (problem.reward / problem.tau)[None]
    if not np.isfinite(log_mass).all() or not 1e-2 < np.ptp(reward) < 1e6:
        return
    logs, _ = steps.mean_steps(log_mass, reward)
    exact = pmd.mean_update(problem).unwrap()
    assert np.abs(logs[0] - exact.log_ratio).max() < 10 * tolerances.ROOT * tolerances.largest(problem.scaled_advantage)


def test_steps_satisfy_their_equation(laws):
    step = laws.step()
    assert np.abs((laws.mass * step.ratio).sum(1) - 1.0).max() < 100 * tolerances.ROOT
    residual = step.log_ratio + step.multiplier[:, None] * step.ratio - laws.advantage
    assert (np.abs(residual).max(1) < 10 * tolerances.ROOT * np.maximum(1.0, np.abs(laws.advantage).max(1))).all()


def test_tilts_agree_with_kl_update(laws):
    for k in range(0, len(laws.mass), 10):
        exact = pmd.kl_update(pmd.Problem.from_log_policy(laws.log_mass[k], laws.reward[k], 1.0)).unwrap()
        error = np.abs(laws.tilt().log_ratio[k] - exact.log_ratio).max()
        assert error < tolerances.ROOT * tolerances.largest(laws.advantage[k])


def test_a_constant_reward_moves_nothing():
    logs, multiplier = steps.mean_steps(np.log([[0.25, 0.75]]), np.array([[3.0, 3.0]]))
    assert (logs == 0.0).all()
    assert multiplier[0] == 0.0


def test_matched_tilts_have_the_divergence_of_the_step(laws):
    step = laws.step()
    kl = (laws.mass * steps.relative(step.log_ratio)).sum(1)
    ratio = laws.matched(kl)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.nansum(laws.mass * ratio * np.log(ratio), axis=1)
    usual = np.isfinite(steps.matched_scales(laws.log_mass, laws.reward, kl)) & (kl > 1e-6)
    assert usual.sum() > 100
    assert np.abs(found[usual] / kl[usual] - 1.0).max() < 1e-7  # differences of size one make up KLs of 1e-6


def test_the_two_steps_differ_by_a_tilt_under_the_new_policy(laws):
    """`beyond` is the difference of the two log-ratios, without cancelling."""
    apart = laws.tilt().log_ratio - laws.step().log_ratio
    size = np.maximum(1.0, np.abs(laws.advantage).max(1))[:, None]
    assert (np.abs(laws.beyond() - apart) < 100 * tolerances.ROOT * size).all()


@pytest.mark.parametrize("x", [-700.0, -3.0, -0.04, -1e-9, 0.0, 1e-12, 0.049, 0.051, 4.0])
def test_excess_and_relative_do_not_cancel(x):
    from flint import arb, ctx

    with ctx.workprec(200):
        excess, relative = arb(x).exp() - 1 - arb(x), arb(x) * arb(x).exp() - arb(x).exp() + 1
        assert steps.excess(np.array([x]))[0] == pytest.approx(float(excess), rel=1e-12, abs=0.0)
        assert steps.relative(np.array([x]))[0] == pytest.approx(float(relative), rel=1e-12, abs=0.0)
