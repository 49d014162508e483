"""The recipes of `docs/recipes`, called as verl, prime-rl and slime call them: stand-ins with the same signatures.

The stand-ins follow the public sources: verl 0.9.1 (`trainer/ppo/core_algos.py`, `trainer/ppo/ray_trainer.py`,
`workers/utils/losses.py`), prime-rl (`docs/algorithms.md`, `trainer/rl/loss.py`) and slime at commit 00c2d6d
(`backends/megatron_utils/loss.py`, `ray/rollout.py`).
"""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from pmdtheory.integrations import MEMBERS, targets
from tests.wrong import refused

pytestmark = pytest.mark.integrations

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
TAU = 0.2
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # float32


def load(name, monkeypatch, **modules):
    """The recipe as a fresh module, with stand-ins for what it imports."""
    for path, stub in modules.items():
        parts = path.split("__")
        for k in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:k]), ModuleType(".".join(parts[:k])))
        monkeypatch.setitem(sys.modules, ".".join(parts), stub)
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rollouts(seed=0, groups=3, n=4, width=6):
    """Log-probabilities `[B, T]` of two policies, a mask of responses of different lengths, rewards."""
    torch.manual_seed(seed)
    rows = groups * n
    mask = torch.arange(width) < torch.randint(1, width + 1, (rows, 1))
    old = -torch.rand(rows, width) * 3
    logp = (old + 0.3 * torch.randn(rows, width)).requires_grad_()
    return logp, old, mask, torch.randint(0, 3, (groups, n)).double()


def by_hand(logp, old, mask, target):
    """Terms `[B]` in a loop."""
    return torch.stack(
        [TAU / 2 * (target[i] - (logp[i] - old[i])[mask[i]].sum()) ** 2 for i in range(len(target))]
    )  # fmt: skip


# -- verl -------------------------------------------------------------------------------------------------------------


def verl_stub():
    """`core_algos` of verl 0.9.1: its registries, and its reduction."""
    stub = ModuleType("core_algos")
    stub.estimators, stub.losses = {}, {}

    def registry(table):
        def register(name):
            def decorator(function):
                table[name] = function
                return function

            return decorator

        return register

    def agg_loss(
        loss_mat, loss_mask, loss_agg_mode, dp_size=1, batch_num_tokens=None, global_batch_size=None,
        loss_scale_factor=None,
    ):  # fmt: skip
        assert loss_agg_mode == "seq-mean-token-sum"
        rows = (loss_mat * loss_mask).sum(-1)
        live = (loss_mask.sum(-1) > 0).float()
        if global_batch_size is None:
            assert dp_size == 1
            global_batch_size = live.sum()
        return (rows * live).sum() / global_batch_size * dp_size

    stub.register_adv_est, stub.register_policy_loss = registry(stub.estimators), registry(stub.losses)
    stub.agg_loss = agg_loss
    return stub


@pytest.fixture
def verl(monkeypatch):
    monkeypatch.setenv("PMD_TAU", str(TAU))
    stub = verl_stub()
    load("verl_pmd", monkeypatch, verl__trainer__ppo__core_algos=stub)
    return stub


def verl_call(stub, logp, old, advantages, mask, *, mode="seq-mean-token-sum", weights=None, **batch):
    info = {"dp_size": 1, "batch_num_tokens": None, "global_batch_size": None, "loss_scale_factor": None} | batch
    return stub.losses["pmd"](
        old_log_prob=old, log_prob=logp, advantages=advantages, response_mask=mask, loss_agg_mode=mode,
        config=SimpleNamespace(global_batch_info=info), rollout_is_weights=weights,
    )  # fmt: skip


def verl_advantages(stub, member, mask, rewards, order=None):
    """As `compute_advantage` calls an estimator: rewards on the last token, prompt ids in any order."""
    scores = torch.zeros(mask.shape)
    scores[torch.arange(len(mask)), mask.sum(1) - 1] = rewards.float().reshape(-1)
    uid = np.repeat([f"prompt-{k}" for k in range(len(rewards))], rewards.shape[1]).astype(object)
    order = np.arange(len(uid)) if order is None else order
    found, returns = stub.estimators[member](
        token_level_rewards=scores[order], response_mask=mask[order], config=SimpleNamespace(), index=uid[order]
    )
    assert torch.equal(found, returns)
    return found


