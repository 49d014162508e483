"""C3 to C6: the gap, the multiplier, the improvement and the loss, each a mean of stationarity."""

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable
from pmdtheory.symbolic._step import Derivation, Step
from pmdtheory.symbolic._symbols import (
    CENTRED,
    CHI2,
    IS_CHI2,
    IS_KL,
    IS_REVERSE,
    KL,
    LAM,
    LEGEND,
    MASS,
    MEAN,
    REVERSE,
    REWARD,
    RHO,
    STATIONARY,
    TAU,
    A,
    B,
    divergence_steps,
)

__all__ = ["C3", "C4", "C5", "C6"]


def _c3() -> Derivation:
    xi = Variable("xi", positive=True)
    t = Variable("t", positive=True)
    gap = E(RHO * A - RHO * sp.log(RHO) - LAM * RHO**2 / 2) - E(xi * A - xi * sp.log(xi) - LAM * xi**2 / 2)
    distance = E(xi * sp.log(xi / RHO))
    square = E((xi - RHO) ** 2)
    return Derivation(
        "C3",
        r"M(\pi^+) - M(x) = \mathrm{KL}(x\|\pi^+) + \tfrac{\lambda}{2} \sum (x - \pi^+)^2/\pi",
        f"{LEGEND}; xi = x/pi > 0 with E[xi] = 1 the ratio of any policy x (at zero by continuity); "
        "M is the objective of C2 divided by tau; K = KL(x||pi+)",
        (
            Step(
                gap,
                "=",
                distance + LAM * square / 2,
                "C1 for a; what is linear in xi and not in the divergence completes the square",
                where=STATIONARY,
            ),
            *divergence_steps(),
            Step(
                distance,
                "=",
                E(RHO * (t * sp.log(t) - t + 1)),
                "with t = xi/rho, since E[xi] = E[rho]: the divergence is not negative",
                where={xi: t * RHO},
                given=((E(t * RHO), E(RHO)),),
            ),
            Step(
                gap,
                ">=",
                sp.S.Zero,
                "a divergence and a square: pi+ is the maximiser, and the only one",
                where=STATIONARY,
                given=((KL, distance),),
                witness=KL + LAM * square / 2,
            ),
        ),
    )


def _c4() -> Derivation:
    return Derivation(
        "C4",
        r"\lambda = \mathrm{KL}(\pi\|\pi^+), \quad \lambda = \mathrm{KL}(\pi\|\pi^+) - (b - \bar r/\tau)"
        r" \text{ for PMD}(b)",
        f"{LEGEND}; K' = KL(pi||pi+) = -E[log rho]",
        (
            Step(
                E(A),
                "=",
                E(REWARD) / TAU - MEAN / TAU,
                "the definition of a; it is zero, since the mean reward is E[r]",
                where={A: (REWARD - MEAN) / TAU},
            ),
            Step(E(A), "=", E(sp.log(RHO)) + LAM, "the mean of C1, E[rho] = 1", where=STATIONARY, given=(MASS,)),
            Step(
                LAM,
                "=",
                REVERSE,
                "E[a] = 0 in the step before",
                given=((E(sp.log(RHO)) + LAM, sp.S.Zero), IS_REVERSE),
            ),
            Step(
                LAM,
                "=",
                REVERSE - (B - MEAN / TAU),
                "the same mean for PMD(b), where log rho + lambda rho = r/tau - b",
                where={REWARD: TAU * (sp.log(RHO) + LAM * RHO + B)},
                given=((E(REWARD), MEAN), MASS, IS_REVERSE),
            ),
        ),
    )


def _c5() -> Derivation:
    gain = E(RHO * REWARD) - E(REWARD)
    jensen = sp.Symbol("J", nonnegative=True)
    return Derivation(
        "C5",
        r"E_{\pi^+} r - E_\pi r = \tau[\mathrm{KL}(\pi^+\|\pi) + \lambda(1 + \chi^2(\pi^+\|\pi))] \ge 0",
        f"{LEGEND}; K = KL(pi+||pi) = E[rho log rho], K' = KL(pi||pi+), chi^2 = E[rho^2] - 1; "
        "J = log E e^a for the last step, which is about KL-PMD",
        (
            Step(
                gain,
                "=",
                TAU * E(RHO * A),
                "r = mean r + tau a, with E[rho] = 1 and E[a] = 0",
                where={REWARD: MEAN + TAU * A},
                given=(MASS, CENTRED),
            ),
            Step(E(RHO * A), "=", E(RHO * sp.log(RHO)) + LAM * E(RHO**2), "C1 for a", where=STATIONARY),
            Step(
                gain,
                "=",
                TAU * (KL + LAM * (1 + CHI2)),
                "both together, in divergences",
                given=((gain, TAU * (E(RHO * sp.log(RHO)) + LAM * E(RHO**2))), IS_KL, IS_CHI2),
            ),
            *divergence_steps(),
            Step(
                E(RHO * sp.log(RHO)),
                "=",
                E(RHO * sp.log(RHO) - RHO + 1),
                "the mean of t log t - t + 1 at t = rho, since E[rho] = 1: KL(pi+||pi) >= 0",
                given=(MASS,),
            ),
            Step(
                gain,
                ">=",
                sp.S.Zero,
                "every term has its sign, and lambda >= 0",
                given=((gain, TAU * (KL + LAM * (1 + CHI2))), IS_CHI2),
                witness=TAU * (KL + LAM * E(RHO**2)),
            ),
            Step(
                gain,
                "=",
                TAU * (KL + REVERSE),
                "for KL-PMD log rho = a - J instead of C1",
                where={REWARD: MEAN + TAU * (sp.log(RHO) + jensen)},
                given=(MASS, IS_KL, IS_REVERSE),
            ),
        ),
    )


def _c6() -> Derivation:
    loss = E((sp.log(RHO) - A) ** 2) / 2
    return Derivation(
        "C6",
        r"\min \tfrac12 E[(\log\rho - a)^2] = \tfrac{\lambda^2}{2}(1 + \chi^2(\pi^+\|\pi))",
        f"{LEGEND}; chi^2 = E[rho^2] - 1",
        (
            Step(
                loss, "=", LAM**2 * E(RHO**2) / 2, "C1: the residual of the regression is -lambda rho", where=STATIONARY
            ),
            Step(
                loss,
                "=",
                LAM**2 * (1 + CHI2) / 2,
                "the definition of chi^2",
                given=((loss, LAM**2 * E(RHO**2) / 2), IS_CHI2),
            ),
        ),
    )


C3 = _c3()
C4 = _c4()
C5 = _c5()
C6 = _c6()
