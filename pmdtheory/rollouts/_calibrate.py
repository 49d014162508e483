r"""Which tau makes the step as large as wanted, and how many rollouts keep groups from having no signal.

Neither the KL nor the gain need be monotone in tau (C22), so the whole range is scanned and every crossing reported,
those between two points of the scan by the slope in tau. For binary rewards both are monotone, and so is their mean
over prompts. The crossing is that of the maximum-likelihood law of pass rates; its interval holds every tau at which
the target lies in the interval of the mean.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray, positive_scalar, unit_interval
from pmdtheory.rollouts._crossings import crossings
from pmdtheory.rollouts._grouping import Scale, group
from pmdtheory.rollouts._record import Rollouts
from pmdtheory.rollouts._responses import BinaryResponse, GradedResponse, GroupSize

__all__ = ["TARGETS", "Calibration", "calibrate"]

TARGETS: Final = {
    "kl": "mean KL(new||old) over prompts, nats",
    "gain": "mean gain in pass rate (in reward, for graded rewards) over prompts",
    "max_ratio": "largest ratio new/old over the groups and their rewards",
}
_PER_DECADE: Final = 6
_RANGE: Final = (1e-3, 1e2)  # of tau, in units of the distance between lowest and highest reward


@dataclass(frozen=True, eq=False)
class Calibration:
    """What `calibrate` found.

    Attributes:
        target: "kl", "gain" or "max_ratio".
        goal: its wanted value.
        tau: the recommended tau, reward units: the largest crossing, the smallest step that reaches the goal.
        low, high: every tau in question at the level of the intervals; NaN where there are none (max_ratio).
        crossings: every tau in the range of the scan at which the estimate crosses the goal, rising.
        safe_tau: for max_ratio, a tau at which no ratio of any prompt exceeds the goal, whatever its pass rate.
        taus: `[T]`, the scan.
        values: `[T]`, the estimate at each.
        lows, highs: `[T]`, its interval.
        monotone: whether the estimate falls with tau throughout the scan.
        sizes: chance of groups without signal for some group sizes.
        no_signal: the wanted share of groups without signal.
        n: the smallest size whose estimate is at most that; None where none is.
        sure_n: the smallest size whose upper bound is at most that; None where none is.
        scale: of the rewards.
        level: of the intervals.
    """

    target: str
    goal: float
    tau: float
    low: float
    high: float
    crossings: tuple[float, ...]
    safe_tau: float | None
    taus: FloatArray
    values: FloatArray
    lows: FloatArray
    highs: FloatArray
    monotone: bool
    sizes: tuple[GroupSize, ...]
    no_signal: float
    n: int | None
    sure_n: int | None
    scale: Scale
    level: float


def calibrate(
    rollouts: Rollouts,
    *,
    target_kl: float | None = None,
    target_gain: float | None = None,
    max_ratio: float | None = None,
    no_signal: float = 0.25,
    level: float = 0.95,
) -> Calibration:
    r"""The tau at which PMD-mean's step has a wanted size on these prompts, and the group size n to take.

    Args:
        rollouts: from `read_rollouts` or `Rollouts.from_arrays`.
        target_kl: mean KL(new||old) over prompts, nats. One target and only one is given.
        target_gain: mean gain in pass rate for binary rewards, in reward units for graded ones.
        max_ratio: largest ratio of new to old probability, greater than one.
        no_signal: share of groups that may have no signal, in (0, 1).
        level: of the intervals, in (0, 1).

    Returns:
        A `Calibration`, with every crossing and not only the recommended one (C22).

    Raises:
        TypeError, ValueError: naming the argument, its value and the remedy; a goal out of reach is one.

    Source: this project (C1, C4, C22).

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> rewards = rng.random((200, 8)) < rng.random((200, 1))
    >>> data = Rollouts.from_arrays(np.repeat(np.arange(200), 8), rewards.ravel())
    >>> found = calibrate(data, target_kl=0.1)
    >>> found.low <= found.tau <= found.high and len(found.crossings) == 1
    True
    """
    given = {"kl": target_kl, "gain": target_gain, "max_ratio": max_ratio}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(
            f"{len(chosen)} targets were given; pass one of target_kl, target_gain and max_ratio, for instance 0.05"
        )
    target = chosen[0]
    name = target if target == "max_ratio" else f"target_{target}"
    goal = positive_scalar(name, given[target], f"pass {TARGETS[target]}, greater than zero")
    if target == "max_ratio" and goal <= 1.0:
        raise ValueError(
            f"max_ratio must be greater than one, got {goal}; ratios average to one, pass 10, for instance"
        )
    for argument, number in (("no_signal", no_signal), ("level", level)):
        if unit_interval(argument, number, "pass a share, for instance 0.25") in (0.0, 1.0):
            raise ValueError(f"{argument} must lie strictly between 0 and 1, got {number}; pass a share such as 0.25")
    groups, scale = group(rollouts), Scale.of(rollouts.reward)
    if scale.assumed:
        raise ValueError(
            f"reward is {rollouts.reward[0]:g} in every row, so no tau makes a step; sample prompts that differ"
        )
    if int(groups.size.max()) < 2:
        raise ValueError(
            "prompt is a different one in every row, so no group has a step; check the column of the prompt"
        )
    curve = (BinaryResponse if scale.binary else GradedResponse)(rollouts, groups, scale, level)
    taus = scale.span * np.geomspace(*_RANGE, round(_PER_DECADE * math.log10(_RANGE[1] / _RANGE[0])) + 1)
    values = np.array([curve.value(target, tau) for tau in taus.tolist()])
    slope = (lambda tau: curve.slope(target, tau)) if isinstance(curve, GradedResponse) else None  # binary ones fall
    found = crossings(lambda tau: curve.value(target, tau), taus, values, goal, slope=slope)
    if not found:
        raise ValueError(
            f"{name} = {goal:g} is out of reach: tau from {taus[0]:.3g} to {taus[-1]:.3g} gives "
            f"{values.min():.4g} to {values.max():.4g}; pass a value between"
        )
    lows, highs = _bands(curve, target, taus)
    low, high = _spread(curve, target, taus, lows, highs, goal)
    sizes = curve.sizes(level)
    return Calibration(
        target=target,
        goal=goal,
        tau=found[-1],
        low=min(low, found[0]) if target != "max_ratio" else math.nan,
        high=max(high, found[-1]) if target != "max_ratio" else math.nan,
        crossings=found,
        # rho <= e^a <= e^((r_max - r_min)/tau), as lambda >= 0 (C1)
        safe_tau=scale.span / math.log(goal) if target == "max_ratio" else None,
        taus=taus,
        values=values,
        lows=lows,
        highs=highs,
        monotone=bool(np.all(np.diff(values) <= 1e-12 * np.abs(values).max())),
        sizes=sizes,
        no_signal=no_signal,
        n=next((one.n for one in sizes if one.probability <= no_signal), None),
        sure_n=next((one.n for one in sizes if one.high <= no_signal), None),
        scale=scale,
        level=level,
    )


def _bands(curve: BinaryResponse | GradedResponse, target: str, taus: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends of the interval of the mean along the scan."""
    if target == "max_ratio":
        return np.full(taus.size, np.nan), np.full(taus.size, np.nan)
    found = [curve.interval(target, tau) for tau in taus.tolist()]
    return np.array([one.low for one in found]), np.array([one.high for one in found])


def _spread(
    curve: BinaryResponse | GradedResponse,
    target: str,
    taus: FloatArray,
    lows: FloatArray,
    highs: FloatArray,
    goal: float,
) -> tuple[float, float]:
    """First and last tau whose interval holds the goal: where one of its ends crosses it, or the end of the scan."""
    if target == "max_ratio":
        return math.inf, -math.inf
    found = taus[(lows <= goal) & (goal <= highs)].tolist()
    for name, ends in (("low", lows), ("high", highs)):

        def end(tau: float, name: str = name) -> float:
            return float(getattr(curve.interval(target, tau), name))

        found += crossings(end, taus, ends, goal, tolerance=1e-3)
    return min(found, default=math.inf), max(found, default=-math.inf)
