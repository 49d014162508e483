"""The mirror step with an explicit chi2, as a loss on samples."""

from typing import Any, Final

from pmdtheory.losses._arrays import Array, scalar
from pmdtheory.losses._batch import prepare, reduced

_TAU: Final = "tau is the regularisation strength in reward units, for instance 0.1"
_CHI2: Final = "chi2_weight is the dimensionless c >= 0 of the chi2, zero for a KL alone"

__all__ = ["penalised_loss"]


def penalised_loss(
    logp: Array,
    old_logp: Array,
    advantages: Array,
    *,
    tau: Any,
    chi2_weight: Any = 0.0,
    mask: Array | None = None,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    r"""Policy gradient with explicit KL and chi2 penalties: what PMD-mean does implicitly, written out.

    Formula: with \(\rho = \exp(\sum_t \log\pi_\theta - \log\pi_{old})\), the mean of
    \(-\rho A + \tau(\rho\log\rho - \rho + 1) + \tfrac{\tau c}{2}(\rho - 1)^2\). Under responses from
    \(\pi_{old}\) the three terms have the expectations \(-\langle\pi_\theta, A\rangle\),
    \(\tau\,\mathrm{KL}(\pi_\theta\|\pi_{old})\) and \(\tfrac{\tau c}{2}\chi^2(\pi_\theta\|\pi_{old})\), because
    \(E\rho = 1\): minus the objective of the mixed KL-chi2 step (C2), at every \(\pi_\theta\). The gradient of a
    term is \((-A + \tau\log\rho + \tau c(\rho - 1))\,\rho\,\nabla\log\pi_\theta\); at \(\pi_\theta = \pi_{old}\) the
    penalties vanish sample by sample and \(-A\nabla\log\pi_\theta\) is left, as for `pmd_loss` with target A/tau.

    Args:
        logp: `[B]` sums over sequences or `[B, T]` tokens, nats: the policy that is trained.
        old_logp: of the shape of logp, nats: the policy that sampled.
        advantages: `[B]`, reward units; a constant added to all of them changes no population minimiser.
        tau: greater than zero, reward units; a number or a scalar array.
        chi2_weight: c >= 0, dimensionless; 0 is the KL-penalised policy gradient, lambda is PMD-mean's own (C2).
        mask: of the shape of logp, true where a token counts; None counts all.
        weights: `[B]`, multiplies each term; not normalised.
        reduction: "mean" over the sequences that count, "sum", or "none" for `[B]`.

    Returns:
        A scalar or `[B]`, reward units, of the library and dtype of logp.

    Raises:
        ValueError: for old_logp None, shapes that do not match, tau or chi2_weight out of range, another reduction.
        TypeError: for what holds no real numbers, or arrays of two libraries.

    Numerics: the square of the ratio overflows for a sequence log-ratio above 44 in float32 and 354 in float64; the
        regression of `pmd_loss` takes no exponential.

    Source: arXiv:2602.05933 (C2); the estimator, this project.

    >>> import numpy as np, pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], reward=[0, 0, 1], tau=0.3)
    >>> step = pmd.mixed_update(problem, weight=0.5).unwrap()
    >>> options = dict(tau=0.3, chi2_weight=0.5, weights=problem.policy, reduction="sum")
    >>> loss = penalised_loss(step.log_policy, problem.log_policy, problem.reward, **options)
    >>> objective = step.expected_reward - 0.3 * step.kl - 0.3 * 0.5 / 2 * step.chi2
    >>> bool(abs(loss + objective) < 1e-12)  # the population loss is minus the objective
    True
    """
    batch = prepare(
        logp,
        old_logp,
        advantages,
        name="advantages",
        mask=mask,
        weights=weights,
        reduction=reduction,
        scalars={"tau": tau, "chi2_weight": chi2_weight},
    )
    xp = batch.xp
    strength = scalar(xp, "tau", tau, _TAU, like=batch.log_ratio, positive=True)
    c = scalar(xp, "chi2_weight", chi2_weight, _CHI2, like=batch.log_ratio, positive=False)
    log_ratio = xp.sum(batch.log_ratio, 1)
    ratio, change = xp.exp(log_ratio), xp.expm1(log_ratio)
    penalty = (ratio * log_ratio - change) + (0.5 * c) * change * change
    return reduced(batch, strength * penalty - ratio * batch.signal)
