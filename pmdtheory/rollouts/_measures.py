r"""What a step does to each of many laws: reward, divergences and the quantities that the regimes are read from."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory._series import exp_remainder

__all__ = ["NAMES", "Measures", "measure"]


@dataclass(frozen=True, eq=False)
class Measures:
    r"""PMD-mean's step on many laws.

    Attributes:
        mean_reward: `[G]`, reward units.
        expected_reward: `[G]`, after the step.
        improvement: `[G]`, their difference, without cancellation.
        multiplier: `[G]`, \(\lambda = \mathrm{KL}(\pi\|\pi^+)\) (C4).
        kl: `[G]`, KL(new||old), nats.
        chi2: `[G]`.
        chi2_share: `[G]`, \(\tfrac\lambda2\chi^2\) over \(\mathrm{KL} + \tfrac\lambda2\chi^2\) (C2); 0 without a step.
        ideal_chi2: `[G]`, the chi2 of KL-PMD's step.
        travelled: `[G]`, total variation of the step over its supremum in tau (C21, C22); 0 without a step.
        log_max_ratio: `[G]`, largest log-ratio, nats.
    """

    mean_reward: FloatArray
    expected_reward: FloatArray
    improvement: FloatArray
    multiplier: FloatArray
    kl: FloatArray
    chi2: FloatArray
    chi2_share: FloatArray
    ideal_chi2: FloatArray
    travelled: FloatArray
    log_max_ratio: FloatArray

    def take(self, index: NDArray[np.intp]) -> "Measures":
        """The measures of some of the laws."""
        return Measures(*(getattr(self, name)[index] for name in NAMES))

    @staticmethod
    def empty(size: int) -> "Measures":
        """NaN everywhere, to be filled."""
        return Measures(*(np.full(size, np.nan) for _ in NAMES))

    def put(self, index: NDArray[np.intp], other: "Measures") -> None:
        """Fill some of the laws."""
        for name in NAMES:
            getattr(self, name)[index] = getattr(other, name)


NAMES: Final = tuple(field.name for field in fields(Measures))


def measure(mass: FloatArray, reward: FloatArray, tau: float, v: FloatArray, multiplier: FloatArray) -> Measures:
    """Measures of steps with log-ratio `v` `[G, K]` from laws `mass`, `reward` `[G, K]`; lambda `[G]`."""
    mean = (mass * reward).sum(axis=1)
    a = (reward - mean[:, None]) / tau
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        change = np.expm1(v)
        # v e^v - e^v + 1 = e^v (e^-v - 1 + v): terms of one sign; it tends to 1 as v falls
        bregman = np.where(v < -40.0, 1.0, np.exp(v) * exp_remainder(np.maximum(-v, -800.0)))
        kl = (mass * bregman).sum(axis=1)
        chi2 = (mass * change**2).sum(axis=1)
        penalty = 0.5 * multiplier * chi2
        share = np.where(kl + penalty > 0.0, penalty / (kl + penalty), 0.0)
        improvement = tau * (mass * a * change).sum(axis=1)
        rise = np.maximum(a, 0.0)
        limit = rise / (mass * rise).sum(axis=1)[:, None]
        farthest = (mass * np.abs(limit - 1.0)).sum(axis=1)
        travelled = np.where(farthest > 0.0, (mass * np.abs(change)).sum(axis=1) / farthest, 0.0)
        ideal = _ideal_chi2(mass, a)
    held = np.where(mass > 0.0, v, -np.inf)
    return Measures(
        mean, mean + improvement, improvement, multiplier, kl, chi2, share, ideal, travelled, held.max(axis=1)
    )


def _ideal_chi2(mass: FloatArray, a: FloatArray) -> FloatArray:
    """E e^{2a}/(E e^a)^2 - 1, in log space."""
    top = np.where(mass > 0.0, a, -np.inf).max(axis=1)[:, None]
    first = (mass * np.exp(np.minimum(a - top, 0.0))).sum(axis=1)
    second = (mass * np.exp(2.0 * np.minimum(a - top, 0.0))).sum(axis=1)
    return np.asarray(np.maximum(second / first**2 - 1.0, 0.0))
