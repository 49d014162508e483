"""The parts of `classify` by themselves: probe bandits, exact predictions with mutants, advantages, files."""

import math
from dataclasses import replace

import numpy as np
import pytest

import pmdtheory as pmd
from pmdtheory import finite_sample
from pmdtheory.variants import VARIANTS, Recipe, load_loss
from pmdtheory.variants._advantage import ADVANTAGES, advantage, configurations, fit_advantage
from pmdtheory.variants._bandits import BANDITS, stationary
from pmdtheory.variants._description import Description, predicted
from pmdtheory.variants._layout import layout, mixed_rewards
from pmdtheory.variants._probe import Probe, probe
from pmdtheory.variants._weights import Dropped, Weights, fit_weights
from tests.tolerances import EPS, ROOT, SOLVER
from tests.wrong import refused

TAU, SPREAD = 0.1, 0.19
EQUAL, NONE = Weights("equal", math.inf, 1.0, 0.0), Dropped()


def numpy_probe(loss):
    return Probe(loss, "numpy", EPS)


def described(n, **changes):
    """The others' mean at tau = 0.1 over lengths, for groups of n."""
    fit = fit_advantage(configurations(n), advantage("mean", configurations(n)) * n / (n - 1) / TAU, SOLVER)
    base = Description("regression", False, fit, EQUAL, NONE, 1.0, 1.0, 0.0, TAU)
    return replace(base, **changes)


# -- probe bandits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bandit", BANDITS, ids=lambda bandit: bandit.name)
def test_a_bandit_is_its_law(bandit):
    theta = bandit.theta(bandit.policy)
    np.testing.assert_allclose(bandit.law(theta), bandit.policy, rtol=ROOT)
    other = theta + np.linspace(-0.5, 0.7, theta.size)
    assert bandit.law(other).sum() == pytest.approx(1.0, abs=ROOT)
    np.testing.assert_allclose(bandit.theta(bandit.law(other)), other, rtol=1e-9)
    h = 1e-6
    slopes = [
        (bandit.token_logp(bandit.split(other + h * row)) - bandit.token_logp(bandit.split(other - h * row))) / (2 * h)
        for row in np.eye(theta.size)
    ]
    np.testing.assert_allclose(bandit.jacobian(other), slopes, atol=1e-9)


@pytest.mark.parametrize("bandit", BANDITS, ids=lambda bandit: bandit.name)
def test_groups_are_the_population(bandit):
    """Every place of a group has the old policy, and places are independent."""
    groups = bandit.groups(3)
    for place in range(3):
        np.testing.assert_array_equal(np.bincount(groups[:, place]) / len(groups), bandit.policy)
    pairs = np.zeros((bandit.policy.size,) * 2)
    np.add.at(pairs, (groups[:, 0], groups[:, 2]), 1.0 / len(groups))
    np.testing.assert_allclose(pairs, np.outer(bandit.policy, bandit.policy), rtol=ROOT)


def test_the_stationary_policy_of_a_square_is_the_exact_step():
    """The loss, its gradient and a root-finder against the Lambert-W form."""
    found = stationary(numpy_probe(Recipe(baseline="others' mean")), BANDITS[0], 3, SPREAD)
    problem = pmd.Problem.from_policy(BANDITS[0].policy, BANDITS[0].rewards(SPREAD), TAU)
    np.testing.assert_allclose(found.policy, pmd.mean_update(problem).unwrap().policy, atol=1e-9)
    part = stationary(numpy_probe(Recipe(baseline="others' partition")), BANDITS[0], 3, SPREAD)
    b = float(finite_sample.expected_baseline(problem, 2).value)
    np.testing.assert_allclose(part.policy, pmd.baseline_update(problem, baseline=b).unwrap().policy, atol=1e-9)


def test_what_has_no_stationary_policy():
    for shape in ("linear", "clip"):
        assert stationary(numpy_probe(Recipe(shape)), BANDITS[0], 3, SPREAD).policy is None
    rising = stationary(numpy_probe(lambda *batch: -Recipe()(*batch)), BANDITS[0], 3, SPREAD)
    assert rising.policy is None  # a maximum is not where descent comes to rest


@pytest.mark.parametrize("spread", [0.05, 0.4, 0.95])
def test_far_steps_are_found(spread):
    """Ten nats between the best and the worst response."""
    found = stationary(numpy_probe(Recipe(baseline="group partition")), BANDITS[0], 4, spread)
    rows = configurations(4)
    fit = fit_advantage(rows, advantage("group partition", rows, (TAU,)) / TAU, SOLVER)
    guess = predicted(described(4, target=fit, policy_exponent=0.0, square_exponent=0.0), BANDITS[0], 4, spread)
    np.testing.assert_allclose(found.policy, guess, atol=SOLVER)


