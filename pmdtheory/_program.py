r"""One mixed KL-chi2 step as data: objective, stationarity and duality gap of a point, all free of cancellation."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory._series import exp_remainder
from pmdtheory.divergence import step_sums

__all__ = ["Program"]

_BLURRED: Final = 1e13  # nats; beyond it (tails of heavy laws) the rounding of the advantage hides any slack
_SAFE: Final = 700.0


@dataclass(frozen=True, eq=False)
class Program:
    r"""One step over `[K]` levels: masses that sum to one, advantages in nats, curvatures \(c\,\pi/\mu\)."""

    mass: FloatArray
    log_mass: FloatArray
    advantage: FloatArray
    weight: float
    curvature: FloatArray

    @property
    def pull(self) -> FloatArray:
        """`[K]`, the gradient at the anchor up to a constant, nats: what moves the step away from it."""
        return self.advantage - (self.curvature - self.weight)

    def slack(self, log_ratio: FloatArray, shift: float) -> FloatArray:
        """`[K]`, what is missing in the stationarity condition, nats; zero at the solution."""
        return np.asarray(self.pull - shift - self.curvature * np.expm1(log_ratio) - log_ratio)

    def gain(self, log_ratio: FloatArray) -> float:
        """Objective at a point minus objective at the anchor, nats, summed without cancellation."""
        sums = step_sums(self.mass, self.log_mass, log_ratio, self.pull)
        change = np.expm1(log_ratio)
        return sums.gain - sums.kl - 0.5 * float(np.sum(self.mass * self.curvature * change * change))

    def gap(self, log_ratio: FloatArray, shift: float) -> float:
        r"""Duality gap of the conic program, nats: \(\sum_k x_k (e^{s_k} - 1 - s_k)\) with the slack s.

        For every b and z the dual bound is \(b - 1 + \sum m e^{a - b - c z} + \tfrac12\sum m c z^2\): the square
        replaced by its tangent at z, then the maximum over positive rho without the constraint. At z = rho its
        distance to the primal value is this sum, in which no digit cancels.
        """
        with np.errstate(under="ignore"):
            heavy = np.exp(self.log_mass + log_ratio)
            slack = np.where(np.abs(self.pull) > _BLURRED, 0.0, self.slack(log_ratio, shift))
            low = np.minimum(slack, _SAFE)
            with np.errstate(over="ignore"):
                return float(np.sum(heavy * exp_remainder(low)))

    def relative_gap(self, log_ratio: FloatArray, shift: float) -> float:
        """Duality gap divided by the objective's gain over the anchor; zero when the gap itself is."""
        gap, gain = self.gap(log_ratio, shift), self.gain(log_ratio)
        if gap == 0.0:
            return 0.0
        return gap / gain if gain > 0.0 else math.inf
