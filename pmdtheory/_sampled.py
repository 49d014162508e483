r"""The levels that a sampler visits, with the law and the advantages that its program needs."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.problem import Problem

__all__ = ["SampledLevels", "sampled_levels"]


@dataclass(frozen=True, eq=False)
class SampledLevels:
    """The `[K]` levels that the sampler visits: masses renormalised to one over them, advantages centred there.

    `seen` marks them among the problem's levels, `log_total` is the policy's log-mass on them, `centre` the mean of
    its scaled advantage there, nats.
    """

    seen: NDArray[np.bool_]
    mass: FloatArray
    log_mass: FloatArray
    advantage: FloatArray
    log_sampler: FloatArray
    log_total: float
    centre: float

    def spread(self, log_ratio: FloatArray) -> FloatArray:
        """Log-ratios over the visited levels as log-ratios `[K]` of all, -inf where the sampler never goes."""
        result = np.full(self.seen.size, -math.inf)
        result[self.seen] = log_ratio - self.log_total
        return result


def sampled_levels(problem: Problem, log_mu: FloatArray | None) -> SampledLevels:
    """The levels that carry the program; `log_mu` is over actions, None for the policy itself."""
    levels = problem.levels
    if log_mu is None:
        everything = np.ones(levels.mass.size, dtype=np.bool_)
        mass, log_mass = levels.mass, levels.log_mass
        return SampledLevels(everything, mass, log_mass, levels.advantage, log_mass, 0.0, 0.0)
    sampled = log_mu[problem.log_policy > -math.inf]
    seen = sampled > -math.inf
    mass, advantage = levels.mass[seen], levels.advantage[seen]
    total = 1.0 if seen.all() else float(mass.sum())
    centre = 0.0 if seen.all() else float(np.dot(mass, advantage)) / total
    return SampledLevels(
        seen,
        mass / total,
        levels.log_mass[seen] - math.log(total),
        advantage - centre,
        sampled[seen],
        math.log(total),
        centre,
    )
