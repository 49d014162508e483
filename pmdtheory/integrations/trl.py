r"""PMD-mean and PMD-part in TRL: a trainer that takes the place of `GRPOTrainer`, and its configuration.

Sampling, rewards, log-probabilities, accumulation and distribution are TRL's; the target and the loss are this
project's. What a regression needs and GRPO does not is checked when the trainer is built, because TRL has a silent way
out of every one of them: without recorded log-probabilities it takes the current ones, which leaves a plain policy
gradient.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from trl import GRPOConfig, GRPOTrainer

from pmdtheory._checks import positive_scalar, shown
from pmdtheory.integrations._members import named, targets
from pmdtheory.losses import pmd_loss

__all__ = ["PMDConfig", "PMDTrainer"]

# What GRPO's loss reads and this one does not: the only value under which leaving it out changes nothing.
_UNUSED: Final = {
    "scale_rewards": ("none", "a target is reward over tau, and dividing by a deviation would change tau by prompt"),
    "multi_objective_aggregation": ("sum_then_normalize", "a target needs one reward, the weighted sum"),
    "beta": (0.0, "the divergence from the sampling policy is in the regression, with weight tau"),
    "delta": (None, "nothing is clipped"),
    "off_policy_mask_threshold": (None, "nothing is masked"),
    "top_entropy_quantile": (1.0, "a sequence counts whole"),
    "entropy_coef": (0.0, "no entropy is added"),
    "use_adaptive_entropy": (False, "no entropy is added"),
}


@dataclass
class PMDConfig(GRPOConfig):  # type: ignore[misc]
    r"""Configuration of a `PMDTrainer`: that of GRPO, a member of the family and its tau.

    Two defaults differ from GRPO's: rewards are not divided by a deviation, and each batch of rollouts is used twice,
    because the regression starts with the second update. `loss_type`, `epsilon` and `importance_sampling_level` have
    no influence: the term is one square for each sequence, and its mean is over the sequences of the whole batch.

    Args:
        tau: regularisation strength, reward units.
        member: "pmd-mean", "pmd-part", or one of them with "-group": see `pmdtheory.integrations.targets`.
        scale_rewards: has to stay "none".
        num_iterations: passes over a batch of rollouts.

    Raises:
        ValueError: for a tau that is not positive, another member, or an option of GRPO that would have no effect.

    Source: arXiv:2602.05933; this project.

    >>> config = PMDConfig("runs", tau=0.1, member="pmd-part", use_cpu=True, bf16=False, report_to="none")
    >>> config.num_iterations, config.scale_rewards
    (2, 'none')
    """

    tau: float = field(default=0.1, metadata={"help": "Regularisation strength, reward units."})
    member: str = field(default="pmd-mean", metadata={"help": "pmd-mean, pmd-part, pmd-mean-group, pmd-part-group."})
    scale_rewards: str = field(default="none", metadata={"help": "Has to stay none: a target is reward over tau."})
    num_iterations: int = field(default=2, metadata={"help": "Passes over a batch of rollouts."})

    def __post_init__(self) -> None:
        """Refuse what GRPO's loss would read and this one would not."""
        super().__post_init__()
        positive_scalar("tau", self.tau, "tau is the regularisation strength in reward units, for instance 0.1")
        named("member", self.member)
        for name, (only, reason) in _UNUSED.items():
            if getattr(self, name) != only:
                raise ValueError(
                    f"{name} must be {only!r} in PMDConfig, got {shown(getattr(self, name))}, because {reason}; "
                    "leave it out, or use GRPOTrainer"
                )
        if self.use_vllm and not self.vllm_importance_sampling_correction:
            raise ValueError(
                "vllm_importance_sampling_correction must be True in PMDConfig, got False; only then TRL records the "
                "log-probabilities that the regression starts from"
            )
        if self.use_vllm and not self.vllm_importance_sampling_mode.startswith("sequence"):
            raise ValueError(
                "vllm_importance_sampling_mode must be 'sequence_truncate' or 'sequence_mask' in PMDConfig, got "
                f"{shown(self.vllm_importance_sampling_mode)}; the term of a sequence takes one weight"
            )
        every = self.steps_per_generation * self.num_iterations
        if not self.use_vllm and self.gradient_accumulation_steps % every == 0:
            raise ValueError(
                f"num_iterations x steps_per_generation must not divide gradient_accumulation_steps in PMDConfig, got "
                f"{self.num_iterations} x {self.steps_per_generation} and {self.gradient_accumulation_steps}: one "
                "update a batch leaves no recorded log-probabilities and no regression, only a policy gradient; take "
                "num_iterations=2 or more steps_per_generation"
            )


