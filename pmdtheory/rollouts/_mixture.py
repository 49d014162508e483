r"""What counts of successes say about the pass rates behind them: k of n successes, p from an unknown law over prompts.

The histogram of k fixes the first n moments of that law and no more. `estimate` is the maximum-likelihood law;
`Band` is a set of laws that holds the true one with a stated probability (the Dvoretzky-Kiefer-Wolfowitz inequality
with Massart's constant on the distribution of k), and its `extremes` are bounds by linear programming for the mean of
any function of p: as sharp as the band allows, and finite-sample. After Kiefer and Wolfowitz (1956) for the first, and
the "F-localisation" of Ignatiadis and Wager (arXiv:1902.02774) for the second.
"""

import math
from typing import Final

import numpy as np
from scipy import optimize, special

from pmdtheory._checks import FloatArray

__all__ = ["GRID", "Agreeing", "Band", "binomial_table", "estimate"]

# Pass rates of which a law may consist: even in the angle in the middle, in the log-odds towards the ends.
GRID: Final = np.unique(
    np.concatenate(
        [
            [0.0, 1.0],
            np.sin(np.linspace(0.01, 0.5 * math.pi - 0.01, 121)) ** 2,
            special.expit(np.concatenate([np.linspace(-25.0, -4.0, 40), np.linspace(4.0, 25.0, 40)])),
        ]
    )
)


def binomial_table(p: FloatArray, n: int) -> FloatArray:
    """P(k successes of n) `[n + 1, P]`, k from 0."""
    k = np.arange(n + 1.0)[:, None]
    log_choose = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(log_choose + special.xlogy(k, p) + special.xlog1py(n - k, -p)))


def estimate(histogram: FloatArray, *, steps: int = 2000) -> FloatArray:
    """The law on `GRID` that makes the counts `[n + 1]` most likely, by expectation-maximisation."""
    table = binomial_table(GRID, histogram.size - 1)
    share = histogram / histogram.sum()
    law = np.full(GRID.size, 1.0 / GRID.size)
    for _ in range(steps):
        law = law * ((share / np.maximum(table @ law, 1e-300)) @ table)
    return np.asarray(law / law.sum())


class Agreeing:
    """Mixtures of given laws that agree with what was counted: linear constraints on the weights of the laws.

    Args:
        table: `[R, J]`, chance under each law of what was counted.
        share: `[R]`, the share that was counted.
        radius: how far the chance under the true mixture may lie from it.

    Attributes:
        consistent: False where no mixture agrees with the counts; bounds then use no counts at all.
    """

    def __init__(self, table: FloatArray, share: FloatArray, radius: float) -> None:
        upper, lower = share + radius < 1.0, share - radius > 0.0
        self._rows = np.concatenate([table[upper], -table[lower]])
        self._sides = np.concatenate([(share + radius)[upper], -(share - radius)[lower]])
        self.consistent = True

    def extremes(self, values: FloatArray) -> tuple[float, float]:
        """Least and largest mean of a function given on the laws `[J]` over the mixtures that agree."""
        if self.consistent and self._sides.size:
            least, most = self._solve(values), self._solve(-values)
            if least is not None and most is not None:
                return least, -most
            self.consistent = False
        return float(values.min()), float(values.max())

    def _solve(self, cost: FloatArray) -> float | None:
        # presolving takes as long as solving: every row is dense
        total = np.ones((1, cost.size)), [1.0]
        done = optimize.linprog(
            cost, self._rows, self._sides, *total, bounds=(0.0, None), method="highs", options={"presolve": False}
        )
        return None if done.status != 0 or done.fun is None else float(done.fun)


class Band(Agreeing):
    """Laws of the pass rate that agree with counts of successes, up to sampling error.

    Not consistent where rollouts of a group are not independent, or the sample is a rare one.

    Args:
        histogram: `[n + 1]`, how many groups had k successes.
        alpha: chance that the true law is not among them.
        groups: independent groups, where fewer than the histogram's sum (prompts that recur).
    """

    def __init__(self, histogram: FloatArray, alpha: float, groups: float | None = None) -> None:
        size = float(histogram.sum()) if groups is None else groups
        table = np.cumsum(binomial_table(GRID, histogram.size - 1), axis=0)[:-1]
        below = np.cumsum(histogram / histogram.sum())[:-1]
        super().__init__(table, below, math.sqrt(math.log(2.0 / alpha) / (2.0 * size)))
