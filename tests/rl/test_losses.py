"""The losses against plain loops, against the exact updates, under every mask, and the same in numpy and jax."""

import dataclasses
import functools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory import losses
from tests.rl.loss_cases import HAS_LENGTHS, MUTANTS, OPTIONS, SIGNAL, Case, naive, random_case
from tests.tolerances import EPS, ROOT, exact
from tests.wrong import refused

NAMES = sorted(OPTIONS)
REDUCTIONS = ("mean", "sum", "none")
DIFFERENCE = 1e-9  # five-point differences with h = 1e-3: h^4 f'''''/30 and eps/h, times constants of a few hundred
STATIONARY = 1e-10  # gradient at an exact update, whose own residual is 1e-12, by the same differences
F32 = 64 * float(np.finfo(np.float32).eps)  # `exact` in single precision
SEEDS = st.integers(0, 10**6)


def loss(name, case, reduction="mean", **changed):
    return getattr(losses, name)(**(case.arguments(name) | changed), reduction=reduction)


def slope(function, x, h=1e-3):
    """Gradient of a scalar function by five-point differences, entry by entry."""
    found = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        nudge = np.zeros(x.shape)
        nudge[index] = h
        near, far = (function(x + k * nudge) - function(x - k * nudge) for k in (1, 2))
        found[index] = (8 * near - far) / (12 * h)
    return found


def smooth(name, seed, *, margin=0.02, **options):
    """A case no ratio of which is within reach of a kink of the loss."""
    clipped = "clip_low" in OPTIONS[name]
    kinks = [math.log1p(OPTIONS[name]["clip_high"]), math.log1p(-OPTIONS[name]["clip_low"])] if clipped else []
    for attempt in range(seed, seed + 10_000):
        case = random_case(attempt, size=3, tokens=4, spread=0.3, **options)
        ell = np.where(case.mask, case.logp - case.old_logp, 0.0)
        if name == "gspo_loss":
            ell = ell.sum(1) / (np.maximum(case.mask.sum(1), 1) if case.lengths is None else case.lengths.clip(1))
        if all(np.abs(ell - kink).min() > margin for kink in kinks):
            return case
    raise AssertionError("no smooth case")


def test_every_loss_has_an_oracle():
    assert set(losses.__all__) == set(OPTIONS) == set(MUTANTS)
    assert all(getattr(losses, name).__module__.startswith("pmdtheory.losses.") for name in NAMES)


# -- against loops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, reduction=st.sampled_from(REDUCTIONS), weights=st.booleans(), lengths=st.booleans())
def test_agrees_with_loops(name, seed, reduction, weights, lengths):
    case = random_case(seed, weights=weights, lengths=lengths)
    expected = naive(name, case, reduction)
    np.testing.assert_allclose(loss(name, case, reduction), expected, rtol=ROOT, atol=exact(expected))


@pytest.mark.parametrize(("name", "mutant"), [(name, mutant) for name in NAMES for mutant in MUTANTS[name]])
def test_mistakes_are_caught(name, mutant):
    """A plausible mistake differs from the loss by ten tolerances in at least nine batches of ten."""
    caught = 0
    for seed in range(40):
        case = random_case(seed, size=12, lengths=mutant == "no lengths")  # enough for every clip to bind
        true, wrong = loss(name, case), naive(name, case, **MUTANTS[name][mutant])
        caught += abs(true - wrong) > 10 * (ROOT * abs(wrong) + exact(wrong))
    assert caught >= 36


@pytest.mark.parametrize("name", NAMES)
def test_sums_over_sequences_are_sequences_of_one_token(name):
    case = random_case(3, size=5, tokens=1)
    flat = Case(case.logp[:, 0], case.old_logp[:, 0], case.signal, case.mask[:, 0], case.weights)
    np.testing.assert_array_equal(loss(name, flat, "none"), loss(name, case, "none"))
    assert loss(name, flat) == loss(name, case)


@pytest.mark.parametrize("name", ["pmd_loss", "penalised_loss", "rloo_loss", "gspo_loss"])
def test_losses_of_sequences_take_sums(name):
    case = random_case(4)
    new, old = (np.where(case.mask, x, 0.0).sum(1) for x in (case.logp, case.old_logp))
    flat = Case(new, old, case.signal, case.mask.any(1), case.weights)
    changed = {"lengths": case.mask.sum(1)} if name == "gspo_loss" else {}
    np.testing.assert_allclose(loss(name, flat, **changed), loss(name, case), rtol=ROOT)


