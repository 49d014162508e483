r"""How a step changes with tau: derivatives of its measures in log tau, by implicit differentiation.

With \(v + \lambda e^v = a\) and \(a \propto 1/\tau\), a dot for the derivative in \(\log\tau\) and \(\rho = e^v\):
\(\dot v = -(a + \dot\lambda\rho)/(1 + \lambda\rho)\), and \(E[\rho\dot v] = 0\) gives
\(\dot\lambda = -E[a w]/E[\rho w]\), \(w = \rho/(1 + \lambda\rho)\). Then KL(new||old) has the derivative
\(E[\rho v\dot v]\), the gain \(\tau E[a\rho\dot v]\) and the largest log-ratio \(\dot v\) of the largest reward.
"""

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._graded import empirical_measures, extrapolated, halves

__all__ = ["corrected_slopes", "plug_in_slopes"]


def plug_in_slopes(rewards: FloatArray, tau: float) -> dict[str, FloatArray]:
    """Derivatives `[g]` in log tau of kl, gain and log_max_ratio on the empirical law of each group `[g, n]`."""
    found, v = empirical_measures(rewards, tau)
    a = (rewards - found.mean_reward[:, None]) / tau
    with np.errstate(under="ignore", over="ignore"):
        ratio = np.exp(v)
        damped = 1.0 / (1.0 + found.multiplier[:, None] * ratio)
        w = ratio * damped
        rate = -(a * w).sum(axis=1) / (ratio * w).sum(axis=1)
        change = -(a + rate[:, None] * ratio) * damped
        moved = ratio * change
    return {
        "kl": (moved * v).mean(axis=1),
        "gain": tau * (moved * a).mean(axis=1),
        "log_max_ratio": np.take_along_axis(change, v.argmax(axis=1)[:, None], axis=1)[:, 0],
    }


def corrected_slopes(rewards: FloatArray, tau: float) -> dict[str, FloatArray]:
    """Derivatives `[g]` in log tau of the estimates less the bias of order 1/n."""
    n, start, parts = rewards.shape[1], 0, []
    for size in halves(n):
        parts.append(plug_in_slopes(rewards[:, start : start + size], tau))
        start += size
    whole = plug_in_slopes(rewards, tau)
    return {name: extrapolated(n, whole[name], *(part[name] for part in parts)) for name in ("kl", "gain")}
