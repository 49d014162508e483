"""One step at rising precision: existence and uniqueness of the unknown, then balls around everything behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from flint import arb, ctx

from pmdtheory._enclosure_law import Balls, ExactLaw, exact_ball
from pmdtheory._enclosure_root import Equation, Pass, defect_at, proved_root, sign
from pmdtheory._enclosure_round import relative_width
from pmdtheory._enclosure_status import EnclosureStatus
from pmdtheory._enclosure_sums import step_balls
from pmdtheory._enclosure_tilt import Unresolved

__all__ = ["Balled", "Request", "enclosed_step"]

_EXPONENT: Final = 1e6  # nats below which exponentials are taken as they are
_SLACK: Final = 1e-6
_FIRST: Final = 128  # bits to begin with, beside those of the largest r/tau


@dataclass(frozen=True, eq=False)
class Request:
    """Which member of the family, exactly: b of PMD(b) or None for a mean, c of the mixed step or None, KL-PMD."""

    law: ExactLaw
    baseline: Fraction | None
    weight: Fraction | None
    ideal: bool


@dataclass(frozen=True, eq=False)
class Balled:
    """Balls: scalars by name, log-ratios and policy `[N]` of the actions with mass; the worst relative width."""

    status: EnclosureStatus
    scalars: dict[str, arb]
    log_ratio: list[arb]
    policy: list[arb]
    width: float
    precision: int
    passes: int


@dataclass(eq=False)
class _Solved:
    """The unknown of one precision."""

    multiplier: arb
    baseline: arb
    log_ratio: list[arb]
    last: Pass | None
    passes: int


def enclosed_step(request: Request, width: float, max_precision: int) -> Balled:
    """Raise the precision until every width is within the target, or the limit is reached."""
    law = request.law
    spread = max(abs(float(r) - law.reference) / law.tau for r in law.reward)
    precision = min(max_precision, _FIRST + max(0, math.frexp(spread)[1]))
    best: Balled | None = None
    last: Pass | None = None
    goal = arb(1) / 1024  # of the unknown, in units of the width; less where a result is more sensitive than that
    while True:
        try:
            with ctx.workprec(precision):
                balls = law.balls()
                found = _attempt(request, balls, arb(width) * goal, last)
                if isinstance(found, EnclosureStatus):
                    return Balled(found, {}, [], [], math.nan, precision, 0)
                last = found.last
                best = _collected(law, balls, found, width, precision)
            if best.status is EnclosureStatus.PROVED:
                return best
            missing = math.log2(best.width / width) + 32.0 if math.isfinite(best.width) else precision
            goal = arb(2) ** (-10 - int(min(missing, precision))) * goal
        except Unresolved:
            missing = precision
        if precision >= max_precision:
            return best or Balled(EnclosureStatus.UNDECIDED, {}, [], [], math.nan, precision, 0)
        precision = min(max_precision, precision + int(min(missing, precision)) + 32)


def _attempt(request: Request, balls: Balls, width: arb, last: Pass | None) -> _Solved | EnclosureStatus:
    """The step at the current precision; Unresolved where it does not suffice."""
    law, tau = request.law, exact_ball(Fraction(request.law.tau))
    mean = (exact_ball(Fraction(law.reference)) + balls.shift) / tau
    centred = [(d - balls.shift) / tau for d in balls.offset]
    if law.alone and law.seen == 1:
        return _alone(request, mean)
    if request.ideal or request.weight == 0:
        gap = _log_mean_exp(balls, centred, arb(0))
        ratios = [arb(0)] if law.constant else [a - gap for a in centred]
        still = [arb(0)] * len(centred)
        return _Solved(arb(0), mean + (0 if law.constant else gap), still if law.constant else ratios, None, 0)
    if request.weight is not None:
        return _weighted(request.weight, balls, centred, mean, width, last)
    sampled = law.sampler is not None
    if request.baseline is None and law.constant and law.seen == len(law.members):
        return _Solved(arb(0), mean, [arb(0)] * len(centred), None, 0)
    if request.baseline is not None:
        b = exact_ball(request.baseline)
        x = [(exact_ball(Fraction(r)) / tau - b) for r in law.reward[: law.seen]]
    else:
        middle = balls.sampled_shift if sampled else balls.shift
        b = (exact_ball(Fraction(law.reference)) + middle) / tau
        x = [(d - middle) / tau for d in balls.offset]
    average = None if sampled else mean - b if request.baseline is not None else arb(0)
    return _regression(request, balls, x, b, average, width, last)


def _alone(request: Request, mean: arb) -> _Solved | EnclosureStatus:
    """One level: nothing moves, and what is left is rational."""
    level = request.law.target(0)
    still = [arb(0)]
    if request.ideal or request.weight is not None:
        c = request.weight or Fraction(0)
        return _Solved(exact_ball(c), exact_ball(level - c), still, None, 0)
    if request.baseline is None:
        return _Solved(arb(0), exact_ball(level), still, None, 0)
    left = level - request.baseline
    if left < -1:
        return EnclosureStatus.BASELINE_TOO_HIGH
    return _Solved(exact_ball(left), exact_ball(request.baseline), still, None, 0)


def _weighted(
    weight: Fraction, balls: Balls, centred: Sequence[arb], mean: arb, width: arb, last: Pass | None
) -> _Solved:
    c = exact_ball(weight)
    equation = Equation("weighted", balls.mass, centred, None, balls.blind, c, arb(0))
    high = _log_mean_exp(balls, centred, arb(0)).upper()  # KL-PMD's
    root = proved_root(equation, arb(0) if last is None else last.theta, arb(0), high, width, last)
    return _Solved(c, mean + root.theta - c, root.log_ratio, root.last, root.passes)


def _regression(
    request: Request, balls: Balls, x: Sequence[arb], b: arb, mean: arb | None, width: arb, last: Pass | None
) -> _Solved | EnclosureStatus:
    """Lambda of either sign for the targets x, whose mean on-policy is `mean`."""
    law = request.law
    gap = _log_mean_exp(balls, x, mean)
    side = sign(gap)
    if side == 0:
        if request.baseline is not None and law.partition_is_one(request.baseline):
            return _Solved(arb(0), b, list(x), None, 0)
        raise Unresolved("the sign of the multiplier is not decided")
    if side < 0 and law.seen < len(law.members):
        return EnclosureStatus.BLIND_ACTIONS
    if side < 0 and gap < -1:  # no lift exceeds one
        return EnclosureStatus.BASELINE_TOO_HIGH
    end = abs(gap).log().mid()
    start = end if last is None else last.theta
    equation = Equation("raised" if side > 0 else "lifted", balls.mass, x, balls.scale, balls.blind, arb(0), mean)
    if side > 0:
        root = proved_root(equation, start, None, end + _SLACK, width, last)
    else:
        # the root's own proof is existence; only its contrary needs the branch point
        if last is None and not defect_at(equation, (arb(7) / 8).log().mid()) > 0:
            branch = sign(defect_at(equation, arb(0)))
            if branch < 0:
                return EnclosureStatus.BASELINE_TOO_HIGH
            if branch == 0:
                raise Unresolved("the branch point is not decided")
        root = proved_root(equation, start, end - _SLACK, arb(0), width, last)
    return _Solved(root.multiplier, b, root.log_ratio, root.last, root.passes)


def _log_mean_exp(balls: Balls, x: Sequence[arb], mean: arb | None = None) -> arb:
    """Log of the sum of mass e^x; with `mean`, the sum of mass x, without cancellation where it is near zero."""
    top = max(x, key=lambda ball: ball.mid())
    pairs = list(zip(balls.mass, x, strict=True))
    if top < _EXPONENT:
        if mean is None:
            change = sum((m * v.expm1() for m, v in pairs), -balls.blind)
        else:
            change = sum((m * (v.expm1() - v) for m, v in pairs), mean)
        if abs(change) < 1:
            return change.log1p()
    return top + sum((m * (v - top).exp() for m, v in pairs), arb(0)).log()


def _collected(law: ExactLaw, balls: Balls, found: _Solved, width: float, precision: int) -> Balled:
    """Balls for the actions and the sums, and how wide the widest is."""
    scalars = {"multiplier": found.multiplier, "baseline": found.baseline, **step_balls(balls, found.log_ratio)}
    scalars["expected_reward"] = arb(law.reference) + balls.shift + scalars["improvement"]
    per_level = [*found.log_ratio, *[arb("-inf")] * len(balls.lost)]
    log_ratio, policy = [arb(0)] * len(balls.part), [arb(0)] * len(balls.part)
    worst = 0.0
    for k, group in enumerate(law.members):
        v = per_level[k]
        ratio = v.exp() if k < law.seen else arb(0)
        if k < law.seen:
            worst = max(worst, relative_width(v, 1 + abs(v.mid())))
        for i in group:
            log_ratio[i], policy[i] = v, balls.part[i] * ratio
            worst = max(worst, relative_width(policy[i]))
    for name, ball in scalars.items():
        if name != "reverse_kl" or not balls.lost:
            worst = max(worst, relative_width(ball, 1 + abs(ball.mid()) if name == "baseline" else None))
    status = EnclosureStatus.PROVED if worst <= width else EnclosureStatus.WIDE
    return Balled(status, scalars, log_ratio, policy, worst, precision, found.passes)
