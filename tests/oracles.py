"""High-precision second opinions in mpmath that share no code with the package.

Everything starts from the floats of a problem, read as exact numbers: the law is renormalised exactly, the rewards
are centred exactly. A root is bracketed by doubling steps and closed by the Anderson-Bjorck method on log mass
against log lambda, where the package brackets by theory and takes Newton steps on other functions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np
from mpmath import mpf
from numpy.typing import ArrayLike

DIGITS = 50


@dataclass(frozen=True)
class Law:
    """Exact masses, rewards and targets r/tau of the actions that have mass."""

    mass: list[Any]
    target: list[Any]
    tau: Any
    index: list[int] = field(default_factory=list)

    @property
    def mean(self) -> Any:
        """E r / tau."""
        return mp.fdot(self.mass, self.target)


@dataclass(frozen=True)
class Step:
    """A solved step: log-ratios of the actions with mass, and what is summed over them at the same precision."""

    law: Law
    log_ratio: list[Any]
    multiplier: Any
    baseline: Any
    kl: Any
    reverse_kl: Any
    chi2: Any
    improvement: Any  # E_{pi+} r - E_pi r, reward units

    @classmethod
    def summed(cls, law: Law, log_ratio: list[Any], multiplier: Any, baseline: Any) -> "Step":
        """Call it inside the precision of the solve: first-order terms cancel in every one of these sums."""
        mean, terms = law.mean, list(zip(law.mass, log_ratio, law.target, strict=True))
        return cls(
            law=law,
            log_ratio=log_ratio,
            multiplier=multiplier,
            baseline=baseline,
            kl=mp.fsum(p * mp.exp(v) * v for p, v, _ in terms),
            reverse_kl=-mp.fsum(p * v for p, v, _ in terms),
            chi2=mp.fsum(p * mp.expm1(v) ** 2 for p, v, _ in terms),
            improvement=law.tau * mp.fsum(p * mp.exp(v) * (t - mean) for p, v, t in terms),
        )


def digits_for(policy: ArrayLike, reward: ArrayLike, tau: float) -> int:
    """Working digits at which the mass defect of the law keeps `DIGITS` of its own."""
    mass = np.asarray(policy, dtype=np.float64)
    live = np.asarray(reward, dtype=np.float64)[mass > 0.0]
    spread = [abs(mpf(float(x)) - mpf(float(live[0]))) / mpf(tau) for x in live]
    moved = [x for x in spread if x > 0]
    signal = -2 * min(0, int(mp.log10(min(moved)))) if moved else 0
    rare = -math.log10(float(mass[mass > 0.0].min()))
    return DIGITS + signal + 2 * int(rare)


def law_of(policy: ArrayLike, reward: ArrayLike, tau: float) -> Law:
    """The exact law behind floating-point numbers."""
    mass = [mpf(float(p)) for p in np.asarray(policy, dtype=np.float64)]
    values = [mpf(float(r)) for r in np.asarray(reward, dtype=np.float64)]
    total = mp.fsum(mass)
    live = [i for i, p in enumerate(mass) if p > 0]
    scale = mpf(float(tau))
    return Law([mass[i] / total for i in live], [values[i] / scale for i in live], scale, live)


def tilt(x: Any, multiplier: Any) -> Any:
    """v with v + lambda e^v = x, by the principal branch of W, which mpmath evaluates at any exponent."""
    return x - mp.lambertw(multiplier * mp.exp(x)).real if multiplier != 0 else x


def log_partition(law: Law) -> Any:
    """log E exp(r/tau)."""
    top = max(law.target)
    return top + mp.log(mp.fsum(p * mp.exp(t - top) for p, t in zip(law.mass, law.target, strict=True)))


def _decreasing_root(function: Callable[[Any], Any], start: Any = 0) -> Any:
    """Root of a strictly decreasing function: doubling steps, then Anderson-Bjorck."""
    low = high = mpf(start)
    step = mpf(1)
    if function(low) > 0:
        while function(high) > 0:
            low, high, step = high, high + step, 2 * step
    else:
        while function(low) <= 0:
            high, low, step = low, low - step, 2 * step
    return bracketed_root(function, low, high)


def bracketed_root(function: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Anderson-Bjorck between two points of opposite sign, to the working precision."""
    x0, x1 = mpf(low), mpf(high)
    f0, f1 = function(x0), function(x1)
    tiny = mpf(10) ** (4 - mp.mp.dps)
    for _ in range(400):
        if f1 == 0 or abs(x1 - x0) <= tiny * max(1, abs(x1)):
            return x1
        x2 = x1 - f1 * (x1 - x0) / (f1 - f0)
        f2 = function(x2)
        if f1 * f2 < 0:
            x0, f0 = x1, f1
        else:
            m = 1 - f2 / f1
            f0 *= m if m > 0 else mpf("0.5")
        if abs(x2 - x1) <= tiny * max(1, abs(x2)):
            return x2
        x1, f1 = x2, f2
    raise ArithmeticError("the oracle did not converge")


