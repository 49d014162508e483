r"""The step that was made against the step that the theory predicts, from log-probabilities before and after.

With \(L = \log\pi_{new} - \log\pi_{old}\) of rollouts from the old policy, \(E[-L] = \mathrm{KL}(\pi\|\pi_{new})\),
which PMD-mean's population step makes equal to lambda (C4), \(E[L e^L - e^L + 1] = \mathrm{KL}(\pi_{new}\|\pi)\), and
\(E[r e^L]\) is the new mean reward: all of them unbiased from any number of rollouts.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory._series import exp_remainder
from pmdtheory.rollouts._graded import empirical_measures
from pmdtheory.rollouts._grouping import Groups, Scale
from pmdtheory.rollouts._pooled import Pooled, over_prompts
from pmdtheory.rollouts._record import Rollouts

__all__ = ["Realised", "realised_step"]


@dataclass(frozen=True, eq=False)
class Realised:
    r"""What a step did, averaged over prompts.

    Attributes:
        multiplier: \(\mathrm{KL}(\pi\|\pi_{new})\), to be compared with lambda, nats (C4).
        kl: \(\mathrm{KL}(\pi_{new}\|\pi)\), nats.
        new_pass_rate: \(E[r e^L]\), in the units of the prediction.
        mass: \(E e^L\), one where both log-probabilities are of normalised policies.
        slope: regression of L on the predicted log-ratio within groups; 1 for the predicted step, 0 for none.
        effective_share: effective sample size of the weights \(e^L\) over the number of rollouts.
        group_multiplier: `[G]`, mean of -L in each group.
        group_slope: `[G]`, the slope in each group; NaN without signal.
    """

    multiplier: Pooled
    kl: Pooled
    new_pass_rate: Pooled
    mass: Pooled
    slope: Pooled
    effective_share: float
    group_multiplier: FloatArray
    group_slope: FloatArray


def realised_step(rollouts: Rollouts, groups: Groups, scale: Scale, tau: float, level: float) -> Realised | None:
    """The realised step; None without both log-probabilities. Binary rewards count as 0 and 1."""
    if rollouts.old_log_prob is None or rollouts.new_log_prob is None:
        return None
    change = rollouts.new_log_prob - rollouts.old_log_prob
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.exp(change)
        bregman = np.where(change < -40.0, 1.0, ratio * exp_remainder(np.minimum(-change, 700.0)))
    reward = (rollouts.reward - scale.low) / scale.span if scale.binary else rollouts.reward
    rows = {name: np.empty(groups.size.size) for name in ("reverse", "kl", "reward", "mass", "above", "below")}
    for _, chosen, members in groups.by_size():
        v = empirical_measures(rollouts.reward[members], tau)[1]
        centred = v - v.mean(axis=1, keepdims=True)
        for name, value in (
            ("reverse", -change[members]),
            ("kl", bregman[members]),
            ("reward", (reward * ratio)[members]),
            ("mass", ratio[members]),
        ):
            rows[name][chosen] = value.mean(axis=1)
        rows["above"][chosen] = (change[members] * centred).mean(axis=1)
        rows["below"][chosen] = (centred**2).mean(axis=1)
    pooled = {name: over_prompts(rows[name], groups.prompt, level) for name in ("reverse", "kl", "reward", "mass")}
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(rows["below"] > 0.0, rows["above"] / rows["below"], np.nan)
    return Realised(
        multiplier=pooled["reverse"],
        kl=pooled["kl"],
        new_pass_rate=pooled["reward"],
        mass=pooled["mass"],
        slope=_slope(rows["above"], rows["below"], groups, level),
        effective_share=float(ratio.sum() ** 2 / (ratio**2).sum() / ratio.size),
        group_multiplier=rows["reverse"],
        group_slope=slopes,
    )


def _slope(above: FloatArray, below: FloatArray, groups: Groups, level: float) -> Pooled:
    """Ratio of sums over groups, with the linearised error over prompts."""
    total = float(below.sum())
    if total == 0.0:
        return Pooled(np.nan, np.nan, np.nan, np.nan, exact=False)
    slope = float(above.sum()) / total
    _, index = np.unique(groups.prompt, return_inverse=True)
    rest = np.bincount(index, above - slope * below)
    clusters = rest.size
    if clusters < 2:
        return Pooled(slope, -np.inf, np.inf, np.nan, exact=False)
    error = float(np.sqrt(np.sum(rest**2) * clusters / (clusters - 1))) / total
    reach = error * float(special.stdtrit(clusters - 1, 0.5 + 0.5 * level))
    return Pooled(slope, slope - reach, slope + reach, error, exact=False)