@pytest.mark.parametrize("member", MEMBERS)
def test_verl(verl, member):
    logp, old, mask, rewards = rollouts()
    assert set(verl.estimators) == set(MEMBERS)
    advantages = verl_advantages(verl, member, mask, rewards)
    target = torch.from_numpy(targets(rewards.numpy(), TAU, member)).reshape(-1).float()
    torch.testing.assert_close(advantages[:, 0], TAU * target, **CLOSE)
    loss, metrics = verl_call(verl, logp, old, advantages, mask)
    wanted = by_hand(logp, old, mask, target).mean()
    torch.testing.assert_close(loss, wanted, **CLOSE)
    torch.testing.assert_close(*(torch.autograd.grad(value, logp)[0] for value in (loss, wanted)), **CLOSE)
    assert set(metrics) == {"actor/pmd_log_ratio_rms"}
    assert isinstance(metrics["actor/pmd_log_ratio_rms"], float)


def test_verl_groups_by_prompt_in_any_order(verl):
    logp, old, mask, rewards = rollouts()
    straight = verl_advantages(verl, "pmd-part", mask, rewards)
    order = np.random.default_rng(0).permutation(len(mask))
    torch.testing.assert_close(verl_advantages(verl, "pmd-part", mask, rewards, order), straight[order])


def test_verl_micro_batches_and_ranks_add_up(verl):
    """Two ranks with unequal micro-batches: the mean of the ranks' sums is the loss of the whole batch."""
    logp, old, mask, rewards = rollouts()
    advantages = verl_advantages(verl, "pmd-mean", mask, rewards)
    whole, _ = verl_call(verl, logp, old, advantages, mask)
    ranks = [[range(5), range(5, 6)], [range(6, 8), range(8, 12)]]
    info = {"dp_size": 2, "global_batch_size": 12}
    sums = [
        sum(verl_call(verl, logp[p], old[p], advantages[p], mask[p], **info)[0] for p in map(list, parts))
        for parts in ranks
    ]
    torch.testing.assert_close(sum(sums) / 2, whole, **CLOSE)
    means = [verl_call(verl, logp[p], old[p], advantages[p], mask[p])[0] for part in ranks for p in map(list, part)]
    assert abs(sum(means) / 4 - whole) > 1e-3  # the mutant: means over micro-batches


def test_verl_takes_one_weight_a_response(verl):
    logp, old, mask, rewards = rollouts()
    advantages = verl_advantages(verl, "pmd-mean", mask, rewards)
    plain, _ = verl_call(verl, logp, old, advantages, mask)
    half, _ = verl_call(verl, logp, old, advantages, mask, weights=torch.full(mask.shape, 0.5))
    torch.testing.assert_close(half, plain / 2, **CLOSE)
    uneven = torch.rand(mask.shape)
    refused(ValueError, lambda: verl_call(verl, logp, old, advantages, mask, weights=uneven), "rollout_is_weights")
    refused(ValueError, lambda: verl_call(verl, logp, old, advantages * (1 + uneven), mask), "advantages")


def test_verl_refuses(verl, monkeypatch):
    logp, old, mask, rewards = rollouts()
    advantages = verl_advantages(verl, "pmd-mean", mask, rewards)
    refused(ValueError, lambda: verl_call(verl, logp, old, advantages, mask, mode="token-mean"), "loss_agg_mode")
    refused(ValueError, lambda: verl_call(verl, logp, None, advantages, mask), "old_logp", "None")
    refused(ValueError, lambda: verl.estimators["pmd-mean"](advantages, mask), "index", "None")
    monkeypatch.delenv("PMD_TAU")
    refused(
        ValueError, lambda: load("verl_pmd", monkeypatch, verl__trainer__ppo__core_algos=verl_stub()), "PMD_TAU"
    )  # fmt: skip


# -- prime-rl ---------------------------------------------------------------------------------------------------------


@dataclass
class LossInputs:
    trainer_logprobs: torch.Tensor
    inference_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor | None
    advantages: torch.Tensor
    loss_mask: torch.Tensor
    loss_weights: torch.Tensor | None


@dataclass
class LossOutputs:
    loss: torch.Tensor
    metrics: dict