PUBLISHED = {
    "grpo_loss": (0.2, 0.2),
    "dr_grpo_loss": (0.2, 0.2),
    "dapo_loss": (0.2, 0.28),
    "gspo_loss": (3e-4, 4e-4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_default_clips_are_the_published_ones(name):
    """Ratios far outside on both sides, one token each: the terms are the bounds themselves."""
    low, high = PUBLISHED[name]
    case = Case(np.array([1.0, -1.0]), np.zeros(2), np.array([1.0, -1.0]), np.ones(2, dtype=bool))
    terms = getattr(losses, name)(case.logp, case.old_logp, case.signal, reduction="none")
    np.testing.assert_allclose(terms, [-(1.0 + high), 1.0 - low], rtol=ROOT)


@given(SEEDS)
def test_rloo_without_old_logp_is_reinforce(seed):
    case = random_case(seed)
    terms = -case.weights * case.signal * np.where(case.mask, case.logp, 0.0).sum(1)
    np.testing.assert_allclose(loss("rloo_loss", case, "none", old_logp=None), terms, rtol=ROOT, atol=exact(terms))


# -- gradients ------------------------------------------------------------------------------------------------------


def at_old(name, case, **changed):
    """Gradient of the mean at logp = old_logp, by differences."""
    return slope(lambda logp: loss(name, case, logp=logp, **changed), case.old_logp)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lengths", [False, True])
def test_the_regression_starts_as_a_policy_gradient(seed, lengths):
    """At logp = old_logp: minus tau times target, times the weight, over length and number of live sequences."""
    case = random_case(seed, lengths=lengths)
    tau, live = OPTIONS["pmd_loss"]["tau"], case.mask.any(1).sum()
    length = np.maximum(case.lengths, 1) if lengths else 1.0
    row = -tau * case.signal * case.weights / (length * live)
    np.testing.assert_allclose(at_old("pmd_loss", case), row[:, None] * case.mask, atol=DIFFERENCE)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "pmd_loss"])
def test_the_others_start_as_policy_gradients(name):
    """The same A grad log pi for all; they differ in what divides it."""
    case = random_case(5)
    counts, live = np.maximum(case.mask.sum(1), 1), case.mask.any(1).sum()
    divisor = {"grpo_loss": counts * live, "gspo_loss": counts * live, "dr_grpo_loss": 5 * live}
    row = -case.signal * case.weights / divisor.get(name, case.mask.sum() if name == "dapo_loss" else live)
    np.testing.assert_allclose(at_old(name, case), row[:, None] * case.mask, atol=DIFFERENCE)
    if name == "rloo_loss":
        plain = at_old(name, case, old_logp=None)
        np.testing.assert_allclose(plain, row[:, None] * case.mask, atol=DIFFERENCE)


PROBLEMS = {
    "binary": pmd.Problem.from_policy([0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1], tau=0.2),
    "graded": pmd.Problem.from_policy([0.4, 0.3, 0.2, 0.1], [0.2, 0.5, -0.3, 1], tau=0.5),
    "rare": pmd.Problem.from_policy([0.6, 0.3, 0.09, 0.01], [0, 0.1, 0, 1], tau=0.3),
}


def population(loss_of, weights, signal, problem, **options):
    """The loss in expectation, as a function of the logits of a tabular softmax policy."""

    def value(logits):
        logp = logits - np.logaddexp.reduce(logits)
        return loss_of(logp, problem.log_policy, signal, weights=weights, reduction="sum", **options)

    return value


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("excess", [-2.0, -0.5, 0.0, 0.02])
def test_the_regression_is_stationary_at_the_baseline_update(name, excess):
    """Target r/tau - b for b around log Z, also beyond it while the symmetric minimum exists."""
    problem = PROBLEMS[name]
    b = problem.log_partition + excess
    step = pmd.baseline_update(problem, baseline=b).unwrap()
    value = population(losses.pmd_loss, problem.policy, problem.reward / problem.tau - b, problem, tau=problem.tau)
    assert np.abs(slope(value, step.log_policy)).max() < STATIONARY
    # any other member is not stationary: the check can fail
    other = pmd.baseline_update(problem, baseline=b - 1.0).unwrap()
    assert np.abs(slope(value, other.log_policy)).max() > 1e6 * STATIONARY


