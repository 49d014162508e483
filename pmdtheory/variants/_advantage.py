r"""What a group's rewards are turned into: the known baselines, as advantages r - baseline in reward units.

| name | advantage | parameter |
|---|---|---|
| constant | \(r_i - d\) | d, fitted beside the scale |
| mean | \(r_i - \bar r\); the others' mean gives n/(n-1) of it | |
| others' partition | \(r_i - \tau_b\log\frac{1}{n-1}\sum_{j\ne i} e^{r_j/\tau_b}\) | tau_b |
| group partition | \(r_i - \tau_b\log\frac1n\sum_j e^{r_j/\tau_b}\) | tau_b |
| clamped partition | the same, the mean relative to its group's largest term at least a floor | tau_b, floor |
| standardised | \((r_i - \bar r)/(\mathrm{sd} + \epsilon)\) | epsilon |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from pmdtheory._checks import FloatArray
from pmdtheory._others import others_log_mean_exp
from pmdtheory.variants._layout import CENTRE, mixed_rewards

SCALES: Final = (0.01, 0.05, 0.25, 1.0)

__all__ = ["ADVANTAGES", "Fit", "advantage", "configurations", "fit_advantage"]


def _mean(r: FloatArray) -> FloatArray:
    return np.asarray(r - r.mean(axis=1, keepdims=True))


def _others_partition(r: FloatArray, tau: float) -> FloatArray:
    return r - tau * others_log_mean_exp(r / tau)


def _group_partition(r: FloatArray, tau: float) -> FloatArray:
    scaled = r / tau
    top = scaled.max(axis=1, keepdims=True)
    return np.asarray(r - tau * (top + np.log(np.exp(scaled - top).mean(axis=1, keepdims=True))))


def _clamped_partition(r: FloatArray, tau: float, floor: float) -> FloatArray:
    top = r.max(axis=1, keepdims=True) / tau
    return np.asarray(r - tau * (top + np.maximum(others_log_mean_exp(r / tau) - top, math.log(floor))))


def _standardised(r: FloatArray, epsilon: float) -> FloatArray:
    return np.asarray(_mean(r) / (r.std(axis=1, keepdims=True) + epsilon + 1e-300))


# name -> (function of rewards [K, n] and parameters, starting grid of each parameter)
_TAUS: Final = np.logspace(-4.0, 2.0, 61)
ADVANTAGES: Final[dict[str, tuple[Callable[..., FloatArray], tuple[FloatArray, ...]]]] = {
    "mean": (_mean, ()),
    "constant": (lambda r: r, ()),
    "standardised": (_standardised, (np.logspace(-12.0, 1.0, 27),)),
    "others' partition": (_others_partition, (_TAUS,)),
    "group partition": (_group_partition, (_TAUS,)),
    "clamped partition": (_clamped_partition, (_TAUS[::2], np.logspace(-16.0, -1.0, 16))),
}


@dataclass(frozen=True)
class Fit:
    """y = scale (advantage - offset), fitted to measured values.

    Attributes:
        kind: a key of `ADVANTAGES`, or "unknown".
        scale: c.
        parameters: of the advantage.
        offset: d of the constant baseline, reward units; 0 for the others.
        residual: worst misfit relative to the largest value of its group.
    """

    kind: str
    scale: float
    parameters: tuple[float, ...]
    offset: float
    residual: float

    def values(self, rewards: FloatArray) -> FloatArray:
        """`[K, n]`, the fitted function of rewards `[K, n]`."""
        return self.scale * (advantage(self.kind, rewards, self.parameters) - self.offset)


def advantage(kind: str, rewards: FloatArray, parameters: tuple[float, ...] = ()) -> FloatArray:
    """`[K, n]`, a named advantage of rewards `[K, n]`."""
    with np.errstate(under="ignore"):
        return ADVANTAGES[kind][0](rewards, *parameters)


def configurations(n: int, unit: float = 1.0) -> FloatArray:
    """`[K, n]`, groups of rewards of several sizes about `CENTRE`: all different, shifted, one apart, two alike."""
    groups = []
    for k, scale in enumerate(SCALES):
        lone = np.zeros(n)
        lone[k % n] = 1.0
        pair = np.zeros(n)
        pair[[k % n, (k + 1) % n]] = 1.0
        groups += [
            mixed_rewards(n, scale * unit, start=5 * k),
            mixed_rewards(n, scale * unit, start=5 * k + 2) + 0.2 * scale * unit,
            CENTRE + scale * unit * (lone - lone.mean()),
            CENTRE + scale * unit * (pair - pair.mean()),
        ]
    return np.array(groups)


def fit_advantage(rewards: FloatArray, values: FloatArray, tolerance: float) -> Fit:
    """The first advantage that reproduces values `[K, n]` to the tolerance; failing that "unknown"."""
    known = np.isfinite(values).all(axis=1) & (np.abs(values).max(axis=1) > 0.0)
    r, y = rewards[known], values[known]
    if y.size == 0:
        return Fit("unknown", math.nan, (), 0.0, math.inf)
    best = math.inf
    for kind, (_, grids) in ADVANTAGES.items():
        found = _fitted(kind, grids, r, y)
        best = min(best, found.residual)
        if found.residual < tolerance:
            return found
    return Fit("unknown", math.nan, (), 0.0, best)


def _fitted(kind: str, grids: tuple[FloatArray, ...], r: FloatArray, y: FloatArray) -> Fit:
    """The best parameters of one advantage: a grid, then least squares in their logarithms."""
    if not grids:
        return _scaled(kind, (), r, y)[0]
    mesh = [tuple(map(float, point)) for point in np.stack(np.meshgrid(*grids), axis=-1).reshape(-1, len(grids))]
    sizes = [float(np.sum(_scaled(kind, point, r, y)[1] ** 2)) for point in mesh]

    def missed(logs: FloatArray) -> FloatArray:
        return _scaled(kind, tuple(map(float, np.exp(logs))), r, y)[1].ravel()

    found = []
    for start in np.argsort(sizes)[: 1 if len(grids) == 1 else 3]:
        refined = least_squares(
            missed, np.log(mesh[start]), x_scale=0.1, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=100
        )
        found.append(_scaled(kind, tuple(map(float, np.exp(refined.x))), r, y)[0])
    return min(found, key=lambda fit: fit.residual)


def _scaled(kind: str, parameters: tuple[float, ...], r: FloatArray, y: FloatArray) -> tuple[Fit, FloatArray]:
    """The best scale (and offset, for a constant baseline) with given parameters, and what it misses.

    Misfits `[K, n]` are relative to the largest value of each group.
    """
    size = np.abs(y).max(axis=1, keepdims=True)
    goal, f = y / size, advantage(kind, r, parameters) / size
    offset = 0.0
    if kind == "constant":
        columns = np.stack([f.ravel(), -(1.0 / size + 0.0 * f).ravel()], axis=1)
        scale, level = (float(value) for value in np.linalg.lstsq(columns, goal.ravel(), rcond=None)[0])
        offset = level / scale if scale != 0.0 else 0.0
    else:
        scale = float(np.sum(f * goal) / max(float(np.sum(f * f)), 1e-300))
    misfit = scale * (f - offset / size) - goal
    return Fit(kind, scale, parameters, offset, float(np.abs(misfit).max())), misfit
