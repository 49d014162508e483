"""`classify` against losses it has not seen: the table, a file written from formulas alone, and random ones."""

import functools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pmdtheory as pmd
from pmdtheory.variants import VARIANTS, Recipe, classify
from pmdtheory.variants._findings import SMALLEST
from tests.data import held_out_losses
from tests.tolerances import SOLVER
from tests.variants.agreement import PARAMETER, differences
from tests.wrong import refused

TABLE = {variant.name: variant for variant in VARIANTS}
NUMPY = [variant.name for variant in VARIANTS if variant.library == "numpy"]
HELD_OUT = held_out_losses.EXPECTED


@functools.cache
def of_table(name):
    return classify(TABLE[name].loss, library=TABLE[name].library)


@functools.cache
def of_file(name):
    return classify(getattr(held_out_losses, name))


# -- the table ------------------------------------------------------------------------------------------------------


def test_there_are_nine_and_more():
    assert len(TABLE) == len(VARIANTS) >= 9
    assert all(len(variant.source) > 5 and len(variant.description) > 20 for variant in VARIANTS)


@pytest.mark.parametrize("name", NUMPY)
def test_every_row_is_recovered(name):
    assert TABLE[name].expected
    assert differences(of_table(name), TABLE[name].expected) == {}


@pytest.mark.jax
@pytest.mark.slow
def test_the_detached_row_is_recovered():
    assert differences(of_table("prime-rl-3381"), TABLE["prime-rl-3381"].expected) == {}


@pytest.mark.parametrize("name", NUMPY)
def test_members_reproduce_the_losses_own_stationary_policies(name):
    """Found by the loss's gradients and by the exact updates from the recovered parameters: two routes."""
    found = of_table(name)
    if found.in_family:
        assert len(found.populations) == 3
        for one in found.populations:
            assert one.group_size == SMALLEST
            assert 0.0 <= one.residual < SOLVER
            assert one.policy.sum() == pytest.approx(1.0, abs=1e-12)
        assert found.residual < PARAMETER
        assert found.reason == ""
    else:
        assert found.verdict.startswith("None of the family: ")
        assert len(found.reason) > 20
        assert math.isnan(found.residual)


def test_what_the_table_is_about():
    """The same name, other populations."""
    mean, part, own = (of_table(name).populations[0] for name in ("pmd-mean", "pmd-part", "kimi"))
    assert mean.distances["PMD-mean"] < SOLVER < 0.01 < mean.distances["KL-PMD"]
    assert part.distances["PMD-part"] < SOLVER < 0.01 < part.distances["PMD-mean"]
    assert own.distances["PMD-mean"] < SOLVER  # at its effective tau
    assert np.abs(own.policy - mean.policy).max() > 0.01 or own.reward[0] != mean.reward[0]
    lengths = of_table("openkimi-rloo").populations
    assert lengths[0].distances["PMD-mean"] < SOLVER < 0.01 < lengths[1].distances["PMD-mean"]
    tokens = of_table("verl-dro").populations
    assert tokens[0].distances["PMD-mean"] < SOLVER < 0.01 < tokens[2].distances["PMD-mean"]


def test_the_multiplier_is_that_of_the_exact_step():
    one = of_table("pmd-mean").populations[0]
    step = pmd.mean_update(pmd.Problem.from_policy(one.old_policy, one.reward, 0.1)).unwrap()
    assert of_table("pmd-mean").multiplier == pytest.approx(step.multiplier, rel=SOLVER)


def test_the_gradient_at_the_old_policy_is_the_policy_gradient():
    """With the scale that the loss implies: (n-1)/n for a mean that holds the rollout itself, at groups of three."""
    for name, scale in (("pmd-mean", 1.0), ("kimi", 0.2 * 2 / 3), ("trinity-opmd", 2 / 3 / 1.1), ("pmd-part", 1.0)):
        found = of_table(name)
        assert found.policy_gradient_scale == pytest.approx(scale, rel=PARAMETER)
        assert found.policy_gradient_residual < SOLVER
    assert of_table("trinity-opmd-logavgexp").policy_gradient_residual > 0.01  # a distortion, not a rescaling
    assert of_table("grpo").policy_gradient_residual > 0.01


