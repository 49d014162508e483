r"""PMD-mean and PMD-part in slime (Megatron backend): copy this file to where slime can import it.

    --custom-reward-post-process-path slime_pmd.post_process --loss-type custom_loss \
    --custom-loss-function-path slime_pmd.pmd --custom-config-path pmd.yaml --advantage-estimator grpo

with, in `pmd.yaml`, what slime then sets on its arguments:

    pmd_tau: 0.1
    pmd_member: pmd-part

The first function replaces rewards by tau times the targets, which slime's `grpo` copies to every token of a response;
the second is the loss.
"""

import torch
from slime.backends.megatron_utils.loss import get_log_probs_and_entropy

from pmdtheory.integrations import targets
from pmdtheory.losses import pmd_loss


def post_process(args, samples):
    """Rewards as they were, and tau times the targets, in reward units; the samples of a prompt stand together."""
    raw = [sample.get_reward_value(args) for sample in samples]
    n = args.n_samples_per_prompt
    if len(raw) % n:
        raise ValueError(f"samples must be whole groups of {n}, got {len(raw)}; a baseline needs all of a group")
    groups = [raw[start : start + n] for start in range(0, len(raw), n)]
    found = args.pmd_tau * targets(groups, args.pmd_tau, args.pmd_member)
    return raw, found.reshape(-1).tolist()


def pmd(args, batch, logits, sum_of_sample_mean):
    """One square for each response; slime divides by the count of the whole step."""
    for name in ("normalize_advantages", "calculate_per_token_loss"):
        if getattr(args, name, False):
            raise ValueError(f"{name} must be off, got True; it would change tau, or weigh responses by length")
    if getattr(args, "context_parallel_size", 1) != 1:
        raise ValueError(
            f"context_parallel_size must be 1, got {args.context_parallel_size}; a square needs the whole response on "
            "one rank"
        )
    key = "rollout_log_probs" if args.use_rollout_logprobs else "log_probs"
    old = batch.get(key)
    if not old:
        raise ValueError(
            f"{key} must be in the batch, got {old!r}; slime's own loss takes the current ones, which leaves a plain "
            "policy gradient: recompute them, or set use_rollout_logprobs"
        )
    _, found = get_log_probs_and_entropy(
        logits, args=args, unconcat_tokens=batch["unconcat_tokens"], total_lengths=batch["total_lengths"],
        response_lengths=batch["response_lengths"], with_entropy=False,
    )  # fmt: skip
    spread, misses = [], []
    for logp, before, advantage, mask in zip(
        found["log_probs"], old, batch["advantages"], batch["loss_masks"], strict=True
    ):
        keep = mask > 0
        target = (advantage[keep].mean() if bool(keep.any()) else advantage.sum() * 0) / args.pmd_tau
        term = pmd_loss(logp[None], before[None], target[None], tau=args.pmd_tau, mask=keep[None], reduction="sum")
        spread.append(term.expand(len(logp)))  # the mean over its tokens is the term
        misses.append(torch.where(keep, logp.detach() - before, 0.0).sum().abs().expand(len(logp)))
    loss = sum_of_sample_mean(torch.cat(spread))
    return loss, {"loss": loss.clone().detach(), "pmd_log_ratio": sum_of_sample_mean(torch.cat(misses))}
