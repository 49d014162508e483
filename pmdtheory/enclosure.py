r"""Proven enclosures of a step: intervals that contain the exact multiplier, policy and divergences.

| asked for | member of the family | proved |
|---|---|---|
| `enclose(problem)` | PMD-mean | lambda >= 0 exists, is unique, lies between the ends |
| `baseline=b` | PMD(b) | the same, of either sign |
| `weight=c` | mirror step with KL and chi2 | b exists, is unique, lies between the ends |
| `ideal=True` | KL-PMD | b = log Z lies between the ends |
| `log_sampler=` | rollouts of another sampler, with or without `baseline` | as PMD(b) |

Everything is computed with Arb's balls (python-flint), from the input read exactly, and rounded outward. Nothing here
shares a formula with the floating-point updates. Why each enclosure is rigorous stands in docs/enclosure.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from flint import ctx
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray, positive_scalar, shown
from pmdtheory._enclosure_check import confirmed
from pmdtheory._enclosure_input import exact_law, exact_number
from pmdtheory._enclosure_round import ends, outward
from pmdtheory._enclosure_solve import Balled, Request, enclosed_step
from pmdtheory._enclosure_status import EnclosureStatus
from pmdtheory.problem import Problem

__all__ = ["Enclosure", "EnclosureStatus", "confirm", "enclose"]

Interval = tuple[float, float]

_NOTHING: Interval = (math.nan, math.nan)
_SCALARS = (
    "multiplier",
    "baseline",
    "expected_reward",
    "improvement",
    "kl",
    "reverse_kl",
    "chi2",
    "chi2_sampler",
)


@dataclass(frozen=True, eq=False, repr=False)
class Enclosure:
    r"""A step of a problem with `A` actions, between proven ends; NaN where nothing was proved.

    Attributes:
        problem: the `Problem`.
        status: an `EnclosureStatus`, whose value is a message with a remedy.
        law: what was read exactly: "policy", "log_policy" or "weights".
        multiplier: (low, high) of \(\lambda\); both ends equal where it is exactly a float, zero for instance.
        baseline: (low, high) of b, nats.
        expected_reward: (low, high) of \(E_{\pi^+} r\), reward units.
        improvement: (low, high) of \(E_{\pi^+} r - E_\pi r\), reward units.
        kl: (low, high) of \(\mathrm{KL}(\pi^+\|\pi)\), nats.
        reverse_kl: (low, high) of \(\mathrm{KL}(\pi\|\pi^+)\), nats.
        chi2: (low, high) of \(\chi^2(\pi^+\|\pi)\).
        chi2_sampler: (low, high) of \(\chi^2(\pi^+\|\mu)\), equal to `chi2` on-policy.
        policy_lo: `[A]`, lower ends of \(\pi^+\).
        policy_hi: `[A]`, upper ends.
        log_ratio_lo: `[A]`, lower ends of \(\log\pi^+/\pi\), nats; zero for actions without mass.
        log_ratio_hi: `[A]`, upper ends.
        width: largest relative width, before rounding to floats adds up to two units in the last place.
        precision: bits that were needed.
        balls: the enclosures themselves by name, as python-flint's balls; `interval` reads them.
    """

    problem: Problem
    status: EnclosureStatus
    law: str
    multiplier: Interval
    baseline: Interval
    expected_reward: Interval
    improvement: Interval
    kl: Interval
    reverse_kl: Interval
    chi2: Interval
    chi2_sampler: Interval
    policy_lo: FloatArray
    policy_hi: FloatArray
    log_ratio_lo: FloatArray
    log_ratio_hi: FloatArray
    width: float
    precision: int
    balls: Mapping[str, Any]

    @property
    def proved(self) -> bool:
        """Whether existence and uniqueness are proved, and the intervals therefore enclosures."""
        return self.status in (EnclosureStatus.PROVED, EnclosureStatus.WIDE)

    def interval(self, name: str, index: int | None = None) -> tuple[Fraction, Fraction]:
        """Ends as exact fractions, as narrow as they were proved: beyond float64.

        `name` is one of the scalars, or "policy" or "log_ratio" with the `index` of an action that has mass.
        """
        if name not in self.balls:
            known = ", ".join(self.balls) or "nothing, see status"
            raise ValueError(f"name must be something enclosed, got {shown(name)}; choose from {known}")
        ball = self.balls[name]
        if index is not None:
            if not isinstance(ball, dict) or index not in ball:
                raise ValueError(f"index={index} is no action with mass; name one of them, with policy or log_ratio")
            ball = ball[index]
        with ctx.workprec(self.precision + 64):
            return ends(ball)

    def __repr__(self) -> str:
        return (
            f"Enclosure({self.status.name}, multiplier={self.multiplier}, width={self.width:.1e}, "
            f"precision={self.precision})"
        )


def enclose(
    problem: Problem,
    baseline: Any = None,
    weight: Any = None,
    log_sampler: ArrayLike | None = None,
    ideal: bool = False,
    *,
    law: Literal["policy", "log_policy"] | None = None,
    weights: Sequence[Any] | None = None,
    width: float = 1e-13,
    max_precision: int = 8192,
) -> Enclosure:
    r"""Proven enclosures of a step of the family, with a proof that the step exists and is the only one.

    Formula: \(\log\rho + \lambda\kappa\rho = r/\tau - b\), \(E\rho = 1\), with the unknown (lambda, or b where c is
    given) between the ends.

    Args:
        problem: with `A` actions. A continuous law stands for its quadrature nodes.
        baseline: b of PMD(b), nats, an exact number (float, int, Fraction, Decimal); None is the mean reward over tau.
        weight: c >= 0 of the mirror step with KL and chi2, an exact number.
        log_sampler: `[A]`, \(\log\mu\), nats; floats, exponentiated and renormalised exactly.
        ideal: KL-PMD, the step with the partition function.
        law: which of the problem's arrays is the law: "policy" or "log_policy", renormalised exactly. None takes
            the probabilities, unless one that is not zero is below float64's normal numbers (1e-308).
        weights: `[A]`, exact numbers proportional to the policy, in place of both: [1, 1, 1] is the uniform law
            on three actions, which no array of floats is.
        width: largest relative width to reach (relative to 1 + |value| for log-ratios and the baseline); numbers
            below 1e-324 are exempt, as float64 cannot hold them.
        max_precision: bits to stop at.

    Returns:
        Enclosure. `proved` says whether its intervals are enclosures, `status` why not.

    Raises:
        TypeError, ValueError: for arguments that exclude each other, are no numbers or not finite, a negative weight,
            weights that differ from the policy by more than 1e-9, a sampler as in `mismatched_update`.

    Numerics: rigorous everywhere. A float is the rational that it is: tau = 0.1 means 3602879701896397/2^55. Weak
    signals and rare actions cost precision and time, not correctness.

    Source: this project (C1, C4, C14, C15 say where the step exists; docs/enclosure.md).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=0.1)
    >>> proof = pmd.enclose(problem)
    >>> low, high = proof.multiplier
    >>> proof.proved and high - low <= 2**-52  # lambda, to the last digit that a float has
    True
    >>> abs(pmd.mean_update(problem).unwrap().multiplier - low) < 1e-15
    True
    """
    request, live = _request(problem, baseline, weight, log_sampler, ideal, law, weights)
    target = positive_scalar("width", width, "pass the relative width to reach, for instance 1e-13")
    if isinstance(max_precision, bool) or not isinstance(max_precision, int) or max_precision < 64:
        raise ValueError(f"max_precision must be at least 64 bits, got {shown(max_precision)}; 8192 is the default")
    found = enclosed_step(request, target, max_precision)
    return _rounded(problem, request, live, found)


def confirm(
    problem: Problem,
    low: Any,
    high: Any,
    *,
    baseline: Any = None,
    weight: Any = None,
    log_sampler: ArrayLike | None = None,
    ideal: bool = False,
    law: Literal["policy", "log_policy"] | None = None,
    weights: Sequence[Any] | None = None,
    max_precision: int = 2048,
) -> bool | None:
    r"""Decide whether the unknown of a step lies in [low, high], whoever claims it, by the mass at both ends.

    Formula: \(E\rho\) is strictly decreasing in lambda (in b, where c is given), so that the unknown is at least
    `low` iff \(E\rho \ge 1\) there. The masses are Arb's Lambert W on balls, which `enclose` does not use.

    Args:
        problem: as for `enclose`.
        low: an exact number, the lower end of what is claimed for lambda (for b with `weight` or `ideal`).
        high: the upper end, not below `low`.
        baseline: as for `enclose`.
        weight: as for `enclose`.
        log_sampler: as for `enclose`.
        ideal: as for `enclose`.
        law: as for `enclose`.
        weights: as for `enclose`.
        max_precision: bits to stop at.

    Returns:
        True or False, proved; None where the largest precision does not decide (an end that is the unknown itself,
        a step that does not exist, or an end beyond the branch point of C14).

    Raises:
        TypeError, ValueError: as `enclose`, and for ends in the wrong order.

    Source: this project (C1, C14, C15).

    >>> import pmdtheory as pmd
    >>> from pmdtheory.enclosure import confirm
    >>> problem = pmd.Problem.binary(0.3, tau=0.5)
    >>> step = pmd.mean_update(problem).unwrap()
    >>> confirm(problem, 0.999 * step.multiplier, step.multiplier * 1.001), confirm(problem, 0, 0.9 * step.multiplier)
    (True, False)
    """
    request, _ = _request(problem, baseline, weight, log_sampler, ideal, law, weights)
    remedy = "pass the ends of the interval that is claimed, in order"
    first, last = exact_number("low", low, remedy), exact_number("high", high, remedy)
    if first > last:
        raise ValueError(f"low={float(first)} exceeds high={float(last)}; {remedy}")
    return confirmed(request, first, last, max_precision)


def _request(
    problem: Problem,
    baseline: Any,
    weight: Any,
    log_sampler: ArrayLike | None,
    ideal: bool,
    law: Literal["policy", "log_policy"] | None,
    weights: Sequence[Any] | None,
) -> tuple[Request, list[int]]:
    """The arguments checked; which actions have mass."""
    if not isinstance(ideal, bool):
        raise TypeError(f"ideal must be True or False, got {shown(ideal)}; True asks for KL-PMD")
    given = [name for name, on in (("weight", weight is not None), ("ideal", ideal)) if on]
    others = [name for name, value in (("baseline", baseline), ("log_sampler", log_sampler)) if value is not None]
    if len(given) == 2 or (given and others):
        raise ValueError(f"{' and '.join(given + others)} were given together; ask for one member of the family")
    exact, live = exact_law(problem, law, weights, log_sampler)
    b = None if baseline is None else exact_number("baseline", baseline, "pass b in nats, or None")
    c = None if weight is None else exact_number("weight", weight, "pass the weight c >= 0 of the chi2")
    if c is not None and c < 0:
        raise ValueError(f"weight must be at least zero, got {float(c)}; pass the weight c >= 0 of the chi2")
    return Request(exact, b, c, ideal), live


def _rounded(problem: Problem, request: Request, live: list[int], found: Balled) -> Enclosure:
    """Floats around the balls, and the balls themselves."""
    size = problem.reward.size
    balls: dict[str, Any] = {}
    arrays = [np.full(size, math.nan) for _ in range(4)]
    if found.scalars:
        arrays = [np.zeros(size) for _ in range(4)]
        balls = dict(found.scalars)
        balls["policy"] = dict(zip(live, found.policy, strict=True))
        balls["log_ratio"] = dict(zip(live, found.log_ratio, strict=True))
    with ctx.workprec(found.precision + 64):
        scalars = {name: outward(balls[name]) if name in balls else _NOTHING for name in _SCALARS}
        for i, policy, log_ratio in zip(live, found.policy, found.log_ratio, strict=bool(found.policy)):
            low, high = outward(policy)
            arrays[0][i], arrays[1][i] = max(low, 0.0), high  # a probability is not negative
            arrays[2][i], arrays[3][i] = outward(log_ratio)
    for array in arrays:
        array.flags.writeable = False
    return Enclosure(
        problem=problem,
        status=found.status,
        law=request.law.kind,
        **scalars,
        policy_lo=arrays[0],
        policy_hi=arrays[1],
        log_ratio_lo=arrays[2],
        log_ratio_hi=arrays[3],
        width=found.width,
        precision=found.precision,
        balls=balls,
    )
