r"""Root-finding for the multiplier: the one unknown of every member of the family.

All roots are taken in log coordinates with analytic slopes and a bracket that the theory provides (C7); Newton
steps that leave the bracket are replaced by bisection. The mass is measured without cancellation, see `_defect`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory._series import exp_remainder, log_mean_exp, weighted_exp
from pmdtheory.divergence import step_sums
from pmdtheory.lambertw import branch_tilt, tilt

__all__ = ["Root", "negative_root", "positive_root", "weighted_root"]

_MAX_STEPS: Final = 200
_CREEP: Final = 8  # evaluations that Newton's method gets before slow progress counts against it
_WIDE: Final = 40.0  # nats of log lambda beyond which a bracket is narrowed before Newton's method starts
_FAINT: Final = 1e-280  # sums below it are taken as logarithms
_FLOOR: Final = -1.0 + 1e-15
_QUADRATIC: Final = 1e-9  # below this a Newton step leaves an error of its square: one more evaluation and stop


@dataclass(frozen=True, eq=False)
class Root:
    """A solved multiplier: log|lambda|, its sign, the log-ratios `[K]`, log of the mass, evaluations, success."""

    log_multiplier: float
    sign: float
    log_ratio: FloatArray
    log_total: float
    evaluations: int
    converged: bool

    @property
    def multiplier(self) -> float:
        """Lambda itself; zero where it underflows."""
        return self.sign * math.exp(self.log_multiplier)


def safeguarded_newton(
    evaluate: Callable[[float], tuple[float, float]],
    low: float,
    high: float,
    start: float,
    *,
    rising: bool,
    settled: float = _QUADRATIC,
) -> tuple[float, int, bool]:
    """Root between low and high of a monotone function with value and slope from `evaluate`.

    Its direction is given, not measured: next to a root at an end of the bracket the sign of the value is rounding.
    Where the value at an end already has the sign of the other side, that end is the root. The last call of
    `evaluate` is at the returned point, so that the caller keeps what it computed there.
    """
    ends: tuple[float, ...] = (low, high)
    x, last, moved = start, False, math.inf
    for evaluations in range(1, _MAX_STEPS + 1):
        value, slope = evaluate(x)
        if value == 0.0 or last:
            return x, evaluations, True
        if (value < 0.0) is rising:
            low = max(low, x)
        else:
            high = min(high, x)
        if low >= high:  # x is an end of the bracket, and the root lies beyond it by rounding
            return x, evaluations, True
        newton = x - value / slope if slope != 0.0 else math.inf
        # steps that do not shrink creep (a slope far from the secant's) or follow noise: bisection ends both
        creeps = abs(newton - x) > 0.5 * moved and evaluations > _CREEP
        if low <= newton <= high and not creeps:
            proposal, last = newton, abs(newton - x) <= settled
        else:
            nearer = low if newton < low else high
            untried = nearer in ends and nearer != x and not creeps
            proposal = nearer if untried else 0.5 * (low + high)
            ends = tuple(end for end in ends if end != proposal)
        last = last or high - low <= 4e-16 * max(1.0, abs(low), abs(high))
        x, moved = proposal, abs(proposal - x)
    return x, _MAX_STEPS, False


def positive_root(
    mass: FloatArray,
    log_mass: FloatArray,
    x: FloatArray,
    *,
    gap: float,
    shift: float | None = None,
    log_scale: FloatArray | float = 0.0,
    blind: float = 0.0,
    settled: float = _QUADRATIC,
) -> Root:
    r"""The \(\lambda > 0\) with \(E e^v = 1\), \(v + \lambda\kappa e^v = x\), given gap = log E e^x > 0.

    Args:
        mass: `[K]` of the anchor.
        log_mass: `[K]`, its logarithm.
        x: `[K]`, targets r/tau - b, nats.
        gap: log E e^x, nats.
        shift: -E x when the law is centred so exactly that it may be used, else None.
        log_scale: \(\log\kappa\) `[K]`, the log of anchor over sampler; zero on-policy.
        blind: mass of the law that is not among the levels, and that the step removes.
        settled: the Newton step in log lambda that is the last; what is left is of the order of its square.
    """
    log_floor = _floor(mass, log_mass, x, gap, log_scale)
    kept: list[FloatArray] = []
    totals: list[float] = []

    def evaluate(u: float) -> tuple[float, float]:
        v = tilt(x, u + log_scale)
        pull = special.expit(u + log_scale + v)  # -dv/du
        kept[:], totals[:] = [v], []
        weight = math.exp(u)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            sums = step_sums(mass, log_mass, v)
            if shift == 0.0 and sums.reverse_kl < _FAINT:
                totals.append(0.0)  # what is missing to mass one is below float64's smallest numbers
                return _faint(log_mass, v, pull, u)
            if shift is not None and 0.0 <= shift <= weight and 0.0 < sums.reverse_kl < math.inf:
                # (1 + lambda)(E e^v - 1) = E[e^v - 1 - v] - (lambda + s), by the mean of the equation: the right side
                # has terms of one sign, so weak signals keep lambda's digits; its logarithm is nearly linear in u
                totals.append(math.log1p(max((sums.reverse_kl - weight - shift) / (1.0 + weight), _FLOOR)))
                change = np.where(np.abs(v) < 1.0, mass * np.expm1(v), weighted_exp(mass, log_mass, v) - mass)
                fall = float(np.dot(change, pull)) / sums.reverse_kl
                return math.log(sums.reverse_kl / (weight + shift)), -fall - weight / (weight + shift)
            excess = sums.excess - blind
            total = math.log1p(excess) if -0.5 < excess < math.inf else log_mean_exp(mass, log_mass, v, blind)
            totals.append(total)
            terms = log_mass + v
            share = np.exp(terms - terms.max())
        return total, -float(np.dot(share, pull)) / float(share.sum())

    low = log_floor - 1e-9
    high = max(math.log(gap), log_floor) + 1e-9
    spent = 0
    if high - low > _WIDE:
        low, high, spent = _narrowed(evaluate, low, high)
    u, evaluations, converged = safeguarded_newton(evaluate, low, high, low, rising=False, settled=settled)
    return Root(u, 1.0, kept[0], totals[0], evaluations + spent, converged)


def _floor(mass: FloatArray, log_mass: FloatArray, x: FloatArray, gap: float, log_scale: FloatArray | float) -> float:
    """A lower bound for log lambda: C7's outer one on-policy, Jensen's with rho <= e^x for a mismatched sampler."""
    if np.ndim(log_scale) == 0:
        below = x - float(x.max())  # the KL step's log-ratio is taken from the best level: x - gap may round
        return math.log(gap) - log_mean_exp(mass, log_mass, 2.0 * (below - log_mean_exp(mass, log_mass, below)))
    # E_KL exp(-lambda kappa rho) = e^-gap
    terms = log_mass + 2.0 * x + log_scale
    top = float(terms.max())
    with np.errstate(under="ignore"):
        floor = math.log(gap) - (top + math.log(float(np.exp(terms - top).sum()))) + gap
    return min(floor, math.log(gap))


def _faint(log_mass: FloatArray, v: FloatArray, pull: FloatArray, u: float) -> tuple[float, float]:
    """Value and slope of log E[e^v - 1 - v] - log lambda where both underflow: rare actions, masses below 1e-300."""
    with np.errstate(divide="ignore", under="ignore"):
        remainder = np.log(exp_remainder(np.clip(v, None, 40.0)))
    terms = log_mass + np.where(v > 40.0, v, remainder)
    top = float(terms.max())
    if top == -math.inf:
        return 0.0, -1.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        share = np.exp(terms - top)
        gain = np.where(np.abs(v) > 40.0, np.sign(v), np.expm1(v) / exp_remainder(v))
    fall = float(np.dot(share, np.where(share > 0.0, gain, 0.0) * pull)) / float(share.sum())
    return top + math.log(float(share.sum())) - u, -fall - 1.0


def _narrowed(evaluate: Callable[[float], tuple[float, float]], low: float, high: float) -> tuple[float, float, int]:
    """A narrower bracket of a decreasing function, by doubling steps from the end nearest to zero.

    Rare: the bracket of C7 is wide only where chi2 of the KL step is astronomical.
    """
    x = min(max(0.0, low), high)
    step, evaluations = 1.0, 1
    rising = evaluate(x)[0] > 0.0
    while low < x < high or evaluations == 1:
        if rising:
            low, x = x, min(x + step, high)
        else:
            high, x = x, max(x - step, low)
        if (evaluate(x)[0] > 0.0) is not rising:
            return (low, x, evaluations + 1) if rising else (x, high, evaluations + 1)
        step, evaluations = 2.0 * step, evaluations + 1
    return low, high, evaluations


def negative_root(
    mass: FloatArray, log_mass: FloatArray, x: FloatArray, log_scale: FloatArray | float = 0.0
) -> Root | None:
    r"""The \(\lambda = -\nu < 0\) on the branch \(W_0\) for E e^x < 1, or None where there is none.

    The unknown is t, the lift of the most lifted action: \(\nu\max(\kappa e^x) = t e^{-t}\), t in (0, 1], smooth up
    to the branch point t = 1. Since no lift exceeds t, t is at least -log E e^x.
    """
    z = np.asarray(x + log_scale)
    top = float(z.max())
    below = top - z
    missing = -log_mean_exp(mass, log_mass, x)
    kept: list[FloatArray] = []
    totals: list[float] = []

    def evaluate(y: float) -> tuple[float, float]:
        t = math.exp(y)
        lift = np.where(below == 0.0, t, branch_tilt(below + _branch_depth(t)))
        v = x + lift
        with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
            growth = np.where(below == 0.0, t, lift * ((1.0 - t) / (1.0 - lift)))
            share = np.exp(log_mass + v)
        total = log_mean_exp(mass, log_mass, v)
        kept[:], totals[:] = [v], [total]
        return total, float(np.dot(share, growth)) / float(share.sum())

    if missing <= 0.0:
        raise ValueError(f"x has log-mass {-missing}, which needs a multiplier that is not negative")
    if missing > 1.0:  # no lift exceeds one
        return None
    evaluate(0.0)
    if totals[0] < 0.0:
        return None
    y, evaluations, converged = safeguarded_newton(
        evaluate, math.log(missing) - 1e-9, 0.0, math.log(missing), rising=True
    )
    return Root(y - math.exp(y) - top, -1.0, kept[0], totals[0], evaluations + 1, converged)


def _branch_depth(t: float) -> float:
    """T - 1 - log t for t in (0, 1], without cancellation near one."""
    e = t - 1.0
    if abs(e) > 0.2:
        return e - math.log(t)
    return e * e * math.fsum((-e) ** (k - 2) / k for k in range(2, 27))


def weighted_root(
    mass: FloatArray,
    log_mass: FloatArray,
    reward: FloatArray,
    advantage: FloatArray,
    tau: float,
    weight: float,
    gap: float,
) -> tuple[Root, float]:
    r"""The step of given weight c > 0: \(v_i + c(e^{v_i} - 1) = a_i + t\) with E e^v = 1 decides t.

    Args:
        mass: `[K]`.
        log_mass: `[K]`.
        reward: `[K]`.
        advantage: `[K]`, a, centred, nats.
        tau: reward units.
        weight: c, dimensionless.
        gap: J, nats.

    Returns:
        The root, and t between -J and 0: at t = 0 the mean of the equation is c(E e^v - 1) = -E v >= -log E e^v, so
        that the mass is at least one. Where t is large, the step is solved once more from the level that carries the
        mass, so that rounding of t does not reach it.
    """
    log_weight = math.log(weight)
    kept: list[FloatArray] = []
    totals: list[float] = []
    shares: list[FloatArray] = []

    def follow(base: FloatArray) -> Callable[[float], tuple[float, float]]:
        def evaluate(t: float) -> tuple[float, float]:
            y = base + t
            v = tilt(y + weight, log_weight)
            with np.errstate(over="ignore", under="ignore"):
                # one step on a form that stays exact when c is large and the step small
                correction = (v + weight * np.expm1(v) - y) * special.expit(-(v + log_weight))
                v = np.where(v < 1.0, v - correction, v)
                terms = log_mass + v
                share = np.exp(terms - terms.max())
                free = share * special.expit(-(v + log_weight))
            total = log_mean_exp(mass, log_mass, v)
            kept[:], totals[:], shares[:] = [v], [total], [free]
            return total, float(free.sum()) / float(share.sum())

        return evaluate

    t, evaluations, converged = safeguarded_newton(follow(advantage), -gap * (1.0 + 1e-12), 0.0, 0.0, rising=True)
    if abs(t) > 1.0:
        heavy = int(np.argmax(shares[0]))
        start, slack = float(advantage[heavy]) + t, 1e-9 * abs(t)
        base = (reward - reward[heavy]) / tau
        start, more, converged = safeguarded_newton(follow(base), start - slack, start + slack, start, rising=True)
        t, evaluations = start - float(advantage[heavy]), evaluations + more
    return Root(log_weight, 1.0, kept[0], totals[0], evaluations, converged), t