def test_the_clamp_bug_is_named_by_its_effect():
    verdict = classify(Recipe(baseline="clamped partition", tau=0.01)).verdict
    assert "clamped at 1e-08" in verdict
    assert "18.42 nats, an advantage of 0.1842 reward units" in verdict


# -- the held-out file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_losses(name):
    found = of_file(name)
    assert differences(found, HELD_OUT[name]) == {}
    assert found.in_family == (not found.reason)


NOTES = {
    "forgets_the_mask": "padding is not ignored",
    "growing_tau": "tau goes as the group size to the power 0.5",
    "two_temperatures": "The partition is taken at tau = 0.6, the square at 0.15",
    "drops_equal": "Groups of equal rewards are dropped",
    "ppo": "exactly zero for ratios below 0.9 and above 1.15",
    "square_of_log_pi": "nothing anchors it",
    "no_anchor": "no stationary policy inside the simplex",
    "batch_standardised": "one group change the gradient of others",
    "misleading": "not those of what its gradients look like",
    "weighted_by_probability": "otherwise than through their difference",
    "one_sided": "exactly zero for ratios above 1.3",
    "of_group_means": "enters the gradient of others in its group",
    "odd_weights": "weights are no known function",
    "averaged_log_ratio": "long responses have a larger tau",
    "differences": "converges to KL-PMD exactly",
    "weighted": "weighted by exp(r/0.45), of mean one",
}


@pytest.mark.parametrize("name", NOTES)
def test_verdicts_say_it_in_words(name):
    assert NOTES[name] in of_file(name).verdict


def test_a_plain_policy_gradient_has_no_stationary_policy():
    for name in ("no_anchor", "importance"):
        (flat,) = of_file(name).populations
        assert flat.policy is None
        assert flat.distances == {}


# -- random losses --------------------------------------------------------------------------------------------------


@st.composite
def squares(draw):
    """A regression with its parameters, written here and nowhere else."""
    tau = draw(st.integers(1, 40)) * draw(st.sampled_from([0.001, 0.01, 0.1]))
    n = draw(st.integers(3, 7))
    exponent = draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]))
    factor = draw(st.integers(1, 30)) / 10
    others, tokens, old = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def loss(logp, old_logp, rewards, mask):
        size = rewards.shape[1]
        a = rewards - rewards.mean(axis=1)[:, None]
        a = a * size / (size - 1) if others else a
        step = np.where(mask, logp - (old_logp if old else 0.0), 0.0)
        length = mask.sum(axis=2) ** exponent
        if tokens:
            terms = (-a[..., None] * np.where(mask, logp, 0.0) + tau / 2 * step**2).sum(axis=2)
        else:
            terms = tau / 2 * (a / tau - step.sum(axis=2)) ** 2
        return factor * np.mean(terms / length)

    names = {0.0: "none", 0.5: "length^0.5", 1.0: "own length", 2.0: "length^2"}
    expected = {
        "form": "regression",
        "uses_old_logp": old,
        "level": "token" if tokens else "sequence",
        "baseline": "mean of the others" if others else "mean of the group",
        "tau": tau,
        "effective_tau": tau if others else tau * n / (n - 1),
        "gradient_scale": factor,
        "group_size": n,
        "chi2_weight": 0.0,
    }
    if old:  # without old_logp the gradient at the old policy holds log pi itself
        expected |= {"member": "per-token PMD-mean" if tokens else "PMD-mean", "length_rule": names[exponent]}
    else:
        expected |= {"member": "none of the family"}
        for key in ("baseline", "tau", "effective_tau", "gradient_scale"):
            expected.pop(key)
    return loss, n, expected


@given(squares())
@settings(max_examples=12)
def test_random_squares(case):
    loss, n, expected = case
    assert differences(classify(loss, group_size=n), expected) == {}


@given(st.integers(1, 30), st.sampled_from(["others' partition", "group partition"]), st.integers(3, 6))
@settings(max_examples=5)
def test_random_partitions(hundredths, baseline, n):
    tau = hundredths / 100
    found = classify(Recipe(baseline=baseline, tau=tau), group_size=n)
    name = "partition of the group" if baseline[0] == "g" else "partition of the others"
    expected = {"member": "PMD-part", "baseline": name, "tau": tau, "baseline_tau": tau}
    assert differences(found, expected) == {}


