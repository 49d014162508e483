"""Differential evolution, vectorised over the population: each member is tried against a mix of three others."""

from collections.abc import Callable

import numpy as np

from pmdtheory._checks import FloatArray

__all__ = ["evolved"]


def evolved(
    rng: np.random.Generator, measure: Callable[[FloatArray], FloatArray], start: FloatArray, generations: int
) -> tuple[FloatArray, float]:
    """The best member after so many generations, and its value; `measure` is infinite where a member is not allowed.

    Rand-to-best mutation with a random weight in (.3, 1), crossover of half the coordinates, and for a tenth of the
    trials a small Gaussian step from the best member, which polishes.
    """
    members = start.copy()
    values = measure(members)
    size, width = members.shape
    for _ in range(generations):
        best = members[values.argmin()]
        one, two, three = (rng.integers(0, size, size) for _ in range(3))
        weight = rng.uniform(0.3, 1.0, (size, 1))
        pull = np.where(rng.uniform(size=(size, 1)) < 0.5, 0.0, weight)
        trial = members[one] + pull * (best - members[one]) + weight * (members[two] - members[three])
        crossed = rng.uniform(size=(size, width)) < 0.5
        crossed[np.arange(size), rng.integers(0, width, size)] = True
        trial = np.where(crossed, trial, members)
        near = rng.uniform(size=(size, 1)) < 0.1
        step = 10.0 ** rng.uniform(-5.0, 0.0, (size, 1)) * rng.standard_normal((size, width))
        trial = np.where(near, best + step, trial)
        found = measure(trial)
        better = found < values
        members[better], values[better] = trial[better], found[better]
    at = int(values.argmin())
    return members[at], float(values[at])
