r"""What a batch did to the policy, measured on its own rollouts, and what the theory says it should have done.

Letters: `G` prompts, `n` rollouts, `B = G n`, `T` tokens; \(s = \log\pi_{after} - \log\pi_{old}\) summed over a
response. "Old" is where the log-ratio starts: the policy that sampled, k batches old when it lags, or with the anchor
"current" the one that began the batch. All estimates are means over sampled responses, so that they are divergences
where the old policy is the one that sampled. KL and chi2 take the forms whose terms are never
negative, which have the same expectation.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory import batch as theory

__all__ = ["divergences", "predicted", "step_by_pass_rate"]

FloatArray = NDArray[np.float64]


def divergences(log_ratio: ArrayLike) -> dict[str, float]:
    r"""Distances between the policies before and after, from log-ratios `[B]` of old responses.

    Formula: KL(old||new) \(= E[e^s - 1 - s]\), KL(new||old) \(= E[se^s - e^s + 1]\), \(\chi^2 = E[(e^s - 1)^2]\).

    Returns:
        kl_old_new, kl_new_old, chi2 (inf where they overflow), log_ratio_rms, largest_log_ratio; nats.

    >>> found = divergences(np.log([0.5, 1.5]))  # a fair coin that becomes a biased one
    >>> round(found["chi2"], 12)
    0.25
    """
    s = np.asarray(log_ratio, np.float64).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        excess = np.expm1(s)
        terms = {"kl_old_new": excess - s, "kl_new_old": s * np.exp(s) - excess, "chi2": excess * excess}
    means = {name: float(np.mean(values)) for name, values in terms.items()}
    return means | {
        "log_ratio_rms": float(np.sqrt(np.mean(s * s))),
        "largest_log_ratio": float(np.abs(s).max()),
    }


class _Step(NamedTuple):
    """PMD-mean's step on the law of each group, `[G]`."""

    multiplier: FloatArray
    improvement: FloatArray
    kl: FloatArray
    chi2: FloatArray


@lru_cache(maxsize=64)
def _solved(size: int, groups: bytes, tau: float) -> _Step:
    step = theory.mean_update(np.frombuffer(groups).reshape(-1, size), tau)
    return _Step(step.multiplier, step.improvement, step.kl, step.chi2)


def _step(rewards: ArrayLike, tau: float) -> _Step:
    """Groups that differ by the order of their rewards have one step, and batches after one another the same groups."""
    r = np.sort(np.asarray(rewards, np.float64), -1)
    distinct, inverse = np.unique(r, axis=0, return_inverse=True)
    return _Step(*(column[inverse.ravel()] for column in _solved(r.shape[1], distinct.tobytes(), tau)))


def predicted(rewards: ArrayLike, tau: float) -> dict[str, float]:
    r"""PMD-mean's population step on the empirical law of each group of `rewards[G, n]` (C1), averaged.

    Returns:
        implied_multiplier, predicted_improvement and predicted_kl, means over the groups; chi2_share, the part
        \(\tfrac\lambda2\chi^2\) in \(\mathrm{KL} + \tfrac\lambda2\chi^2\), over the groups with a signal (0 without).

    >>> found = predicted([[0, 0, 0, 1], [1, 1, 1, 1]], 0.5)
    >>> found["predicted_improvement"] > 0 and 0 < found["chi2_share"] < 1
    True
    """
    step = _step(rewards, tau)
    mixed = 0.5 * step.multiplier * step.chi2
    moved = step.multiplier > 0
    share = mixed[moved] / (mixed[moved] + step.kl[moved])
    return {
        "implied_multiplier": float(step.multiplier.mean()),
        "predicted_improvement": float(step.improvement.mean()),
        "predicted_kl": float(step.kl.mean()),
        "chi2_share": float(share.mean()) if share.size else 0.0,
    }


def step_by_pass_rate(rewards: ArrayLike, log_ratio: ArrayLike, tau: float, *, bins: int = 4) -> list[dict[str, Any]]:
    """Predicted and realised change of the mean reward, for groups binned by their own mean reward.

    Args:
        rewards: `[G, n]`, in [0, 1].
        log_ratio: `[B]` or `[G, n]` of the same responses.
        tau: of the prediction.
        bins: of equal width between the mean rewards 0 and 1; groups of equal rewards are left out.

    Returns:
        For each bin that holds groups: low, groups, mean_reward, predicted, realised, kl_old_new. Realised is the
        self-normalised importance-weighted mean reward of the group's own rollouts less their mean: what the update
        did to these responses, which overstates what it did to fresh ones.
    """
    r = np.asarray(rewards, np.float64)
    s = np.asarray(log_ratio, np.float64).reshape(r.shape)
    rates, differ = r.mean(-1), r.max(-1) > r.min(-1)
    if not differ.any():
        return []
    step = _step(r, tau)
    weight = np.exp(s - s.max(-1, keepdims=True))
    realised = (weight * r).sum(-1) / weight.sum(-1) - rates
    place = np.minimum((rates * bins).astype(int), bins - 1)
    found = []
    for index in range(bins):
        here = differ & (place == index)
        if here.any():
            found.append(
                {
                    "low": index / bins,
                    "groups": int(here.sum()),
                    "mean_reward": float(rates[here].mean()),
                    "predicted": float(step.improvement[here].mean()),
                    "realised": float(realised[here].mean()),
                    "kl_old_new": divergences(s[here])["kl_old_new"],
                }
            )
    return found