@pytest.fixture
def prime_rl(monkeypatch):
    stub = ModuleType("loss")
    stub.LossInputs, stub.LossOutputs = LossInputs, LossOutputs
    return load("prime_rl_pmd", monkeypatch, prime_rl__trainer__rl__loss=stub)


def inputs(logp, old, advantage, mask, **changes):
    given = {"ref_logprobs": None, "loss_weights": None, "advantages": torch.as_tensor(advantage).expand(len(mask))}
    return LossInputs(**{"trainer_logprobs": logp, "inference_logprobs": old, "loss_mask": mask} | given | changes)


@pytest.mark.parametrize(("group_size", "member"), [(None, "pmd-mean-group"), (4, "pmd-mean")])
def test_prime_rl(prime_rl, group_size, member):
    """As `compute_loss`: a sum over sequences, divided by the tokens of the batch."""
    logp, old, mask, rewards = rollouts()
    centred = (rewards - rewards.mean(1, keepdim=True)).reshape(-1).float()
    found = [
        prime_rl.pmd_mean(inputs(logp[i], old[i], centred[i], mask[i]), tau=TAU, group_size=group_size)
        for i in range(len(mask))
    ]
    assert all(part.loss.shape == () for part in found)
    assert all(set(part.metrics) == {"pmd_log_ratio"} for part in found)
    target = torch.from_numpy(targets(rewards.numpy(), TAU, member)).reshape(-1).float()
    wanted = by_hand(logp, old, mask, target).sum()
    loss = sum(part.loss for part in found)
    torch.testing.assert_close(loss, wanted, **CLOSE)
    torch.testing.assert_close(*(torch.autograd.grad(value, logp)[0] for value in (loss, wanted)), **CLOSE)
    other = targets(rewards.numpy(), TAU, "pmd-mean" if group_size is None else "pmd-mean-group").reshape(-1)
    assert abs(by_hand(logp, old, mask, torch.from_numpy(other).float()).sum() - wanted) > 1e-2


def test_prime_rl_refuses(prime_rl):
    logp, old, mask, _ = rollouts()
    row = (logp[0], old[0], 0.5, torch.ones(6, dtype=torch.bool))

    def call(**changes):
        options = {"tau": TAU, "group_size": changes.pop("group_size", None)}
        return lambda: prime_rl.pmd_mean(inputs(*row, **changes), **options)

    refused(ValueError, call(inference_logprobs=None), "inference_logprobs", "None")
    refused(ValueError, call(advantages=torch.arange(6.0)), "advantages")
    refused(ValueError, call(loss_weights=torch.full((6,), 0.5)), "loss_weights")
    refused(ValueError, call(group_size=1), "group_size", "1")
    assert torch.isfinite(call(loss_weights=torch.ones(6))().loss)
    nothing = prime_rl.pmd_mean(inputs(logp[0], old[0], 0.5, torch.zeros(6, dtype=torch.bool)), tau=TAU)
    assert nothing.loss.item() == 0.0


# -- slime ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def slime(monkeypatch):
    stub = ModuleType("loss")

    def get_log_probs_and_entropy(
        logits, *, args, unconcat_tokens, total_lengths, response_lengths, with_entropy=False
    ):
        """Rows of one packed sequence `[1, T, V]`: the laws of a response start at the last token of its prompt."""
        assert not with_entropy
        laws, found, end = logits[0].log_softmax(-1), [], 0
        for tokens, total, length in zip(unconcat_tokens, total_lengths, response_lengths, strict=True):
            end += total
            rows = laws[end - length - 1 : end - 1]
            found.append(rows.gather(1, tokens[-length:, None])[:, 0])
        return torch.empty(()), {"log_probs": found}

    stub.get_log_probs_and_entropy = get_log_probs_and_entropy
    return load("slime_pmd", monkeypatch, slime__backends__megatron_utils__loss=stub)


def slime_batch(rewards, seed=0):
    torch.manual_seed(seed)
    lengths = torch.randint(1, 6, (rewards.numel(),)).tolist()
    totals = [length + 3 for length in lengths]
    logits = torch.randn(1, sum(totals), 7, requires_grad=True)
    return logits, {
        "unconcat_tokens": [torch.randint(0, 7, (total,)) for total in totals],
        "total_lengths": totals, "response_lengths": lengths,
        "loss_masks": [torch.ones(length) for length in lengths],
        "log_probs": [-torch.rand(length) * 3 for length in lengths],
        "rollout_log_probs": [-torch.rand(length) * 3 for length in lengths],
    }  # fmt: skip