@pytest.mark.parametrize("name", PROBLEMS)
def test_pmd_mean_and_part(name):
    problem = PROBLEMS[name]
    for step, goal in (
        (pmd.mean_update(problem).unwrap(), problem.scaled_advantage),
        (pmd.kl_update(problem).unwrap(), problem.reward / problem.tau - problem.log_partition),
    ):
        value = population(losses.pmd_loss, problem.policy, goal, problem, tau=problem.tau)
        assert np.abs(slope(value, step.log_policy)).max() < STATIONARY


@pytest.mark.parametrize("name", PROBLEMS)
def test_weights_make_another_sampler(name):
    """C15: in expectation under mu, anchored at the policy, the loss leads to the mismatched step."""
    problem = PROBLEMS[name]
    mu = np.array([0.1, 0.4, 0.3, 0.2])
    step = pmd.mismatched_update(problem, log_sampler=np.log(mu)).unwrap()
    goal = (problem.reward - mu @ problem.reward) / problem.tau
    value = population(losses.pmd_loss, mu, goal, problem, tau=problem.tau)
    assert np.abs(slope(value, step.log_policy)).max() < STATIONARY
    on_policy = pmd.mean_update(problem).unwrap()
    assert np.abs(slope(value, on_policy.log_policy)).max() > 1e6 * STATIONARY


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_penalised_loss_is_the_mixed_objective(name, weight):
    problem = PROBLEMS[name]
    step = pmd.mixed_update(problem, weight=weight).unwrap()
    options = {"tau": problem.tau, "chi2_weight": weight}
    value = population(losses.penalised_loss, problem.policy, problem.reward, problem, **options)
    assert np.abs(slope(value, step.log_policy)).max() < STATIONARY
    far = pmd.kl_update(pmd.Problem.from_log_policy(problem.log_policy, -problem.reward, 1.0)).unwrap()
    for move in (step, far):  # at every policy, not only at its minimiser
        objective = move.policy @ problem.reward - problem.tau * (move.kl + weight / 2 * move.chi2)
        assert value(move.log_policy) == pytest.approx(-objective, abs=ROOT)


@pytest.mark.parametrize("name", PROBLEMS)
def test_pmd_mean_is_the_penalised_step_of_its_own_multiplier(name):
    """C2 as two losses with one minimiser."""
    problem = PROBLEMS[name]
    step = pmd.mean_update(problem).unwrap()
    options = {"tau": problem.tau, "chi2_weight": step.multiplier}
    value = population(losses.penalised_loss, problem.policy, problem.reward, problem, **options)
    assert np.abs(slope(value, step.log_policy)).max() < STATIONARY


# -- masks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, reduction=st.sampled_from(REDUCTIONS), extra=st.integers(1, 4), lengths=st.booleans())
def test_padding_tokens_change_nothing(name, seed, reduction, extra, lengths):
    case = random_case(seed, lengths=lengths)
    wide = [np.pad(x, ((0, 0), (0, extra)), constant_values=np.nan) for x in (case.logp, case.old_logp)]
    padded = dataclasses.replace(
        case, logp=wide[0], old_logp=wide[1], mask=np.pad(case.mask, ((0, 0), (0, extra)), constant_values=False)
    )
    got, expected = loss(name, padded, reduction), loss(name, case, reduction)
    np.testing.assert_allclose(got, expected, rtol=ROOT, atol=exact(expected))  # numpy sums in another order


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, extra=st.integers(1, 4))
def test_padding_sequences_changes_nothing(name, seed, extra):
    case = random_case(seed)
    rows = ((0, extra), (0, 0))
    padded = Case(
        np.pad(case.logp, rows, constant_values=np.nan),
        np.pad(case.old_logp, rows, constant_values=-np.inf),
        np.pad(case.signal, (0, extra), constant_values=np.nan),
        np.pad(case.mask, rows, constant_values=False),
        np.pad(case.weights, (0, extra), constant_values=np.nan),
    )
    for reduction in ("mean", "sum"):
        expected = loss(name, case, reduction)
        np.testing.assert_allclose(loss(name, padded, reduction), expected, rtol=ROOT, atol=exact(expected))
    assert np.all(loss(name, padded, "none")[-extra:] == 0.0)


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, lengths=st.booleans())
def test_the_order_of_sequences_does_not_matter(name, seed, lengths):
    case = random_case(seed, lengths=lengths)
    order = np.random.default_rng(seed + 1).permutation(len(case.signal))
    fields = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)}
    moved = Case(**{key: None if value is None else value[order] for key, value in fields.items()})
    np.testing.assert_array_equal(loss(name, moved, "none"), loss(name, case, "none")[order])
    np.testing.assert_allclose(loss(name, moved), loss(name, case), rtol=ROOT, atol=exact())


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, reduction=st.sampled_from(REDUCTIONS))
def test_what_is_masked_has_no_influence(name, seed, reduction):
    case = random_case(seed)
    np.testing.assert_array_equal(loss(name, case.spoiled(), reduction), loss(name, case, reduction))


