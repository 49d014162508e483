"""`PMDTrainer` really trains; its target, loss and gradient are those of a second computation without TRL."""

import dataclasses
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from pmdtheory.integrations import MEMBERS, targets
from pmdtheory.integrations.trl import PMDConfig, PMDTrainer
from tests.integrations.tiny_torch import PROMPTS, model, reward, tokenizer
from tests.wrong import refused

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("default")]

FLOAT32 = 1e-5  # relative, of a loss and of a gradient summed in another order


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def options(directory, **changes):
    return {
        "output_dir": str(directory), "tau": 0.2, "num_generations": 4, "per_device_train_batch_size": 8,
        "steps_per_generation": 2, "gradient_accumulation_steps": 1, "num_iterations": 2, "max_completion_length": 6,
        "learning_rate": 3e-3, "max_steps": 8, "use_cpu": True, "bf16": False, "report_to": "none", "seed": 1,
        "save_strategy": "no", "gradient_checkpointing": False, "disable_tqdm": True, "logging_steps": 1,
        "lr_scheduler_type": "constant", "max_grad_norm": 1e9,
    } | changes  # fmt: skip


def build(directory, kind=PMDTrainer, config=PMDConfig, policy=None, **changes):
    return kind(
        model=model() if policy is None else policy, reward_funcs=changes.pop("reward_funcs", reward),
        args=config(**options(directory, **changes)), processing_class=tokenizer(),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
    )  # fmt: skip


class Recorder(PMDTrainer):
    """Keeps what each loss was computed from, and what came out, before the optimiser moves the weights."""

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        self.seen_batches = [*getattr(self, "seen_batches", []), (batch, self._rewards.clone())]
        return batch

    def _compute_loss(self, policy, inputs):
        loss = super()._compute_loss(policy, inputs)
        weights = [weight for weight in policy.parameters() if weight.requires_grad]
        gradient = torch.autograd.grad(loss, weights, retain_graph=True)
        mean, reference = by_hand(policy, inputs, self.args.tau)
        expected = torch.autograd.grad(mean, weights)
        self.seen = [*getattr(self, "seen", []), (loss.item(), gradient, mean.item(), expected, reference)]
        return loss


def by_hand(policy, inputs, tau):
    """Mean term of a part of a batch and its log-ratios: every row alone, without padding, in a loop over tokens."""
    terms, log_ratios = [], []
    for row in range(len(inputs["targets"])):
        prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row] > 0]
        said = inputs["completion_ids"][row][inputs["completion_mask"][row] > 0]
        laws = policy(input_ids=torch.cat([prompt, said])[None]).logits[0].log_softmax(-1)
        log_ratio = sum(
            laws[len(prompt) - 1 + t, token] - inputs["old_per_token_logps"][row, t]
            for t, token in enumerate(said.tolist())
        )
        terms.append(tau / 2 * (inputs["targets"][row] - log_ratio) ** 2)
        log_ratios.append(log_ratio.item())
    return sum(terms) / len(terms), log_ratios


def naive_targets(rewards, tau, member):
    """By loops: r/tau less the baseline of the others, or of all."""
    found = []
    for group in rewards.reshape(-1, 4):
        for i, r in enumerate(group):
            pool = group if member.endswith("group") else np.delete(group, i)
            scaled = pool / tau
            level = scaled.mean() if "mean" in member else np.log(np.mean(np.exp(scaled)))
            found.append(r / tau - level)
    return np.array(found)


@pytest.mark.parametrize("member", MEMBERS)
def test_trains_on_its_own_loss(tmp_path, member):
    trainer = build(tmp_path, kind=Recorder, member=member)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    trainer.train()
    assert len(trainer.seen) == 8
    for loss, gradient, mean, expected, _ in trainer.seen:
        assert loss == pytest.approx(mean, rel=FLOAT32)
        scale = max(float(part.abs().max()) for part in expected)
        assert scale > 1e-4  # there is a gradient to compare
        for got, wanted in zip(gradient, expected, strict=True):
            assert float((got - wanted).abs().max()) <= FLOAT32 * scale
    assert len(trainer.seen_batches) == 2
    for batch, rewards in trainer.seen_batches:
        wanted = naive_targets(rewards.double().numpy(), 0.2, member)
        np.testing.assert_allclose(batch["targets"].numpy(), wanted, rtol=1e-6, atol=1e-6)
        others = {name: naive_targets(rewards.double().numpy(), 0.2, name) for name in MEMBERS if name != member}
        assert all(np.abs(other - wanted).max() > 1e-2 for other in others.values())  # another member would be seen
    assert any(not torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True))
    # The first step starts at ratio one; the later ones do not, and only there it is a regression.
    first, *rest = (reference for *_, reference in trainer.seen[:4])
    assert np.abs(first).max() < 1e-4
    assert np.abs(rest[-1]).max() > 1e-2
    assert trainer.state.log_history[2]["log_ratio_rms"] > 1e-3


def test_the_reward_rises(tmp_path):
    trainer = build(tmp_path, max_steps=80, learning_rate=1e-2, logging_steps=4, tau=0.1)
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.1


def test_a_split_batch_has_the_loss_of_the_whole(tmp_path):
    """The same rollouts as one part of 16, and as four of 4 accumulated: one gradient, though parts count unequally."""

    class Kept(PMDTrainer):
        kept = None

        def _generate_and_score_completions(self, inputs):
            if type(self).kept is None:
                batch = super()._generate_and_score_completions(inputs)
                batch["completion_mask"][:5] = 0
                type(self).kept = batch | {"sequences": torch.tensor(11)}
            return dict(type(self).kept)

    def moved(**changes):
        trainer = build(tmp_path, kind=Kept, max_steps=1, num_iterations=2, learning_rate=1.0, optim="sgd", **changes)
        before = [weight.detach().clone() for weight in trainer.model.parameters()]
        trainer.train()
        return [new.detach() - old for old, new in zip(before, trainer.model.parameters(), strict=True)]

    whole = moved(per_device_train_batch_size=16, steps_per_generation=1, gradient_accumulation_steps=1)
    parts = moved(per_device_train_batch_size=4, steps_per_generation=4, gradient_accumulation_steps=4)
    scale = max(float(part.abs().max()) for part in whole)
    assert scale > 1e-4
    for one, other in zip(whole, parts, strict=True):
        assert float((one - other).abs().max()) <= FLOAT32 * scale


