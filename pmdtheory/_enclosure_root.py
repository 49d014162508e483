r"""The one unknown of a step, proved: a root of the mass defect F.

\(F(\theta) = \sum_i m_i(e^{v_i(\theta)} - 1) - m_{blind}\), where the step of level i is \(v_i = \log\rho_i\):

| family | theta | v solves | dv/dtheta |
|---|---|---|---|
| `raised`, lambda > 0 | log lambda | v + kappa e^theta e^v = x | -w/(1 + w), w = kappa e^(theta + v) |
| `weighted`, lambda = c | b + c - mean reward / tau | v + c (e^v - 1) = x - theta | -1/(1 + w), w = c e^v |
| `lifted`, lambda < 0 | log t, t the lift of the best level | v - L = x, L = T(t e^(-t-d)) | L (1 - t)/(1 - L) |

F is strictly monotone in all three, so a root is the only one. Within delta of a point the slope dF/dtheta changes at
most by the factor e^(delta k), k = 2 for the first two and 2 + s/(1 - s) with s = t e^delta for the third
(docs/enclosure.md). With q = |F/F'| at the point and delta = 2q, delta k <= 1/2 proves a root within q (1 + 2 delta k).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from flint import arb, ctx

from pmdtheory._checks import FloatArray
from pmdtheory._enclosure_tilt import Unresolved, enclosed_tilt, missing_lift, raised, tilt_start

__all__ = ["Equation", "Pass", "Root", "defect_at", "proved_root", "sign"]

_STEPS: Final = 120
_NEWTON: Final = 8  # passes that Newton's method gets before slow progress counts against it
_NEAR: Final = 2.0**-10  # a change of theta up to which the last log-ratios are moved along instead of started afresh


@dataclass(frozen=True, eq=False)
class Equation:
    """The step's equations at one precision.

    Attributes:
        family: see the module.
        mass: `[K]` of the levels that the sampler sees.
        x: `[K]`, targets, nats.
        scale: `[K]`, kappa; None on-policy.
        blind: mass that the step removes.
        weight: c of the family `weighted`.
        mean: the sum of mass times x, on-policy, where it is known better than by summing; else None.
    """

    family: Literal["raised", "weighted", "lifted"]
    mass: Sequence[arb]
    x: Sequence[arb]
    scale: Sequence[arb] | None
    blind: arb
    weight: arb
    mean: arb | None


@dataclass(frozen=True, eq=False)
class Pass:
    """F, the mass and the slope of F at one exact theta, with the log-ratios `[K]` and their rates dv/dtheta."""

    theta: arb
    defect: arb
    total: arb
    slope: arb
    log_ratio: list[arb]
    rate: list[arb]


@dataclass(frozen=True, eq=False)
class Root:
    """A proved root: theta, lambda and the log-ratios `[K]` as balls; the pass behind them, and how many there were."""

    theta: arb
    multiplier: arb
    log_ratio: list[arb]
    last: Pass
    passes: int


def sign(number: arb) -> int:
    """Sign of a ball, zero where it is not decided."""
    return 1 if number > 0 else -1 if number < 0 else 0


def _floats(balls: Sequence[arb]) -> FloatArray:
    """Midpoints for starting values, kept clear of float64's limits."""
    values: FloatArray = np.array([float(ball) for ball in balls])
    return values.clip(-1e307, 1e307)


