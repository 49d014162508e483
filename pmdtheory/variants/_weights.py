r"""How much a rollout counts in the square: equally, or exponentially in its reward; and which groups are dropped.

Weights \(w_i = e^{r_i/\tau_w}/\frac1n\sum_j e^{r_j/\tau_w}\) have mean one in every group, weights
\(w_i = e^{(r_i - \max_j r_j)/\tau_w}\) have not.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from pmdtheory._checks import FloatArray
from pmdtheory.variants._layout import CENTRE, layout, mixed_rewards
from pmdtheory.variants._probe import LossFailed, Probe

_KINDS: Final = ("equal", "exponential", "exponential, unnormalised")

__all__ = ["Dropped", "Weights", "dropped_groups", "fit_weights"]


@dataclass(frozen=True)
class Weights:
    """Weights of rollouts as a function of their group's rewards.

    Attributes:
        kind: "equal", "exponential" (of mean one), "exponential, unnormalised" or "unknown".
        tau: of the exponential, reward units; inf for equal weights.
        scale: what multiplies them.
        residual: worst misfit, relative to the largest weight of the group.
    """

    kind: str
    tau: float
    scale: float
    residual: float

    def values(self, rewards: FloatArray) -> FloatArray:
        """`[K, n]`, the weights without their scale."""
        if self.kind not in _KINDS[1:]:
            return np.ones_like(rewards)
        with np.errstate(under="ignore"):
            raw = np.exp((rewards - rewards.max(axis=1, keepdims=True)) / self.tau)
        return np.asarray(raw / raw.mean(axis=1, keepdims=True) if self.kind == "exponential" else raw)


@dataclass(frozen=True)
class Dropped:
    """Which groups a loss ignores.

    Attributes:
        rule: "none", "equal rewards" or "mean reward outside".
        low: below this mean reward groups are dropped; -inf where there is no such bound.
        high: likewise above.
        counted: whether dropped groups still count in the mean over the batch.
    """

    rule: str = "none"
    low: float = -math.inf
    high: float = math.inf
    counted: bool = True

    def live(self, rewards: FloatArray) -> FloatArray:
        """`[K, 1]`, one for groups that count and zero for those that do not."""
        mean = rewards.mean(axis=1, keepdims=True)
        kept = (mean > self.low) & (mean < self.high)
        if self.rule == "equal rewards":
            kept &= np.ptp(rewards, axis=1, keepdims=True) > 0.0
        return np.asarray(kept, dtype=np.float64)


def fit_weights(rewards: FloatArray, values: FloatArray, tolerance: float) -> Weights:
    """The weights that reproduce measured ones `[K, n]`; "unknown" where none does."""
    size = np.abs(values).max(axis=1, keepdims=True)
    best = Weights("unknown", math.nan, float(np.mean(values)), math.inf)
    for kind in _KINDS:
        starts = [math.inf] if kind == "equal" else list(np.logspace(-3.0, 2.0, 26))

        def fitted(tau: float, kind: str = kind) -> Weights:
            shape = Weights(kind, tau, 1.0, 0.0).values(rewards)
            scale = float(np.sum(shape * values / size**2) / np.sum(shape**2 / size**2))
            return Weights(kind, tau, scale, float(np.abs((scale * shape - values) / size).max()))

        def misfit(log_tau: FloatArray, kind: str = kind) -> FloatArray:
            found = fitted(float(np.exp(log_tau[0])), kind)
            return np.asarray(((found.scale * found.values(rewards) - values) / size).ravel())

        found = min((fitted(tau) for tau in starts), key=lambda one: one.residual)
        if kind != "equal":
            refined = least_squares(misfit, [math.log(found.tau)], x_scale=0.1, xtol=1e-15, ftol=1e-15, gtol=1e-15)
            found = min((found, fitted(float(np.exp(refined.x[0])))), key=lambda one: one.residual)
        if found.residual < tolerance:
            return found
        best = min((best, found), key=lambda one: one.residual)
    return Weights("unknown", math.nan, best.scale, best.residual)


def dropped_groups(tested: Probe, n: int, scale: float, square: bool) -> tuple[Dropped, bool]:
    """Which groups have no gradient, and whether the loss is finite where all rewards of a group are equal.

    Without a square equal rewards leave nothing to learn from anyway, and are not looked at.

    The first group of a batch is an ordinary one, so that its gradient also tells what the batch is divided by.
    """
    mixed = mixed_rewards(n, scale)

    def gradients(other: FloatArray) -> tuple[float, float]:
        found = np.abs(tested.gradient(layout(np.stack([mixed, other]), log_ratio=0.4))[..., 0]).max(axis=1)
        return float(found[0]), float(found[1])

    both, _ = gradients(mixed)

    def dead(other: FloatArray) -> bool:
        return gradients(other)[1] <= 1e-9 * both

    try:
        equal = dead(np.full(n, CENTRE)) and square
    except LossFailed:
        return Dropped(), False
    bounds = [-math.inf, math.inf]
    for side, sign in enumerate((-1.0, 1.0)):
        near, far = 0.0, 8.0
        if not dead(mixed + sign * far):
            continue
        while far - near > 1e-7:
            middle = 0.5 * (near + far)
            near, far = (near, middle) if dead(mixed + sign * middle) else (middle, far)
        bounds[side] = round(CENTRE + sign * 0.5 * (near + far), 6)
    rule = "equal rewards" if equal else "none"
    example = np.full(n, CENTRE)
    if not equal and np.isfinite(bounds).any():
        rule, example = "mean reward outside", mixed + (8.0 if np.isfinite(bounds[1]) else -8.0)
    if rule == "none":
        return Dropped(), True
    counted = gradients(example)[0] < 1.2 * both
    return Dropped(rule, bounds[0], bounds[1], counted), True