def test_truncated_responses_do_not_count(tmp_path):
    trainer = build(tmp_path, mask_truncated_completions=True, max_steps=2)
    trainer.train()
    parts = trainer._buffered_inputs
    counted = sum(int((part["completion_mask"].sum(1) > 0).sum()) for part in parts)
    assert 0 < counted < 16
    assert {int(part["sequences"]) for part in parts} == {counted}


def test_importance_weights_multiply_the_terms(tmp_path):
    trainer = build(tmp_path, max_steps=1)
    trainer.train()
    part = dict(trainer._buffered_inputs[0])
    plain = trainer._compute_loss(trainer.model, part)
    part["importance_sampling_ratio"] = torch.full((8, 1), 0.5)
    assert trainer._compute_loss(trainer.model, part).item() == pytest.approx(plain.item() / 2, rel=FLOAT32)


def test_grpo_takes_the_silent_way_out_and_we_do_not(tmp_path):
    """The mutant: the same rollouts without recorded log-probabilities. TRL goes on, at ratio one."""
    stock = build(tmp_path, GRPOTrainer, lambda tau, **rest: GRPOConfig(**rest), num_iterations=1, max_steps=1,
                  steps_per_generation=1)  # fmt: skip
    stock.train()
    assert "old_per_token_logps" not in stock._buffered_inputs[0]
    trainer = build(tmp_path, max_steps=1)
    trainer.train()
    part = dict(trainer._buffered_inputs[0])
    for missing in ({"old_per_token_logps": None}, {}):
        cut = {name: value for name, value in part.items() if name != "old_per_token_logps"} | missing
        refused(ValueError, lambda cut=cut: trainer._compute_loss(trainer.model, cut), "old_per_token_logps", "None")


WRONG = [
    ({"num_iterations": 1, "steps_per_generation": 1}, "num_iterations", "policy gradient"),
    ({"num_iterations": 1, "steps_per_generation": 2, "gradient_accumulation_steps": 2}, "gradient_accumulation_steps"),
    ({"tau": 0.0}, "tau", "0.0"),
    ({"member": "grpo"}, "member", "grpo"),
    ({"scale_rewards": "group"}, "scale_rewards", "group"),
    ({"scale_rewards": True}, "scale_rewards", "group"),
    ({"beta": 0.04}, "beta", "0.04"),
    ({"delta": 2.0}, "delta", "2.0"),
    ({"entropy_coef": 0.01}, "entropy_coef", "0.01"),
    ({"top_entropy_quantile": 0.2}, "top_entropy_quantile", "0.2"),
    ({"off_policy_mask_threshold": 1.0}, "off_policy_mask_threshold", "1.0"),
    ({"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation", "normalize_then_sum"),
    ({"use_vllm": True, "vllm_importance_sampling_correction": False}, "vllm_importance_sampling_correction"),
    ({"use_vllm": True, "vllm_importance_sampling_mode": "token_mask"}, "vllm_importance_sampling_mode", "token_mask"),
]


@pytest.mark.parametrize(("changes", "fragments"), [(changes, found) for changes, *found in WRONG])
def test_refuses_what_the_loss_would_leave_out(tmp_path, changes, fragments):
    refused(ValueError, lambda: PMDConfig(**options(tmp_path, **changes)), *fragments)


def test_refuses_another_configuration(tmp_path):
    refused(TypeError, lambda: build(tmp_path, config=lambda tau, **rest: GRPOConfig(**rest)), "args", "PMDConfig")
    refused(TypeError, lambda: PMDTrainer(model(), reward), "args", "None")


def test_refuses_a_rollout_without_a_reward(tmp_path):
    def gap(completions, **_):
        return [None, *reward(completions)[1:]]

    trainer = build(tmp_path, reward_funcs=gap)
    refused(ValueError, trainer.train, "reward_funcs", "None")


def test_targets_take_the_weighted_sum_of_rewards(tmp_path):
    def constant(completions, **_):
        return [3.0 * (text.count("1") > 0) for text in completions]

    trainer = build(tmp_path, kind=Recorder, reward_funcs=[reward, constant], reward_weights=[1.0, 0.5], max_steps=1)
    trainer.train()
    batch, rewards = trainer.seen_batches[0]
    said = trainer.processing_class.batch_decode(batch["completion_ids"], skip_special_tokens=True)
    wanted = [one + 0.5 * two for one, two in zip(reward(said), constant(said), strict=True)]
    np.testing.assert_allclose(rewards.numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(
        batch["targets"].numpy().reshape(-1, 4), targets(np.reshape(wanted, (-1, 4)), 0.2, "pmd-mean"), rtol=1e-5,
        atol=1e-5,
    )  # fmt: skip


def test_defaults_that_differ_are_named():
    """The docstring of the configuration says which defaults differ from GRPO's."""
    theirs = {entry.name: entry.default for entry in dataclasses.fields(GRPOConfig)}
    ours = {entry.name: entry.default for entry in dataclasses.fields(PMDConfig)}
    changed = {name for name, value in ours.items() if name in theirs and value != theirs[name]}
    assert changed == {"scale_rewards", "num_iterations"}