def _log_mass(law: Law, log_ratio: Sequence[Any]) -> Any:
    return mp.log(mp.fsum(p * mp.exp(v) for p, v in zip(law.mass, log_ratio, strict=True)))


def regression(
    policy: ArrayLike, reward: ArrayLike, tau: float, *, baseline: float | None = None, digits: int | None = None
) -> Step:
    """The minimiser of the regression: PMD-mean without a baseline, PMD(b) with one, b <= log Z or a little above."""
    with mp.workdps(digits_for(policy, reward, tau) if digits is None else digits):
        law = law_of(policy, reward, tau)
        b = law.mean if baseline is None else mpf(baseline)
        return _solved(law, [t - b for t in law.target], [mpf(1)] * len(law.mass), b)


def mismatched(
    policy: ArrayLike, reward: ArrayLike, tau: float, log_sampler: ArrayLike, *, baseline: float | None = None
) -> Step:
    """The regression under another sampler (C15); the law is restricted to the actions that the sampler sees."""
    with mp.workdps(DIGITS):
        law = law_of(policy, reward, tau)
        logs = np.asarray(log_sampler, dtype=np.float64)
        mu = [mp.exp(mpf(float(logs[i]))) for i in law.index]
        total = mp.fsum(mu)
        mu = [m / total for m in mu]
        b = mp.fdot(mu, law.target) if baseline is None else mpf(baseline)
        seen = [k for k, m in enumerate(mu) if m > 0]
        part = Law([law.mass[k] for k in seen], [law.target[k] for k in seen], law.tau, [law.index[k] for k in seen])
        return _solved(part, [t - b for t in part.target], [law.mass[k] / mu[k] for k in seen], b)


def _solved(law: Law, x: Sequence[Any], kappa: Sequence[Any], b: Any) -> Step:
    gap = _log_mass(law, x)
    if gap == 0:
        return Step.summed(law, list(x), mpf(0), b)
    if gap > 0:

        def ratios(u: Any) -> list[Any]:
            return [tilt(t, mp.exp(u) * k) for t, k in zip(x, kappa, strict=True)]

        u = _decreasing_root(lambda u: _log_mass(law, ratios(u)), mp.log(gap))
        return Step.summed(law, ratios(u), mp.exp(u), b)
    top = max(t + mp.log(k) for t, k in zip(x, kappa, strict=True))

    def lifted(t: Any) -> list[Any]:
        # nu = t e^(-t - top); the most lifted action has T = t, the others T = -W(-nu kappa e^x) on the same branch
        result = []
        for value, k in zip(x, kappa, strict=True):
            below = value + mp.log(k) - top
            lift = t if below == 0 else -mp.lambertw(-t * mp.exp(below - t)).real
            result.append(value + lift)
        return result

    if _log_mass(law, lifted(mpf(1))) < 0:
        raise ArithmeticError("no root on the principal branch: the baseline is beyond the region of C14")
    t = bracketed_root(lambda t: -_log_mass(law, lifted(t)), mpf(0), mpf(1))
    return Step.summed(law, lifted(t), -t * mp.exp(-t - top), b)


def mixed(policy: ArrayLike, reward: ArrayLike, tau: float, weight: float) -> Step:
    """The mixed KL-chi2 step of given weight: the baseline is found instead of the multiplier."""
    with mp.workdps(digits_for(policy, reward, tau) + 2 * max(0, int(math.log10(max(weight, 1.0))))):
        law = law_of(policy, reward, tau)
        c = mpf(weight)
        start = log_partition(law)
        b = _decreasing_root(lambda b: _log_mass(law, [tilt(t - b, c) for t in law.target]), start)
        return Step.summed(law, [tilt(t - b, c) for t in law.target], c, b)


def ideal(policy: ArrayLike, reward: ArrayLike, tau: float) -> Step:
    """KL-PMD: the exponential tilt."""
    with mp.workdps(digits_for(policy, reward, tau)):
        law = law_of(policy, reward, tau)
        b = log_partition(law)
        return Step.summed(law, [t - b for t in law.target], mpf(0), b)


def excess_limit(policy: ArrayLike, reward: ArrayLike, tau: float) -> Any:
    """How far a baseline may exceed log Z before the symmetric minimum is lost: log E_KL exp T(e^(-1-d)) (C14)."""
    with mp.workdps(DIGITS):
        law = law_of(policy, reward, tau)
        top = max(law.target)
        step = ideal(policy, reward, tau)
        weights = [p * mp.exp(v) for p, v in zip(law.mass, step.log_ratio, strict=True)]
        lifts = [-mp.lambertw(-mp.exp(-1 - (top - t))).real if t != top else mpf(1) for t in law.target]
        return mp.log(mp.fsum(w * mp.exp(lift) for w, lift in zip(weights, lifts, strict=True)))