def sum_of_sample_mean(batch):
    """slime's reducer without context parallelism: means over the tokens of each sample, added up."""

    def reduce(values):
        parts = values.split(batch["response_lengths"])
        return sum((x * m).sum() / m.sum().clamp(min=1) for x, m in zip(parts, batch["loss_masks"], strict=True))

    return reduce


def slime_args(member="pmd-mean", **changes):
    return SimpleNamespace(
        **{"pmd_tau": TAU, "pmd_member": member, "n_samples_per_prompt": 4, "use_rollout_logprobs": False,
           "normalize_advantages": False, "calculate_per_token_loss": False, "context_parallel_size": 1} | changes
    )  # fmt: skip


class Sample:
    def __init__(self, reward):
        self.reward = reward

    def get_reward_value(self, args):
        return self.reward


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("key", ["log_probs", "rollout_log_probs"])
def test_slime(slime, member, key):
    _, _, _, rewards = rollouts()
    args = slime_args(member, use_rollout_logprobs=key == "rollout_log_probs")
    raw, shaped = slime.post_process(args, [Sample(reward) for reward in rewards.reshape(-1).tolist()])
    assert raw == rewards.reshape(-1).tolist()
    assert isinstance(shaped, list)
    logits, batch = slime_batch(rewards)
    batch["advantages"] = [
        torch.full((length,), a) for a, length in zip(shaped, batch["response_lengths"], strict=True)
    ]
    loss, metrics = slime.pmd(args, batch, logits, sum_of_sample_mean(batch))
    assert all(not value.requires_grad and value.shape == () for value in metrics.values())
    target, wanted, end = targets(rewards.numpy(), TAU, member).reshape(-1), 0.0, 0
    for i, (tokens, total, length) in enumerate(
        zip(batch["unconcat_tokens"], batch["total_lengths"], batch["response_lengths"], strict=True)
    ):
        log_ratio = 0.0
        for t in range(length):
            where = end + total - length + t
            log_ratio = log_ratio + logits[0, where - 1].log_softmax(-1)[tokens[total - length + t]] - batch[key][i][t]
        wanted = wanted + TAU / 2 * (float(target[i]) - log_ratio) ** 2
        end += total
    torch.testing.assert_close(loss, wanted, **CLOSE)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (loss, wanted)), **CLOSE)


def test_slime_refuses(slime):
    rewards = torch.zeros(1, 4)
    logits, batch = slime_batch(rewards)
    batch["advantages"] = [torch.zeros(length) for length in batch["response_lengths"]]

    def call(given=batch, **changes):
        return lambda: slime.pmd(slime_args(**changes), given, logits, sum_of_sample_mean(given))

    assert torch.isfinite(call()()[0])
    without = {name: value for name, value in batch.items() if name != "log_probs"}
    refused(ValueError, call(without), "log_probs", "None")
    refused(ValueError, call(batch | {"log_probs": []}), "log_probs", "[]")
    refused(ValueError, call(context_parallel_size=2), "context_parallel_size", "2")
    refused(ValueError, call(normalize_advantages=True), "normalize_advantages", "True")
    refused(ValueError, call(calculate_per_token_loss=True), "calculate_per_token_loss", "True")
    refused(ValueError, lambda: slime.post_process(slime_args(), [Sample(0.0)] * 5), "samples", "5")


def test_slime_keeps_masked_tokens_out(slime):
    rewards = torch.tensor([[1.0, 0.0, 0.0, 2.0]])
    logits, batch = slime_batch(rewards)
    batch["response_lengths"][0] = len(batch["loss_masks"][0])
    batch["loss_masks"][-1][-1] = 0
    batch["advantages"] = [torch.full((length,), 0.3) for length in batch["response_lengths"]]
    loss, _ = slime.pmd(slime_args(), batch, logits, sum_of_sample_mean(batch))
    spoiled = [part.clone() for part in batch["log_probs"]]
    spoiled[-1][-1] = float("nan")
    again, _ = slime.pmd(slime_args(), batch | {"log_probs": spoiled}, logits, sum_of_sample_mean(batch))
    assert loss.item() == again.item()
