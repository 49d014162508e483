r"""PMD-mean and PMD-part in verl 0.9.1: copy this file next to your launch script.

    export VERL_USE_EXTERNAL_MODULES=verl_pmd PMD_TAU=0.1
    python -m verl.trainer.main_ppo algorithm.adv_estimator=pmd-part \
        actor_rollout_ref.actor.policy_loss.loss_mode=pmd \
        actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum \
        actor_rollout_ref.actor.use_kl_loss=False actor_rollout_ref.rollout.n=8 ...

`PMD_TAU` has to reach the driver and every worker. The configuration has no field for it.
"""

import os

import numpy as np
import torch
from verl.trainer.ppo.core_algos import agg_loss, register_adv_est, register_policy_loss

from pmdtheory.integrations import MEMBERS, targets
from pmdtheory.losses import pmd_loss

if "PMD_TAU" not in os.environ:
    raise ValueError("PMD_TAU must be set, in reward units, got nothing; export PMD_TAU=0.1 for driver and workers")
TAU = float(os.environ["PMD_TAU"])


def estimator(member):
    """The advantages of a member, tau times its target, in reward units, the same for all tokens of a response."""

    def advantages(token_level_rewards, response_mask, index=None, config=None, **_):
        if index is None:
            raise ValueError("index must not be None; without prompt ids there are no groups: verl calls them uid")
        rewards = token_level_rewards.sum(-1)
        found = torch.zeros_like(rewards)
        for prompt in np.unique(index):
            rows = np.flatnonzero(np.asarray(index) == prompt)
            target = targets(rewards[rows].double().cpu().numpy(), TAU, member)
            found[rows] = torch.as_tensor(TAU * target, dtype=found.dtype, device=found.device)
        spread = found[:, None] * response_mask
        return spread, spread

    return advantages


for name in MEMBERS:
    register_adv_est(name)(estimator(name))


@register_policy_loss("pmd")
def pmd(old_log_prob, log_prob, advantages, response_mask, loss_agg_mode, config, rollout_is_weights=None):
    """One square for each response; verl's own reduction divides by the count of the whole batch."""
    if loss_agg_mode != "seq-mean-token-sum":
        raise ValueError(
            f"loss_agg_mode must be 'seq-mean-token-sum', got {loss_agg_mode!r}; another one weighs responses by length"
        )
    mask = response_mask.bool()
    weights = None if rollout_is_weights is None else one_a_response("rollout_is_weights", rollout_is_weights, mask)
    target = one_a_response("advantages", advantages, mask) / TAU
    terms = pmd_loss(log_prob, old_log_prob, target, tau=TAU, mask=mask, weights=weights, reduction="none")
    # Spread over its tokens, a term is what the sum over them gives back; a mean over the micro-batch would weigh parts
    # of a batch by how they were cut.
    spread = (terms / mask.sum(-1).clamp(min=1))[:, None] * mask
    loss = agg_loss(loss_mat=spread, loss_mask=mask, loss_agg_mode=loss_agg_mode, **config.global_batch_info)
    log_ratio = torch.where(mask, log_prob.detach() - old_log_prob, 0.0).sum(-1)
    return loss, {"actor/pmd_log_ratio_rms": log_ratio.square().mean().sqrt().item()}


def one_a_response(name, values, mask):
    """The value `[B]` that all tokens of a response share."""
    found = torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
    if bool((torch.where(mask, values - found[:, None], 0.0).abs() > 1e-4 * (1 + found.abs()[:, None])).any()):
        raise ValueError(f"{name} must be one number a response, got several; a square of a response takes one")
    return found