def test_a_mask_by_multiplication_would_not_do():
    """What the test above would see: zero times NaN."""
    case = random_case(0).spoiled()
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.sum(case.mask * case.logp))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_batch_without_tokens_is_zero(name, reduction):
    case = dataclasses.replace(random_case(1), mask=np.zeros((4, 6), dtype=bool)).spoiled()
    assert np.all(loss(name, case, reduction) == 0.0)
    empty = Case(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3), dtype=bool))
    assert np.all(loss(name, empty, reduction) == 0.0)
    narrow = Case(np.zeros((2, 0)), np.zeros((2, 0)), np.ones(2), np.zeros((2, 0), dtype=bool))
    assert np.all(loss(name, narrow, reduction) == 0.0)


@pytest.mark.parametrize("name", HAS_LENGTHS)
@pytest.mark.parametrize("nothing", [0, -1, np.nan])
def test_a_sequence_of_length_zero_does_not_count(name, nothing):
    case = dataclasses.replace(random_case(2), mask=np.ones((4, 6), dtype=bool))
    lengths = np.array([3, nothing, 2, 5], dtype=float)
    alive = lengths > 0
    fewer = Case(case.logp[alive], case.old_logp[alive], case.signal[alive], case.mask[alive], case.weights[alive])
    spoiled = np.where(alive[:, None], case.logp, np.nan)  # its tokens do not count either, mask or not
    got = loss(name, dataclasses.replace(case, logp=spoiled, lengths=lengths))
    assert got == pytest.approx(loss(name, dataclasses.replace(fewer, lengths=lengths[alive])), rel=ROOT)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.int64, np.float32, np.uint8])
def test_masks_of_numbers(name, kind):
    case = random_case(6)
    assert loss(name, case, mask=case.mask.astype(kind)) == loss(name, case)
    full = dataclasses.replace(case, mask=np.ones_like(case.mask))
    assert loss(name, case, mask=None) == loss(name, full)


# -- numerics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_the_dtype_is_that_of_logp(name, kind):
    case = random_case(7)
    expected = loss(name, case)
    for reduction in REDUCTIONS:
        got = loss(name, case, reduction, logp=case.logp.astype(kind))
        assert got.dtype == kind
        options = {key: np.float64(value) for key, value in OPTIONS[name].items()}  # numpy scalars must not widen it
        assert loss(name, case, reduction, logp=case.logp.astype(kind), **options).dtype == kind
    if kind is np.float32:
        single = random_case(7)
        assert loss(name, single, logp=single.logp.astype(kind)) == pytest.approx(expected, rel=F32, abs=F32)


def test_lists_will_do():
    assert losses.pmd_loss([-1.0, -2.0], [-1.5, -2.0], [1, 0], tau=2) == pytest.approx(0.5 * 0.25, abs=EPS)


@pytest.mark.parametrize("name", [name for name in NAMES if "clip_low" in OPTIONS[name]])
def test_ratios_that_overflow_are_clipped(name):
    """Advantage positive or zero: a finite loss however large the ratio."""
    case = Case(np.zeros((2, 2)), np.full((2, 2), -1e4), np.array([1.0, 0.0]), np.ones((2, 2), dtype=bool))
    terms = loss(name, case, "none")
    assert np.all(np.isfinite(terms))
    assert terms[1] == 0.0
    with np.errstate(over="ignore"):
        assert loss(name, dataclasses.replace(case, signal=np.array([-1.0, 1.0]))) == math.inf
    gone = dataclasses.replace(case, logp=case.old_logp, old_logp=case.logp)
    with np.errstate(under="ignore"):
        assert loss(name, gone, clip_low=1.0) == 0.0