def divergence_sums(log_p: ArrayLike, log_q: ArrayLike) -> dict[str, Any]:
    """KL, reverse KL, chi2, TV, Hellinger of two laws given by log-probabilities, each renormalised to nothing."""
    with mp.workdps(DIGITS + 20):
        p = [mp.exp(mpf(float(x))) if x > -math.inf else mpf(0) for x in np.asarray(log_p, dtype=np.float64)]
        q = [mp.exp(mpf(float(x))) if x > -math.inf else mpf(0) for x in np.asarray(log_q, dtype=np.float64)]
        pairs = list(zip(p, q, strict=True))
        return {
            "kl": mp.fsum(a * mp.log(a / b) - a + b if a > 0 else b for a, b in pairs),
            "chi2": mp.fsum((a - b) ** 2 / b for a, b in pairs if b > 0),
            "total_variation": mp.fsum(abs(a - b) for a, b in pairs) / 2,
            "hellinger": mp.sqrt(mp.fsum((mp.sqrt(a) - mp.sqrt(b)) ** 2 for a, b in pairs) / 2),
        }


def renyi(log_p: ArrayLike, log_q: ArrayLike, order: float) -> Any:
    """Renyi divergence by its definition."""
    with mp.workdps(DIGITS + 20):
        alpha = mpf(order)
        terms = [
            mp.exp(alpha * mpf(float(a)) + (1 - alpha) * mpf(float(b)))
            for a, b in zip(np.asarray(log_p), np.asarray(log_q), strict=True)
            if a > -math.inf and b > -math.inf
        ]
        return mp.log(mp.fsum(terms)) / (alpha - 1)


def stationarity(
    policy: ArrayLike,
    reward: ArrayLike,
    tau: float,
    log_ratio: ArrayLike,
    log_multiplier: float,
    *,
    sign: float = 1.0,
    baseline: float | None = None,
    log_scale: ArrayLike | None = None,
) -> float:
    """max |v + lambda kappa e^v - (r/tau - b)| over the actions with mass, exactly; b None is the mean over tau."""
    with mp.workdps(DIGITS):
        law = law_of(policy, reward, tau)
        b = law.mean if baseline is None else mpf(baseline)
        scale = np.zeros(len(np.asarray(reward))) if log_scale is None else np.asarray(log_scale)
        worst = mpf(0)
        for index, target in zip(law.index, law.target, strict=True):
            v = float(np.asarray(log_ratio)[index])
            if v == -math.inf:
                continue
            lift = mpf(0)
            if log_multiplier > -math.inf:
                lift = sign * mp.exp(mpf(float(log_multiplier)) + mpf(float(scale[index])) + mpf(v))
            worst = max(worst, abs(mpf(v) + lift - (target - b)))
        return float(worst)


def total_mass(policy: ArrayLike, log_ratio: ArrayLike) -> float:
    """Sum of policy times exp(log-ratio) less one, summed exactly."""
    with mp.workdps(DIGITS):
        law = law_of(policy, np.zeros(len(np.asarray(policy))), 1.0)
        values = [mpf(float(np.asarray(log_ratio)[i])) for i in law.index]
        return float(mp.fsum(p * mp.exp(v) for p, v in zip(law.mass, values, strict=True)) - 1)


def naive_bisection(policy: ArrayLike, advantage: ArrayLike, steps: int = 200) -> float:
    """Lambda by plain bisection on E rho = 1 with the textbook formula; fine for moderate signals only."""
    from scipy.special import lambertw

    mass, a = np.asarray(policy, dtype=np.float64), np.asarray(advantage, dtype=np.float64)
    low, high = 1e-12, 1.0
    while float(np.dot(mass, lambertw(high * np.exp(a)).real)) / high > 1.0:
        high *= 2.0
    for _ in range(steps):
        middle = 0.5 * (low + high)
        if float(np.dot(mass, lambertw(middle * np.exp(a)).real)) / middle > 1.0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def continuous_multiplier(
    expectation: Callable[[Callable[[Any], Any]], Any], mean: Any, tau: float, *, digits: int = 16
) -> float:
    """Lambda of a continuous law of rewards, from `expectation(f)` = E f(r)."""
    with mp.workdps(digits):
        scale = mpf(tau)

        def excess(u: Any) -> Any:
            weight = mp.exp(u)
            return expectation(lambda r: mp.exp(tilt((r - mean) / scale, weight))) - 1

        low, high = mpf(0), mpf(0)
        if excess(low) > 0:
            while excess(high) > 0:
                low, high = high, high + 1
        else:
            while excess(low) <= 0:
                low, high = low - 1, low
        return float(mp.exp(_illinois(excess, low, high, mpf(10) ** -13)))


def _illinois(function: Callable[[Any], Any], low: Any, high: Any, tolerance: Any) -> Any:
    return mp.findroot(function, (low, high), solver="anderson", tol=tolerance**2, verify=False)
