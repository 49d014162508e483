"""The JAX engine against the NumPy reference; its derivatives against C13 and differences; its float32."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pmdtheory as pmd
from tests.strategies import cases, informative, laws, rare_success, taus
from tests.tolerances import REFERENCE, ROOT, largest

jax = pytest.importorskip("jax")
jnp = jax.numpy
fast = pytest.importorskip("pmdtheory.fast")

pytestmark = pytest.mark.jax

CASES = json.loads((Path(__file__).parents[1] / "data" / "updates.json").read_text())["cases"]
SIZE = 8
NUMBERS = ("multiplier", "baseline", "expected_reward", "improvement", "kl", "reverse_kl", "chi2")
ARRAYS = ("log_ratio", "log_policy", "policy")
F32 = 2e-5  # relative error of numbers, times max(1, max|a|) that of log-ratios; what the docstring states


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def mean_pair(problem, mask):
    return fast.mean_update(*mask(problem.log_policy, problem.reward), problem.tau), pmd.mean_update(problem)


def kl_pair(problem, mask):
    return fast.kl_update(*mask(problem.log_policy, problem.reward), problem.tau), pmd.kl_update(problem)


def baseline_pair(problem, mask):
    b = problem.mean_reward / problem.tau + 0.3 * problem.jensen_gap - 0.2
    arrays = mask(problem.log_policy, problem.reward)
    return fast.baseline_update(*arrays, problem.tau, b), pmd.baseline_update(problem, baseline=b)


def mismatched_pair(problem, mask):
    shape = np.linspace(0.5, 1.5, problem.policy.size) * problem.policy
    log_mu = np.where(shape > 0.0, np.log(np.where(shape > 0.0, shape / shape.sum(), 1.0)), -np.inf)
    b = min(problem.log_partition - 0.1, problem.mean_reward / problem.tau)
    log_policy, reward, sampler = mask(problem.log_policy, problem.reward, log_mu)
    return (
        fast.mismatched_update(log_policy, reward, problem.tau, sampler, b),
        pmd.mismatched_update(problem, log_sampler=log_mu, baseline=b),
    )


PAIRS = {"mean": mean_pair, "kl": kl_pair, "baseline": baseline_pair, "mismatched": mismatched_pair}


@pytest.fixture(params=PAIRS, scope="module")
def pair(request):
    """(fast, reference): the same step by both, of a problem that a function pads before it reaches the fast one."""
    return PAIRS[request.param]


def padded(*arrays):
    """Zero-mass actions up to one size, so that everything is compiled once."""
    fill = (-np.inf, 7.0, -np.inf)
    return tuple(np.append(array, np.full(SIZE - array.size, fill[k])) for k, array in enumerate(arrays))


def as_they_are(*arrays):
    return arrays


def assert_same(step, reference, size, scale, worst=REFERENCE):
    assert int(step.status) == fast.Code.SOLVED
    assert float(step.residual) <= ROOT
    update = reference.unwrap()
    for name in NUMBERS:
        here, there = float(getattr(step, name)), getattr(update, name)
        assert here == pytest.approx(there, rel=worst, abs=worst * noise(name, update)), name
    v = np.asarray(step.log_ratio)[:size]
    assert np.abs(v - update.log_ratio).max() <= 1e-12 * scale
    np.testing.assert_allclose(np.asarray(step.policy)[:size], update.policy, rtol=1e-12 * scale, atol=1e-300)
    assert float(np.sum(step.policy)) == pytest.approx(1.0, abs=1e-12)


def noise(name, update):
    """Absolute scales below which numbers are rounding: those of the reward, and those of a step that hardly moves."""
    if name in ("expected_reward", "improvement", "baseline"):
        return largest(update.problem.reward) * (1.0 if name != "baseline" else 1.0 / update.problem.tau)
    shift = 1.0 + abs(update.baseline - update.problem.mean_reward / update.problem.tau)
    if name == "multiplier":
        return 1e-5 * shift if update.baseline != update.problem.mean_reward / update.problem.tau else 1e-20
    return 1e-20 + 1e-4 * shift * update.kl**0.5  # v is x less a shift: its rounding is that of the shift


@settings(max_examples=40)
@given(case=st.one_of(cases(), informative()))
def test_pair(pair, case):
    problem = case.problem()
    step, reference = pair(problem, padded)
    scale = max(largest(problem.scaled_advantage), abs(float(step.baseline)))
    assert_same(step, reference, problem.policy.size, scale)


@settings(max_examples=40)
@given(case=rare_success(tau=taus(-6, 6)))
def test_rare_success(pair, case):
    """Success probabilities down to 1e-300, tau from 1e-6 to 1e6."""
    problem = case.problem()
    step, reference = pair(problem, padded)
    scale = max(largest(problem.scaled_advantage), abs(float(step.baseline)))
    assert_same(step, reference, 2, scale)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_reference_values(index):
    """The cases solved in 80 digits, among them those with a baseline."""
    case = CASES[index]
    law, reward, tau = np.log(case["policy"]), np.array(case["reward"], dtype=float), case["tau"]
    problem = pmd.Problem.from_policy(case["policy"], case["reward"], tau)
    given_b = case["baseline"]
    extra = np.zeros(0) if given_b is None else (float(given_b),)
    size = 64
    pads = np.full(size - law.size, -np.inf), np.zeros(size - law.size)
    law, reward = np.append(law, pads[0]), np.append(reward, pads[1])
    step = fast.mean_update(law, reward, tau) if given_b is None else fast.baseline_update(law, reward, tau, *extra)
    assert int(step.status) == 0
    for name in ("multiplier", "kl", "reverse_kl", "chi2", "expected_reward"):
        assert float(getattr(step, name)) == pytest.approx(float(case[name]), rel=REFERENCE), name
    expected = np.array([float(v) for v in case["log_ratio"]])
    error = np.abs(np.asarray(step.log_ratio)[: expected.size] - expected).max()
    assert error <= 1e-14 * largest(problem.scaled_advantage)


def test_masses_beyond_float64():
    """A success of mass e^-800 is handled by its logarithm."""
    law, r = np.array([0.0, -800.0]), np.array([0.0, 1.0])
    for tau in (1e-3, 0.01, 1.0):
        step, update = fast.mean_update(law, r, tau), pmd.mean_update(pmd.Problem.from_log_policy(law, r, tau)).unwrap()
        assert int(step.status) == 0
        np.testing.assert_allclose(step.log_ratio, update.log_ratio, atol=1e-12 / tau)
        assert not np.isnan(np.asarray(step.policy)).any()


MANY = 40_003  # more than `_fast_large.LARGE`, and no multiple of a block


def many(seed=3, size=MANY):
    rng = np.random.default_rng(seed)
    return np.log(rng.dirichlet(np.ones(size))), rng.random(size)


def assert_same_of_many(step, update, shift=0.0):
    assert int(step.status) == 0
    assert float(step.residual) <= ROOT
    for name in NUMBERS:
        assert float(getattr(step, name)) == pytest.approx(getattr(update, name), rel=1e-12, abs=1e-15), name
    assert np.abs(step.log_ratio - update.log_ratio).max() <= ROOT * (1.0 + abs(shift)) * largest(
        update.problem.scaled_advantage
    )
    np.testing.assert_allclose(step.policy, update.policy, rtol=1e-11, atol=1e-300)
    assert float(step.mass_defect) == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize("tau", [1e-5, 0.002, 0.05, 0.3, 1.0, 20.0])
def test_many_actions(tau):
    """Few fused passes, or the general path: multipliers from 100 to 1e-4, 1 to 1e5 nats between the rewards."""
    law, r = many()
    update = pmd.mean_update(pmd.Problem.from_log_policy(law, r, tau)).unwrap()
    assert_same_of_many(fast.mean_update(law, r, tau), update)


@pytest.mark.parametrize("kind", ["one success", "an outlier", "two levels", "skewed law", "no mass", "large scale"])
def test_many_actions_that_bins_see_badly(kind):
    law, r = many()
    tau = 0.3
    first = np.arange(law.size)
    if kind == "one success":
        r = (first == 77).astype(float)
    elif kind == "an outlier":
        r = np.where(first == 77, 1e6, r)
    elif kind == "two levels":
        r = (r < 0.3).astype(float)
    elif kind == "skewed law":
        law = np.where(first < 10, 0.0, law - 30.0)
    elif kind == "no mass":
        law, r = np.where(first % 3 == 0, -np.inf, law), np.where(first % 3 == 0, 1e3, r)
    else:
        r, tau = 1e12 + 1e12 * r, 3e11
    law = law - np.log(np.exp(law).sum())
    update = pmd.mean_update(pmd.Problem.from_log_policy(law, r, tau)).unwrap()
    step = fast.mean_update(law, r, tau)
    if kind in ("one success", "an outlier"):
        assert int(step.status) == 0
        assert float(step.multiplier) == pytest.approx(update.multiplier, rel=REFERENCE)
        assert float(step.multiplier) == pytest.approx(float(step.reverse_kl), rel=REFERENCE)
    else:
        assert_same_of_many(step, update)


@pytest.mark.parametrize("b", [-40.0, 0.3, 2.0, 9.0])
def test_many_actions_with_a_baseline(b):
    """Also where the multiplier is large, small, negative, and where there is none."""
    law, r = many(4)
    reference = pmd.baseline_update(pmd.Problem.from_log_policy(law, r, 0.3), baseline=b)
    step = fast.baseline_update(law, r, 0.3, b)
    if reference.value is None:
        assert int(step.status) == fast.Code.BASELINE_TOO_HIGH
        return
    assert_same_of_many(step, reference.value, shift=b)


def test_many_actions_for_several_prompts():
    """Laws side by side, with padding that holds NaN; a bad one sends all of them the general way."""
    laws, rewards = (np.stack(parts) for parts in zip(many(5), many(6), strict=True))
    mask = np.arange(MANY) < np.array([[MANY], [35_000]])
    taus_here = np.array([0.3, 0.05])
    padded_laws, padded_rewards = np.where(mask, laws, np.nan), np.where(mask, rewards, np.nan)
    step = fast.mean_update(padded_laws, padded_rewards, taus_here, mask)
    spoilt = fast.mean_update(padded_laws, padded_rewards, taus_here * [np.nan, 1.0], mask)
    assert np.asarray(step.status).tolist() == [0, 0]
    assert np.asarray(spoilt.status).tolist() == [4, 0]
    for k in range(2):
        law = laws[k, mask[k]] - np.log(np.exp(laws[k, mask[k]]).sum())
        update = pmd.mean_update(pmd.Problem.from_log_policy(law, rewards[k, mask[k]], taus_here[k])).unwrap()
        for found in (step, spoilt)[: k + 1]:
            assert float(found.multiplier[k]) == pytest.approx(update.multiplier, rel=ROOT)
            assert np.abs(found.log_ratio[k][mask[k]] - update.log_ratio).max() <= ROOT * 20.0
            assert (np.asarray(found.policy[k])[~mask[k]] == 0.0).all()


def test_many_actions_from_a_sample(monkeypatch):
    """What accelerators do: one kernel over everything, started from every k-th action."""
    from pmdtheory import _fast_survey

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(_fast_survey, "_SAMPLE", 2_000)
    law, r = many(7, MANY + 1)  # a shape of its own is compiled anew
    step = fast.mean_update(law, r, 0.3)
    assert_same_of_many(step, pmd.mean_update(pmd.Problem.from_log_policy(law, r, 0.3)).unwrap())


def test_accelerators_fuse_sums_with_what_they_add(monkeypatch):
    """No slice between the actions and a sum over them: XLA would write the sliced terms out, a pass each."""
    from pmdtheory._fast_sums import swept, totals

    def sliced(backend, sums):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        # a function of its own each time, since traces are kept
        return "slice" in str(jax.make_jaxpr(lambda x: sums(x))(jnp.zeros((MANY + 1, 1))))

    for sums in (lambda x: totals(x, x * x), lambda x: swept(lambda r: ((r, r * r), (r,), ()), x).sums):
        assert not sliced("gpu", sums)
        assert sliced("cpu", sums)  # a processor sums in blocks


def test_derivatives_with_many_actions():
    """They take the general path, and agree with differences of the other."""
    law, r = many()
    slope = jax.grad(lambda tau: fast.mean_update(law, r, tau).multiplier)(0.3)
    ends = [float(fast.mean_update(law, r, 0.3 + h).multiplier) for h in (-1e-5, 1e-5)]
    assert float(slope) == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-7)


# -- batches, masks, transformations --------------------------------------------------------------------------------


def batch(seed=0, shape=(3, 4), size=6):
    rng = np.random.default_rng(seed)
    law = np.log(rng.dirichlet(np.ones(size), size=shape))
    return law, rng.normal(size=(*shape, size)), rng.uniform(0.1, 2.0, size=shape)


def test_batch_is_loop_is_vmap_is_jit():
    law, r, tau = batch()
    together = fast.mean_update(law, r, tau)
    assert together.policy.shape == law.shape
    assert together.multiplier.shape == together.status.shape == tau.shape
    mapped = jax.vmap(jax.vmap(fast.mean_update))(law, r, tau)
    compiled = jax.jit(fast.mean_update)(law, r, tau)
    for name in (*NUMBERS, *ARRAYS):
        one = np.array(
            [[getattr(fast.mean_update(law[i, j], r[i, j], tau[i, j]), name) for j in range(4)] for i in range(3)]
        )
        for other in (together, mapped, compiled):
            np.testing.assert_allclose(getattr(other, name), one, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.slow
def test_very_many_prompts():
    """Processors take them in blocks: the same steps and derivatives as of the prompts alone, at every seam."""
    law, r, tau = batch(8, (1367, 3), size=16)  # 4,101 laws: four blocks of 1,024, and five more
    mask = np.arange(16) < np.random.default_rng(8).integers(1, 17, size=(1367, 3, 1))
    some = np.array([0, 341, 342, 1023, 1024, 1365, 1366])

    def kl(r, *others):
        step = fast.mean_update(others[0], r, *others[1:])
        return step.kl.sum(), step

    together, alone = (
        jax.value_and_grad(kl, has_aux=True)(r[rows], law[rows], tau[rows], mask[rows]) for rows in (slice(None), some)
    )
    for name in (*NUMBERS, *ARRAYS, "status"):
        here, there = getattr(together[0][1], name), getattr(alone[0][1], name)
        np.testing.assert_allclose(np.asarray(here)[some], there, rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(np.asarray(together[1])[some], alone[1], rtol=1e-10, atol=1e-13)


def test_ragged_prompts():
    """Padding may hold anything, NaN too, and changes nothing."""
    law, r, tau = batch(1, (5,))
    mask = np.arange(6) < np.array([[1], [2], [3], [4], [6]])
    cut = np.where(mask, law, -np.inf)
    cut = cut - np.log(np.exp(cut).sum(-1, keepdims=True))
    step = fast.mean_update(np.where(mask, cut, np.nan), np.where(mask, r, np.nan), tau, mask)
    assert (np.asarray(step.status) == 0).all()
    for i, n in enumerate(mask.sum(-1)):
        alone = fast.mean_update(cut[i, :n], r[i, :n], tau[i])
        np.testing.assert_allclose(step.log_ratio[i, :n], alone.log_ratio, atol=1e-13)
        assert (np.asarray(step.log_policy)[i, n:] == -np.inf).all()
        assert (np.asarray(step.policy)[i, n:] == 0.0).all()
        assert (np.asarray(step.log_ratio)[i, n:] == 0.0).all()


def test_counts_of_rollouts_are_two_actions():
    """C10: sixteen binary rollouts are a law of two actions, all-equal groups included."""
    successes = np.arange(17)
    with np.errstate(divide="ignore"):
        law = np.log(np.stack([16 - successes, successes], -1) / 16)
    merged = fast.mean_update(law, np.array([0.0, 1.0]), 0.3)
    single = fast.mean_update(np.zeros(16), (np.arange(16) < successes[:, None]).astype(float), 0.3)
    assert (np.asarray(merged.status) == 0).all()
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(merged, name), getattr(single, name), rtol=1e-12, atol=1e-15, err_msg=name)
    assert float(merged.multiplier[0]) == float(merged.multiplier[16]) == 0.0


def test_dtype_is_kept():
    law, r, tau = batch(2, (4,))
    assert fast.mean_update(law, r, 0.3).policy.dtype == np.float64
    single = fast.mean_update(law.astype(np.float32), r.astype(np.float32), np.float64(0.3))
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype("float32"), np.dtype("int32")}


# -- float32 --------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(case=informative(tau=taus(-2, 1)))
def test_float32(pair, case):
    """Errors as stated; the reference solves what float32 holds."""
    law = np.append(np.log(np.maximum(case.policy, 1e-30)), []).astype(np.float32)
    reward = case.rewards.astype(np.float32)
    weights = np.exp(law.astype(float))
    problem = pmd.Problem.from_policy(weights / weights.sum(), reward.astype(float), float(np.float32(case.tau)))
    step, reference = pair(problem, lambda *arrays: tuple(a.astype(np.float32) for a in padded(*arrays)))
    update = reference.unwrap()
    scale = max(largest(problem.scaled_advantage), abs(update.baseline))
    assert int(step.status) == 0
    assert step.policy.dtype == np.float32
    v = np.asarray(step.log_ratio, dtype=float)[: law.size]
    assert np.abs(v - update.log_ratio).max() <= F32 * scale
    assert float(step.multiplier) == pytest.approx(update.multiplier, rel=F32 * scale, abs=F32 * abs(update.baseline))


def test_float32_with_many_actions():
    rng = np.random.default_rng(0)
    law = np.log(rng.dirichlet(np.ones(MANY))).astype(np.float32)
    r = rng.random(law.size).astype(np.float32)
    single, double = (
        fast.mean_update(law, r, np.float32(0.3)),
        fast.mean_update(law.astype(float), r.astype(float), 0.3),
    )
    assert float(single.multiplier) == pytest.approx(float(double.multiplier), rel=F32)
    assert np.abs(single.log_ratio - double.log_ratio).max() <= F32


# -- derivatives ----------------------------------------------------------------------------------------------------

LAW = np.log(np.array([0.5, 0.2, 0.25, 0.05]))
REWARD = np.array([0.0, 1.0, 0.3, 1.7])
MU = np.log(np.array([0.3, 0.3, 0.2, 0.2]))


def mean_of(law, r, tau, b, mu):
    return fast.mean_update(law, r, tau)


def kl_of(law, r, tau, b, mu):
    return fast.kl_update(law, r, tau)


def baseline_of(law, r, tau, b, mu):
    return fast.baseline_update(law, r, tau, b)


def mismatched_of(law, r, tau, b, mu):
    return fast.mismatched_update(law, r, tau, mu, b)


def stale_of(law, r, tau, b, mu):
    return fast.mismatched_update(law, r, tau, mu)


@pytest.mark.parametrize(
    "update", [mean_of, kl_of, baseline_of, pytest.param(mismatched_of, marks=pytest.mark.slow), stale_of]
)
def test_derivatives_against_differences(update):
    """Forward and backward, of a number that every field enters, with respect to every argument."""
    rng = np.random.default_rng(4)
    mixed = rng.normal(size=(3, 4)), rng.normal(size=7)

    def number(*arguments):
        step = update(*arguments)
        arrays = sum(jnp.dot(w, getattr(step, name)) for w, name in zip(mixed[0], ARRAYS, strict=True))
        return arrays + sum(w * getattr(step, name) for w, name in zip(mixed[1], NUMBERS, strict=True))

    point = (LAW, REWARD, np.array(0.4), np.array(0.9), MU)
    reverse, forward = (mode(number, argnums=tuple(range(5)))(*point) for mode in (jax.grad, jax.jacfwd))
    h = 1e-5
    for k, value in enumerate(point):
        np.testing.assert_allclose(reverse[k], forward[k], rtol=1e-10, atol=1e-10)
        for i in np.ndindex(value.shape):
            ends = []
            for sign in (1.0, -1.0):
                moved = [p.copy() for p in point]
                moved[k][i] += sign * h
                ends.append(float(number(*moved)))
            assert float(reverse[k][i]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("b", [0.2, 0.9, -3.0])
def test_sensitivity_to_the_baseline(b):
    """C13: d log rho/db = -(1 - kappa rho)/(1 + lambda rho)."""
    step = fast.baseline_update(LAW, REWARD, 0.4, b)
    rho, weight, mass = np.exp(step.log_ratio), float(step.multiplier), np.exp(LAW)
    kappa = (mass * rho / (1 + weight * rho)).sum() / (mass * rho**2 / (1 + weight * rho)).sum()
    found = jax.jacfwd(lambda b: fast.baseline_update(LAW, REWARD, 0.4, b).log_ratio)(b)
    np.testing.assert_allclose(found, -(1 - kappa * rho) / (1 + weight * rho), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("update", [mean_of, kl_of, baseline_of, pytest.param(mismatched_of, marks=pytest.mark.slow)])
@pytest.mark.parametrize("reward", [[0.0, 1.0, 0.3, 1.7, 5.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
def test_no_nan_in_derivatives(update, reward):
    """Actions without mass have derivatives zero; constant rewards, where lambda is zero, are no exception."""
    law, mu = np.append(LAW, -np.inf), np.append(MU, -np.inf)

    def number(law, r, tau):
        step = update(law, r, tau, 0.5 * float(np.mean(reward)), mu)
        return step.log_ratio[0] + step.policy[1] + step.kl + step.multiplier + step.chi2

    for found in jax.grad(number, argnums=(0, 1, 2))(law, np.array(reward), 0.4):
        assert np.isfinite(np.asarray(found)).all()
    assert float(jax.grad(number, argnums=1)(law, np.array(reward), 0.4)[4]) == 0.0


def test_no_nan_in_derivatives_of_padding():
    mask = np.array([True, True, True, True, False])
    law, r = np.append(LAW, np.nan), np.append(REWARD, np.nan)
    for found in jax.grad(lambda l, r: fast.mean_update(l, r, 0.4, mask).expected_reward, argnums=(0, 1))(law, r):
        assert np.isfinite(np.asarray(found)).all()
        assert float(found[4]) == 0.0


def test_second_derivatives():
    tau = np.array(0.4)

    def slope(t):
        return jax.grad(lambda t: fast.mean_update(LAW, REWARD, t).multiplier)(t)

    h = 1e-5
    difference = (slope(tau + h) - slope(tau - h)) / (2 * h)
    assert float(jax.grad(slope)(tau)) == pytest.approx(float(difference), rel=1e-7)


def test_derivatives_of_batches():
    law, r, tau = batch(5, (4,))
    together = jax.grad(lambda r: fast.mean_update(law, r, tau).kl.sum())(r)
    alone = [jax.grad(lambda r, i=i: fast.mean_update(law[i], r, tau[i]).kl)(r[i]) for i in range(4)]
    np.testing.assert_allclose(together, np.array(alone), rtol=1e-11)
    np.testing.assert_allclose(together, jax.vmap(jax.grad(lambda *a: fast.mean_update(*a).kl, argnums=1))(law, r, tau))


# -- failures -------------------------------------------------------------------------------------------------------


def all_nan(step):
    return all(
        np.isnan(np.asarray(getattr(step, name))).all()
        for name in (*NUMBERS, *ARRAYS, "residual", "mass_defect", "chi2_sampler")
    )


@pytest.mark.parametrize(
    ("law", "reward", "tau"),
    [
        ([np.nan, 0.0], [0.0, 1.0], 1.0),
        ([-np.inf, -np.inf], [0.0, 1.0], 1.0),
        ([0.0, 0.0], [0.0, np.inf], 1.0),
        ([0.0, 0.0], [0.0, 1.0], 0.0),
        ([0.0, 0.0], [0.0, 1.0], np.nan),
        ([0.0, 0.0], [0.0, 1.0], 1e-310),
    ],
)
def test_bad_input_is_a_code(law, reward, tau):
    for update in (fast.mean_update, fast.kl_update):
        step = update(np.array(law), np.array(reward), tau)
        assert int(step.status) == fast.Code.BAD_INPUT
        assert all_nan(step)


def test_a_bad_prompt_leaves_the_others_alone():
    law, r, tau = batch(6, (3,))
    spoilt = r.copy()
    spoilt[1, 2] = np.nan
    step, fine = fast.mean_update(law, spoilt, tau), fast.mean_update(law, r, tau)
    assert np.asarray(step.status).tolist() == [0, 4, 0]
    np.testing.assert_array_equal(np.asarray(step.policy)[[0, 2]], np.asarray(fine.policy)[[0, 2]])


def test_baselines_around_log_partition():
    """At log Z it is KL-PMD; just above, the multiplier is negative (C14)."""
    ideal = fast.kl_update(LAW, REWARD, 0.4)
    b = float(ideal.baseline)
    for near in (b, np.nextafter(b, 9.0), np.nextafter(b, 0.0)):
        step = fast.baseline_update(LAW, REWARD, 0.4, near)
        assert int(step.status) == 0
        np.testing.assert_allclose(step.policy, ideal.policy, rtol=1e-12)
        assert float(step.multiplier) == pytest.approx(0.0, abs=1e-14)
    step = fast.baseline_update(LAW, REWARD, 0.4, b + 1e-9)
    assert float(step.multiplier) == pytest.approx(-1e-9 / float(jnp.exp(ideal.log_ratio) @ ideal.policy), rel=1e-5)
    assert int(fast.baseline_update(LAW, REWARD, 0.4, b + 1.01).status) == fast.Code.BASELINE_TOO_HIGH


@settings(max_examples=60)
@given(case=st.one_of(cases(), informative()), excess=st.sampled_from([1e-9, 1e-3, 0.05, 0.2, 0.5, 0.9, 1.1, 800.0]))
def test_baselines_above_log_partition(case, excess):
    """C14: the same symmetric local minimum as the reference, where it has one; else the code that says so."""
    problem = case.problem()
    b = problem.log_partition + excess
    reference = pmd.baseline_update(problem, baseline=b)
    step = fast.baseline_update(*padded(problem.log_policy, problem.reward), problem.tau, b)
    scale = max(largest(problem.scaled_advantage), abs(b))
    if abs(b - problem.log_partition - excess) > 1e-3 * excess:
        return  # the excess is lost next to log Z
    if reference.value is None:
        assert int(step.status) == fast.Code.BASELINE_TOO_HIGH
        return
    assert int(step.status) == 0
    assert float(step.residual) <= ROOT
    assert float(step.multiplier) <= 0.0
    v = np.asarray(step.log_ratio)[: problem.policy.size]
    assert np.abs(v - reference.value.log_ratio).max() <= ROOT * scale
    noise_here = 1e-14 * scale / excess  # lambda vanishes like the excess, which is known to rounding of b
    assert float(step.multiplier) == pytest.approx(reference.value.multiplier, rel=REFERENCE + noise_here)


def test_derivatives_above_log_partition():
    """C13 with a negative multiplier, against differences, of lambda and of a log-ratio."""
    b = float(fast.kl_update(LAW, REWARD, 0.4).baseline) + 0.1

    def number(reward):
        step = fast.baseline_update(LAW, reward, 0.4, b)
        return step.multiplier + step.log_ratio[1]

    found = jax.grad(number)(REWARD)
    for k in range(4):
        h = 1e-6 * np.eye(4)[k]
        assert float(found[k]) == pytest.approx(float(number(REWARD + h) - number(REWARD - h)) / 2e-6, rel=1e-6)


def test_blind_sampler():
    problem = pmd.Problem.from_log_policy(LAW, REWARD, 0.4)
    with np.errstate(divide="ignore"):
        mu = np.log(np.array([0.6, 0.0, 0.2, 0.2]))
    for b in (0.2, None):
        step = fast.mismatched_update(LAW, REWARD, 0.4, mu, b)
        update = pmd.mismatched_update(problem, log_sampler=mu, baseline=b).unwrap()
        np.testing.assert_allclose(step.policy, update.policy, rtol=1e-12)
        for name in NUMBERS:
            assert float(getattr(step, name)) == pytest.approx(getattr(update, name), rel=REFERENCE), name
        assert float(step.log_ratio[1]) == -np.inf
    assert int(fast.mismatched_update(LAW, REWARD, 0.4, mu, 9.0).status) == fast.Code.BLIND_ACTIONS
    assert int(fast.mismatched_update(np.where(mu > -9, LAW, -np.inf), REWARD, 0.4, MU).status) == fast.Code.BAD_INPUT


@settings(max_examples=40)
@given(case=informative(), data=st.data())
def test_mismatched_with_any_sampler(case, data):
    """Where the reference has an answer so has the fast one, and the same; elsewhere it says why not."""
    problem = case.problem()
    log_mu = data.draw(laws(len(case.weights), zeros=True))
    if ((log_mu > -np.inf) & (problem.log_policy == -np.inf)).any():
        return
    step = fast.mismatched_update(
        *padded(problem.log_policy, problem.reward), problem.tau, padded(log_mu, log_mu, log_mu)[2]
    )
    reference = pmd.mismatched_update(problem, log_sampler=log_mu)
    if reference.value is None:
        codes = {"BASELINE_TOO_HIGH": fast.Code.BASELINE_TOO_HIGH, "BLIND_ACTIONS": fast.Code.BLIND_ACTIONS}
        assert int(step.status) == codes[reference.status.name]
        return
    assert int(step.status) == 0
    scale = largest(problem.scaled_advantage)
    policy = np.asarray(step.policy)[: problem.policy.size]
    np.testing.assert_allclose(policy, reference.value.policy, rtol=1e-11 * scale, atol=1e-13 * scale)
    there = reference.stats["chi2_sampler"]
    assert float(step.chi2_sampler) == pytest.approx(there, rel=1e-11 * scale, abs=1e-13 * scale)


def test_shapes_are_refused():
    with pytest.raises(ValueError, match="do not broadcast"):
        fast.mean_update(np.zeros(3), np.zeros(4), 1.0)
    with pytest.raises(ValueError, match="log_policy"):
        fast.mean_update(np.zeros(()), np.zeros(4), 1.0)


# -- Wright omega ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "reach"), [(np.float64, 700.0), (np.float32, 80.0)])
def test_omega_against_mpmath(dtype, reach):
    import mpmath as mp

    z = np.concatenate([np.linspace(-reach, reach, 301), np.linspace(-6, 6, 601), 10.0 ** np.arange(3, 31, 3)])
    z = z.astype(dtype)
    found = np.asarray(fast.wright_omega(z))
    assert found.dtype == dtype
    with mp.workdps(40):
        for value, at in zip(found.tolist(), z.tolist(), strict=True):
            # relative error of omega from the residual: (omega + log omega - z)/(1 + omega)
            error = (mp.mpf(value) + mp.log(value) - mp.mpf(at)) / (1 + mp.mpf(value))
            assert abs(error) <= 2.0 * np.finfo(dtype).eps, at


def test_omega_at_the_ends():
    found = np.asarray(fast.wright_omega(np.array([-np.inf, np.inf, np.nan, -1e6, 1.0, 1e300])))
    np.testing.assert_allclose(found, [0.0, np.inf, np.nan, 0.0, 1.0, 1e300], rtol=4e-16)
    slopes = jax.vmap(jax.grad(fast.wright_omega))(np.array([-1e6, 0.0, 1.0, 1e300]))
    w = float(fast.wright_omega(0.0))
    np.testing.assert_allclose(slopes, [0.0, w / (1 + w), 0.5, 1.0], rtol=1e-14)
    assert float(jax.grad(jax.grad(fast.wright_omega))(1.0)) == pytest.approx(0.125, rel=1e-14)


# -- many devices ---------------------------------------------------------------------------------------------------

SHARDED = r"""
import re
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from pmdtheory import fast

