r"""Regimes of a step, each defined by an inequality between quantities of the theory; and the wording of them.

Tested in this order, on one law of rewards at one tau:

| regime | definition | what follows |
|---|---|---|
| no-signal | all rewards agree | lambda = 0, nothing moves (C1) |
| tiny-step | chi2(KL-PMD's step) <= 1/10 | J/1.1 <= lambda <= J (C7), and no f-divergence exceeds KL-PMD's (C8) |
| saturated | total variation >= 9/10 of its supremum | TV falls with tau (C22): no smaller tau does much more (C21) |
| conservative | chi2 share of the implicit penalty >= 1/2 | the chi2 of weight lambda outweighs the KL (C2, C4) |
| moderate | none of these | the KL carries the penalty, and tau matters |

Independently of these a law is collapse-prone under a partition baseline when, with probability at least 1/10, the
leave-one-out log-mean-exp of a group exceeds log Z by more than the symmetric minimum survives (C14, C16).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._measures import Measures

__all__ = ["COLLAPSE_PRONE", "REGIMES", "SATURATED", "SHARE", "TINY", "classify"]

REGIMES: Final = ("no-signal", "tiny-step", "saturated", "conservative", "moderate")
TINY: Final = 0.1  # chi2 of KL-PMD's step
SATURATED: Final = 0.9  # share of the largest total variation that any tau reaches
SHARE: Final = 0.5  # of the chi2 in the implicit penalty
COLLAPSE_PRONE: Final = 0.1  # probability of a baseline beyond C14's threshold


def classify(measures: Measures) -> NDArray[np.int64]:
    """Index into `REGIMES` `[G]`."""
    still: FloatArray = measures.multiplier
    conditions = [
        still == 0.0,
        measures.ideal_chi2 <= TINY,
        measures.travelled >= SATURATED,
        measures.chi2_share >= SHARE,
    ]
    return np.asarray(np.select(conditions, [0, 1, 2, 3], default=4), dtype=np.int64)