# -- wrong inputs ---------------------------------------------------------------------------------------------------

LOGP = np.zeros((2, 3))
WRONG = {
    "logp none": (TypeError, {"logp": None}, "logp must be an array of real numbers, got None"),
    "logp strings": (TypeError, {"logp": ["a", "b"]}, "logp must be an array of real numbers"),
    "logp ragged": (TypeError, {"logp": [[0.0], [0.0, 1.0]]}, "logp must be an array of real numbers"),
    "logp complex": (TypeError, {"logp": LOGP + 1j}, "logp must be an array of real numbers"),
    "logp tokens": (TypeError, {"logp": LOGP.astype(int)}, "floating-point dtype, got int64"),
    "logp scalar": (ValueError, {"logp": 0.0}, "shape [B] or [B, T], got ()"),
    "logp cube": (ValueError, {"logp": np.zeros((2, 3, 4))}, "shape [B] or [B, T], got (2, 3, 4)"),
    "old shape": (ValueError, {"old_logp": np.zeros(2)}, "old_logp must have shape (2, 3), got (2,)"),
    "mask shape": (ValueError, {"mask": np.ones((3, 2))}, "mask must have shape (2, 3), got (3, 2)"),
    "signal column": (ValueError, {"signal": np.ones((2, 1))}, "must have shape (2,), got (2, 1)"),
    "signal tokens": (ValueError, {"signal": np.ones((2, 3))}, "must have shape (2,), got (2, 3)"),
    "signal scalar": (ValueError, {"signal": 1.0}, "must have shape (2,), got ()"),
    "weights shape": (ValueError, {"weights": np.ones(3)}, "weights must have shape (2,), got (3,)"),
    "reduction": (ValueError, {"reduction": "batchmean"}, "reduction must be one of", "'batchmean'"),
    "reduction none": (ValueError, {"reduction": None}, "reduction must be one of", "got None"),
}


def call(name, changes):
    case = Case(LOGP, LOGP, np.ones(2), np.ones((2, 3), dtype=bool))
    changes = {SIGNAL[name] if key == "signal" else key: value for key, value in changes.items()}
    return getattr(losses, name)(**(case.arguments(name) | changes))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arrays(name, wrong):
    kind, changes, *fragments = WRONG[wrong]
    refused(kind, lambda: call(name, changes), *fragments)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rloo_loss"])
def test_no_old_logp_no_loss(name):
    refused(ValueError, lambda: call(name, {"old_logp": None}), "old_logp must not be None", "plain policy gradient")


SCALARS = {
    "tau zero": (["pmd_loss", "penalised_loss"], ValueError, {"tau": 0.0}, "tau must be greater than zero, got 0.0"),
    "tau negative": (["pmd_loss", "penalised_loss"], ValueError, {"tau": -1}, "tau must be greater than zero"),
    "tau nan": (["pmd_loss", "penalised_loss"], ValueError, {"tau": math.nan}, "tau must be finite, got nan"),
    "tau string": (["pmd_loss", "penalised_loss"], TypeError, {"tau": "0.1"}, "tau must be a real number"),
    "tau vector": (["pmd_loss", "penalised_loss"], TypeError, {"tau": np.ones(2)}, "tau must be a real number"),
    "tau none": (["pmd_loss", "penalised_loss"], TypeError, {"tau": None}, "tau must be a real number, got None"),
    "chi2": (["penalised_loss"], ValueError, {"chi2_weight": -0.1}, "chi2_weight must be at least zero, got -0.1"),
    "horizon": (["dr_grpo_loss"], ValueError, {"horizon": 0}, "horizon must be greater than zero, got 0.0"),
    "lengths": (list(HAS_LENGTHS), ValueError, {"lengths": np.ones((2, 3))}, "lengths must have shape (2,)"),
    "low": (["grpo_loss", "gspo_loss", "dapo_loss"], ValueError, {"clip_low": 1.5}, "clip_low must lie in [0, 1]"),
    "high": (["grpo_loss", "dr_grpo_loss"], ValueError, {"clip_high": -0.1}, "clip_high must be at least zero"),
}


@pytest.mark.parametrize("wrong", SCALARS)
def test_wrong_options(wrong):
    names, kind, changes, fragment = SCALARS[wrong]
    for name in names:
        refused(kind, functools.partial(call, name, changes), fragment)


