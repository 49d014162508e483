"""The steps that most claims look at, solved once per problem."""

from functools import lru_cache
from typing import Final

import numpy as np

from pmdtheory.problem import Problem
from pmdtheory.solution import Update
from pmdtheory.update import kl_update, mean_update

__all__ = ["MOVES", "kl_step", "largest_advantage", "mean_step", "moves"]

MOVES: Final = "steps of total variation below 1e-3"


@lru_cache(maxsize=8)
def mean_step(problem: Problem) -> Update:
    """PMD-mean's step; problems are compared by identity, so this only saves repeating the same solve."""
    return mean_update(problem).unwrap()


@lru_cache(maxsize=8)
def kl_step(problem: Problem) -> Update | None:
    """KL-PMD's step, None where the partition function is infinite."""
    return kl_update(problem).value


def largest_advantage(problem: Problem) -> float:
    """max|a|, nats."""
    return float(np.max(np.abs(problem.levels.advantage)))


def moves(problem: Problem) -> bool:
    """Whether PMD-mean's step is large enough for a mistake in it to show."""
    return mean_step(problem).step_size >= 1e-3
