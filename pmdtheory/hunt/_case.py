r"""Laws that a statement is measured on, with one set of formulas for both kinds of arithmetic.

`FloatCase` holds `N` laws of `K` actions in float64; `_balls.BallCase` holds one law whose masses and rewards are
rational numbers, and encloses everything. Rewards are in units of tau (C10: only r/tau matters); `scale` = k takes the
step at tau/k.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.hunt._steps import centred, excess, jensen_gaps, log_tilts, matched_scales, mean_steps, relative

__all__ = ["Case", "FloatCase", "Step"]


class Step(NamedTuple):
    r"""One step: `log_ratio` and `ratio` `[N, K]`, `multiplier` \(\lambda\) `[N]`."""

    log_ratio: Any
    ratio: Any
    multiplier: Any


class Case(Protocol):
    """What a measure may use; arrays are `[N, K]` along actions and `[N]` per law, of floats or of balls."""

    @property
    def mass(self) -> Any:
        """Masses of the actions."""

    @property
    def reward(self) -> Any:
        """Rewards over tau, as floats in either arithmetic: for finding the best actions, not for sums."""

    @property
    def advantage(self) -> Any:
        """Rewards over tau minus their mean."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further free numbers of the statement, by name."""

    @property
    def gap(self) -> Any:
        """J, nats."""

    def step(self, scale: Any = 1) -> Step:
        """PMD-mean at tau/scale."""

    def tilt(self) -> Step:
        """KL-PMD; its multiplier is zero."""

    def beyond(self) -> Any:
        """Log-ratios of KL-PMD to PMD-mean, lambda rho minus its log-mean-exp under the new policy."""

    def matched(self, kl: Any) -> Any:
        """Ratios of the tilt by the rewards whose KL(new||old) is `kl`, or proved to be at most that."""

    def exp(self, x: Any) -> Any:
        """The exponential of x."""

    def log(self, x: Any) -> Any:
        """The logarithm of x."""

    def excess(self, x: Any) -> Any:
        """e^x - 1 - x, which is f(rho) - f'(1)(rho - 1) of the reverse KL at rho = e^x."""

    def relative(self, x: Any) -> Any:
        """The same of the KL, x e^x - e^x + 1."""

    def fall(self, share: Any, drop: Any) -> Any:
        """-log(share), where drop = 1 - share."""

    def maximum(self, x: Any, y: float) -> Any:
        """The larger."""

    def resolved(self, x: Any) -> Any:
        """A positive number, or NaN where float64 is about to lose it to underflow."""


class FloatCase:
    """`N` laws in float64.

    Attributes:
        log_mass: `[N, K]`, nats, normalised.
        mass: `[N, K]`.
        reward: `[N, K]`, over tau.
        extra: further numbers `[N]`, by name.
    """

    def __init__(self, log_mass: FloatArray, reward: FloatArray, extra: Mapping[str, FloatArray]) -> None:
        self.log_mass = log_mass
        self.mass = np.exp(log_mass)
        self.reward = reward
        self.extra = extra
        self._steps: dict[int, Step] = {}

    @cached_property
    def advantage(self) -> FloatArray:
        return centred(self.mass, self.reward)

    @cached_property
    def gap(self) -> FloatArray:
        return jensen_gaps(self.log_mass, self.advantage)

    def step(self, scale: Any = 1) -> Step:
        key = 0 if isinstance(scale, int) and scale == 1 else id(scale)
        if key not in self._steps:
            factor = np.asarray(scale, dtype=np.float64).reshape(-1, 1)
            logs, multiplier = mean_steps(self.log_mass, self.reward * factor)
            self._steps[key] = Step(logs, self.exp(logs), multiplier)
        return self._steps[key]

    def tilt(self) -> Step:
        logs = log_tilts(self.log_mass, self.reward)
        return Step(logs, self.exp(logs), np.zeros(len(logs)))

    def beyond(self) -> FloatArray:
        step = self.step()
        heavy = self.mass.argmax(1)[:, None]
        first, ratio = (np.take_along_axis(array, heavy, axis=1) for array in (step.log_ratio, step.ratio))
        apart = step.log_ratio - first
        near = np.abs(apart) < 1.0
        pull = (
            np.where(near, ratio * np.expm1(np.where(near, apart, 0.0)), step.ratio - ratio) * step.multiplier[:, None]
        )
        log_after = self.log_mass + step.log_ratio
        pull = centred(self.exp(log_after), pull)
        return np.asarray(pull - jensen_gaps(log_after, pull)[:, None])

    def matched(self, kl: FloatArray) -> FloatArray:
        scale = matched_scales(self.log_mass, self.reward, kl)
        best = self.reward >= self.reward.max(1, keepdims=True)
        known = np.isfinite(scale)
        logs = log_tilts(self.log_mass, self.reward * np.where(known, scale, 1.0)[:, None])
        top = np.where(best, 1.0 / (self.mass * best).sum(1, keepdims=True), 0.0)
        return np.where(known[:, None], self.exp(logs), top)

    def exp(self, x: FloatArray) -> FloatArray:
        with np.errstate(under="ignore", over="ignore"):
            return np.asarray(np.exp(x))

    def log(self, x: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(x))

    def excess(self, x: FloatArray) -> FloatArray:
        return excess(x)

    def relative(self, x: FloatArray) -> FloatArray:
        return relative(x)

    def fall(self, share: FloatArray, drop: FloatArray) -> FloatArray:
        near = np.abs(drop) < 0.5
        return np.where(near, -np.log1p(-np.where(near, drop, 0.0)), -self.log(share))

    def maximum(self, x: FloatArray, y: float) -> FloatArray:
        return np.maximum(x, y)

    def resolved(self, x: FloatArray) -> FloatArray:
        return np.where(x > 1e-280, x, np.nan)