class _Family:
    """Evaluates F and its slope; remembers the log-ratios for the next evaluation."""

    def __init__(self, equation: Equation, last: Pass | None = None) -> None:
        self.equation, self.last = equation, last
        self.goal = arb(2) ** -(ctx.prec // 2)
        self.x = _floats(equation.x)
        scales = None if equation.scale is None else [k.log() for k in equation.scale]
        self.log_scale = np.zeros(self.x.size) if scales is None else _floats(scales)
        if equation.family == "lifted":
            z = [x if scales is None else x + scales[k] for k, x in enumerate(equation.x)]
            self.best = max(range(len(z)), key=lambda k: z[k].mid())
            self.top = z[self.best]
            below = [self.top - value for value in z]
            if any(not d > 0 for k, d in enumerate(below) if k != self.best):
                raise Unresolved("which level is lifted most is not decided")
            self.below = _floats(below)

    def factor(self, theta: arb, delta: arb) -> arb:
        """K such that the slope changes by at most e^(delta K) within delta of theta."""
        if self.equation.family != "lifted":
            return arb(2)
        s = (theta + delta).exp().upper()
        return 2 + s / (1 - s) if s < 1 else arb("inf")

    def multiplier(self, theta: arb) -> arb:
        """Lambda at theta."""
        if self.equation.family == "weighted":
            return self.equation.weight
        return theta.exp() if self.equation.family == "raised" else -(theta - theta.exp() - self.top).exp()

    def starts(self, theta: arb) -> list[arb]:
        """Where the log-ratios may be, without proof."""
        equation, last = self.equation, self.last
        if last is not None and abs(theta - last.theta) <= _NEAR:
            moved = theta - last.theta
            return [(v + rate * moved).mid() for v, rate in zip(last.log_ratio, last.rate, strict=True)]
        if equation.family == "lifted":
            u = float(theta)
            missing = missing_lift(self.below + (math.expm1(u) - u if u < -1e-3 else u * u * (0.5 + u / 6.0)))
            return [(x + 1 - arb(e)).mid() for x, e in zip(equation.x, missing.tolist(), strict=True)]
        if equation.family == "raised":
            log_lift, target = self.log_scale + float(theta), list(equation.x)
        else:
            log_lift = np.full(self.x.size, float(equation.weight.log()))
            target = [x - theta + equation.weight for x in equation.x]
        log_w = tilt_start(_floats(target) + log_lift)
        with np.errstate(under="ignore"):
            w = np.exp(log_w)
        rows = zip(target, w.tolist(), log_w.tolist(), log_lift.tolist(), strict=True)
        return [(x - arb(a)).mid() if a < 1.0 else arb(b - c) for x, a, b, c in rows]

    def evaluate(self, theta: arb) -> Pass:
        """F, its slope and everything behind them at an exact theta."""
        equation, starts, multiplier = self.equation, self.starts(theta), self.multiplier(theta)
        weighted, lifted = equation.family == "weighted", equation.family == "lifted"
        defect = total = slope = remainder = arb(0)
        t = theta.exp()
        ratios, rates = [], []
        for k, x in enumerate(equation.x):
            if lifted and k == self.best:
                v, rate = x + t, t
            else:
                lift = multiplier if equation.scale is None else multiplier * equation.scale[k]
                v, w = enclosed_tilt(x - theta if weighted else x, lift, starts[k], self.goal, weighted)
                rate = -1 / (1 + w) if weighted else -w * (1 - t) / (1 + w) if lifted else -w / (1 + w)
            m, change = equation.mass[k], v.expm1()
            moved = m * raised(v, change)
            defect += m * change
            remainder += m * (change - v)
            total += moved
            slope += moved * rate
            ratios.append(v)
            rates.append(rate)
        defect -= equation.blind
        if equation.mean is not None:
            # the mean of the equations: (1 + lambda) F = sum m (e^v - 1 - v) + mean x - lambda, or - theta if weighted
            drift = equation.mean - (theta if weighted else multiplier)
            other = (remainder + drift) / (1 + multiplier)
            defect = other if other.rad() < defect.rad() else defect  # both are right; NaN is never smaller
        self.last = Pass(theta, defect, total, slope, ratios, rates)
        return self.last


def defect_at(equation: Equation, theta: arb) -> arb:
    """F at an exact theta, as a ball."""
    return _Family(equation).evaluate(theta).defect


def proved_root(
    equation: Equation, theta: arb, low: arb | None, high: arb, width: arb, last: Pass | None = None
) -> Root:
    """Enclose the root of F to the given radius, or as well as the precision can; Unresolved where it proves nothing.

    `theta`, exact, is where the search begins; `low` and `high`, exact, are ends that it does not leave: guides, no
    part of the proof. `last` is a pass at a lower precision to go on from.
    """
    family = _Family(equation, last)
    falling = equation.family != "lifted"
    ends = [low, high]
    moved = math.inf
    for step in range(1, _STEPS + 1):
        found = family.evaluate(theta)
        newton = found.defect / found.slope
        q = newton.abs_upper()
        k = family.factor(theta, 2 * q)
        settled = abs(found.defect.mid()) <= 4 * arb(found.defect.rad())
        if sign(found.slope) != 0 and 4 * q * k <= 1 and (q <= width or settled):
            radius = q * (1 + 4 * q * k)
            spread = arb(0, 2 * radius)
            ratios = [v + spread * rate for v, rate in zip(found.log_ratio, found.rate, strict=True)]
            root = theta + arb(0, radius)
            return Root(root, family.multiplier(root), ratios, found, step)
        if settled or not newton.is_finite():
            raise Unresolved("the mass defect drowns in rounding")
        ends[0 if (found.defect.mid() > 0) == falling else 1] = theta
        theta, moved = _next(found, ends, moved, step)
        if step == _NEWTON and equation.family == "weighted" and ends[1] is high:
            theta = high  # where one level holds everything, the root is there, and only from there is it found
    raise Unresolved("the search for the unknown did not settle")


def _next(found: Pass, ends: Sequence[arb | None], moved: float, step: int) -> tuple[arb, float]:
    """Newton's step on the log of the mass; bisection where it leaves the bracket, and in turns where it creeps."""
    theta, defect = found.theta, found.defect.mid()
    log_total = defect.log1p() if abs(defect) < 0.25 else found.total.mid().log()
    change = (-log_total * found.total / found.slope).mid()
    proposal, size = (theta + change).mid(), abs(float(change))
    low, high = ends
    inside = (low is None or proposal >= low) and (high is None or proposal <= high)
    if inside and change.is_finite() and (size <= 0.5 * moved or step < _NEWTON or step % 2 == 0):
        return proposal, size
    if low is not None and high is not None:
        return ((low + high) / 2).mid(), float((high - low) / 2)
    return (theta - arb(2) ** min(step, 40)).mid(), math.inf  # only `low` may be missing
