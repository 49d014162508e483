"""PMD-mean in prime-rl: copy this file to where the trainer can import it.

    [trainer.loss]
    type = "custom"
    import_path = "prime_rl_pmd.pmd_mean"

    [trainer.loss.kwargs]
    tau = 0.1
    group_size = 8

    [orchestrator.train.algo]
    type = "grpo"

prime-rl's `grpo` hands over reward less the mean of the group, not divided by a deviation: that is PMD-mean with the
baseline of the whole group, and with `group_size` the leave-one-out form. PMD-part needs the rewards of the group,
which the loss is not given.
"""

import torch
from prime_rl.trainer.rl.loss import LossOutputs

from pmdtheory.losses import pmd_loss


def pmd_mean(inputs, tau, group_size=None):
    """The square of one sequence. prime-rl adds up the sequences and divides by the tokens of the batch."""
    if inputs.inference_logprobs is None:
        raise ValueError(
            "inference_logprobs must not be None; without the sampler's log-probabilities no regression is left: let "
            "the inference server return them"
        )
    mask = inputs.loss_mask.bool()
    weights = getattr(inputs, "loss_weights", None)
    if weights is not None and bool((weights[mask] != 1).any()):
        raise ValueError("loss_weights must be 1, got others; the square of a sequence takes no weight for each token")
    advantage = inputs.advantages[mask].mean() if bool(mask.any()) else inputs.advantages.new_zeros(())
    if bool((inputs.advantages[mask] - advantage).abs().gt(1e-4 * (1 + advantage.abs())).any()):
        raise ValueError(
            "advantages must be one number a sequence, got several; a square of a sequence takes one: leave out "
            "penalties and weights for each token"
        )
    if group_size is not None:
        if group_size < 2:
            raise ValueError(f"group_size must be at least 2, got {group_size}; leave-one-out needs others")
        advantage = advantage * group_size / (group_size - 1)
    loss = pmd_loss(
        inputs.trainer_logprobs[None], inputs.inference_logprobs[None], advantage[None] / tau, tau=tau,
        mask=mask[None], reduction="sum",
    )  # fmt: skip
    log_ratio = torch.where(mask, inputs.trainer_logprobs.detach() - inputs.inference_logprobs, 0.0).sum()
    return LossOutputs(loss=loss, metrics={"pmd_log_ratio": log_ratio.abs()})
