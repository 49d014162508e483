r"""The regression of PMD over the simplex, handed to a generic optimiser: no multiplier, no closed form.

In logits \(\theta\) over `[K]` levels, log-ratio \(v = \theta - \log\sum\pi e^{\theta}\), the loss is
\(\ell = \tfrac12 \sum_k \mu_k (v_k - t_k)^2\). With the error \(e = v - t\), \(\bar e = \sum\mu e\) and the new law x,

* gradient \(\mu e - \bar e\, x\),
* Hessian \((I - x 1^T)\,\mathrm{diag}\,\mu\,(I - 1 x^T) - \bar e\,(\mathrm{diag}\,x - x x^T)\),

in the scaled unknowns \(\sqrt\mu\,\theta\), and with \(\tfrac12(\sum\mu\theta)^2\) added, which fixes the level of the
logits and moves no minimum.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pmdtheory._checks import FloatArray

__all__ = ["Fit", "Regression", "fit_logits"]

_DENSE: Final = 1000  # levels up to which the Hessian is factorised; beyond it only its products are formed


@dataclass(frozen=True, eq=False)
class Regression:
    r"""Law `log_mass`, weights `sampler` and target t, all `[K]`; weights sum to one."""

    log_mass: FloatArray
    sampler: FloatArray
    target: FloatArray

    def log_ratio(self, scaled: FloatArray) -> FloatArray:
        """`[K]`, normalised log-ratios of scaled logits."""
        theta = scaled / np.sqrt(self.sampler)
        terms = self.log_mass + theta
        top = float(terms.max())
        with np.errstate(under="ignore"):
            return np.asarray(theta - (top + math.log(float(np.exp(terms - top).sum()))))

    def loss(self, scaled: FloatArray) -> float:
        """The regression's loss, nats squared, without the term that fixes the level."""
        error = self.log_ratio(scaled) - self.target
        return 0.5 * float(np.dot(self.sampler, error * error))

    def _parts(self, scaled: FloatArray) -> tuple[FloatArray, FloatArray, float, FloatArray]:
        log_ratio = self.log_ratio(scaled)
        error = log_ratio - self.target
        root = np.sqrt(self.sampler)
        with np.errstate(under="ignore"):
            law = np.exp(self.log_mass + log_ratio) / root
        return error, root, float(np.dot(self.sampler, error)), law

    def objective(self, scaled: FloatArray) -> float:
        """Loss plus the term that fixes the level of the logits."""
        level = float(np.dot(np.sqrt(self.sampler), scaled))
        return self.loss(scaled) + 0.5 * level * level

    def gradient(self, scaled: FloatArray) -> FloatArray:
        """`[K]`, of the objective in scaled logits."""
        error, root, mean, law = self._parts(scaled)
        return np.asarray(root * error - mean * law + float(np.dot(root, scaled)) * root)

    def product(self, scaled: FloatArray, direction: FloatArray) -> FloatArray:
        """`[K]`, Hessian times a direction."""
        _, root, mean, law = self._parts(scaled)
        inner = float(np.dot(law, direction))
        turned = direction - root * inner
        forward = turned - law * float(np.dot(root, turned))
        return np.asarray(forward - mean * (law / root * direction - law * inner) + root * np.dot(root, direction))

    def hessian(self, scaled: FloatArray) -> FloatArray:
        """`[K, K]`, of the objective in scaled logits."""
        _, root, mean, law = self._parts(scaled)
        cross = np.outer(root, law)
        outer = np.outer(law, law)
        result = np.eye(law.size) - cross - cross.T + outer  # the weights sum to one
        result -= mean * (np.diag(law / root) - outer)
        return np.asarray(result + np.outer(root, root))


@dataclass(frozen=True, eq=False)
class Fit:
    """Where one start ended: log-ratios `[K]`, loss, gradient norm, iterations."""

    log_ratio: FloatArray
    loss: float
    gradient_norm: float
    iterations: int


def fit_logits(regression: Regression, start: FloatArray, max_steps: int) -> Fit | None:
    """Trust-region minimisation from logits `start` `[K]`, then MINPACK's root-finder on the gradient.

    None where float64 cannot hold the problem (a ratio x/mu that overflows).

    The trust region compares losses and stops where their difference drowns in rounding, at about the root of the
    machine precision; the gradient still has digits there, and `scipy.optimize.root` uses them.
    """
    try:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            fit = _minimised(regression, start * np.sqrt(regression.sampler), max_steps)
    except (ValueError, np.linalg.LinAlgError):  # what scipy raises when handed inf or NaN
        return None
    return fit if math.isfinite(fit.loss + fit.gradient_norm) else None


def _minimised(regression: Regression, scaled: FloatArray, max_steps: int) -> Fit:
    from scipy import optimize

    size = float(np.linalg.norm(regression.gradient(np.zeros_like(scaled))))
    goal = 1e-12 * min(1.0, size) if size > 0.0 else 1e-300
    curvature = {"hess": regression.hessian} if scaled.size <= _DENSE else {"hessp": regression.product}
    minimize: Any = optimize.minimize  # the stubs know one-dimensional arrays by a type of their own
    found = minimize(
        regression.objective,
        scaled,
        jac=regression.gradient,
        method="trust-exact" if scaled.size <= _DENSE else "trust-ncg",
        options={"gtol": goal, "maxiter": max_steps},
        **curvature,
    )
    best, norm = np.asarray(found.x), float(np.linalg.norm(regression.gradient(found.x)))
    if scaled.size <= _DENSE and norm > 0.0:
        polished = optimize.root(regression.gradient, best, jac=regression.hessian, method="hybr", tol=1e-15)
        after = float(np.linalg.norm(regression.gradient(polished.x)))
        if after < norm and regression.loss(polished.x) <= regression.loss(best) * (1.0 + 1e-9):
            best, norm = np.asarray(polished.x), after
    return Fit(regression.log_ratio(best), regression.loss(best), norm, int(found.nit))
