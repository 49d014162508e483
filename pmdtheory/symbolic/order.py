"""C8, the key step: the log-ratios of two members cross once, so that convex functions of the ratio are ordered."""

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable
from pmdtheory.symbolic._step import Derivation, Step
from pmdtheory.symbolic._symbols import LAM, LEGEND, MEAN, RHO, TAU

__all__ = ["C8"]


def _c8() -> Derivation:
    reward, jensen = sp.Symbol("r", real=True), sp.Symbol("J", nonnegative=True)
    ratio = sp.Function("rho", positive=True)(reward)
    slope, level = sp.Symbol("g", real=True), sp.Symbol("fprime_0", real=True)
    ideal, tangent = Variable("rho_KL", positive=True), Variable("F", real=True)
    ahead = {ratio.diff(reward): RHO * slope, ratio: RHO}
    small, extra, u, v = sp.symbols("lambda_1 delta u v", positive=True)
    growth = LAM * RHO / (TAU * (1 + LAM * RHO))
    product = (tangent - level) * (ideal - RHO)
    return Derivation(
        "C8",
        r"\frac{d}{dr}\log\frac{\rho_{\mathrm{KL}}}{\rho} = \frac{\lambda\rho}{\tau(1+\lambda\rho)} \ge 0, \quad"
        r" D_f(\pi^+\|\pi) \le D_f(\pi_{\mathrm{KL}}\|\pi) \text{ for every convex } f",
        f"{LEGEND}; rho as a function of the reward r solves C1, g is the derivative of log rho in r; "
        "log rho_KL = a - J; F = f'(rho), f'_0 = f'(rho) where the two ratios meet; delta, u, v > 0",
        (
            Step(
                sp.Derivative(sp.log(ratio) + LAM * ratio, reward),
                "=",
                (1 + LAM * RHO) * slope,
                "the left side of C1, differentiated in r",
                where=ahead,
            ),
            Step(
                slope,
                "=",
                1 / (TAU * (1 + LAM * RHO)),
                "the right side (r - mean r)/tau has derivative 1/tau",
                given=(((1 + LAM * RHO) * slope, sp.Derivative((reward - MEAN) / TAU, reward)),),
            ),
            Step(
                sp.Derivative((reward - MEAN) / TAU - jensen - sp.log(ratio), reward),
                "=",
                growth,
                "log rho_KL has slope 1/tau",
                where={ratio.diff(reward): RHO / (TAU * (1 + LAM * RHO)), ratio: RHO},
            ),
            Step(
                1 / TAU - 1 / (TAU * (1 + LAM * RHO)),
                ">=",
                sp.S.Zero,
                "so rho_KL/rho is non-decreasing in r; both have mean one, so rho_KL - rho changes sign once, upwards",
                witness=growth,
            ),
            Step(
                1 / (TAU * (1 + small * RHO)) - 1 / (TAU * (1 + (small + extra) * RHO)),
                ">",
                sp.S.Zero,
                "PMD(b) with multipliers lambda_1 < lambda_1 + delta: slopes are ordered where ratios meet",
                witness=extra * RHO / (TAU * (1 + small * RHO) * (1 + (small + extra) * RHO)),
            ),
            Step(
                E(tangent * (ideal - RHO)) - E(product),
                "=",
                level * (E(ideal) - E(RHO)),
                "zero, since both masses are one; and E f(rho_KL) - E f(rho) >= E[f'(rho) (rho_KL - rho)] by convexity",
            ),
            Step(
                product,
                ">",
                sp.S.Zero,
                "above the crossing f'(rho) >= f'_0 and rho_KL >= rho; zero where either is an equality",
                where={tangent: level + u, ideal: RHO + v},
                witness=u * v,
            ),
            Step(
                product,
                ">",
                sp.S.Zero,
                "below it both are reversed: the mean is not negative, and D_f is ordered",
                where={tangent: level - u, ideal: RHO - v},
                witness=u * v,
            ),
        ),
    )


C8 = _c8()
