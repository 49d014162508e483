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
_LEAST: Final = 36.0  # beyond lies 2e-16 of the mass: what rounding does not tell from none
_NODES: Final = 20
_TOLERANCE: Final = 1e-15
_DEPTH: Final = 60
_LEVELS: Final = 1_000_000
_BUDGET: Final = 4_000  # panels open at once beyond which bisection stops
_CRITICAL: Final = 0.999  # slope of r/tau against the tail's -log mass from which log Z counts as infinite
_SHIFTS: Final = tuple(range(-16, 25, 4))
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
        partition_reached: whether the nodes hold it: a normal law's lies beyond the quantile 1e-300 for tau < 0.027.
        second_moment_finite: whether \(E (r^+)^2 < \infty\).
    """

    node: FloatArray
    mass: FloatArray
    error: float
    partition_finite: bool
    partition_reached: bool
    second_moment_finite: bool


def reward_law(distribution: Any, tau: float) -> RewardLaw:
    """Nodes of a frozen distribution for a given tau; see `Problem.from_distribution`."""
    if not (callable(getattr(distribution, "ppf", None)) and callable(getattr(distribution, "isf", None))):
        raise TypeError(f"distribution must have ppf and isf, got {type(distribution).__name__}; {_REMEDY}")
    if callable(getattr(distribution, "pmf", None)):
        return _enumerated(distribution, tau)
    low, high = _ends(distribution)
    upper = _tail_index(distribution, high)
    lower = _tail_index(distribution, low)
    if max(upper, lower) >= 1.0:
        raise ValueError(
            "distribution has no finite mean, and without one PMD-mean has no baseline; "
            "bound the rewards, or take a lighter tail (C19 needs E|r| finite)"
        )
    ends = _quantile(distribution, high * np.array([0.45, 0.5, 0.95, 1.0]))
    # r/tau grows like slope * s against a tail mass of e^-s
    near, slope = ((ends[[1, 3]] - ends[[0, 2]]) / (0.05 * high * tau)).tolist()
    finite, reached = _partition(near, slope)
    node, mass, error = _settled(distribution, tau, low, high, tilt=reached, square=max(upper, lower) < 0.45)
    if reached:
        a = node / tau
        share = float(np.exp(a[-1] + np.log(mass[-1]) - special.logsumexp(a + np.log(mass))))
        error += share / (1.0 - slope)  # what the tilt has beyond the last node, a geometric tail
    return RewardLaw(node, mass, error, finite, reached, second_moment_finite=upper < 0.5)


def _partition(near: float, far: float) -> tuple[bool, bool]:
    """Whether log Z is finite, and whether the nodes hold it, from the slopes of r/tau half-way and at the end.

    Below one the tilt falls off before the end. Above one it still rises there: for good, unless the slope falls
    (tails lighter than exponential), and then the mass of the tilt lies farther out than float64 can name.
    """
    reached = far < _CRITICAL
    return reached or far < 0.97 * near, reached


def _quantile(distribution: Any, s: FloatArray) -> FloatArray:
    """Reward at u = expit(s), from the nearer tail; what the distribution has to say about it is left to `_ends`."""
    return _heard(distribution, s)[0]


def _heard(distribution: Any, s: FloatArray) -> tuple[FloatArray, bool]:
    """Rewards at u = expit(s), and whether the distribution warned on the way."""
    s = np.asarray(s, dtype=np.float64)
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        below = np.asarray(distribution.ppf(special.expit(np.minimum(s, 0.0))), dtype=np.float64)
        above = np.asarray(distribution.isf(special.expit(-np.maximum(s, 0.0))), dtype=np.float64)
    return np.where(s < 0.0, below, above), bool(complaints)


def _ends(distribution: Any) -> tuple[float, float]:
    """The widest range of s on which the quantile function answers with finite values and without complaint.

    Some quantile functions give up in their far tails (beta's warns, Student t's overflows); cutting there is
    harmless as long as the mass cut away is far below rounding. Nearer to the middle a warning is no reason to cut.
    """
    ends = []
    for sign in (-1.0, 1.0):
        reach = sign * np.linspace(0.0, _EDGE, 2001)  # fine: t overflows in bands one wide
        finite = np.isfinite(_quantile(distribution, reach))
        reach = reach[: int(np.argmin(finite))] if not finite.all() else reach
        if reach.size == 0 or abs(reach[-1]) < _LEAST:
            raise ValueError(f"distribution's quantile function is not finite in its tails; {_REMEDY}")
        while abs(reach[-1]) > _LEAST and _heard(distribution, reach)[1]:
            reach = reach[: int(0.95 * reach.size)]
        ends.append(float(reach[-1]))
    return ends[0], ends[1]


def _tail_index(distribution: Any, end: float) -> float:
    """The gamma for which |quantile| grows like e^{gamma |s|} towards an end (zero for all lighter tails)."""
    inner, middle, outer = (math.copysign(1.0, end) * _quantile(distribution, end * np.array([0.5, 0.7, 0.9]))).tolist()
    if not 0.0 < inner < middle < outer:
        return 0.0
    near = (math.log(middle) - math.log(inner)) / (0.2 * abs(end))
    far = (math.log(outer) - math.log(middle)) / (0.2 * abs(end))
    return far if far > 0.95 * near else 0.0  # a lognormal's slope still falls here, a Pareto's has settled


def _enumerated(distribution: Any, tau: float) -> RewardLaw:
    """Atoms of a discrete law; an infinite support is cut where an atom has less than 1e-300 of mass."""
    if hasattr(getattr(distribution, "dist", None), "xk"):
        node = np.unique(np.asarray(distribution.dist.xk, dtype=np.float64))
    else:
        first, last = (
            _reach(distribution, end, sign) for end, sign in zip(distribution.support(), (-1.0, 1.0), strict=True)
        )
        if last - first >= _LEVELS:
            raise ValueError(f"distribution has more than {_LEVELS} levels; pass its head through from_policy")
        node = np.arange(first, last + 1.0)
    mass = np.asarray(distribution.pmf(node), dtype=np.float64)
    node, mass = node[mass > 0.0], mass[mass > 0.0]
    total = math.fsum(mass)
    finite = reached = True
    if node.size > 1 and not math.isfinite(distribution.support()[1]):
        half = int(np.searchsorted(-np.log(mass[node >= node[np.argmax(mass)]]), -0.5 * math.log(mass[-1])))
        half = min(max(half + int(np.argmax(mass)), 1), node.size - 1)
        near, far = (
            float((node[k] - node[k - 1]) / tau / (math.log(mass[k - 1]) - math.log(mass[k])))
            for k in (half, node.size - 1)
        )
        finite, reached = _partition(near, far)
    return RewardLaw(node, mass / total, abs(total - 1.0), finite, reached, second_moment_finite=True)


def _reach(distribution: Any, end: float, sign: float) -> float:
    """The last atom towards an end of the support: the end itself, or where the log-mass falls below that of 1e-300."""
    if math.isfinite(end):
        return end
    start, step = float(distribution.ppf(0.5)), 1.0
    while float(distribution.logpmf(start + sign * step)) > -_EDGE:
        step *= 2.0
        if step > _LEVELS:
            break
    return start + sign * step


def _density(s: FloatArray) -> FloatArray:
    """du/ds of the quantile variable."""
    decay = np.exp(-np.abs(s))
    return np.asarray(decay / (1.0 + decay) ** 2)


class _NoAnswer(Exception):
    """The quantile function returned NaN at s."""

    def __init__(self, s: float) -> None:
        super().__init__(s)
        self.s = s


def _settled(
    distribution: Any, tau: float, low: float, high: float, *, tilt: bool, square: bool
) -> tuple[FloatArray, FloatArray, float]:
    """The panels of the widest range without a NaN: a window of them too narrow to see beforehand ends the range."""
    while True:
        try:
            return _panels(distribution, tau, low, high, tilt=tilt, square=square)
        except _NoAnswer as gap:
            if abs(gap.s) < _LEAST:
                raise ValueError(f"distribution's quantile function returns NaN; {_REMEDY}") from None
            low, high = (0.999 * gap.s, high) if gap.s < 0.0 else (low, 0.999 * gap.s)


def _panels(
    distribution: Any, tau: float, low: float, high: float, *, tilt: bool, square: bool
) -> tuple[FloatArray, FloatArray, float]:
    """Nodes and masses on panels bisected until integrals of the update's kind settle, and their relative error."""
    scan_at = np.linspace(low, high, 4001)
    scan = _quantile(distribution, scan_at)
    centre, quartiles = float(_quantile(distribution, np.zeros(1))[0]), _quantile(distribution, np.array([-1.1, 1.1]))
    width = float(quartiles[1] - quartiles[0]) or max(float(scan[-1] - scan[0]), tau)

    def growth(x: FloatArray) -> list[FloatArray]:
        """Integrands on the scale of the law."""
        y = (x - centre) / width
        return [np.ones_like(y), y, np.hypot(1.0, y), *([y * y] if square else [])]

    # quantiles carry a rounding error of eps times their size, which no bisection takes away
    noise = 4.0 * float(np.finfo(np.float64).eps) * (1.0 + abs(centre) / min(width, tau))
    node, mass, _ = _bisected(distribution, lambda s, x: np.stack(growth(x)) * _density(s), low, high, noise)
    mean = float(np.dot(mass, node))
    highest = float(np.max((scan - mean) / tau - np.abs(scan_at)))

    def tests(s: FloatArray, x: FloatArray) -> FloatArray:
        """All integrands `[j, ...]` times du/ds: also bends like the tilt's, on the scale of tau, around the mean.

        The tilt v(a) turns from slope 1 to slope 1/(1 + w) near a = -1 - log lambda, pi away from its complex
        singularities, like log(1 + e^(a - shift)); the shifts cover log lambda from -24 to 15.
        """
        a = (x - mean) / tau
        rows = growth(x) + [np.logaddexp(0.0, a - shift) * min(tau / width, 1.0) for shift in _SHIFTS]
        with np.errstate(under="ignore"):
            rows += [special.expit(-(a - shift)) for shift in _SHIFTS]
            result = np.stack(rows) * _density(s)
            if tilt:
                tilted = np.exp(a - np.abs(s) - highest) / (1.0 + np.exp(-np.abs(s))) ** 2
                result = np.concatenate([result, tilted[None]])
        return result

    return _bisected(distribution, tests, low, high, noise)


