"""Rollouts by group: those that share a prompt and a step, whose rewards come from one policy."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._record import Rollouts

__all__ = ["Groups", "Scale", "group"]

_NAMED: Final = ((0.0, 1.0), (-1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups, in order of step and prompt.

    Attributes:
        order: `[N]`, rollouts sorted by group.
        start: `[G]`, first rollout of each group in `order`.
        size: `[G]`, rollouts of each.
        prompt: `[G]`.
        step: `[G]`; zero throughout where there are no steps.
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    prompt: NDArray[np.int64]
    step: NDArray[np.int64]

    def by_size(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """For each size n: n, the groups `[g]`, and the rollouts of each `[g, n]`."""
        for n in np.unique(self.size).tolist():
            chosen = np.flatnonzero(self.size == n)
            yield n, chosen, self.order[self.start[chosen][:, None] + np.arange(n)]


def group(rollouts: Rollouts) -> Groups:
    """The groups of a set of rollouts."""
    step = np.zeros(rollouts.size, dtype=np.int64) if rollouts.step is None else rollouts.step
    order = np.lexsort((rollouts.prompt, step))
    prompt, step = rollouts.prompt[order], step[order]
    new = np.flatnonzero((np.diff(prompt) != 0) | (np.diff(step) != 0)) + 1
    start = np.concatenate([[0], new])
    size = np.diff(np.append(start, order.size))
    return Groups(order, start, size, prompt[start], step[start])


@dataclass(frozen=True)
class Scale:
    """What the rewards are: two levels, told apart as failure and success, or graded.

    Attributes:
        low, high: the two levels, or the extremes of graded rewards.
        binary: whether there are two.
        assumed: whether a level was not seen and was assumed.
    """

    low: float
    high: float
    binary: bool
    assumed: bool = False

    @classmethod
    def of(cls, reward: FloatArray) -> "Scale":
        """From the rewards; where all agree the other level is taken from {0, 1} or else {-1, 1}."""
        low, high = float(reward.min()), float(reward.max())
        if low < high:
            return cls(low, high, bool(np.all((reward == low) | (reward == high))))
        for pair in _NAMED:
            if low in pair:
                return cls(*pair, binary=True, assumed=True)
        return cls(low, low, binary=False, assumed=True)

    @property
    def span(self) -> float:
        """Distance of the two levels or extremes, reward units."""
        return self.high - self.low
