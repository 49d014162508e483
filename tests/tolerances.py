"""The one table of tolerances. A tolerance follows from how the number was obtained, never from what passes.

| name | provenance |
|---|---|
| `exact(a)` | algebraic identities in float64: 64 eps max(1, max abs a) |
| `LOG_RATIO` | log-ratio against high-precision references, times max(1, max abs a) |
| `REFERENCE` | multiplier and divergences against high-precision references, relative |
| `ROOT` | anything behind a scalar root-find; mass and stationarity of a step, times max(1, max abs a) |
| `CONTINUOUS` | multiplier of a continuous law, relative |
| `PRINTED` | values known to the nine digits that the theory quotes |
| `series(h, k)` | remainder of an expansion of order k, only together with a fitted slope |
| `SOLVER` | agreement with a generic optimiser |
| `TRAINED_FLOAT32` | log-probabilities of trained weights in float32: 1024 eps, what a few layers make of rounding |
| `RATE` | a fitted convergence order |
| `monte_carlo(sigma, n)` | sampled means: z standard errors |
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

EPS: Final = float(np.finfo(np.float64).eps)
LOG_RATIO: Final = 2e-15
REFERENCE: Final = 1e-11
ROOT: Final = 1e-12
CONTINUOUS: Final = 1e-10
PRINTED: Final = 1e-8
SOLVER: Final = 1e-6
RATE: Final = 0.1
TRAINED_FLOAT32: Final = 1024.0 * float(np.finfo(np.float32).eps)


def largest(a: ArrayLike) -> float:
    """max(1, max|a|): the scale that every tolerance in log space is relative to."""
    return max(1.0, float(np.max(np.abs(np.asarray(a, dtype=np.float64)))))


def exact(a: ArrayLike = 0.0) -> float:
    """For algebraic identities between quantities of the size of the scaled advantage `a`."""
    return 64.0 * EPS * largest(a)


def series(h: float, order: int, constant: float = 1.0) -> float:
    """Bound C h^(order + 1) of what an expansion of this order leaves."""
    return constant * h ** (order + 1)


def monte_carlo(sigma: float, n: int, z: float = 5.0) -> float:
    """z standard errors of a mean of n draws; the seed is fixed, so this never flickers."""
    return z * sigma / float(np.sqrt(n))
