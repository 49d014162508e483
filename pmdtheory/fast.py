r"""The exact updates in JAX: many prompts at once, jitted inside, differentiable, float64 or float32.

Letters: `A` actions, `...` any batch axes (prompts). Arguments broadcast: `log_policy`, `reward` and `mask` `[..., A]`,
`tau` and `baseline` scalars or `[...]`. Results have the dtype of `log_policy` and `reward` (float32 at least). **JAX
works in float32 unless told otherwise**: for float64 call `jax.config.update("jax_enable_x64", True)` first.

Derivatives with respect to reward, log-policy, tau, baseline and sampler are implicit, through the root (C13), to any
order, forwards and backwards; they see the law renormalised, and are zero at masked actions and those without mass.
Laws that are divided among accelerators stay where they are; on several CPU devices very many of them (65,536 entries)
are brought together, because there they are worked through in blocks that fit a cache.
Actions of equal reward are not merged; a prompt with binary rewards is a problem of two actions, `log_policy =
[log(1 - p), log p]` and `reward = [0, 1]` (C10), which is how a million prompts take a fraction of a second.

Failures are codes, never exceptions, because values are unknown under `jit`: see `BatchStep.status` and `Code`.

Errors against the NumPy reference: in float64 lambda to 1e-11 relative and log-ratios to 1e-12 max(1, max|a|); in
float32 both to 2e-5 max(1, max|a|), lambda relative to the larger of itself and b.
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from pmdtheory._fast_step import BatchStep, Code
from pmdtheory._fast_updates import jitted_baseline, jitted_kl, jitted_mean, jitted_mismatched, jitted_omega

__all__ = ["BatchStep", "Code", "baseline_update", "kl_update", "mean_update", "mismatched_update", "wright_omega"]


def wright_omega(z: ArrayLike) -> Array:
    r"""The Wright omega function of real arguments, with derivatives of any order.

    Formula: \(\omega + \log\omega = z\), \(\omega' = \omega/(1+\omega)\).

    Args:
        z: `[...]`.

    Returns:
        `[...]`, positive; 0 at -inf, inf at inf.

    Numerics: within two units in the last place in float64 and float32; never overflows. JAX itself has no omega.

    Source: this project; step of Fritsch, Shafer and Crowley, CACM 16 (1973).

    >>> bool(abs(wright_omega(1.0) - 1.0) < 1e-6)
    True
    """
    found: Array = jitted_omega(jnp.asarray(z, jnp.promote_types(jnp.result_type(z, float), jnp.float32)))
    return found


def kl_update(log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, mask: ArrayLike | None = None) -> BatchStep:
    r"""KL-PMD for every prompt: the ideal step.

    Formula: \(\log\rho = r/\tau - \log Z\), multiplier 0, baseline \(\log Z\).

    Args:
        log_policy: `[..., A]`, nats, normalised here; -inf is no mass.
        reward: `[..., A]`, reward units.
        tau: `[...]` or scalar, greater than zero, reward units.
        mask: `[..., A]`, False for padding, whose entries may hold anything; None is all True.

    Returns:
        `BatchStep`; status 0 or 4.

    Raises:
        ValueError: for shapes that do not broadcast.

    Numerics: rewards are measured from their mean where the gap is small, else from the best one.

    Source: textbook; population solution of PMD-part, arXiv:2602.05933.

    >>> import jax.numpy as jnp
    >>> step = kl_update(jnp.log(jnp.array([0.9, 0.1])), jnp.array([0.0, 1.0]), 0.5)
    >>> bool(abs(step.log_ratio[1] - step.log_ratio[0] - 2.0) < 1e-5)  # the log-odds move by exactly 1/tau
    True
    """
    step: BatchStep = jitted_kl(log_policy, reward, tau, mask)
    return step


def mean_update(log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, mask: ArrayLike | None = None) -> BatchStep:
    r"""PMD-mean for every prompt: the population update behind Kimi K1.5/K2.

    Formula: \(\log\rho + \lambda\rho = (r - \bar r)/\tau\), \(E\rho = 1\) (C1).

    Args:
        log_policy: `[..., A]`, nats, normalised here; -inf is no mass.
        reward: `[..., A]`, reward units.
        tau: `[...]` or scalar, greater than zero, reward units.
        mask: `[..., A]`, False for padding, whose entries may hold anything; None is all True.

    Returns:
        `BatchStep`; status 0 for valid input. The multiplier is 0 iff the rewards are constant.

    Raises:
        ValueError: for shapes that do not broadcast.

    Numerics: safeguarded Newton steps in log lambda from C7's bracket, in a `while_loop` in which solved prompts stay
    put; the mass is measured by terms of one sign, so that weak signals (tau = 1e6) keep lambda's digits. From 2^15
    actions on, lambda comes from rewards in bins and one pass that sums the mass as a Taylor polynomial in log lambda,
    unless it is below 1e-3 or the rewards span more than 2,000 tau, which is left to the general path.

    Source: arXiv:2602.05933 (C1, C2); C4, C7, this project.

    >>> import jax.numpy as jnp
    >>> step = mean_update(jnp.log(jnp.array([0.7, 0.2, 0.1])), jnp.array([0.0, 0.0, 1.0]), 0.1)
    >>> bool(abs(step.multiplier - step.reverse_kl) < 1e-5)  # C4: the weight of the chi2 is the size of the step
    True
    """
    step: BatchStep = jitted_mean(log_policy, reward, tau, mask)
    return step


def baseline_update(
    log_policy: ArrayLike, reward: ArrayLike, tau: ArrayLike, baseline: ArrayLike, mask: ArrayLike | None = None
) -> BatchStep:
    r"""PMD(b) for every prompt, for baselines on either side of log Z.

    Formula: \(\log\rho + \lambda\rho = r/\tau - b\), \(E\rho = 1\); \(\lambda > 0\) for b < log Z, and for b
    above it \(\lambda < 0\) with the symmetric local minimum, on the branch \(W_0\) (C14).

    Args:
        log_policy: `[..., A]`, nats, normalised here; -inf is no mass.
        reward: `[..., A]`, reward units.
        tau: `[...]` or scalar, greater than zero, reward units.
        baseline: `[...]` or scalar, b, nats.
        mask: `[..., A]`, False for padding, whose entries may hold anything; None is all True.

    Returns:
        `BatchStep`; status 2 where b is so far above log Z that the symmetric local minimum is gone, as for the NumPy
        `baseline_update`.

    Raises:
        ValueError: for shapes that do not broadcast.

    Numerics: lambda is ill-conditioned in b next to log Z, where it vanishes; the policy is not.

    Source: this project (C4, C8, C13, C14).

    >>> import jax.numpy as jnp
    >>> step = baseline_update(jnp.log(jnp.array([0.7, 0.3])), jnp.array([0.0, 1.0]), 0.5, 0.8)
    >>> bool(abs(step.multiplier - (step.reverse_kl - (0.8 - 0.3 / 0.5))) < 1e-5)  # C4 for PMD(b)
    True
    """
    step: BatchStep = jitted_baseline(log_policy, reward, tau, baseline, mask)
    return step


def mismatched_update(
    log_policy: ArrayLike,
    reward: ArrayLike,
    tau: ArrayLike,
    log_sampler: ArrayLike,
    baseline: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> BatchStep:
    r"""PMD with rollouts from another sampler than the policy it is anchored to, for every prompt.

    Formula: \(\log\rho + \lambda(\pi/\mu)\rho = r/\tau - b\), \(E\rho = 1\) (C15).

    Args:
        log_policy: `[..., A]`, nats, normalised here; -inf is no mass.
        reward: `[..., A]`, reward units.
        tau: `[...]` or scalar, greater than zero, reward units.
        log_sampler: `[..., A]`, \(\log\mu\), nats, normalised here; -inf where it never goes.
        baseline: `[...]` or scalar, b, nats; None is \(E_\mu r/\tau\), what the group mean of the rollouts estimates.
        mask: `[..., A]`, False for padding, whose entries may hold anything; None is all True.

    Returns:
        `BatchStep`; actions that the sampler misses lose all their mass. Status 2 as for `baseline_update`, 3 where
        actions are missed and the multiplier is not positive, 4 also for sampler's mass on actions without any of the
        policy's.

    Raises:
        ValueError: for shapes that do not broadcast.

    Source: this project (C15).

    >>> import jax.numpy as jnp
    >>> law, r = jnp.log(jnp.array([0.7, 0.2, 0.1])), jnp.array([0.0, 0.0, 1.0])
    >>> stale, fresh = mismatched_update(law, r, 0.5, law), mean_update(law, r, 0.5)
    >>> bool(jnp.abs(stale.policy - fresh.policy).max() < 1e-5)  # on-policy it is PMD-mean
    True
    """
    step: BatchStep = jitted_mismatched(log_policy, reward, tau, log_sampler, baseline, mask)
    return step