def test_arrays_of_two_libraries():
    class Foreign:
        def __array_namespace__(self):
            return math  # any module that is not numpy

    class Tensor:
        __module__ = "torch"

    class Derived(Tensor):
        """Of another module, as the subclasses of tensors that frameworks define."""

    sys.modules["torch"], before = math, sys.modules.get("torch")
    try:
        refused(TypeError, lambda: call("pmd_loss", {"logp": Foreign(), "weights": Derived()}), "logp is of math")
    finally:
        del sys.modules["torch"]
        if before is not None:
            sys.modules["torch"] = before


def test_importing_the_losses_loads_no_framework():
    code = "import sys, pmdtheory.losses; print(sorted({'jax', 'torch'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


# -- jax ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jax():
    """JAX with 64-bit numbers, every silent promotion an error."""
    import jax

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield jax


def arrays(jax, name, case):
    """The arguments of a loss as jax arrays, and its options."""
    options = OPTIONS[name]
    given_to = {key: value for key, value in case.arguments(name).items() if key not in options}
    return {key: jax.numpy.asarray(value) for key, value in given_to.items()}, options


@pytest.mark.jax
@pytest.mark.parametrize("name", NAMES)
def test_jax_agrees_with_numpy(name, jax):
    """Eager, jitted, and for masks, weights and lengths; to 1e-12 in float64."""
    for seed, reduction in enumerate(REDUCTIONS):
        for lengths in (False, True):
            case = random_case(seed, lengths=lengths).spoiled()
            given_to, options = arrays(jax, name, case)
            apply = functools.partial(getattr(losses, name), **options, reduction=reduction)
            expected = loss(name, case, reduction)
            for got in (apply(**given_to), jax.jit(apply)(**given_to)):
                assert isinstance(got, jax.Array)
                assert got.dtype == np.float64
                np.testing.assert_allclose(got, expected, rtol=ROOT, atol=exact(expected))


@pytest.mark.jax
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [False, True])
def test_jax_gradients_are_differences(name, lengths, jax):
    """In logp, old_logp, signal and weights: finite under every garbage, zero under the mask, right elsewhere."""
    case = smooth(name, 11, lengths=lengths)
    bad, options = arrays(jax, name, case.spoiled())
    keys = ["logp", "old_logp", SIGNAL[name], "weights"]
    apply = functools.partial(getattr(losses, name), **options)
    found = jax.jit(jax.grad(lambda parts, rest: apply(**parts, **rest)))({key: bad.pop(key) for key in keys}, bad)
    for key in keys:
        value = getattr(case, "signal" if key == SIGNAL[name] else key)
        expected = slope(lambda x, key=key: loss(name, case, **{key: x}), value)
        np.testing.assert_allclose(found[key], expected, atol=DIFFERENCE)
        hidden = ~case.mask if value.ndim == 2 else ~case.mask.any(1)
        assert np.all(np.asarray(found[key])[hidden] == 0.0)


@pytest.mark.jax
def test_a_mask_after_the_difference_would_poison_the_gradient(jax):
    """The mistake that the test above must see: masking a value, not what goes into it."""
    jnp = jax.numpy
    mask, logp = jnp.array([True, False]), jnp.array([0.5, jnp.inf])
    assert not bool(jnp.isfinite(jax.grad(lambda x: jnp.where(mask, jnp.exp(x), 0.0).sum())(logp)).all())


@pytest.mark.jax
@pytest.mark.parametrize("name", NAMES)
def test_jax_batches_without_tokens(name, jax):
    case = dataclasses.replace(random_case(1), mask=np.zeros((4, 6), dtype=bool)).spoiled()
    given_to, options = arrays(jax, name, case)
    logp = given_to.pop("logp")
    value, grad = jax.value_and_grad(lambda x: getattr(losses, name)(x, **given_to, **options))(logp)
    assert value == 0.0
    assert bool((grad == 0.0).all())


@pytest.mark.jax
@pytest.mark.parametrize("name", NAMES)
def test_vmap_is_a_loop(name, jax):
    cases = [random_case(seed) for seed in range(5)]
    parts = [arrays(jax, name, case)[0] for case in cases]
    stacked = {key: jax.numpy.stack([part[key] for part in parts]) for key in parts[0]}
    apply = functools.partial(getattr(losses, name), **OPTIONS[name])
    got = jax.jit(jax.vmap(lambda part: apply(**part)))(stacked)
    np.testing.assert_allclose(got, [loss(name, case) for case in cases], rtol=ROOT, atol=exact())


