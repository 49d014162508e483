"""One law of rational numbers with every step enclosed in balls (python-flint): the exact re-check of a witness."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import numpy as np
from flint import arb, fmpq

from pmdtheory.enclosure import enclose
from pmdtheory.hunt._case import FloatCase, Step
from pmdtheory.problem import Problem

__all__ = ["BITS", "BallCase"]

BITS: Final = 320
_WIDTH: Final = 1e-40


def ball(number: Fraction | int) -> arb:
    """A rational number as a ball."""
    exact = Fraction(number)
    return arb(fmpq(exact.numerator, exact.denominator))


class BallCase:
    """One law whose masses are proportional to integers; arrays are `[1, K]` and `[1]` of Arb balls.

    Work in it under `flint.ctx.workprec(BITS)`.

    Attributes:
        weights: `K` positive integers.
        exact_reward: `K` rational numbers that float64 holds, over tau.
        exact_extra: further rational numbers, by name.
        mass: `[1, K]`, balls.
        reward: `[1, K]`, floats, exactly the rewards.
        extra: further numbers as balls `[1]`.
    """

    def __init__(self, weights: Sequence[int], reward: Sequence[Fraction], extra: Mapping[str, Fraction]) -> None:
        self.weights = list(weights)
        self.exact_reward = list(reward)
        self.exact_extra = dict(extra)
        self.mass = self._row([Fraction(w, sum(weights)) for w in weights])
        self.reward = np.array([[float(r) for r in reward]])
        self.extra = {name: np.array([ball(value)], dtype=object) for name, value in extra.items()}

    @staticmethod
    def _row(numbers: Sequence[Fraction]) -> Any:
        return np.array([[ball(number) for number in numbers]], dtype=object)

    @property
    def floats(self) -> FloatCase:
        """The same law in float64."""
        log_mass = np.array([[float(self.log(m)) for m in self.mass[0]]])
        extra = {name: np.array([float(value)]) for name, value in self.exact_extra.items()}
        return FloatCase(log_mass, self.reward, extra)

    @cached_property
    def advantage(self) -> Any:
        total = sum(self.weights)
        mean = sum((Fraction(w, total) * r for w, r in zip(self.weights, self.exact_reward, strict=True)), Fraction(0))
        return self._row([r - mean for r in self.exact_reward])

    @cached_property
    def gap(self) -> Any:
        return self.log((self.mass * self.exp(self.advantage)).sum(1))

    def step(self, scale: Any = 1) -> Step:
        """PMD-mean by `enclose`; `scale` is 1 or one of `extra`."""
        names = [name for name, value in self.extra.items() if value is scale]
        factor = self.exact_extra[names[0]] if names else Fraction(1)
        reward = [float(r * factor) for r in self.exact_reward]
        if any(Fraction(x) != r * factor for x, r in zip(reward, self.exact_reward, strict=True)):
            raise ValueError(f"rewards times {factor} are no floats; choose a scale with fewer digits")
        policy = np.array([float(Fraction(w, sum(self.weights))) for w in self.weights])
        found = enclose(Problem.from_policy(policy / policy.sum(), reward, 1.0), weights=self.weights, width=_WIDTH)
        if not found.proved:
            raise ArithmeticError(f"the step of the witness was not enclosed: {found.status.value}")
        logs = np.array([[found.balls["log_ratio"][k] for k in range(len(reward))]], dtype=object)
        return Step(logs, self.exp(logs), np.array([found.balls["multiplier"]], dtype=object))

    def tilt(self) -> Step:
        logs = self.advantage - self.gap[0]
        return Step(logs, self.exp(logs), np.array([arb(0)], dtype=object))

    def beyond(self) -> Any:
        return self.tilt().log_ratio - self.step().log_ratio

    def matched(self, kl: Any) -> Any:
        """A tilt whose KL is proved to be at most `kl`: what it gains, the tilt of the same KL gains too."""
        with np.errstate(under="ignore"):
            plain = self.floats
            best = plain.matched(np.array([float(kl[0])]))
        scale = _scale(plain, best)
        tilted = self.advantage * ball(Fraction(scale))
        logs = tilted - self.log((self.mass * self.exp(tilted)).sum(1))[0]
        ratio = self.exp(logs)
        if not (self.mass * ratio * logs).sum() <= kl[0]:
            raise ArithmeticError("the KL of the tilt is not proved to be at most that of the step")
        return ratio

    def exp(self, x: Any) -> Any:
        return np.vectorize(lambda one: one.exp(), otypes=[object])(x)

    def log(self, x: Any) -> Any:
        return np.vectorize(lambda one: one.log(), otypes=[object])(x) if isinstance(x, np.ndarray) else x.log()

    def excess(self, x: Any) -> Any:
        return self.exp(x) - 1 - x

    def relative(self, x: Any) -> Any:
        return x * self.exp(x) - self.exp(x) + 1

    def fall(self, share: Any, drop: Any) -> Any:
        del drop
        return -self.log(share)

    def maximum(self, x: Any, y: float) -> Any:
        return np.vectorize(lambda one: one.max(arb(y)), otypes=[object])(x)

    def resolved(self, x: Any) -> Any:
        return x


def _scale(plain: FloatCase, ratio: Any) -> float:
    """The scale of a tilt from its ratios, a little less."""
    low, high = plain.reward[0].argmin(), plain.reward[0].argmax()
    with np.errstate(divide="ignore"):
        logs = np.log(ratio[0])
    usual = np.isfinite(logs)
    if not usual.all():
        return 50.0 / float(np.ptp(plain.reward[0]))
    return float((logs[high] - logs[low]) / (plain.reward[0][high] - plain.reward[0][low]) * (1 - 1e-6))
