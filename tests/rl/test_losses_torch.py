"""The losses on torch tensors: the values of numpy, gradients with their history, dtypes. Run by `make test-torch`."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch

import pmdtheory as pmd
from pmdtheory import losses
from tests.rl.loss_cases import HAS_LENGTHS, OPTIONS, SIGNAL, Case, naive, random_case
from tests.tolerances import ROOT, exact

pytestmark = pytest.mark.torch

NAMES = sorted(OPTIONS)
REDUCTIONS = ("mean", "sum", "none")
STATIONARY = 1e-10  # gradient at an exact update, whose own residual is 1e-12


def tensors(name, case):
    """The arguments of a loss as tensors, and its options."""
    options = OPTIONS[name]
    given_to = {key: value for key, value in case.arguments(name).items() if key not in options}
    return {key: torch.from_numpy(np.array(value)) for key, value in given_to.items()}, options


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_agrees_with_loops_and_numpy(name, reduction):
    for seed in range(10):
        case = random_case(seed, lengths=seed % 2 == 1)
        given_to, options = tensors(name, case.spoiled())
        got = getattr(losses, name)(**given_to, **options, reduction=reduction)
        assert isinstance(got, torch.Tensor)
        assert got.dtype == torch.float64
        for expected in (
            naive(name, case, reduction),
            getattr(losses, name)(**case.arguments(name), reduction=reduction),
        ):
            np.testing.assert_allclose(got, expected, rtol=ROOT, atol=exact(expected))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [False, True])
def test_gradients_are_differences(name, lengths):
    """In every floating argument: torch's own check, on a batch whose ratios keep away from the clips."""
    case = random_case(4, size=3, tokens=4, spread=0.05, lengths=lengths)
    given_to, options = tensors(name, case)
    keys = ["logp", "old_logp", SIGNAL[name], "weights"]
    free = [given_to.pop(key).requires_grad_() for key in keys]
    if name == "gspo_loss":  # the bounds of the other cases, whatever the lengths
        options = {"clip_low": 0.9, "clip_high": 9.0}

    def apply(*parts):
        return getattr(losses, name)(**dict(zip(keys, parts, strict=True)), **given_to, **options)

    assert torch.autograd.gradcheck(apply, free)


@pytest.mark.parametrize("name", NAMES)
def test_garbage_under_the_mask_leaves_gradients_finite(name):
    case = random_case(5)
    found = []
    for batch in (case, case.spoiled()):
        given_to, options = tensors(name, batch)
        for key in ("logp", "old_logp", SIGNAL[name], "weights"):
            given_to[key].requires_grad_()
        getattr(losses, name)(**given_to, **options).backward()
        found.append({key: value.grad for key, value in given_to.items() if value.requires_grad})
    hidden = torch.from_numpy(~case.mask)
    for key, grad in found[1].items():
        assert torch.equal(grad, found[0][key]), key
        assert torch.all(grad[hidden if grad.ndim == 2 else hidden.all(1)] == 0.0), key


