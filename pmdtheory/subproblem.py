r"""Second opinions on the updates that share no formula with them: a conic program, a regression, an identity.

| function | what it is given | what it is checked against |
|---|---|---|
| `solve_subproblem` | the weight of the chi2 | `mixed_update`, and `mean_update` at its multiplier (C2) |
| `solve_regression` | the regression's baseline | `mean_update`, `baseline_update`, `mismatched_update` |
| `gap_certificate` | a step and points to compare it with | itself: the gap identity C3, no solver at all |

Nothing here imports `update` or knows the Lambert-W form: that is what makes an agreement evidence.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import finite_scalar, positive_scalar
from pmdtheory._conic import solve_program
from pmdtheory._gap import GapCertificate, gap_certificate
from pmdtheory._program import Program
from pmdtheory._regression_fit import Fit, Regression, fit_logits
from pmdtheory._sampled import sampled_levels
from pmdtheory._sampler import sampler_law
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Status, Update

__all__ = ["GapCertificate", "gap_certificate", "solve_regression", "solve_subproblem"]

_UNMERGED = 200  # actions up to which the regression leaves equal rewards apart, so that it also checks the merging
_AGREE = 1e-8  # starts agree when their losses differ by less than this part of the loss at the policy itself
_FLAT = 1e-7  # gradient norm, relative to min(1, gradient at the policy), below which a start has converged


def solve_subproblem(
    problem: Problem, *, weight: float, tolerance: float = 1e-12, log_sampler: ArrayLike | None = None
) -> Solution[Update]:
    r"""The mirror step with KL and a chi2 of given weight, as a conic program solved by Clarabel.

    Formula: \(\max_x \langle x, r\rangle - \tau\,\mathrm{KL}(x\|\pi) - \tfrac{\tau c}{2}\chi^2(x\|\mu)\) over the
    simplex, with \(\mu = \pi\) unless a sampler is given: a quadratic objective and one exponential cone a level.

    Args:
        problem: with `A` actions; equal rewards are merged, except with a sampler.
        weight: c >= 0, dimensionless; 0 is pure KL, the multiplier of `mean_update` gives PMD-mean (C2).
        tolerance: Clarabel's, for feasibility and gap; also the largest relative gap that counts as solved, and
            the change relative to the step at which refinement ends.
        log_sampler: `[A]`, \(\log\mu\), nats; None is the policy itself. With c > 0 actions that it never visits
            lose their mass, as any mass there costs an infinite chi2.

    Returns:
        Solution[Update] with `multiplier` = c and `baseline` = b from the dual variable of the simplex constraint
        (\(\log\rho + c(\pi/\mu)\rho = r/\tau - b\), nats). The residual is the duality gap relative to the
        objective's gain over \(\pi\). `Status.ALMOST_SOLVED` keeps the value where the tolerance was not reached;
        `Status.SOLVER_FAILED` has none. Stats: `duality_gap` (nats), `cone_residual` (relative gap before any
        refinement), `cone_solved` (1 if Clarabel itself met the tolerance on the cones), `refinements`,
        `iterations`, `cone_iterations`, `levels`, `solve_time` (seconds).

    Raises:
        TypeError, ValueError: for a weight that is negative or no finite number, a tolerance that is not positive,
            a sampler that is no law on the policy's support.

    Numerics: an exponential cone resolves mass to about 1e-12, not to 1e-12 of a step that is itself 1e-9; so the
    conic solution is followed by the same program about that point, to second order, until nothing moves (see
    `pmdtheory._conic`; `cone_residual` is the accuracy of the cones alone). Against 60-digit arithmetic the policy's
    error is below 1e-12 of the step, for tau from 1e-3 to 1e3, masses down to 1e-12, weights up to 1e6 and 2 to 300
    levels. About 1 ms for 10 levels, 10 ms for 300, 1 s for 10,000.

    Source: arXiv:2602.05933 (C2); C15, scaling and certificate, this project.

    >>> import pmdtheory as pmd
    >>> from pmdtheory.subproblem import solve_subproblem
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0.5, 1], tau=0.1)
    >>> mean = pmd.mean_update(problem).unwrap()
    >>> conic = solve_subproblem(problem, weight=mean.multiplier).unwrap()
    >>> bool(abs(conic.policy - mean.policy).max() < 1e-12)  # C2: PMD-mean solves the KL-chi2 step
    True
    """
    remedy = "pass the weight c >= 0 of the chi2, zero for KL-PMD"
    c = finite_scalar("weight", weight, remedy)
    if c < 0.0:
        raise ValueError(f"weight must be at least zero, got {c}; {remedy}")
    limit = positive_scalar("tolerance", tolerance, "pass the relative accuracy of the solver, for instance 1e-12")
    log_mu = None if log_sampler is None else sampler_law(problem, log_sampler)
    target = problem if log_mu is None else problem.atomic()
    view = sampled_levels(target, log_mu if c > 0.0 else None)
    with np.errstate(over="ignore"):
        curvature = c * np.exp(view.log_mass - view.log_sampler) if log_mu is not None else np.full(view.mass.size, c)
    if not np.isfinite(curvature).all():
        return Solution(None, Status.SOLVER_FAILED)
    program = Program(view.mass, view.log_mass, view.advantage, c, curvature)
    outcome = solve_program(program, limit)
    if outcome.log_ratio is None:
        return Solution(None, Status.SOLVER_FAILED, stats=outcome.stats)
    baseline = outcome.shift - c + problem.mean_reward / problem.tau + view.centre + view.log_total
    step = Update.from_log_ratio(target, view.spread(outcome.log_ratio), multiplier=c, baseline=baseline)
    status = Status.SUCCESS if outcome.converged else Status.ALMOST_SOLVED
    return Solution(step, status, outcome.residual, outcome.stats)


def solve_regression(
    problem: Problem,
    *,
    baseline: float | None = None,
    log_sampler: ArrayLike | None = None,
    starts: int = 2,
    seed: int = 0,
    max_steps: int = 500,
) -> Solution[Update]:
    r"""The regression of PMD over the simplex by a generic optimiser, given no multiplier and no closed form.

    Formula: \(\min_x \tfrac12 E_\mu[(\log(x/\pi) - (r/\tau - b))^2]\), with \(\mu = \pi\) unless a sampler is given.

    Args:
        problem: with `A` actions, left unmerged up to 200 of them.
        baseline: b, nats; None is \(E_\mu r/\tau\), PMD-mean.
        log_sampler: `[A]`, \(\log\mu\), nats; None is the policy itself.
        starts: how many starting points; the first is \(\pi\), the others random logits.
        seed: of the random logits.
        max_steps: trust-region iterations a start may take.

    Returns:
        Solution[Update]; its `multiplier` is read off afterwards, \(E_\mu[r/\tau - b - \log\rho]\). The residual
        is the gradient norm of the best start (logits scaled by \(\sqrt\mu\)). `Status.DISAGREEING_STARTS` keeps
        the best value when starts end at different losses (they do for b > log Z, C14); `Status.ALMOST_SOLVED` when
        the gradient is not flat; `Status.BLIND_ACTIONS` (no value) when actions that the sampler never visits
        would gain from mass. Stats: `loss`, `loss_spread` over the starts, `iterations` (all starts), `starts`.

    Raises:
        TypeError, ValueError: for a baseline that is no finite number, fewer than one start, a negative seed, or a
            sampler that is no law on the policy's support.

    Numerics: exact Hessians up to 1000 levels, products beyond (there the accuracy is the optimiser's own, about
    1e-7). Total variation from the exact policy: below 1e-12 in random problems with tau from 0.01 to 1e3.

    Source: arXiv:2602.05933 (C1); baselines and samplers, this project (C14, C15).

    >>> import pmdtheory as pmd
    >>> from pmdtheory.subproblem import solve_regression
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0.5, 1], tau=0.1)
    >>> fit = solve_regression(problem).unwrap()
    >>> abs(fit.multiplier - fit.reverse_kl) < 1e-9  # C4 holds for what the optimiser found
    True
    """
    count = _whole("starts", starts, 1, "pass at least one starting point, for instance 2")
    generator = np.random.default_rng(_whole("seed", seed, 0, "pass a whole number of at least zero"))
    steps = _whole("max_steps", max_steps, 1, "pass the iterations that a start may take, for instance 500")
    log_mu = None if log_sampler is None else sampler_law(problem, log_sampler)
    apart = log_mu is not None or problem.reward.size <= _UNMERGED
    target = problem.atomic() if apart else problem
    view = sampled_levels(target, log_mu)
    sampler = np.exp(view.log_sampler)
    mean = problem.mean_reward / problem.tau
    shift = float(np.dot(sampler, view.advantage))  # of the sampler's mean reward, in nats from the anchor's own
    if baseline is not None:
        remedy = "pass b in nats, or None for the mean reward over tau"
        shift = finite_scalar("baseline", baseline, remedy) - mean - view.centre
    regression = Regression(view.log_mass, sampler, view.advantage - shift + view.log_total)
    size = view.mass.size
    anywhere = (generator.standard_normal(size) - view.log_mass for _ in range(count - 1))  # laws that ignore pi
    logits = [np.zeros(size), *anywhere]
    fits = [fit for fit in (fit_logits(regression, start, steps) for start in logits) if fit is not None]
    if not fits:
        return Solution(None, Status.SOLVER_FAILED)
    best = min(fits, key=lambda fit: fit.loss)
    losses = [fit.loss for fit in fits]
    first = regression.loss(np.zeros(size))
    multiplier = float(np.dot(sampler, regression.target - best.log_ratio))
    stats = {
        "loss": best.loss,
        "loss_spread": max(losses) - min(losses),
        "iterations": float(sum(fit.iterations for fit in fits)),
        "starts": float(count),
    }
    if not view.seen.all() and multiplier <= 0.0:
        return Solution(None, Status.BLIND_ACTIONS, stats=stats)
    step = Update.from_log_ratio(
        target, view.spread(best.log_ratio), multiplier=multiplier, baseline=mean + view.centre + shift
    )
    return Solution(step, _verdict(best, stats["loss_spread"], first), best.gradient_norm, stats)


def _whole(name: str, value: object, least: int, remedy: str) -> int:
    """The value as an int; numpy integers and whole floats are accepted."""
    number = finite_scalar(name, value, remedy)
    if number != int(number) or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {number}; {remedy}")
    return int(number)


def _verdict(best: Fit, spread: float, first: float) -> Status:
    if spread > _AGREE * first:
        return Status.DISAGREEING_STARTS
    flat = best.gradient_norm <= _FLAT * min(1.0, math.sqrt(2.0 * first))
    return Status.SUCCESS if flat or first == 0.0 else Status.ALMOST_SOLVED
