r"""The regression of a PMD step over all the weights of an enumerated model, by a damped Newton method.

The loss is a weighted least-squares problem in the log-ratios s, but its residuals do not vanish: at the solution of a
realisable step they are \(\lambda\rho\), and the second derivative of the loss there is
\(J^T \mathrm{diag}(\mu + \lambda\pi_\theta)\,J\), J the derivative of s and \(\lambda = E_\mu[\text{target} - s]\).
That matrix, damped as Levenberg and Marquardt do, is all the optimiser knows of the theory; it is positive
semidefinite, and whether a step is taken is decided by the loss alone.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from pmdtheory._checks import FloatArray, positive_scalar, real_vector
from pmdtheory.losses import pmd_loss
from pmdtheory.problem import Problem
from pmdtheory.solution import Solution, Status
from tiny_llm_rl._checks import whole
from tiny_llm_rl._tabular import SequenceModel

__all__ = ["Fit", "fit"]

_TRIES: Final = 30  # dampings, each four times the last, before the loss is taken to have no lower value
_RESOLVED: Final = 1e-12  # changes of the loss, relative to it, that its rounding lets one see
_LARGE: Final = 10**8  # multiplications, from which on BLAS pays
_LEAST: Final = 1e-12  # damping, relative to the curvature's trace, that keeps every factorisation positive


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights that a regression ended at.

    Attributes:
        weights: `[P]`.
        log_policy: `[A]`, the law of the responses there, nats.
        loss: the regression's value, reward units.
        decrement: by how much a further, undamped step promises to lower the loss over tau, nats squared.
        path: `[steps + 1, A]`, the log-probabilities after every step; the first row is the start.
    """

    weights: FloatArray
    log_policy: FloatArray
    loss: float
    decrement: float
    path: FloatArray


def fit(
    model: SequenceModel,
    problem: Problem,
    *,
    target: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    start: ArrayLike | None = None,
    max_steps: int = 200,
    tolerance: float = 1e-22,
) -> Solution[Fit]:
    r"""Minimise the PMD regression over the weights of a sequence model.

    Formula: \(\min_\theta \tfrac{\tau}{2}\sum_y \mu_y\,(\text{target}_y - \log\pi_\theta(y)/\pi(y))^2\), by
    `pmdtheory.losses.pmd_loss`.

    Args:
        model: `Tabular` or `Enumerated`.
        problem: the step: anchor policy, rewards and tau over the same `A` responses.
        target: `[A]`, nats; None is PMD-mean's scaled advantage.
        weights: `[A]`, the law mu that the responses are drawn from, or their frequencies; None is the policy.
        start: `[P]`, the first weights; None is the model's base.
        max_steps: of the optimiser, at least 1.
        tolerance: on the decrement, nats squared.

    Returns:
        Solution[Fit]; its residual is the decrement. `Status.ALMOST_SOLVED` where the steps run out, or where rounding
        ends the descent first.

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy.

    Numerics: the linear systems have the smaller of A and P unknowns. Responses without weight do not enter the loss.

    Source: this project (C20); damping: Levenberg (1944), Marquardt (1963).

    >>> import pmdtheory as pmd
    >>> from tiny_llm_rl.exact_lm import Tabular, exact_problem, fit
    >>> model = Tabular(3, 3, seed=0)
    >>> problem = exact_problem(model, "checksum", tau=0.5)
    >>> found = fit(model, problem).unwrap()
    >>> step = pmd.mean_update(problem).unwrap()
    >>> bool(np.abs(np.exp(found.log_policy) - step.policy).max() < 1e-9)  # the regression finds the Lambert-W policy
    True
    """
    size = problem.log_policy.size
    goal = _vector("target", problem.scaled_advantage if target is None else target, size)
    law = _vector("weights", problem.policy if weights is None else weights, size)
    if law.min() < 0.0 or law.sum() <= 0.0:
        raise ValueError(f"weights must be at least zero, and some above it, got {law.min()}; pass masses or counts")
    at, _ = real_vector("start", model.base if start is None else start, "pass the weights to begin with")
    if at.shape != model.base.shape:
        raise ValueError(f"start has {at.size} weights for a model of {model.base.size}; pass model.base, for instance")
    steps = whole("max_steps", max_steps, "pass the most steps the optimiser may take")
    limit = positive_scalar("tolerance", tolerance, "pass a decrement such as 1e-22")
    now = model.log_probs(at)
    if now.shape != (size,):
        raise ValueError(f"problem has {size} responses for a model of {now.size}; build it with exact_problem(model)")

    def value(log_probs: FloatArray) -> float:
        if not np.isfinite(log_probs).all():
            return math.inf  # a step beyond float64 is refused like any other that raises the loss
        options: dict[str, Any] = {"tau": problem.tau, "weights": law, "reduction": "sum"}
        return float(pmd_loss(log_probs, problem.log_policy, goal, **options))

    loss, damping, left, last, path = value(now), 1e-2, math.inf, math.inf, [now]
    for _ in range(steps):
        miss, mass = law * (goal - (now - problem.log_policy)), np.exp(now)
        multiplier = float(miss.sum())
        # the gradient does not feel a multiple of the law, and without it the miss vanishes at the solution
        system = _System(model.jacobian(at), miss - multiplier * mass, law + max(multiplier, 0.0) * mass)
        shift, left = system.step(0.0)
        if left <= limit:
            break
        if problem.tau * left <= _RESOLVED * loss:  # the loss does not see such a step: what it promises has to fall
            if left > 0.5 * last:
                break
            last, at = left, at + shift
            now = model.log_probs(at)
            loss = value(now)
        else:
            for _ in range(_TRIES):
                shift, promised = system.step(damping)
                proposed = model.log_probs(at + shift)
                reached = value(proposed)
                gain = (loss - reached) / (problem.tau * promised)
                if gain > 1e-3:
                    break
                damping *= 4.0
            else:
                break
            at, now, loss = at + shift, proposed, reached
            damping = max(damping * (0.2 if gain > 0.75 else 2.0 if gain < 0.25 else 1.0), _LEAST)
        path.append(now)
    status = Status.SUCCESS if left <= limit else Status.ALMOST_SOLVED
    return Solution(Fit(at, now, loss, left, np.array(path)), status, left, {"steps": float(len(path) - 1)})