@pytest.mark.jax
@pytest.mark.parametrize(("tau", "n"), [(0.07, 3), pytest.param(0.9, 5, marks=pytest.mark.slow)])
def test_detached_residuals(tau, n):
    """The gradient is that of a square, the value is not."""
    import jax
    import jax.numpy as jnp

    def loss(logp, old_logp, rewards, mask):
        s = jnp.where(mask, logp - old_logp, 0.0).sum(-1)
        miss = (rewards - rewards.mean(-1, keepdims=True)) - tau * s
        return -jnp.mean(jax.lax.stop_gradient(miss) * s)

    found = classify(loss, group_size=n)
    assert found.library == "jax"
    assert differences(found, {"member": "PMD-mean", "tau": tau, "detached": True, "gradient_scale": 1.0}) == {}
    assert "something is detached" in found.verdict


@pytest.mark.jax
def test_a_forgotten_old_policy_in_disguise():
    """stop_gradient(logp) in place of old_logp: the square is a plain policy gradient."""
    import jax
    import jax.numpy as jnp

    def loss(logp, old_logp, rewards, mask):
        s = jnp.where(mask, logp - jax.lax.stop_gradient(logp), 0.0).sum(-1)
        return jnp.mean(((rewards - rewards.mean(-1, keepdims=True)) / 0.2 - s) ** 2)

    found = classify(loss)
    expected = {"form": "policy gradient", "uses_old_logp": False, "detached": True, "member": "none of the family"}
    assert differences(found, expected) == {}


def test_float32():
    """What returns float32 is recovered to what float32 holds, by longer differences."""

    def loss(logp, old_logp, rewards, mask):
        s = np.where(mask, logp - old_logp, 0.0).sum(-1).astype(np.float32)
        a = (rewards - rewards.mean(-1, keepdims=True)).astype(np.float32)
        return np.mean((a - np.float32(0.25) * s) ** 2)

    found = classify(loss)
    assert differences(found, {"member": "PMD-mean", "tau": 0.25, "baseline": "mean of the group"}, rel=0.01) == {}


@pytest.mark.jax
@pytest.mark.slow
def test_python_branches():
    """What cannot be traced runs eagerly."""
    import jax.numpy as jnp

    def loss(logp, old_logp, rewards, mask):
        if float(rewards.max()) > 1e6:
            return jnp.zeros(())
        s = jnp.where(mask, logp - old_logp, 0.0).sum(-1)
        a = rewards - rewards.mean(-1, keepdims=True)
        return jnp.mean((a - 0.25 * s) ** 2)

    found = classify(loss)
    assert differences(found, {"member": "PMD-mean", "tau": 0.25, "baseline": "mean of the group"}) == {}


def test_masks_as_floats():
    """A loss that computes with its mask as frameworks hold it; numpy refuses to negate booleans."""

    def loss(logp, old_logp, rewards, mask):
        hidden = 1.0 + (-mask)
        s = ((logp - old_logp) * (1.0 - hidden)).sum(-1)
        return np.mean((rewards - rewards.mean(-1, keepdims=True) - 0.3 * s) ** 2 / mask.sum(-1))

    with pytest.raises(TypeError, match="boolean negative"):
        loss(np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), np.ones((1, 2)), np.ones((1, 2, 1), dtype=bool))
    assert differences(classify(loss), {"member": "PMD-mean", "tau": 0.3, "length_rule": "own length"}) == {}


@pytest.mark.parametrize("n", [3, pytest.param(16, marks=pytest.mark.slow)])
def test_group_sizes(n):
    found = classify(Recipe(tau=0.3, lengths="all tokens"), group_size=n)
    expected = {"tau": 0.3, "effective_tau": 0.3 * n / (n - 1), "group_size": n, "reduction": "mean over tokens"}
    assert differences(found, expected | {"member": "PMD-mean"}) == {}


# -- independence ---------------------------------------------------------------------------------------------------


class Opaque:
    """A loss that can be called and nothing else: any look at a name, a source or a type's attribute fails."""

    def __init__(self, loss):
        object.__setattr__(self, "loss", loss)

    def __call__(self, *arrays):
        return object.__getattribute__(self, "loss")(*arrays)

    def __getattribute__(self, name):
        raise AssertionError(f"classify looked at {name}")


