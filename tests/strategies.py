"""Hypothesis strategies for problems, built from small integers so that a failure shrinks to something readable."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmdtheory import Problem


@dataclass(frozen=True)
class Case:
    """A problem one can read: unnormalised weights, rewards and tau, as they are printed when a test fails."""

    weights: tuple[float, ...]
    reward: tuple[float, ...]
    tau: float

    @property
    def policy(self) -> NDArray[np.float64]:
        weights = np.array(self.weights, dtype=np.float64)
        return weights / weights.sum()

    @property
    def rewards(self) -> NDArray[np.float64]:
        return np.array(self.reward, dtype=np.float64)

    @property
    def constant(self) -> bool:
        """Whether every action with mass has the same reward."""
        return len({r for w, r in zip(self.weights, self.reward, strict=True) if w > 0}) == 1

    def problem(self, **changes: Any) -> Problem:
        """The problem, with some of policy, reward and tau replaced."""
        arguments = {"policy": self.policy, "reward": self.rewards, "tau": self.tau} | changes
        return Problem.from_policy(**arguments)


@st.composite
def taus(draw: st.DrawFn, low: int = -4, high: int = 4) -> float:
    """1, 2 or 5 times a power of ten: nine decades by default, shrinking to 1."""
    power = draw(st.integers(min_value=low, max_value=high))
    digit = draw(st.sampled_from([1, 2, 5]))
    return float(f"{digit}e{power}")


def binary_rewards(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size)


def graded_rewards(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.integers(0, 100).map(lambda k: k / 100), min_size=size, max_size=size)


def tied_rewards(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=size, max_size=size)


def signed_rewards(size: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.integers(-12, 12).map(lambda k: k / 4), min_size=size, max_size=size)


REWARDS = {"binary": binary_rewards, "graded": graded_rewards, "tied": tied_rewards, "signed": signed_rewards}


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    kinds: tuple[str, ...] = ("binary", "graded", "tied", "signed"),
    min_size: int = 1,
    max_size: int = 8,
    zero_mass: bool = True,
    tau: st.SearchStrategy[float] | None = None,
) -> Case:
    """Up to eight actions with integer weights (zero is no mass) and rewards of one kind."""
    size = draw(st.integers(min_size, max_size))
    smallest = 0 if zero_mass else 1
    weights = draw(
        st.lists(st.integers(smallest, 9), min_size=size, max_size=size).filter(lambda found: sum(found) > 0)
    )
    reward = draw(REWARDS[draw(st.sampled_from(kinds))](size))
    return Case(tuple(map(float, weights)), tuple(reward), draw(taus() if tau is None else tau))


@st.composite
def rare_success(draw: st.DrawFn, *, decades: int = 300, tau: st.SearchStrategy[float] | None = None) -> Case:
    """Two actions of which the better one has mass 10^-k, k up to `decades`."""
    k = draw(st.integers(0, decades))
    return Case((1.0, float(f"1e-{k}")), (0.0, 1.0), draw(taus() if tau is None else tau))


def any_case() -> st.SearchStrategy[Case]:
    """Everything: the mixed bag that the invariances are tested on."""
    return st.one_of(cases(), rare_success())


def informative(**options: Any) -> st.SearchStrategy[Case]:
    """Cases in which at least two rewards carry mass, so that the step moves."""
    return cases(min_size=2, **options).filter(lambda case: not case.constant)


@st.composite
def laws(draw: st.DrawFn, size: int, *, zeros: bool = False) -> NDArray[np.float64]:
    """Log-probabilities `[size]` of a law with integer weights."""
    smallest = 0 if zeros else 1
    weights = draw(
        st.lists(st.integers(smallest, 9), min_size=size, max_size=size).filter(lambda found: sum(found) > 0)
    )
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.array(weights, dtype=np.float64) / sum(weights)))
