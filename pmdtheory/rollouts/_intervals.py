r"""Exact intervals for one prompt with binary rewards: Clopper-Pearson's for p, and its image under the step.

The new pass rate is strictly increasing in p. With s = p^+ C4 gives \(G(p, s) = \mathrm{logit}\,s - \mathrm{logit}\,p
+ \mathrm{KL}(p\|s)(s - p)/(p(1-p)) = 1/\tau\), and \(\partial_s G > 0 > \partial_p G\), as
\(\partial_p[(s-p)/(p(1-p))] = -[(s-p)^2 + s(1-s)]/(p(1-p))^2\). So its interval is the image of two ends. The other
measures rise and fall again; their interval is the image of the whole interval of p. Either way the chance to cover
is at least the level, whatever p and n: nothing here is asymptotic.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._binary_law import binary_measures, collapse_probability, no_signal_probability
from pmdtheory.rollouts._measures import Measures
from pmdtheory.rollouts._regimes import classify

__all__ = ["FUNCTIONALS", "Curves", "clopper_pearson"]

FUNCTIONALS: Final = (
    "pass_rate",
    "new_pass_rate",
    "gain",
    "multiplier",
    "kl",
    "chi2_share",
    "no_signal",
    "collapse",
)
_GRID: Final = np.concatenate([[0.0], special.expit(np.linspace(-25.0, 25.0, 2001)), [1.0]])


def clopper_pearson(successes: ArrayLike, n: ArrayLike, level: float) -> tuple[FloatArray, FloatArray]:
    """Ends of the exact interval for a binomial probability, both `[...]`."""
    k, trials = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    tail = 0.5 * (1.0 - level)
    low = np.where(k > 0, special.betaincinv(np.maximum(k, 1e-300), trials - k + 1.0, tail), 0.0)
    high = np.where(k < trials, special.betaincinv(k + 1.0, np.maximum(trials - k, 1e-300), 1.0 - tail), 1.0)
    return low, high


class Curves:
    """Every functional of the pass rate at one tau, for rewards 0 and 1.

    Attributes:
        tau: in units of the distance between the two rewards.
        grid: `[2003]`, pass rates from 0 to 1, even in the log-odds.
    """

    def __init__(self, tau: float) -> None:
        self.tau = tau
        self.grid: FloatArray = _GRID
        self._measures = binary_measures(_GRID, tau)
        self._kept: dict[int, dict[str, FloatArray]] = {}

    def at(self, p: FloatArray, n: int) -> dict[str, FloatArray]:
        """Functionals at pass rates `[P]` for groups of n."""
        return _values(p, n, self.tau)

    def measures(self, p: FloatArray) -> Measures:
        """All measures of the step at pass rates `[P]`."""
        return binary_measures(p, self.tau)

    def table(self, n: int) -> dict[str, FloatArray]:
        """Functionals on the grid, for groups of n."""
        if n not in self._kept:
            m = self._measures
            self._kept[n] = {
                "pass_rate": self.grid,
                "new_pass_rate": m.expected_reward,
                "gain": m.improvement,
                "multiplier": m.multiplier,
                "kl": m.kl,
                "chi2_share": m.chi2_share,
                "no_signal": no_signal_probability(self.grid, n),
                "collapse": collapse_probability(self.grid, n, self.tau),
                "log_max_ratio": m.log_max_ratio,
                "regime": classify(m).astype(np.float64),
            }
        return self._kept[n]

    def image(self, low: FloatArray, high: FloatArray, n: int) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Least and largest value of every functional over intervals of p, both `[U]`."""
        ends = [_values(end, n, self.tau) for end in (low, high)]
        first, last = np.searchsorted(self.grid, low, "left"), np.searchsorted(self.grid, high, "right")
        found = {}
        for name in FUNCTIONALS:
            curve = self.table(n)[name]
            least, most = (pick(ends[0][name], ends[1][name]) for pick in (np.minimum, np.maximum))
            for i, (start, stop) in enumerate(zip(first, last, strict=True)):
                if stop > start:
                    least[i] = min(least[i], curve[start:stop].min())
                    most[i] = max(most[i], curve[start:stop].max())
            found[name] = (least, most)
        return found

    def regimes(self, low: FloatArray, high: FloatArray) -> list[tuple[int, ...]]:
        """The regimes that intervals of p meet."""
        codes = self.table(1)["regime"].astype(np.int64)
        ends = [classify(binary_measures(end, self.tau)) for end in (low, high)]
        first, last = np.searchsorted(self.grid, low, "left"), np.searchsorted(self.grid, high, "right")
        return [
            tuple(sorted({int(ends[0][i]), int(ends[1][i]), *np.unique(codes[start:stop]).tolist()}))
            for i, (start, stop) in enumerate(zip(first, last, strict=True))
        ]


def _values(p: FloatArray, n: int, tau: float) -> dict[str, NDArray[np.float64]]:
    m = binary_measures(p, tau)
    return {
        "pass_rate": np.asarray(p, dtype=np.float64),
        "new_pass_rate": m.expected_reward,
        "gain": m.improvement,
        "multiplier": m.multiplier,
        "kl": m.kl,
        "chi2_share": m.chi2_share,
        "no_signal": no_signal_probability(p, n),
        "collapse": collapse_probability(p, n, tau),
    }