def _bisected(
    distribution: Any, tests: Any, low: float, high: float, noise: float
) -> tuple[FloatArray, FloatArray, float]:
    """Gauss-Legendre nodes on panels halved until no test integral notices, and what the last halving moved."""
    edges = np.array(sorted({low, high, 0.0, *(s for s in _STARTS if s > low), *(-s for s in _STARTS if -s < high)}))
    left, right = edges[:-1], edges[1:]
    coarse = _integrate(distribution, tests, left, right)[3]
    scale = np.maximum(np.abs(coarse).sum(axis=1), 1e-300)  # a test that vanishes everywhere asks for nothing
    error = np.zeros(scale.size)
    done: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    depth = 0
    while left.size:
        middle = 0.5 * (left + right)
        left, right = np.stack([left, middle], 1).ravel(), np.stack([middle, right], 1).ravel()
        s, weight, node, fine = _integrate(distribution, tests, left, right)
        scale = np.maximum(scale, np.abs(fine).sum(axis=1))
        gap = np.abs(fine.reshape(scale.size, -1, 2).sum(axis=2) - coarse) / scale[:, None]
        depth += 1
        # a panel settles at the tolerance, or at the rounding of what it holds; past the budget it is only reported
        rounding = noise * np.abs(coarse) / scale[:, None]
        settled = (gap <= np.maximum(_TOLERANCE, rounding)).all(axis=0) | (depth == _DEPTH) | (left.size > _BUDGET)
        error += gap[:, settled].sum(axis=1)
        both = np.repeat(settled, 2)
        done.append((s[both].ravel(), weight[both].ravel(), node[both].ravel()))
        left, right, coarse = left[~both], right[~both], fine[:, ~both]
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
    silent = s[np.isnan(node)]
    if silent.size:
        raise _NoAnswer(float(silent[np.argmin(np.abs(silent))]))
    return s, weight, node, (tests(s, node) * weight).sum(axis=2)
