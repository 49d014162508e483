r"""What a step does to the law, as balls: every sum is over terms that do not cancel in first order.

\(\sum m(e^v - 1) = 0\) turns the sums of the definitions into the ones used here: KL(π⁺‖π) is the sum of
m(v e^v - e^v + 1), KL(π‖π⁺) of m(e^v - 1 - v), the improvement of m(e^v - 1)(r - mean).
"""

from flint import arb

from pmdtheory._enclosure_law import Balls

__all__ = ["step_balls"]


def step_balls(balls: Balls, log_ratio: list[arb]) -> dict[str, arb]:
    """Expected reward and divergences of the step with the given log-ratios `[K]` of the levels that are seen."""
    kl = reverse = chi2 = gain = sampled = arb(0)
    for k, v in enumerate(log_ratio):
        m, change = balls.mass[k], v.expm1()
        moved = m * change
        kl += moved * v - m * (change - v)
        reverse += m * (change - v)
        chi2 += moved * change
        gain += moved * (balls.offset[k] - balls.shift)
        if balls.scale is not None:
            kappa = balls.scale[k]
            # mu (kappa rho - 1)^2 with mu = m / kappa
            sampled += m / kappa * (kappa * (change + 1) - 1) ** 2
    for m, offset in zip(balls.lost, balls.lost_offset, strict=True):
        kl += m
        chi2 += m
        gain -= m * (offset - balls.shift)
    if balls.lost:
        reverse = arb("inf")
    return {
        "improvement": gain,
        "kl": kl,
        "reverse_kl": reverse,
        "chi2": chi2,
        "chi2_sampler": chi2 if balls.scale is None else sampled,
    }
