"""How the rewards of a group become targets, weights and temperatures, at two group sizes."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.variants._advantage import Fit, configurations, fit_advantage
from pmdtheory.variants._layout import CENTRE, layout, mixed_rewards
from pmdtheory.variants._probe import LossFailed, Probe
from pmdtheory.variants._shape import coefficients
from pmdtheory.variants._weights import Dropped, Weights, fit_weights

_FAR: Final = 60.0  # nats: no float64 partition that subtracts its own term survives them

__all__ = ["Pairwise", "Rewards", "pairwise", "rewards_of"]


@dataclass(frozen=True, eq=False)
class Rewards:
    """What rewards do.

    Attributes:
        target: nats, or n times the gradient where there is no square.
        other: the same at another group size.
        weights: of rollouts in the square.
        dropped: groups without a gradient.
        square: whether there is a square.
        chi2_weight: of an explicit chi2.
        gradient_scale: factor of the fitted advantage in n times the gradient at the old policy.
        far: what the only best rollout of a group gets where the others are 60 tau below, over what it should get.
    """

    target: Fit
    other: Fit
    weights: Weights
    dropped: Dropped
    square: bool
    chi2_weight: float
    gradient_scale: float
    far: float


@dataclass(frozen=True)
class Pairwise:
    """A square of differences between the rollouts of a group: tau, and what the fit misses."""

    tau: float
    residual: float


def rewards_of(tested: Probe, functions: tuple[str, ...], n: int, m: int, unit: float, dropped: Dropped) -> Rewards:
    """Fit the target at group sizes n and m, and the weights at n."""
    loose = 100.0 * tested.tolerance if tested.tolerance < 1e-4 else 0.03
    table = configurations(n, unit)
    push, pull = _measured(tested, functions, table)
    square = pull is not None
    weights = Weights("equal", math.inf, 1.0, 0.0)
    chi2 = 0.0
    if pull is not None:
        weights = fit_weights(table, pull, loose)
        if "e2" in functions:
            found = np.concatenate([_coefficients(tested, functions, row)[:, 0] for row in table], axis=1)
            part = {name: found[k] for k, name in enumerate(functions)}
            chi2 = float(np.mean(part["e2"] / part["se"]))
    target = fit_advantage(table, _target(push, pull), loose)
    table2 = configurations(m, unit)
    other = fit_advantage(table2, _target(*_measured(tested, functions, table2)), loose)
    target, far = _far(tested, functions, target, n, loose)
    other, _ = _far(tested, functions, other, m, loose)
    scale = target.scale if pull is None else n * target.scale * weights.scale
    return Rewards(target, other, weights, dropped, square, chi2, scale, far)


def pairwise(tested: Probe, n: int, unit: float) -> Pairwise | None:
    """Tau of a square whose curvature is that of differences within the group; None for any other coupling."""
    rewards = mixed_rewards(n, unit)
    before = tested.gradient(layout(rewards))[0, :, 0]
    rows = [(tested.gradient(layout(rewards, log_ratio=0.5 * row))[0, :, 0] - before) / 0.5 for row in np.eye(n)]
    twice = [tested.gradient(layout(rewards, log_ratio=1.0 * row))[0, :, 0] - before for row in np.eye(n)]
    matrix, goal = np.array(rows), np.eye(n) - 1.0 / n
    strength = float(np.sum(matrix * goal) / np.sum(goal * goal))
    advantages = rewards - rewards.mean()
    slope = -float(before @ advantages / (advantages @ advantages))
    if strength <= 0.0 or slope <= 0.0:
        return None
    residual = max(
        float(np.abs(matrix - strength * goal).max() / strength),
        float(np.abs(np.array(twice) - matrix).max() / strength),
        float(np.abs(before + slope * advantages).max() / np.abs(before).max()),
    )
    return Pairwise(strength / slope, residual) if residual < max(1e-4, 10.0 * tested.tolerance) else None


def _coefficients(tested: Probe, functions: tuple[str, ...], row: FloatArray) -> FloatArray:
    return coefficients(tested, functions, row[None])


def _measured(tested: Probe, functions: tuple[str, ...], table: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """`[K, n]`: minus the gradient at the old policy, and what multiplies the log-ratio (None without a square).

    One group a call, so that nothing of the batch comes in.
    """
    found = np.concatenate([_coefficients(tested, functions, row) for row in table], axis=1)
    part = {name: found[k] for k, name in enumerate(functions)}
    push = -sum((part[name] for name in functions if name in ("1", "e", "e2", "e-")), np.zeros(table.shape))
    pull = part.get("s", part.get("se"))
    return push, pull


def _target(push: FloatArray, pull: FloatArray | None) -> FloatArray:
    """`[K, n]`, what the square aims at, nats; without a square the group size times the gradient. NaN for 0/0."""
    if pull is None:
        return np.asarray(push.shape[1] * push)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(push / pull)


def _far(tested: Probe, functions: tuple[str, ...], fit: Fit, n: int, loose: float) -> tuple[Fit, float]:
    """The fit tried on one rollout far above the others; a partition that saturates there is a clamped one."""
    if fit.kind in ("unknown", "standardised"):
        return fit, math.nan
    partition = "partition" in fit.kind
    tau = fit.parameters[0] if partition else 1.0 / abs(fit.scale)

    def top(nats: float) -> tuple[float, float]:
        row = np.zeros(n)
        row[0] = 1.0
        row = CENTRE + nats * tau * (row - row.mean())
        push, pull = _measured(tested, functions, row[None])
        return float(_target(push, pull)[0, 0]), float(fit.values(row[None])[0, 0])

    try:
        measured, expected = top(_FAR)
        again, _ = top(2.0 * _FAR)
    except LossFailed:
        return fit, math.nan
    ratio = measured / expected
    if fit.kind == "others' partition" and abs(ratio - 1.0) > loose and abs(again - measured) < loose * abs(measured):
        floor = math.exp(-measured / (fit.scale * tau))
        return Fit("clamped partition", fit.scale, (tau, floor), 0.0, fit.residual), ratio
    return fit, ratio