@pytest.mark.parametrize("name", ["openkimi-ploo", "grpo"])
def test_no_branch_looks_at_names_or_source(name):
    blind, seen = classify(Opaque(TABLE[name].loss)), of_table(name)
    assert json.dumps(blind.to_dict()) == json.dumps(seen.to_dict())


def test_the_hint_reaches_other_scales():
    """tau = 4e-5 and rewards of that size; and rewards in the hundreds."""
    for tau in (4e-5, 300.0):
        found = classify(Recipe(baseline="others' partition", tau=tau), tau_hint=2 * tau)
        assert differences(found, {"member": "PMD-part", "tau": tau, "baseline_tau": tau}) == {}


def test_the_result_is_json():
    data = json.loads(json.dumps(of_table("openkimi-weighted").to_dict(), allow_nan=False))
    assert data["tau"] == pytest.approx(0.1)
    assert data["dropped_range"] == pytest.approx([0.0, 1.0], abs=1e-6)
    assert data["baseline_value"] is None
    assert len(data["populations"][1]["policy"]) == 3


# -- wrong inputs ---------------------------------------------------------------------------------------------------


def square(logp, old_logp, rewards, mask):
    return np.mean((rewards - 0.1 * np.where(mask, logp - old_logp, 0.0).sum(-1)) ** 2)


def raises(logp, old_logp, rewards, mask):
    raise KeyError("advantages\nmissing")


LOSSES = {
    "raises": (raises, "loss raised KeyError", "advantages"),
    "a vector": (lambda logp, old, r, m: (r * 1.0).sum(axis=1), "not a real scalar"),
    "nothing": (lambda logp, old, r, m: None, "loss returned None, not a real scalar"),
    "text": (lambda logp, old, r, m: "0.1", "not a real scalar"),
    "NaN": (lambda logp, old, r, m: float("nan"), "loss returned nan for finite arguments"),
    "infinite": (lambda logp, old, r, m: np.inf, "loss returned inf for finite arguments"),
    "noise": (lambda logp, old, r, m: float(np.random.default_rng().normal()), "loss gave two values"),
    "too few arguments": (lambda logp, old: 0.0, "loss raised TypeError"),
}


@pytest.mark.parametrize("wrong", LOSSES)
def test_losses_that_are_none(wrong):
    loss, *fragments = LOSSES[wrong]
    refused_with_kind(loss, *fragments)


def refused_with_kind(loss, *fragments):
    with pytest.raises(ValueError, match="loss") as caught:
        classify(loss)
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    assert len(message.partition("; ")[2]) >= 10


def test_wrong_options():
    refused(TypeError, lambda: classify(3.0), "loss must be callable, got 3.0")
    refused(ValueError, lambda: classify(square, group_size=2), "group_size must be at least 3, got 2")
    refused(TypeError, lambda: classify(square, group_size=4.0), "group_size must be a whole number, got 4.0")
    refused(ValueError, lambda: classify(square, tau_hint=0.0), "tau_hint must be greater than zero, got 0.0")
    refused(ValueError, lambda: classify(square, library="mlx"), "library must be one of", "'mlx'")
    refused(ValueError, lambda: Recipe("cube"), "shape must be one of", "'cube'")
    refused(ValueError, lambda: Recipe(baseline="median"), "baseline must be one of", "'median'")


def test_a_constant_loss_has_no_gradient():
    found = classify(lambda logp, old, r, m: 0.0)
    assert (found.form, found.in_family) == ("no gradient", False)
    assert "gradient is zero" in found.verdict


def test_groups_without_a_finite_gradient_are_noted():
    """Standardised without an epsilon: 0/0 where all rewards are equal."""

    def loss(logp, old_logp, rewards, mask):
        a = (rewards - rewards.mean(axis=1)[:, None]) / rewards.std(axis=1)[:, None]
        return np.mean((a - 0.5 * np.where(mask, logp - old_logp, 0.0).sum(axis=2)) ** 2)

    found = classify(loss)
    assert found.baseline == "standardised"
    assert found.populations == ()
    assert "Not finite where all rewards of a group are equal." in found.notes
