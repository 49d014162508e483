r"""Quadrature for laws of rewards: nodes and masses in the quantile variable, with a reported error.

With the quantile written as a function of s, u = 1/(1 + e^{-s}), every law in use is smooth on a scale of one
(exponential tails are linear in s, Pareto tails exponential), and masses down to 1e-300 keep their digits.
Panels in s are bisected, all at once, until integrals like those of the update settle; the Gauss-Legendre nodes
of the final panels are the law that the rest of the package sees. (`scipy.integrate.quad_vec` bisects as well,
but calls the quantile function one point at a time, which takes a second per law.)
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray

__all__ = ["RewardLaw", "reward_law"]

_EDGE: Final = 690.0  # e^-690 = 1e-300: the outermost quantile that float64 can name
_NODES: Final = 20
_TOLERANCE: Final = 1e-15
_DEPTH: Final = 60
_LEVELS: Final = 1_000_000
_SHIFTS: Final = (-8.0, -2.0, 0.0, 2.0, 8.0)
_STARTS: Final = (-300.0, -100.0, -40.0, -20.0, -10.0, -6.0, -3.0, -1.0)
_REMEDY: Final = "pass a frozen scipy.stats distribution, or an object with ppf and isf"
_GAUSS: Final = np.polynomial.legendre.leggauss(_NODES)


@dataclass(frozen=True, eq=False)
class RewardLaw:
    r"""A reward law as nodes and masses, with what the nodes alone cannot say.

    Attributes:
        node: `[K]`, rewards, ascending.
        mass: `[K]`, summing to one.
        error: relative error of the mean and of integrals of the update's kind, as estimated.
        partition_finite: whether \(E e^{r/\tau} < \infty\); a tau within 0.1 % of the critical one counts as infinite.
        second_moment_finite: whether \(E (r^+)^2 < \infty\).
    """

    node: FloatArray
    mass: FloatArray
    error: float
    partition_finite: bool
    second_moment_finite: bool


def reward_law(distribution: Any, tau: float) -> RewardLaw:
    """Nodes of a frozen distribution for a given tau; see `Problem.from_distribution`."""
    if not (callable(getattr(distribution, "ppf", None)) and callable(getattr(distribution, "isf", None))):
        raise TypeError(f"distribution must have ppf and isf, got {type(distribution).__name__}; {_REMEDY}")
    low, high = _ends(distribution)
    upper = _tail_index(distribution, high)
    lower = _tail_index(distribution, low)
    if max(upper, lower) >= 1.0:
        raise ValueError(
            "distribution has no finite mean, and without one PMD-mean has no baseline; "
            "bound the rewards, or take a lighter tail (C19 needs E|r| finite)"
        )
    finite = _partition_finite(distribution, tau, high)
    if callable(getattr(distribution, "pmf", None)):
        node, mass, error = _enumerated(distribution)
    else:
        node, mass, error = _panels(distribution, tau, low, high, tilt=finite, square=max(upper, lower) < 0.45)
    return RewardLaw(node, mass, error, partition_finite=finite, second_moment_finite=upper < 0.5)


def _quantile(distribution: Any, s: FloatArray) -> FloatArray:
    """Reward at u = expit(s), from the nearer tail."""
    s = np.asarray(s, dtype=np.float64)
    below = np.asarray(distribution.ppf(special.expit(np.minimum(s, 0.0))), dtype=np.float64)
    above = np.asarray(distribution.isf(special.expit(-np.maximum(s, 0.0))), dtype=np.float64)
    return np.where(s < 0.0, below, above)


def _ends(distribution: Any) -> tuple[float, float]:
    """The widest range of s on which the quantile function answers with finite values and without complaint.

    Some quantile functions give up in their far tails (beta's does, with a warning); cutting there is harmless
    as long as the mass cut away is far below rounding.
    """
    ends = []
    for sign in (-1.0, 1.0):
        edge = _EDGE
        while not _answers(distribution, sign * edge):
            edge *= 0.9
            if edge < 40.0:  # beyond, more than 1e-18 of the mass would be cut away
                raise ValueError(f"distribution's quantile function is not finite in its tails; {_REMEDY}")
        ends.append(sign * edge)
    return ends[0], ends[1]


def _answers(distribution: Any, s: float) -> bool:
    """Whether the quantile function is finite at s and somewhat inside of it, without a warning."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        values = _quantile(distribution, s * np.array([1.0, 0.97, 0.9]))
    return bool(np.isfinite(values).all()) and not complaints


def _tail_index(distribution: Any, end: float) -> float:
    """The gamma for which |quantile| grows like e^{gamma |s|} towards an end (zero for all lighter tails)."""
    inner, middle, outer = (math.copysign(1.0, end) * _quantile(distribution, end * np.array([0.5, 0.7, 0.9]))).tolist()
    if not 0.0 < inner < middle < outer:
        return 0.0
    near = (math.log(middle) - math.log(inner)) / (0.2 * abs(end))
    far = (math.log(outer) - math.log(middle)) / (0.2 * abs(end))
    return far if far > 0.95 * near else 0.0  # a lognormal's slope still falls here, a Pareto's has settled


def _partition_finite(distribution: Any, tau: float, end: float) -> bool:
    """Whether r/tau grows slower than the tail's -log mass: the slope of the upper quantile in s decides."""
    inner, outer = _quantile(distribution, end * np.array([0.95, 1.0])).tolist()
    return bool((outer - inner) / (0.05 * end * tau) < 0.999)


def _enumerated(distribution: Any) -> tuple[FloatArray, FloatArray, float]:
    """Atoms of a discrete law; an infinite support is cut where 1e-300 of mass is left."""
    if hasattr(getattr(distribution, "dist", None), "xk"):
        node = np.unique(np.asarray(distribution.dist.xk, dtype=np.float64))
    else:
        first, last = float(distribution.ppf(1e-300)), float(distribution.isf(1e-300))
        if last - first > _LEVELS:
            raise ValueError(f"distribution has more than {_LEVELS} levels; pass its head through from_policy")
        node = np.arange(first, last + 1.0)
    mass = np.asarray(distribution.pmf(node), dtype=np.float64)
    keep = mass > 0.0
    total = float(mass[keep].sum())
    return node[keep], mass[keep] / total, abs(total - 1.0)


def _density(s: FloatArray) -> FloatArray:
    """du/ds of the quantile variable."""
    decay = np.exp(-np.abs(s))
    return np.asarray(decay / (1.0 + decay) ** 2)


def _panels(
    distribution: Any, tau: float, low: float, high: float, *, tilt: bool, square: bool
) -> tuple[FloatArray, FloatArray, float]:
    """Gauss-Legendre nodes on adaptively bisected panels, and the relative error of the test integrals."""
    starts = sorted({low, high, 0.0, *(s for s in _STARTS if s > low), *(-s for s in _STARTS if -s < high)})
    scan = _quantile(distribution, np.linspace(low, high, 2001))
    if np.isnan(scan).any():
        raise ValueError(f"distribution's quantile function returns NaN; {_REMEDY}")
    centre, quartiles = (
        float(_quantile(distribution, np.zeros(1))[0]),
        _quantile(distribution, np.array([-1.1, 1.1])),
    )
    width = float(quartiles[1] - quartiles[0]) or max(float(scan[-1] - scan[0]), tau)
    highest = float(np.max((scan - centre) / tau - np.abs(np.linspace(low, high, 2001))))

    def tests(s: FloatArray, x: FloatArray) -> FloatArray:
        """Integrands `[j, ...]` of the update's growth, on the scales of the law and of tau, times du/ds."""
        y, z = (x - centre) / width, (x - centre) / tau
        rows = [np.ones_like(y), y, np.hypot(1.0, y)]
        rows += [np.logaddexp(0.0, z - shift) * min(tau / width, 1.0) for shift in _SHIFTS]
        rows += [y * y] if square else []
        with np.errstate(under="ignore"):
            result = np.stack(rows) * _density(s)
            if tilt:
                tilted = np.exp(z - np.abs(s) - highest) / (1.0 + np.exp(-np.abs(s))) ** 2
                result = np.concatenate([result, tilted[None]])
        return result

    left, right = np.array(starts[:-1]), np.array(starts[1:])
    done: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    error = np.zeros(1)
    coarse = _integrate(distribution, tests, left, right)[3]
    scale = np.abs(coarse).sum(axis=1)
    for depth in range(_DEPTH):
        middle = 0.5 * (left + right)
        s, weight, node, fine = _integrate(
            distribution, tests, np.stack([left, middle], 1).ravel(), np.stack([middle, right], 1).ravel()
        )
        scale = np.maximum(scale, np.abs(fine).sum(axis=1))
        pairs = fine.reshape(fine.shape[0], -1, 2)
        gap = np.abs(pairs.sum(axis=2) - coarse) / scale[:, None]
        settled = (gap.max(axis=0) <= _TOLERANCE) | (depth == _DEPTH - 1)
        error = error + gap[:, settled].sum(axis=1)
        both = np.repeat(settled, 2)
        done.append((s[both].ravel(), weight[both].ravel(), node[both].ravel()))
        open_ = ~both
        if not open_.any():
            break
        left = np.stack([left, middle], 1).ravel()[open_]
        right = np.stack([middle, right], 1).ravel()[open_]
        coarse = fine[:, open_]
    s, weight, node = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(s)
    mass = (weight * _density(s))[order]
    total = math.fsum(mass)
    keep = mass > 0.0
    return node[order][keep], mass[keep] / total, float(error.max()) + abs(total - 1.0)


def _integrate(
    distribution: Any, tests: Any, left: FloatArray, right: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Abscissae, weights and rewards `[P, N]` of P panels, and the test integrals `[j, P]` over them."""
    abscissa, gauss = _GAUSS
    half = 0.5 * (right - left)[:, None]
    s = 0.5 * (left + right)[:, None] + half * abscissa
    weight = half * gauss
    node = _quantile(distribution, s.ravel()).reshape(s.shape)
    return s, weight, node, (tests(s, node) * weight).sum(axis=2)
