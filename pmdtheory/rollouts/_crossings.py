r"""Where a curve over tau passes a goal, with pairs of crossings that lie between two points of a scan.

Between neighbours a curve can turn without the scan showing it. With its slope at both ends it does not hide: where the
slopes differ in sign there is an extremum, which is found and made a point of the scan; where they do not, the cell is
halved as long as the cubic through both ends, with their slopes, turns or does not meet the middle of the curve.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import optimize

from pmdtheory._checks import FloatArray

__all__ = ["crossings"]

_DEPTH: Final = 6  # times that a cell is halved
_FIT: Final = 0.1  # error of the cubic in the middle, relative to what is between the cell and the goal
Curve = Callable[[float], float]
_Point = tuple[float, float, float]  # log tau, value, slope in log tau


def crossings(
    value: Curve,
    taus: FloatArray,
    values: FloatArray,
    goal: float,
    *,
    slope: Curve | None = None,
    tolerance: float = 1e-10,
) -> tuple[float, ...]:
    """Every tau at which a curve passes the goal, rising.

    Args:
        value: the curve.
        taus: `[T]`, a scan of it.
        values: `[T]`, the curve there.
        goal: its wanted value.
        slope: its derivative in log tau. Without it two crossings between neighbours of the scan are not seen.
        tolerance: of log tau.
    """
    found = [float(tau) for tau, one in zip(taus, values, strict=True) if one == goal]
    x, y = np.log(taus), values
    if slope is not None:
        more = np.reshape(_hidden(lambda at: value(math.exp(at)), lambda at: slope(math.exp(at)), x, y, goal), (-1, 3))
        found += np.exp(more[more[:, 1] == goal, 0]).tolist()
        x, y = np.append(x, more[:, 0]), np.append(y, more[:, 1])
        order = x.argsort()
        x, y = x[order], y[order]
    for i in np.flatnonzero((y[:-1] - goal) * (y[1:] - goal) < 0.0).tolist():
        root = optimize.brentq(lambda at: value(math.exp(at)) - goal, x[i], x[i + 1], xtol=tolerance)
        found.append(math.exp(float(root)))
    return tuple(sorted(found))


def _hidden(value: Curve, slope: Curve, x: FloatArray, y: FloatArray, goal: float) -> list[_Point]:
    """Points between those of the scan, where a cell has to be cut for its ends to show on which side the goal is."""
    points = [(at, one, slope(at)) for at, one in zip(x.tolist(), y.tolist(), strict=True)]
    cells = zip(points[:-1], points[1:], strict=True)
    return [point for cell in cells for point in _inside(value, slope, *cell, goal, _DEPTH)]


def _inside(value: Curve, slope: Curve, left: _Point, right: _Point, goal: float, depth: int) -> list[_Point]:
    """Points within a cell that it has to be cut at."""
    (a, low, rise), (b, high, fall) = left, right
    gap = min(abs(low - goal), abs(high - goal))
    # by the slopes at its ends a cell's values lie within this distance of one end, twofold for good measure
    if depth == 0 or gap > abs(high - low) + 2.0 * (b - a) * max(abs(rise), abs(fall)):
        return []
    if rise * fall < 0.0:
        at = float(optimize.brentq(slope, a, b, xtol=1e-12))
        middle = (at, value(at), 0.0)
        # an extremum leaves nothing more to find next to it but what the cubics of the two parts do not show
        depth = min(depth, 2)
    else:
        at = 0.5 * (a + b)
        middle = (at, value(at), slope(at))
        cubic = 0.5 * (low + high) + 0.125 * (b - a) * (rise - fall)
        fits = abs(middle[1] - cubic) <= _FIT * min(gap, abs(middle[1] - goal))
        if fits and rise * middle[2] > 0.0 and _straight(b - a, high - low, rise, fall):
            return []
    parts = ((left, middle), (middle, right))
    first, second = (_inside(value, slope, *pair, goal, depth - 1) for pair in parts)
    return [*first, middle, *second]


def _straight(width: float, rise: float, first: float, last: float) -> bool:
    """Whether a cubic with these slopes at its ends is monotone (Fritsch and Carlson's sufficient condition)."""
    if rise == 0.0:
        return False
    one, two = width * first / rise, width * last / rise
    return min(one, two) >= 0.0 and math.hypot(one, two) <= 3.0
