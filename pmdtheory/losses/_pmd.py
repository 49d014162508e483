"""The regression of policy mirror descent."""

from typing import Any, Final

from pmdtheory.losses._arrays import Array, scalar
from pmdtheory.losses._batch import prepare, reduced

_TAU: Final = "tau is the regularisation strength in reward units, for instance 0.1"

__all__ = ["pmd_loss"]


def pmd_loss(
    logp: Array,
    old_logp: Array,
    target: Array,
    *,
    tau: Any,
    mask: Array | None = None,
    lengths: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""Square of what the log-ratio of each sequence misses its target by: PMD-mean, PMD-part and every PMD(b).

    Formula: the mean of \(\tfrac{\tau}{2}(\text{target}_i - \ell_i)^2\), \(\ell_i = \sum_t \log\pi_\theta
    - \log\pi_{old}\). The target is \(r_i/\tau - b_i\); its baseline picks the member: the others' mean reward over
    tau for PMD-mean, their log-mean-exp of r/tau for PMD-part. At \(\pi_\theta = \pi_{old}\) the gradient is
    \(-\tau\,\text{target}_i\nabla\log\pi_\theta\), a policy gradient with advantage \(r_i - \tau b_i\). The factor tau
    keeps it in reward units.

    Args:
        logp: `[B]` sums over sequences or `[B, T]` tokens, nats: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled, which is also the anchor of the KL.
        target: `[B]`, nats.
        tau: greater than zero, reward units; a number or a scalar array.
        mask: of the shape of logp, true where a token counts; None counts all.
        lengths: `[B]`, tokens; divides each term. That reweights the sequences: another member of the family (C15).
        weights: `[B]`, multiplies each term, for instance an importance weight; not normalised.
        reduction: "mean" over the sequences that count, "sum", or "none" for `[B]`.

    Returns:
        A scalar or `[B]`, reward units, of the library and dtype of logp.

    Raises:
        ValueError: for old_logp None, since a regression without it is a plain policy gradient; for shapes that do
            not match; for a tau that is not positive; for an unknown reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: safe wherever the log-ratio is finite; no exponential is taken. In float32 a sum over a long sequence
        loses about eps times sum |logp|, which the difference per token avoids: prefer `[B, T]`.

    Source: arXiv:2602.05933, arXiv:2501.12599; members of the family: C1, C12 and C15, this project.

    >>> import numpy as np, pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.4, 0.3, 0.2, 0.1], reward=[0, 0.5, 0, 1], tau=0.2)
    >>> def population(logits):
    ...     logp = logits - np.log(np.exp(logits).sum())
    ...     goal = dict(target=problem.scaled_advantage, tau=problem.tau, weights=problem.policy, reduction="sum")
    ...     return pmd_loss(logp, problem.log_policy, **goal)
    >>> logits, h = pmd.mean_update(problem).unwrap().log_policy, 1e-3 * np.eye(4)
    >>> f = {k: np.array([population(logits + k * nudge) for nudge in h]) for k in (-2, -1, 1, 2)}
    >>> bool(np.abs((8 * (f[1] - f[-1]) - (f[2] - f[-2])) / 12e-3).max() < 1e-10)  # stationary at the exact step
    True
    """
    batch = prepare(
        logp,
        old_logp,
        target,
        name="target",
        mask=mask,
        lengths=lengths,
        weights=weights,
        reduction=reduction,
        scalars={"tau": tau},
    )
    strength = scalar(batch.xp, "tau", tau, _TAU, like=batch.log_ratio, positive=True)
    miss = batch.signal - batch.xp.sum(batch.log_ratio, 1)
    terms = (0.5 * strength) * miss * miss
    return reduced(batch, terms if lengths is None else terms / batch.lengths)
