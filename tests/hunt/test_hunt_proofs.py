"""The steps of the proofs on docs/hunt.md: identities, and families of counterexamples towards their limits."""

import numpy as np
import pytest

from pmdtheory.hunt._families import case_of, coordinates
from pmdtheory.hunt._steps import log_tilts, mean_steps


def drift(mass, logs, s):
    """kappa and g of a step with these log-ratios: s d(rho)/ds = rho g, E rho g = 0."""
    weight = -(mass * logs).sum()
    ratio = np.exp(logs)
    damped = mass * ratio / (1.0 + weight * ratio)
    kappa = (damped * logs).sum() / (damped * ratio).sum()
    return kappa, (logs - kappa * ratio) / (1.0 + weight * ratio), weight


def test_the_drift_is_the_derivative_of_the_equation():
    import sympy

    s, x, rate, y, weight, ratio = sympy.symbols("s x lambda_1 y lambda rho")  # y = log rho
    equation = y + weight * sympy.exp(y) - s * x
    along = sympy.diff(equation, s) + sympy.diff(equation, weight) * rate
    slope = (-along / sympy.diff(equation, y)).subs(sympy.exp(y), ratio)
    g = (y - (s * rate - weight) * ratio) / (1 + weight * ratio)
    assert sympy.cancel((s * slope - g).subs(x, (y + weight * ratio) / s)) == 0


def test_divergences_change_as_the_drift_says():
    case, _ = case_of(coordinates(np.random.default_rng(2), 90, 4, {}), 4, {})
    tried, h = 0, 1e-4
    for log_mass, reward in zip(case.log_mass, case.reward, strict=True):
        if not 0.5 < np.ptp(reward) < 20.0 or log_mass.min() < -8.0:
            continue
        before, at, after = (mean_steps(log_mass[None], reward[None] * np.exp(e))[0][0] for e in (-h, 0.0, h))
        mass = np.exp(log_mass)
        kappa, g, weight = drift(mass, at, 1.0)
        assert (mass * np.exp(at) * g).sum() == pytest.approx(0.0, abs=1e-10)
        assert (mass * g).sum() == pytest.approx(-(kappa + weight), abs=1e-9)
        for power in (-1.0, 0.5, 2.0):
            slope = (mass * (np.exp(power * after) - np.exp(power * before))).sum() / (2 * h)
            exact = power * (mass * np.exp(power * at) * g).sum()
            assert slope == pytest.approx(exact, rel=1e-4, abs=1e-6)
        tried += 1
    assert tried > 5


@pytest.mark.parametrize(("order", "depth"), [(0.5, 40.0), (0.1, 200.0), (0.02, 1500.0), (0.004, 10_000.0)])
def test_every_positive_order_has_a_law(order, depth):
    """The family of the proof: ratios e^-L, 3 and a huge one, whose order-alpha divergence falls."""
    share, high, log_huge = 0.5, 3.0, 30.0 + np.log(depth)
    one, two = (1.0 - share) / high, share * np.exp(-log_huge)
    mass, logs = np.array([1.0 - one - two, one, two]), np.array([-depth, np.log(high), log_huge])
    assert (mass * np.exp(logs)).sum() == pytest.approx(1.0, abs=1e-8)
    kappa, g, _ = drift(mass, logs, 1.0)
    assert kappa == pytest.approx(one * np.log(high), rel=0.1)
    assert (mass * np.exp(order * logs) * g).sum() > 0.0  # E rho^alpha rises, so D_alpha falls
    assert (mass * g).sum() < 0.0  # while lambda rises


def test_reversing_the_order_needs_a_rare_failure():
    """The same family with a failure that stays common is no counterexample at order .1."""
    mass, logs = np.array([5 / 6, 1 / 6 - 1e-15, 1e-15]), np.array([-0.5, np.log(2.5), 35.0])
    logs -= np.log((mass * np.exp(logs)).sum())
    _, g, _ = drift(mass, logs, 1.0)
    assert (mass * np.exp(0.1 * logs) * g).sum() < 0.0


def test_the_share_of_the_gain_vanishes():
    """Ratios 1/2, 3/2 and R of mass R^-4: the tilt of the same KL gains ever more, PMD-mean the same."""
    shares = []
    for log_top in (5.0, 10.0, 20.0):
        mass = np.array([0.5, 0.5, np.exp(-4.0 * log_top)])
        logs = np.array([np.log(0.5), np.log(1.5), log_top])
        weight = -(mass * logs).sum()
        reward = logs + weight * np.exp(logs)
        kl = (mass * np.exp(logs) * logs).sum()
        own = (mass * (np.exp(logs) - 1.0) * reward).sum()
        moved = kl / (4.0 * log_top)
        shares.append(own / (moved * (reward[2] - (mass * reward).sum())))
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 1e-4


def test_very_bad_actions_stop_the_contraction():
    """Gap and tau one, p = 1/3: -log of what is left of the failures, over p, falls to zero."""
    rates = []
    for share, bad in ((0.1, 1e4), (0.01, 1e6), (0.001, 1e8)):
        mass = np.array([[share, 2 / 3 - share, 1 / 3]])
        logs, _ = mean_steps(np.log(mass), np.array([[-bad, -1.0, 0.0]]))
        left = (mass[0, :2] * np.exp(logs[0, :2])).sum() / (2 / 3)
        rates.append(-3.0 * np.log(left))
    assert rates[0] < 0.6
    assert rates[1] < rates[0] / 5
    assert rates[2] < rates[1] / 5


def test_the_floor_holds_for_every_upper_set():
    """The inequality between sets that the proof integrates, on random laws."""
    rng = np.random.default_rng(4)
    case, _ = case_of(coordinates(rng, 300, 5, {}), 5, {})
    tried = 0
    for log_mass, reward in zip(case.log_mass, case.reward, strict=True):
        logs, weight = mean_steps(log_mass[None], reward[None])
        after = np.exp(log_mass + logs[0])
        ideal = np.exp(log_mass + log_tilts(log_mass[None], reward[None])[0])
        pull = weight[0] * np.exp(logs[0])
        for level in np.unique(logs[0])[1:]:
            top = logs[0] >= level
            pairs = after[top][:, None] * after[~top] * -np.expm1(-(pull[top][:, None] - pull[~top]))
            assert ideal[top].sum() - after[top].sum() >= pairs.sum() - 1e-12
            tried += pairs.sum() > 1e-6
    assert tried > 100
