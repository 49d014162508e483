"""Log-probabilities of given responses, and the gradient of a sum in which each token has a weight of its own."""

import equinox as eqx

from tiny_llm_rl.rollout import log_probs


@eqx.filter_jit
def weighted(model, prompts, lengths, responses, mask, weight):
    """`log_probs` of them, and the gradient of their weighted sum by the model."""

    def total(model):
        found = log_probs(model, prompts, lengths, responses, mask)
        return (weight * found).sum(), found

    (_, found), gradient = eqx.filter_value_and_grad(total, has_aux=True)(model)
    return found, gradient
