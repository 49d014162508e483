r"""Exact decision of a witness of C14: policies with less reward than before beat the others in PMD(log Z + excess).

The loss \(\tfrac12\sum_i \pi_i(\log(x_i/\pi_i) - t_i)^2\), \(t = r/\tau - \log Z - excess\), of one policy with
\(E_x r < \bar r\) is enclosed; that of every policy with \(E_x r \ge \bar r\) is bounded from below by branch and bound
over the simplex. So the global minimiser, wherever it is, has less reward than the policy before the step.
"""

from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
from flint import arb

from pmdtheory.hunt._balls import BallCase, ball

__all__ = ["decided"]

_BOXES: Final = 20_000
_FINE: Final = 4_000
Box = list[tuple[Fraction, Fraction]]


def decided(case: BallCase) -> Any:
    """`[1]`, a ball above the slack: the loss of one worse policy minus a lower bound of that of all others."""
    targets = (case.advantage - case.gap[0] - case.extra["excess"][0])[0]
    policy = [Fraction(w, sum(case.weights)) for w in case.weights]
    mean = sum((p * r for p, r in zip(policy, case.exact_reward, strict=True)), Fraction(0))
    best = min(
        (_loss(x, policy, targets) for x in _candidates(case, mean)), key=lambda loss: float(loss.mid()), default=None
    )
    if best is None:
        return np.array([arb(0, 1)], dtype=object)
    bound = _least(policy, targets, case.exact_reward, mean, best)
    return np.array([arb(0, 1) if bound is None else best - bound], dtype=object)


def _candidates(case: BallCase, mean: Fraction) -> list[list[Fraction]]:
    """For each action, the KL-PMD step mixed with it where the loss is least, if the reward is then below the mean."""
    plain = case.floats
    ideal = (plain.mass * plain.tilt().ratio)[0]
    excess = float(case.exact_extra["excess"])
    keep = -1.2 * excess * np.linspace(0.0, 1.0, _FINE)
    found = []
    for j, (mass, aim) in enumerate(zip(plain.mass[0], ideal, strict=True)):
        with np.errstate(divide="ignore"):
            lifted = excess + np.logaddexp(keep, np.log(-np.expm1(keep)) - np.log(aim))
        at = keep[(0.5 * ((1.0 - mass) * (excess + keep) ** 2 + mass * lifted**2)).argmin()]
        x = [Fraction(float(share * np.exp(at))) for share in ideal]
        x[j] += 1 - sum(x)
        after = sum((share * r for share, r in zip(x, case.exact_reward, strict=True)), Fraction(0))
        if after < mean and min(x) > 0:
            found.append(x)
    return found


def _loss(x: list[Fraction], policy: list[Fraction], targets: Any) -> arb:
    parts = [ball(p) * (ball(share / p).log() - t) ** 2 for share, p, t in zip(x, policy, targets, strict=True)]
    return sum(parts, arb(0)) / 2


def _least(policy: list[Fraction], targets: Any, reward: list[Fraction], mean: Fraction, level: arb) -> arb | None:
    """A number above `level` and below every loss with at least the mean reward; None where there is none."""
    pending: list[Box] = [[(Fraction(0), Fraction(1))] * (len(policy) - 1)]
    least: arb | None = None
    for _ in range(_BOXES):
        if not pending:
            return least
        box = pending.pop()
        last = 1 - sum((high for _, high in box), Fraction(0)), 1 - sum((low for low, _ in box), Fraction(0))
        sides = [*box, (max(last[0], Fraction(0)), last[1])]
        if last[1] < 0 or _best_reward(sides, reward) < mean:
            continue
        bound = sum((_part(*row) for row in zip(sides, policy, targets, strict=True)), arb(0)) / 2
        if bound > level:
            least = bound if least is None else least.min(bound)
            continue
        widest = max(range(len(box)), key=lambda k: box[k][1] - box[k][0])
        low, high = box[widest]
        for ends in pairwise((low, (low + high) / 2, high)):
            pending.append([*box[:widest], ends, *box[widest + 1 :]])
    return None


def _best_reward(sides: Box, reward: list[Fraction]) -> Fraction:
    """The largest E r with shares between the sides that add up to one: the rest goes to the best rewards first."""
    left = 1 - sum((low for low, _ in sides), Fraction(0))
    total = sum((low * r for (low, _), r in zip(sides, reward, strict=True)), Fraction(0))
    for (low, high), r in sorted(zip(sides, reward, strict=True), key=lambda pair: -pair[1]):
        more = min(left, high - low)
        total, left = total + more * r, left - more
    return total if left == 0 else Fraction(-(10**30))


def _part(side: tuple[Fraction, Fraction], mass: Fraction, target: arb) -> arb:
    """Lower bound of mass (log(x/mass) - target)^2 for x between the sides."""
    low, high = side
    if high <= 0:
        return arb(10) ** 9
    above = ball(high / mass).log() - target
    if above < 0:
        return ball(mass) * above**2
    below = ball(low / mass).log() - target if low > 0 else arb(-1)
    return ball(mass) * below**2 if below > 0 else arb(0)