class _System:
    """One linearised regression: curvature D over the responses, factored anew for every damping."""

    def __init__(self, jacobian: FloatArray, miss: FloatArray, curvature: FloatArray) -> None:
        self.jacobian, self.miss, self.curvature = jacobian, miss, curvature
        self.dual = jacobian.shape[0] <= jacobian.shape[1]
        self.root = np.sqrt(curvature)
        scaled = self.root[:, None] * jacobian
        rows = scaled if self.dual else scaled.T
        # where products are small, the threads of BLAS would only get in each other's way
        self.gram = rows @ rows.T if rows.size * len(rows) > _LARGE else np.einsum("ip,jp->ij", rows, rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.force = np.where(self.root > 0.0, miss / self.root, 0.0)

    def step(self, damping: float) -> tuple[FloatArray, float]:
        """The damped Newton step `[P]`, and by how much the quadratic model of the loss over tau falls with it."""
        system = self.gram.copy()
        system[np.diag_indices_from(system)] += damping + _LEAST * np.trace(self.gram)
        right = self.force if self.dual else self._pulled(self.miss)
        found = linalg.cho_solve(linalg.cho_factor(system, lower=True, overwrite_a=True), right)
        shift = self._pulled(self.root * found) if self.dual else found
        change = np.einsum("yp,p->y", self.jacobian, shift)
        return shift, float(np.dot(self.miss, change) - 0.5 * np.dot(self.curvature, change * change))

    def _pulled(self, force: FloatArray) -> FloatArray:
        """The force on the responses as a force on the weights."""
        result: FloatArray = np.einsum("yp,y->p", self.jacobian, force)
        return result


def _vector(name: str, value: ArrayLike, size: int) -> FloatArray:
    """A finite number for every response."""
    array, _ = real_vector(name, value, "pass one finite number for every response")
    if array.size != size or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold {size} finite numbers, got {array.size}; pass one for every response")
    return array