@pytest.mark.jax
def test_options_may_be_traced(jax):
    """Vmapped over tau and c, with batches that are closed over as numpy arrays; and differentiated in them."""
    case = random_case(8)
    taus = np.array([0.1, 1.0, 7.0])
    for name in ("pmd_loss", "penalised_loss"):
        got = jax.jit(jax.vmap(lambda tau, name=name: loss(name, case, tau=tau)))(taus)
        np.testing.assert_allclose(got, [loss(name, case, tau=tau) for tau in taus], rtol=ROOT)
        slope_of_tau = jax.grad(lambda tau, name=name: loss(name, case, tau=tau))(2.0)
        assert slope_of_tau == pytest.approx(float(loss(name, case, tau=2.0) - loss(name, case, tau=1.0)), rel=ROOT)
    got = jax.vmap(lambda c: loss("penalised_loss", case, chi2_weight=c))(taus)
    np.testing.assert_allclose(got, [loss("penalised_loss", case, chi2_weight=c) for c in taus], rtol=ROOT)
    assert jax.jit(lambda h: loss("dr_grpo_loss", case, horizon=h))(5.0) == pytest.approx(
        loss("dr_grpo_loss", case), rel=ROOT
    )
    with pytest.raises(ValueError, match=r"tau must be a scalar, got shape \(3,\); "):
        loss("pmd_loss", case, tau=jax.numpy.asarray(taus))


@pytest.mark.jax
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_jax_keeps_the_dtype(name, kind, jax):
    """Also with targets, masks, lengths and weights of other dtypes, and where float64 exists."""
    case = random_case(7, lengths=True)
    given_to, options = arrays(jax, name, case)
    given_to["logp"] = given_to["logp"].astype(kind)
    for reduction in REDUCTIONS:
        apply = functools.partial(getattr(losses, name), **options, reduction=reduction)
        assert jax.eval_shape(apply, **given_to).dtype == kind
    assert apply(**given_to).dtype == kind
    logp = given_to.pop("logp")
    grad = jax.grad(lambda x: getattr(losses, name)(x, **given_to, **options))
    assert jax.eval_shape(grad, logp).dtype == kind


@pytest.mark.jax
@pytest.mark.parametrize("name", [name for name in NAMES if "clip_low" in OPTIONS[name]])
def test_clipped_gradients_of_ratios_that_overflow(name, jax):
    jnp = jax.numpy
    logp, old = jnp.zeros((2, 2)), jnp.full((2, 2), -1e4)
    grad = jax.grad(lambda x: getattr(losses, name)(x, old, jnp.array([1.0, 0.0]), **OPTIONS[name]))(logp)
    assert bool((grad == 0.0).all())
    late = jax.grad(lambda x: jnp.minimum(jnp.exp(x - old), 1.2).sum())(logp)  # clipped after the exponential
    assert bool(jnp.isnan(late).all())


@pytest.mark.jax
@pytest.mark.parametrize("name", PROBLEMS)
def test_jax_stationarity(name, jax):
    """The gradient at the exact step by automatic differentiation, through a softmax."""
    problem = PROBLEMS[name]
    for b in (problem.mean_reward / problem.tau, problem.log_partition, 0.3):
        step = pmd.baseline_update(problem, baseline=b).unwrap()
        options = {"tau": problem.tau, "weights": problem.policy, "reduction": "sum"}

        def value(logits, b=b, options=options):
            goal = problem.reward / problem.tau - b
            return losses.pmd_loss(jax.nn.log_softmax(logits), problem.log_policy, goal, **options)

        assert np.abs(jax.grad(value)(jax.numpy.asarray(step.log_policy))).max() < STATIONARY


@pytest.mark.jax
def test_static_checks_hold_while_tracing(jax):
    logp = jax.numpy.zeros((2, 3))
    for changed, fragment in (
        ({"reduction": "avg"}, "reduction must be one of"),
        ({"tau": -1.0}, "tau must be greater than zero"),
        ({"target": jax.numpy.zeros((2, 1))}, "target must have shape"),
    ):
        kept = {"old_logp": logp, "target": jax.numpy.zeros(2), "tau": 0.1} | changed
        with pytest.raises(ValueError, match=fragment):
            jax.jit(lambda x, kept=kept: losses.pmd_loss(x, **kept))(logp)
