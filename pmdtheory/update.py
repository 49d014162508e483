r"""The exact updates of the PMD family: the solutions of \(\log\rho + \lambda\kappa\rho = r/\tau - b\), \(E\rho = 1\).

| update | b | lambda |
|---|---|---|
| `kl_update` (KL-PMD, population PMD-part) | log Z | 0 |
| `mean_update` (PMD-mean) | mean reward / tau | found |
| `baseline_update` (PMD(b)) | given | found, of either sign |
| `mixed_update` (mirror descent with KL and chi2) | found | given |
| `mismatched_update` (rollouts from another sampler) | given | found, kappa = policy/sampler |

Every function returns a `Solution[Update]`. Its residual is the larger of |mass - 1| and the stationarity error
divided by max(1, max|a|), or by max|log(pi/mu)| where a mismatched sampler makes that larger; both stay below 1e-12.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pmdtheory._checks import FloatArray, finite_scalar
from pmdtheory._large import LARGE, large_root
from pmdtheory._levels import Levels
from pmdtheory._multiplier import Root, negative_root, positive_root, weighted_root
from pmdtheory._sampler import sampler_law
from pmdtheory._series import blocks, log_mean_exp
from pmdtheory.divergence import step_sums
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Status, Update

_ACCURATE: Final = 1e-10  # residuals beyond it are reported as such: the promise is 1e-12

__all__ = ["baseline_update", "kl_update", "mean_update", "mismatched_update", "mixed_update"]


def kl_update(problem: Problem) -> Solution[Update]:
    r"""KL-PMD, the ideal step that the partition function would give: \(\rho = e^{r/\tau}/Z\).

    Formula: \(\pi^+ = \arg\max_x \langle x, r\rangle - \tau\,\mathrm{KL}(x\|\pi)\), multiplier 0, baseline log Z.

    Args:
        problem: with `A` actions.

    Returns:
        Solution[Update]. `Status.PARTITION_INFINITE` for reward laws with \(E e^{r/\tau} = \infty\),
        `Status.PARTITION_OUT_OF_REACH` where it is finite, but not to be had from quantiles down to 1e-300.

    Numerics: rewards are measured from the best one before the division by tau, so that r/tau = 1e6 costs no digit.

    Source: textbook; population solution of PMD-part, arXiv:2602.05933.

    >>> import pmdtheory as pmd
    >>> step = pmd.kl_update(pmd.Problem.binary(0.1, tau=0.5)).unwrap()
    >>> gain = step.log_ratio[1] - step.log_ratio[0]
    >>> bool(abs(gain - 1 / 0.5) < 1e-12)  # the log-odds move by exactly 1/tau
    True
    """
    levels = problem.levels
    if not math.isfinite(problem.jensen_gap):
        unreached = math.isnan(problem.jensen_gap)
        return Solution(None, Status.PARTITION_OUT_OF_REACH if unreached else Status.PARTITION_INFINITE)
    if problem.jensen_gap < 1.0:  # then no digit of a small advantage is lost; else the best level is the safer anchor
        log_ratio = levels.advantage - problem.jensen_gap
    else:
        log_ratio = levels.depth - log_mean_exp(levels.mass, levels.log_mass, levels.depth)
    return _finish(problem, Root(-math.inf, 1.0, log_ratio, 0.0, 0, True), problem.log_partition, problem.jensen_gap)


def mean_update(problem: Problem) -> Solution[Update]:
    r"""PMD-mean, the population update behind Kimi K1.5/K2: the regression towards \(a = (r - \bar r)/\tau\).

    Formula: \(\log\rho + \lambda\rho = a\), \(\rho = W_0(\lambda e^a)/\lambda\), with \(\lambda \ge 0\) the root of
    \(E\rho = 1\). It also maximises \(\langle x, r\rangle - \tau\,\mathrm{KL}(x\|\pi)
    - \tfrac{\tau\lambda}{2}\chi^2(x\|\pi)\) (C2), and \(\lambda = \mathrm{KL}(\pi\|\pi^+)\) (C4).

    Args:
        problem: with `A` actions; any law with a finite mean.

    Returns:
        Solution[Update]; always `Status.SUCCESS` for a valid problem. The multiplier is 0 iff rewards are constant.

    Numerics: lambda is bracketed by C7, found by Newton steps in log lambda, and keeps its digits for weak signals
    (tau = 1e6) because the mass is measured as a sum of terms of one sign. Above 4,096 levels a first lambda from
    binned rewards is refined over all of them.

    Source: arXiv:2602.05933 (C1, C2); bracket C7 and identity C4, this project.

    >>> import pmdtheory as pmd
    >>> step = pmd.mean_update(pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=0.1)).unwrap()
    >>> abs(step.multiplier - step.reverse_kl) < 1e-12  # C4: the weight of the chi2 is the size of the step
    True
    """
    return _regression(problem, 0.0, problem.mean_reward / problem.tau)


def baseline_update(problem: Problem, *, baseline: float) -> Solution[Update]:
    r"""PMD(b): the regression towards r/tau - b for any baseline b in nats.

    Formula: \(\log\rho + \lambda\rho = r/\tau - b\); \(\lambda > 0\) for b < log Z (PMD-mean is b = mean reward/tau),
    0 at b = log Z (KL-PMD). For b > log Z the multiplier is negative and the step is the symmetric local minimum,
    which exists while \(-\lambda \le e^{-1-\max(r/\tau-b)}\), that is on the branch \(W_0\).

    Args:
        problem: with `A` actions.
        baseline: b, nats, finite.

    Returns:
        Solution[Update]. `Status.BASELINE_TOO_HIGH` beyond the region above (C14).

    Raises:
        TypeError, ValueError: for a baseline that is no finite number.

    Numerics: lambda is ill-conditioned in b next to log Z, where it vanishes; the policy is not.

    Source: this project (C4, C8, C14).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.3, tau=0.5)
    >>> step = pmd.baseline_update(problem, baseline=1.0).unwrap()
    >>> abs(step.multiplier - (step.reverse_kl - (1.0 - 0.3 / 0.5))) < 1e-12  # C4 for PMD(b)
    True
    """
    b = finite_scalar("baseline", baseline, "pass b in nats, for instance problem.mean_reward / problem.tau")
    return _regression(problem, b - problem.mean_reward / problem.tau, b)


def mixed_update(problem: Problem, *, weight: float) -> Solution[Update]:
    r"""The mirror step with an explicit chi2 of weight c next to the KL.

    Formula: \(\max_x \langle x, r\rangle - \tau\,\mathrm{KL}(x\|\pi) - \tfrac{\tau c}{2}\chi^2(x\|\pi)\), solved by
    \(\log\rho + c\rho = r/\tau - b\), with b found from \(E\rho = 1\).

    Args:
        problem: with `A` actions.
        weight: c >= 0, dimensionless; c = 0 is KL-PMD, c = lambda of `mean_update` is PMD-mean (C2).

    Returns:
        Solution[Update], with `multiplier` = c and `baseline` = b.

    Raises:
        TypeError, ValueError: for a weight that is negative or no finite number.

    Source: arXiv:2602.05933 (C2).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.binary(0.3, tau=0.5)
    >>> mean = pmd.mean_update(problem).unwrap()
    >>> mixed = pmd.mixed_update(problem, weight=mean.multiplier).unwrap()
    >>> bool(abs(mixed.policy - mean.policy).max() < 1e-12)  # the implicit regulariser, made explicit
    True
    """
    c = finite_scalar("weight", weight, "pass the weight c >= 0 of the chi2, zero for KL-PMD")
    if c < 0.0:
        raise ValueError(f"weight must be at least zero, got {c}; pass the weight c >= 0 of the chi2")
    if c == 0.0:
        return kl_update(problem)
    levels = problem.levels
    if levels.reward.size == 1:
        only = Root(math.log(c), 1.0, np.zeros(1), 0.0, 0, True)
        return _finish(problem, only, problem.mean_reward / problem.tau - c, -c, weight=c)
    gap = _discrete_gap(problem)
    law = (levels.mass, levels.log_mass, levels.reward, levels.advantage)
    root, t = weighted_root(*law, tau=problem.tau, weight=c, gap=gap)
    shift = -t - c
    return _finish(problem, root, problem.mean_reward / problem.tau + shift, shift, weight=c)


def mismatched_update(problem: Problem, *, log_sampler: ArrayLike, baseline: float | None = None) -> Solution[Update]:
    r"""PMD with rollouts from a sampler other than the policy it is anchored to (stale, filtered, off-policy).

    Formula: \(\log\rho + \lambda(\pi/\mu)\rho = r/\tau - b\); the step maximises \(\langle x, r\rangle
    - \tau\,\mathrm{KL}(x\|\pi) - \tfrac{\tau\lambda}{2}\chi^2(x\|\mu)\) (C15): the chi2 is measured against
    what was sampled.

    Args:
        problem: with `A` actions; its policy is the anchor.
        log_sampler: `[A]`, \(\log\mu\), nats. Where the policy has mass and the sampler none, the loss is blind.
        baseline: b, nats; None is \(E_\mu r/\tau\), what the group mean of the rollouts estimates.

    Returns:
        Solution[Update] over the actions (equal rewards are not merged: their pi/mu differs), with
        `stats["chi2_sampler"]` = \(\chi^2(\pi^+\|\mu)\). Blind actions lose all their mass when lambda > 0;
        otherwise `Status.BLIND_ACTIONS`. `Status.BASELINE_TOO_HIGH` as for `baseline_update`.

    Raises:
        ValueError: for a sampler that does not sum to one, or that samples where the policy has no mass.

    Source: this project (C15).

    >>> import numpy as np, pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=0.5)
    >>> stale = pmd.mismatched_update(problem, log_sampler=np.log(problem.policy)).unwrap()
    >>> bool(abs(stale.policy - pmd.mean_update(problem).unwrap().policy).max() < 1e-12)  # on-policy it is PMD-mean
    True
    """
    log_mu = sampler_law(problem, log_sampler)
    atoms = problem.atomic()
    levels = atoms.levels
    log_mu = log_mu[problem.log_policy > -math.inf]
    if baseline is None:
        mu = np.exp(log_mu)
        shift = math.fsum(mu * levels.advantage) / math.fsum(mu)
        b = problem.mean_reward / problem.tau + shift
    else:
        b = finite_scalar("baseline", baseline, "pass b in nats, or None for the sampler's mean reward over tau")
        shift = b - problem.mean_reward / problem.tau
    seen = log_mu > -math.inf
    solution = _seen_root(levels, shift, log_mu, seen)
    if isinstance(solution, Status):
        return Solution(None, solution)
    with np.errstate(over="ignore", under="ignore"):
        log_ratio = np.full(levels.mass.size, -math.inf)
        log_ratio[seen] = solution.log_ratio
        root = replace(solution, log_ratio=log_ratio)
        to_sampler = levels.log_mass[seen] + solution.log_ratio - log_mu[seen]
        chi2 = step_sums(np.exp(log_mu[seen]), log_mu[seen], to_sampler).chi2
    result = _finish(atoms, root, b, shift, log_scale=levels.log_mass - np.where(seen, log_mu, 0.0))
    return Solution(result.value, result.status, result.residual, {**result.stats, "chi2_sampler": chi2})


def _seen_root(levels: Levels, shift: float, log_mu: FloatArray, seen: NDArray[np.bool_]) -> Root | Status:
    """The root over the actions that the sampler sees; a `Status` where the loss does not decide."""
    mass, log_mass = levels.mass[seen], levels.log_mass[seen]
    x = levels.advantage[seen] - shift
    log_scale = log_mass - log_mu[seen]
    blind = math.fsum(levels.mass[~seen])
    gap = log_mean_exp(mass, log_mass, x, blind)
    if gap > 0.0:
        return positive_root(mass, log_mass, x, gap=gap, log_scale=log_scale, blind=blind)
    if not seen.all():
        return Status.BLIND_ACTIONS
    if gap == 0.0:
        return Root(-math.inf, 1.0, x, 0.0, 0, True)
    return negative_root(mass, log_mass, x, log_scale) or Status.BASELINE_TOO_HIGH


def _regression(problem: Problem, shift: float, baseline: float) -> Solution[Update]:
    """The on-policy regression with baseline = mean reward / tau + shift."""
    levels = problem.levels
    mass, log_mass = levels.mass, levels.log_mass
    x = levels.advantage - shift if shift != 0.0 else levels.advantage
    if levels.reward.size == 1:
        return _constant(problem, shift, baseline)
    many = levels.reward.size > LARGE
    if many and shift == 0.0:
        root = large_root(mass, log_mass, x, shift)
        if root is not None:
            return _finish(problem, root, baseline, shift)
    gap = _discrete_gap(problem) if shift == 0.0 else log_mean_exp(mass, log_mass, x)
    if gap == 0.0:  # rewards that differ by less than float64 can tell, or b = log Z to the last digit
        return _finish(problem, Root(-math.inf, 1.0, x, 0.0, 0, True), baseline, shift)
    if gap < 0.0:
        lifted = negative_root(mass, log_mass, x)
        if lifted is None:
            return Solution(None, Status.BASELINE_TOO_HIGH)
        return _finish(problem, lifted, baseline, shift)
    root = large_root(mass, log_mass, x, shift) if many and shift != 0.0 else None
    if root is None:
        root = positive_root(mass, log_mass, x, gap=gap, shift=shift)
    return _finish(problem, root, baseline, shift)


def _discrete_gap(problem: Problem) -> float:
    """Jensen's gap of the law that is solved: finite also where the continuous law's is not."""
    if math.isfinite(problem.jensen_gap):
        return problem.jensen_gap
    return log_mean_exp(problem.levels.mass, problem.levels.log_mass, problem.levels.advantage)


def _constant(problem: Problem, shift: float, baseline: float) -> Solution[Update]:
    """One reward level: nothing moves, and lambda takes up whatever the baseline leaves."""
    if shift > 1.0:
        return Solution(None, Status.BASELINE_TOO_HIGH)
    size = -math.inf if shift == 0.0 else math.log(abs(shift))
    return _finish(problem, Root(size, 1.0 if shift <= 0.0 else -1.0, np.zeros(1), 0.0, 0, True), baseline, shift)


def _finish(
    problem: Problem,
    root: Root,
    baseline: float,
    shift: float,
    *,
    log_scale: FloatArray | float = 0.0,
    weight: float | None = None,
) -> Solution[Update]:
    """Record a root as a Solution, with its residuals; `weight` is the multiplier when it was given, not found."""
    levels = problem.levels
    multiplier = root.multiplier if weight is None else weight
    step = Update.from_log_ratio(problem, root.log_ratio, multiplier=multiplier, baseline=baseline)
    worst, largest = 0.0, 1.0
    scale = np.broadcast_to(np.asarray(log_scale, dtype=np.float64), root.log_ratio.shape)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for block in blocks(root.log_ratio.size):
            v, a = root.log_ratio[block], levels.advantage[block]
            lift = root.sign * np.exp(root.log_multiplier + scale[block] + v)
            error = np.where(v > -math.inf, v + lift - (a - shift), 0.0)
            worst = max(worst, float(np.max(np.abs(error))))
            largest = max(largest, float(np.max(np.abs(a))), abs(shift), float(np.max(np.abs(scale[block]))))
    residual = max(abs(step.mass_defect), worst / largest)
    status = Status.SUCCESS if residual <= _ACCURATE else Status.ALMOST_SOLVED
    if not root.converged:
        status = Status.MAX_STEPS
    stats = {
        "evaluations": root.evaluations,
        "levels": levels.reward.size,
        "log_multiplier": root.log_multiplier,
    }
    return Solution(step if root.converged else None, status, residual, stats)