assert jax.device_count() == 4
B, A = 64, 6
rng = np.random.default_rng(0)
law, r = np.log(rng.dirichlet(np.ones(A), size=B)), rng.normal(size=(B, A))
tau, b = rng.uniform(0.1, 2.0, size=B), rng.normal(size=B) - 1.0
mask = np.arange(A) < rng.integers(1, A + 1, size=(B, 1))
mesh = Mesh(np.array(jax.devices()), ("prompts",))
place = lambda x: jax.device_put(x, NamedSharding(mesh, PartitionSpec("prompts", *[None] * (x.ndim - 1))))
calls = {
    "mean": (fast.mean_update, (law, r, tau, mask)),
    "kl": (fast.kl_update, (law, r, tau, mask)),
    "mismatched": (fast.mismatched_update, (law, r, tau, np.roll(law, 1, 0), b)),
}
for name, (update, arguments) in calls.items():
    alone, placed = update(*arguments), tuple(map(place, arguments))
    compiled = jax.jit(update).lower(*placed).compile()
    together = compiled(*placed)
    for field, one in vars(alone).items():
        other = getattr(together, field)
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-14, err_msg=name + " " + field)
        assert len(other.sharding.device_set) == 4, (name, field)
        assert other.addressable_shards[0].data.shape[0] == B // 4, (name, field, other.sharding)
    text = compiled.as_text()
    assert "all-reduce" in text or name == "kl", name  # whether any prompt is open
    moved = re.findall(r"= (\S+) (?:all-gather|all-to-all|collective-permute)", text)
    assert not moved, (name, moved)
print("same")
"""


def test_batches_are_sharded():
    """Four devices: the same numbers, each device keeps its prompts, and nothing but the loop's condition moves."""
    flags = "--xla_force_host_platform_device_count=4"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "same"


# -- what an import costs -------------------------------------------------------------------------------------------


def test_fields_are_the_reference_s():
    """Every array and number of an `Update` has the same name here."""
    names = {field.name for field in dataclasses.fields(fast.BatchStep)}
    theirs = {field.name for field in dataclasses.fields(pmd.Update)} - {"problem", "level_log_ratio"}
    assert theirs | {"log_ratio", "log_policy", "policy", "chi2_sampler", "residual", "status"} == names


def test_import_brings_jax_only():
    heavy = ("scipy.stats", "clarabel", "flint", "tyro", "rich", "sympy", "matplotlib", "torch", "mpmath", "pyarrow")
    code = f"import sys, pmdtheory.fast; print(sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