# -- predictions, and mutants of them -------------------------------------------------------------------------------


def variation(one, other):
    return 0.5 * np.abs(one - other).sum()


@pytest.mark.parametrize("bandit", BANDITS, ids=lambda bandit: bandit.name)
def test_the_prediction_is_the_losses_own_policy(bandit):
    loss = Recipe(baseline="others' mean", lengths="own length")
    own = stationary(numpy_probe(loss), bandit, 3, SPREAD).policy
    assert variation(own, predicted(described(3), bandit, 3, SPREAD)) < SOLVER


MUTANTS = {
    "tau off by a hundredth": (0, lambda one: replace(one, target=replace(one.target, scale=one.target.scale / 1.01))),
    "the factor of another group size": (
        0,
        lambda one: replace(one, target=replace(one.target, scale=one.target.scale * 8 / 9)),
    ),
    "no division by length": (1, lambda one: replace(one, policy_exponent=0.0, square_exponent=0.0)),
    "an averaged log-ratio": (1, lambda one: replace(one, square_exponent=2.0)),
    "squares of tokens": (2, lambda one: replace(one, tokens=True)),
    "weights": (0, lambda one: replace(one, weights=Weights("exponential", TAU, 1.0, 0.0))),
    "dropped groups": (0, lambda one: replace(one, dropped=Dropped("equal rewards"))),
    "KL-PMD": (0, lambda one: replace(one, form="pairwise")),
    "an explicit chi2": (0, lambda one: replace(one, form="penalised", policy_exponent=0.0, square_exponent=0.0)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_of_a_description_are_caught(mutant):
    which, change = MUTANTS[mutant]
    loss = Recipe(baseline="others' mean", lengths="own length")
    own = stationary(numpy_probe(loss), BANDITS[which], 3, SPREAD).policy
    assert variation(own, predicted(change(described(3)), BANDITS[which], 3, SPREAD)) > 1e-3 > 10 * SOLVER


def test_predictions_that_no_update_has():
    negative = replace(described(3), weights=EQUAL, dropped=Dropped("mean reward outside", 5.0, 6.0))
    assert predicted(negative, BANDITS[0], 3, SPREAD) is None  # nothing counts
    uneven = described(3, form="penalised", chi2_weight=0.5)
    assert predicted(uneven, BANDITS[1], 3, SPREAD) is None
    high = replace(described(3).target, kind="constant", scale=10.0, offset=5.0)
    low = predicted(described(3, target=high), BANDITS[0], 3, SPREAD)
    assert low is None  # a baseline so far above log Z has no symmetric minimum (C14)
    assert predicted(described(3, target=high, tokens=True), BANDITS[2], 3, SPREAD) is None


# -- advantages and weights -----------------------------------------------------------------------------------------


def test_advantages_are_those_of_finite_sample():
    rewards = configurations(5)
    for kind, baseline in (
        ("others' partition", finite_sample.partition_baseline),
        ("group partition", finite_sample.group_partition_baseline),
    ):
        expected = rewards - 0.3 * baseline(rewards, 0.3)
        np.testing.assert_allclose(advantage(kind, rewards, (0.3,)), expected, atol=1e-12)
    np.testing.assert_allclose(
        advantage("mean", rewards) * 5 / 4, rewards - finite_sample.mean_baseline(rewards, 1.0), atol=1e-12
    )


def test_recipes_are_those_of_finite_sample():
    rewards = configurations(4)
    for name, baseline in (
        ("others' mean", finite_sample.mean_baseline),
        ("others' partition", finite_sample.partition_baseline),
        ("group mean", finite_sample.group_mean_baseline),
        ("group partition", finite_sample.group_partition_baseline),
    ):
        got = Recipe(baseline=name, tau=0.2).advantages(np, rewards)
        np.testing.assert_allclose(got, rewards - 0.2 * baseline(rewards, 0.2), atol=1e-12)
    np.testing.assert_array_equal(Recipe(baseline="none").advantages(np, rewards), rewards)
    lone = np.array([[1.0, -1.0, -1.0, -1.0]])
    for tau, value in ((0.01, 0.184), (0.1, 1.842)):
        got = Recipe(baseline="clamped partition", tau=tau).advantages(np, lone)[0, 0]
        assert got == pytest.approx(value, abs=5e-4)
        assert Recipe(baseline="others' partition", tau=tau).advantages(np, lone)[0, 0] == pytest.approx(2.0)


PARAMETERS = {
    "mean": (),
    "constant": (),
    "standardised": (0.02,),
    "others' partition": (0.07,),
    "group partition": (0.4,),
    "clamped partition": (0.02, 1e-5),
}


@pytest.mark.parametrize("kind", ADVANTAGES)
def test_every_advantage_is_told_from_the_others(kind):
    rewards = configurations(4)
    values = 3.7 * (advantage(kind, rewards, PARAMETERS[kind]) - (0.3 if kind == "constant" else 0.0))
    found = fit_advantage(rewards, values, SOLVER)
    assert found.kind == kind
    assert found.scale == pytest.approx(3.7, rel=SOLVER)
    assert found.parameters == pytest.approx(PARAMETERS[kind], rel=SOLVER)
    assert found.offset == pytest.approx(0.3 if kind == "constant" else 0.0, abs=SOLVER)
    assert fit_advantage(rewards, values * (1 + 0.01 * np.sin(rewards * 50)), SOLVER).kind == "unknown"


def test_nothing_to_fit():
    rewards = configurations(4)
    assert fit_advantage(rewards, np.zeros_like(rewards), SOLVER).kind == "unknown"


@pytest.mark.parametrize("kind", ["exponential", "exponential, unnormalised"])
def test_weights_are_recovered(kind):
    rewards = configurations(4)
    values = 0.3 * Weights(kind, 0.6, 1.0, 0.0).values(rewards)
    found = fit_weights(rewards, values, SOLVER)
    assert found.kind == kind
    assert (found.tau, found.scale) == pytest.approx((0.6, 0.3), rel=SOLVER)
    assert fit_weights(rewards, np.full_like(rewards, 2.0), SOLVER).kind == "equal"
    assert fit_weights(rewards, 1.0 + rewards**2, SOLVER).kind == "unknown"


# -- the probe ------------------------------------------------------------------------------------------------------


@pytest.mark.jax
@pytest.mark.parametrize("name", ["openkimi-ploo", "grpo", "prime-rl-3381"])
def test_libraries_agree(name):
    """Finite differences of numpy against jax, where nothing is detached."""
    variant = next(variant for variant in VARIANTS if variant.name == name)
    batch = layout(np.stack([mixed_rewards(4), mixed_rewards(4, 0.5, 3)]), lengths=[1, 2, 3, 3], pad=3, log_ratio=0.1)
    auto, differences = (probe(variant.loss, batch, library).gradient(batch) for library in ("jax", "numpy"))
    same = np.allclose(auto, differences, atol=1e-8)
    assert same == (not variant.loss.detach)


def test_layouts_keep_to_their_mask():
    batch = layout(mixed_rewards(3), lengths=[1, 2, 4], pad=4, log_ratio=[0.1, 0.2, 0.3])
    ratio = (batch.logp - batch.old_logp)[0]
    np.testing.assert_allclose(ratio[:, 0], [0.1, 0.2, 0.3])
    assert not ratio[:, 1:].any()
    assert batch.mask.sum() == 7
    every = layout(mixed_rewards(3), pad=2, log_ratio=0.5, first_only=False)
    np.testing.assert_allclose(every.logp - every.old_logp, 0.5)


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_loaded_with_its_neighbours(tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("FACTOR = 3.0\n")
    (tmp_path / "mine.py").write_text("from helper_of_mine import FACTOR\ndef loss(*a):\n    return FACTOR\n")
    assert load_loss(f"{tmp_path}/mine.py:loss")() == 3.0


def test_files_that_hold_no_loss(tmp_path):
    (tmp_path / "mine.py").write_text("def loss(*a):\n    return 0.0\nNUMBER = 3\n")
    (tmp_path / "broken.py").write_text("def loss(:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "text.txt").write_text("loss")
    place = str(tmp_path)
    for path, *fragments in (
        ("mine.py", "file must name a file and a function"),
        (":loss", "file must name a file and a function"),
        (f"{place}/none.py:loss", "does not exist"),
        (f"{place}/text.txt:loss", "is no Python file"),
        (f"{place}/mine.py:other", "has no function 'other' (it has: loss)"),
        (f"{place}/mine.py:NUMBER", "has no function 'NUMBER'"),
        (f"{place}/broken.py:loss", "cannot be imported: SyntaxError"),
        (f"{place}/leaves.py:loss", "cannot be imported: SystemExit"),
    ):
        refused(ValueError, lambda path=path: load_loss(path), *fragments)
    refused(TypeError, lambda: load_loss(3), "file must be a string, got 3")