@pytest.mark.parametrize("name", NAMES)
def test_batches_without_tokens(name):
    case = dataclasses.replace(random_case(1), mask=np.zeros((4, 6), dtype=bool)).spoiled()
    given_to, options = tensors(name, case)
    logp = given_to.pop("logp").requires_grad_()
    value = getattr(losses, name)(logp, **given_to, **options)
    value.backward()
    assert value == 0.0
    assert torch.all(logp.grad == 0.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_that_of_logp(name, kind):
    given_to, options = tensors(name, random_case(7, lengths=True))
    logp = given_to.pop("logp").to(kind).requires_grad_()
    for reduction in REDUCTIONS:
        assert getattr(losses, name)(logp, **given_to, **options, reduction=reduction).dtype == kind
    getattr(losses, name)(logp, **given_to, **options).backward()
    assert logp.grad.dtype == kind
    given_to["mask"] = given_to["mask"].to(torch.int64)  # as trainers hold it
    getattr(losses, name)(logp, **given_to, **options)


@pytest.mark.parametrize("name", NAMES)
def test_numpy_arrays_and_parameters_go_along(name):
    """Only logp is torch's, and a subclass of Tensor; the rest is converted."""
    case = random_case(8)
    arguments = case.arguments(name)
    arguments["logp"] = torch.nn.Parameter(torch.from_numpy(case.logp))
    got = getattr(losses, name)(**arguments)
    assert got.requires_grad
    assert got.item() == pytest.approx(naive(name, case), rel=ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_functional_transforms(name):
    """torch.func: vmap is a loop, also over gradients."""
    cases = [random_case(seed) for seed in range(3)]
    parts = [tensors(name, case)[0] for case in cases]
    stacked = {key: torch.stack([part[key] for part in parts]) for key in parts[0]}
    apply = functools.partial(getattr(losses, name), **OPTIONS[name])
    got = torch.func.vmap(lambda part: apply(**part))(stacked)
    np.testing.assert_allclose(got, [naive(name, case) for case in cases], rtol=ROOT, atol=exact())
    grads = torch.func.vmap(torch.func.grad(lambda part, logp: apply(**(part | {"logp": logp})), argnums=1))
    rows = grads(stacked, stacked["logp"])
    for part, row in zip(parts, rows, strict=True):
        logp = part["logp"].clone().requires_grad_()
        apply(**(part | {"logp": logp})).backward()
        np.testing.assert_allclose(row, logp.grad, rtol=ROOT, atol=exact())


def test_the_exact_step_is_stationary():
    problem = pmd.Problem.from_policy([0.4, 0.3, 0.2, 0.1], [0.2, 0.5, -0.3, 1], tau=0.5)
    for b in (problem.mean_reward / problem.tau, problem.log_partition, 0.3):
        logits = torch.from_numpy(pmd.baseline_update(problem, baseline=b).unwrap().log_policy.copy()).requires_grad_()
        goal = problem.reward / problem.tau - b
        options = {"tau": problem.tau, "weights": problem.policy.copy(), "reduction": "sum"}
        losses.pmd_loss(torch.log_softmax(logits, 0), problem.log_policy.copy(), goal, **options).backward()
        assert logits.grad.abs().max() < STATIONARY


@pytest.mark.parametrize("name", [name for name in NAMES if "clip_low" in OPTIONS[name]])
def test_clipped_gradients_of_ratios_that_overflow(name):
    logp = torch.zeros((2, 2), requires_grad=True)
    getattr(losses, name)(logp, torch.full((2, 2), -1e4), torch.tensor([1.0, 0.0]), **OPTIONS[name]).backward()
    assert torch.all(logp.grad == 0.0)


def test_a_scalar_tensor_is_a_tau():
    """Of another dtype than logp, and with a gradient of its own: the loss is linear in tau for a fixed target."""
    case = random_case(9)
    tau = torch.tensor(0.25, dtype=torch.float32, requires_grad=True)
    given_to, _ = tensors("pmd_loss", case)
    got = losses.pmd_loss(**given_to, tau=tau)
    assert got.dtype == torch.float64
    got.backward()
    expected = losses.pmd_loss(**(case.arguments("pmd_loss") | {"tau": 0.25}))
    assert got.item() == pytest.approx(expected, rel=ROOT)
    assert tau.grad.item() == pytest.approx(expected / 0.25, rel=1e-6)  # tau, and so its gradient, is float32


@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs(name):
    case = Case(np.zeros((2, 3)), np.zeros((2, 3)), np.ones(2), np.ones((2, 3), dtype=bool))
    given_to, options = tensors(name, case)
    apply = functools.partial(getattr(losses, name), **options)
    if name != "rloo_loss":
        with pytest.raises(ValueError, match="old_logp must not be None"):
            apply(**(given_to | {"old_logp": None}))
    with pytest.raises(ValueError, match=r"must have shape \(2,\), got \(2, 1\)"):
        apply(**(given_to | {SIGNAL[name]: torch.ones((2, 1))}))
    with pytest.raises(TypeError, match="floating-point dtype, got torch.int64"):
        apply(**(given_to | {"logp": torch.zeros((2, 3), dtype=torch.int64)}))
    with pytest.raises(TypeError, match="logp must be an array of real numbers"):
        apply(**(given_to | {"logp": torch.zeros((2, 3), dtype=torch.complex64)}))
    with pytest.raises(TypeError, match="weights must be an array of real numbers"):
        apply(**(given_to | {"weights": "ab"}))
    if name in HAS_LENGTHS:
        none = torch.tensor([0.0, math.nan], dtype=torch.float64)
        assert apply(**(given_to | {"lengths": none})) == 0.0