class PMDTrainer(GRPOTrainer):  # type: ignore[misc]
    r"""`GRPOTrainer` with the regression of policy mirror descent as its loss.

    Formula: \(\tfrac{\tau}{2}(\text{target}_i - \sum_t(\log\pi_\theta - \log\pi_{old}))^2\), its mean over the
    sequences of a batch of rollouts, however many steps, accumulations and processes the batch is split into. With
    vLLM the log-probabilities are the trained model's at the start of the batch, and the importance weight of a
    sequence multiplies its term (C15).

    Args:
        As `GRPOTrainer`; `args` is a `PMDConfig`.

    Raises:
        TypeError: for another configuration.
        ValueError: for a model with a router loss; in training, for a batch without recorded log-probabilities, and
            for a rollout that no reward function scores.

    Source: arXiv:2602.05933; C12, C15, this project.
    """

    _tag_names = ["trl", "pmd"]
    _name = "PMD"

    def __init__(self, *args: Any, **keywords: Any) -> None:
        """Build the trainer, and refuse what its loss cannot take into account."""
        given = inspect.signature(GRPOTrainer.__init__).bind(self, *args, **keywords).arguments.get("args")
        if not isinstance(given, PMDConfig):
            raise TypeError(f"args must be a PMDConfig, got {shown(given)}; it holds tau and the member")
        super().__init__(*args, **keywords)
        if self.aux_loss_enabled:
            raise ValueError(
                f"model must have no router loss, got router_aux_loss_coef {self.router_aux_loss_coef}; it would be "
                "left out: set router_aux_loss_coef=0"
            )
        self._rewards: torch.Tensor | None = None  # of the last batch on all processes

    def _calculate_rewards(self, *args: Any, **keywords: Any) -> torch.Tensor:
        """TRL's rewards `[B, functions]` of all processes, kept for the targets."""
        found: torch.Tensor = super()._calculate_rewards(*args, **keywords)
        if bool(torch.isnan(found).all(1).any()):
            raise ValueError(
                "reward_funcs must score every rollout, got None from all of them for one; a target needs a reward: "
                "return 0.0, or filter the prompt"
            )
        self._rewards = (found * self.reward_weights.to(found.device)).nansum(1)
        return found

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch with the targets `[B]`, nats, and how many sequences count on all processes."""
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        assert self._rewards is not None
        n = self.num_generations if self.model.training else self.num_generations_eval
        whole = targets(self._rewards.double().cpu().numpy().reshape(-1, n), self.args.tau, self.args.member)
        start = self.accelerator.process_index * len(inputs)
        own = whole.reshape(-1)[start : start + len(inputs)]
        mask = _mask(batch)
        batch["targets"] = torch.from_numpy(own.copy()).to(device=mask.device, dtype=torch.float32)
        batch["sequences"] = self.accelerator.gather((mask.sum(1) > 0).sum()).sum()
        return batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The regression on one part of a batch, scaled so that the parts add up to the mean over the batch."""
        old = inputs.get("old_per_token_logps")
        if old is None:
            raise ValueError(
                "old_per_token_logps must not be None: TRL would put the current log-probabilities in its place, and "
                "a plain policy gradient would be left; take num_iterations=2 or more steps_per_generation"
            )
        known = inspect.signature(self._get_per_token_logps_and_entropies).parameters
        extra = {name: value for name, value in inputs.items() if name in known}  # what images and token types need
        logp, _, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1),
            inputs["completion_ids"].size(1),
            **extra,
        )
        mask, weights = _mask(inputs), inputs.get("importance_sampling_ratio")
        total = pmd_loss(
            logp, old, inputs["targets"], tau=self.args.tau, mask=mask > 0,
            weights=None if weights is None else weights.squeeze(1), reduction="sum",
        )  # fmt: skip
        mode = "train" if self.model.training else "eval"
        log_ratio = torch.where(mask > 0, logp.detach() - old, 0.0).sum(1)
        square = self.accelerator.gather(log_ratio.square()).mean()
        self._metrics[mode]["log_ratio_rms"].append(square.sqrt().item())
        # The mean of the processes' gradients is taken by the backend, the sum over accumulated steps by autograd.
        share = inputs["sequences"].clamp(min=1) / self.accelerator.num_processes
        if mode == "train":
            share = share * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        return total / share


def _mask(batch: dict[str, Any]) -> torch.Tensor:
    """Tokens that count `[B, T]`: of the completion, without what tools put in."""
    mask: torch.Tensor = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask
