r"""The Lambert-W tilt in log space: \(v + \lambda e^v = x\) for the log-ratio v, both signs of the multiplier.

For \(\lambda > 0\) the solution is \(e^v = W_0(\lambda e^x)/\lambda\), that is \(v = x - \omega(x + \log\lambda)\) with
the Wright omega function, \(\omega + \log\omega = z\). For \(\lambda = -\nu < 0\) it is \(v = x + T\) with
\(T = -W(-\nu e^x)\), \(T \le 1\) on the branch \(W_0\) and \(T \ge 1\) on \(W_{-1}\), as long as
\(\nu e^x \le 1/e\) (C1, C14). Nothing here exponentiates x.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pmdtheory._checks import FloatArray

__all__ = ["branch_tilt", "tilt", "tilt_slope", "weak_signal_multiplier"]

_NEAR: Final = 1e-3  # depth below which T - 1 - log T, with |T - 1| < 0.05, is summed as a series


def tilt(x: ArrayLike, log_multiplier: ArrayLike) -> FloatArray:
    r"""Solve \(v + \lambda e^v = x\) for v, \(\lambda = e^{\text{log\_multiplier}} \ge 0\).

    Formula: \(v = x - \omega(z) = \log\omega(z) - \log\lambda\), \(z = x + \log\lambda\).

    Args:
        x: `[...]`, nats.
        log_multiplier: `[...]` or scalar, nats; -inf means \(\lambda = 0\), where v = x.

    Returns:
        `[...]`, nats. Never overflows.

    Numerics: each of the two forms cancels where the other is exact, so the first is used for omega <= 1 and the
    second above; the error is a few eps max(1, |v|). `scipy.special.lambertw(exp(x))` is inf beyond x = 709.

    Source: arXiv:2602.05933 (C1); `scipy.special.wrightomega`.

    >>> v = tilt(800.0, 0.0)
    >>> abs(float(v + np.exp(v)) - 800.0) < 1e-12 * 800
    True
    """
    x, u = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(log_multiplier, dtype=np.float64))
    with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
        omega = special.wrightomega(x + u)
        return np.asarray(np.where(omega <= 1.0, x - omega, np.log(omega) - u))


def tilt_slope(log_ratio: ArrayLike, log_multiplier: ArrayLike) -> FloatArray:
    r"""Derivative \(dv/dx = 1/(1 + \lambda e^v)\) of the tilt, in (0, 1].

    Args:
        log_ratio: `[...]`, v, nats.
        log_multiplier: `[...]` or scalar, nats.

    Returns:
        `[...]`; the factor by which PMD-mean compresses KL-PMD's response to a reward (C8).

    Source: this project (C8).

    >>> float(tilt_slope(0.0, 0.0))
    0.5
    """
    exponent = np.asarray(log_ratio, dtype=np.float64) + np.asarray(log_multiplier, dtype=np.float64)
    return np.asarray(special.expit(-exponent))


def branch_tilt(depth: ArrayLike, branch: int = 0) -> FloatArray:
    r"""Solve \(T - 1 - \log T = \text{depth}\) for T, the lift of an action under a negative multiplier.

    Formula: \(T = -W_k(-e^{-1-\text{depth}})\): k = 0 gives T in (0, 1], k = -1 gives T >= 1. In these
    coordinates the branch point is depth = 0, T = 1, and nothing is lost next to it.

    Args:
        depth: `[...]`, >= 0, nats.
        branch: 0 or -1.

    Returns:
        `[...]`, dimensionless.

    Raises:
        ValueError: for a negative depth (there is no real solution) or another branch.

    Numerics: started from `scipy.special.lambertw`, or from the series at the branch point, then Newton steps on
    a residual that does not cancel there; relative error a few eps on both branches.

    Source: this project (C14).

    >>> low, high = branch_tilt(1e-12), branch_tilt(1e-12, branch=-1)
    >>> bool(low < 1.0 < high)  # the two branches separate like the square root of the depth
    True
    """
    depth = np.asarray(depth, dtype=np.float64)
    if branch not in (0, -1):
        raise ValueError(f"branch must be 0 or -1, got {branch!r}; the other branches of W are complex")
    if bool(np.any(depth < 0.0)) or bool(np.isnan(depth).any()):
        raise ValueError(f"depth must be at least zero, got {float(np.min(depth))}; no real branch of W exists there")
    near = depth < _NEAR
    if not near.any():
        return _far(depth, branch)
    return np.where(near, _next_to_branch(np.where(near, depth, 0.0), branch), _far(np.where(near, 1.0, depth), branch))


def _next_to_branch(depth: FloatArray, branch: int) -> FloatArray:
    """T for small depths: the series in sqrt(depth), then Newton steps on the unknown T - 1, which keeps its digits."""
    q = np.sqrt(2.0 * depth) * (-1.0 if branch == 0 else 1.0)
    e = q + q * q / 3.0 + q**3 / 36.0 - q**4 / 270.0
    moving = depth > 0.0
    for _ in range(2):
        # e - log(1 + e) = depth; Newton's step is (1 + e)/e times the residual
        step = (_log_remainder(e) - depth) * (1.0 + e) / np.where(moving, e, 1.0)
        e = np.where(moving, e - step, 0.0)
    return np.asarray(1.0 + e)


def _far(depth: FloatArray, branch: int) -> FloatArray:
    """T away from the branch point, from scipy's Lambert W and one more step; in log space where that underflows."""
    with np.errstate(under="ignore"):
        lift = -np.real(special.lambertw(-np.exp(-1.0 - np.minimum(depth, 600.0)), branch))
        if branch == 0:
            # small T is T = e^(-1-depth) e^T, a contraction; larger T takes Newton's step on T - 1 - log T
            small = np.exp(-1.0 - depth + np.where(depth > 600.0, 0.0, lift))
            e = np.where(depth > 2.0, -0.5, lift - 1.0)
            return np.where(depth > 2.0, small, lift - (e - np.log1p(e) - depth) * (1.0 + e) / e)
        # beyond depth 600 W-1 is depth + log depth + ..., which Newton's steps finish
        lift = np.where(depth > 600.0, 1.0 + depth + np.log1p(depth), lift)
        for _ in range(2):
            lift = lift - (lift - 1.0 - np.log(lift) - depth) * lift / (lift - 1.0)
    return np.asarray(lift)


def _log_remainder(e: FloatArray) -> FloatArray:
    """Return e - log(1 + e) for |e| < 0.05 through its series e^2/2 - e^3/3 + ..., free of cancellation."""
    total = np.zeros_like(e)
    for k in range(13, 1, -1):
        total = total * -e + 1.0 / k
    return total * e * e


def weak_signal_multiplier(mass: FloatArray, advantage: FloatArray) -> float:
    r"""Series of \(\lambda\) to seventh order in the scaled advantage (C11).

    Formula: \(\lambda = m_2/2 + m_3/6 + (m_4 - 15 m_2^2)/24 + \dots\), \(m_k = E a^k\), remainder \(O(\max|a|^8)\).

    Args:
        mass: `[K]`, summing to one.
        advantage: `[K]`, centred, nats.

    Returns:
        The truncated series, dimensionless; useful for max|a| well below one.

    Source: this project (C11).

    >>> import pmdtheory as pmd
    >>> problem = pmd.Problem.from_policy([0.7, 0.2, 0.1], [0, 0, 1], tau=100.0)
    >>> exact = pmd.mean_update(problem).unwrap().multiplier
    >>> abs(weak_signal_multiplier(problem.policy, problem.scaled_advantage) / exact - 1) < 1e-10
    True
    """
    m2, m3, m4, m5, m6, m7 = (math.fsum(mass * advantage**k) for k in range(2, 8))
    return math.fsum(
        (
            m2 / 2,
            m3 / 6,
            (m4 - 15 * m2**2) / 24,
            (m5 - 90 * m2 * m3) / 120,
            (m6 - 255 * m2 * m4 - 130 * m3**2 + 1200 * m2**3) / 720,
            m7 / 5040 - 7 * m3 * m4 / 48 - 11 * m2 * m5 / 80 + 27 * m2**2 * m3 / 8,
        )
    )
