"""The symbols that derivations share, with the signs they have, and facts that several of them use."""

from typing import Final

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable
from pmdtheory.symbolic._step import Pair, Step

TAU: Final = sp.Symbol("tau", positive=True)
LAM: Final = sp.Symbol("lambda", nonnegative=True)
B: Final = sp.Symbol("b", real=True)
MEAN: Final = sp.Symbol("rbar", real=True)
RHO: Final = Variable("rho", positive=True)
REWARD: Final = Variable("r", real=True)
A: Final = Variable("a", real=True)
KL: Final = sp.Symbol("K", nonnegative=True)  # KL(new||old)
REVERSE: Final = sp.Symbol(r"Kprime", nonnegative=True)  # KL(old||new)
CHI2: Final = sp.Symbol("chi^2", nonnegative=True)

STATIONARY: Final = {A: sp.log(RHO) + LAM * RHO}  # C1
MASS: Final[Pair] = (E(RHO), sp.S.One)
CENTRED: Final[Pair] = (E(A), sp.S.Zero)
IS_KL: Final[Pair] = (KL, E(RHO * sp.log(RHO)))
IS_REVERSE: Final[Pair] = (REVERSE, -E(sp.log(RHO)))
IS_CHI2: Final[Pair] = (CHI2, E(RHO**2) - 1)

LEGEND: Final = (
    "E is the mean under pi, rho = pi+/pi > 0 the ratio, a = (r - mean r)/tau with E[a] = 0, E[rho] = 1, tau > 0, "
    "lambda >= 0"
)


def exponential_steps(x: sp.Symbol) -> tuple[Step, ...]:
    """e^x exceeds 1 + x for x other than 0."""
    v = sp.Symbol("v", positive=True)
    spread = v * x**2 * sp.exp(x * (1 - v))
    return (
        Step(
            sp.exp(x) - 1 - x,
            "=",
            sp.Integral(spread, (v, 0, 1)),
            "Taylor's formula with integral remainder, for x other than 0",
        ),
        Step(spread, ">", sp.S.Zero, "the integrand, for v > 0, so that e^x > 1 + x", witness=spread),
    )


def divergence_steps() -> tuple[Step, ...]:
    """The function t log t - t + 1 is not negative, so that every Kullback-Leibler divergence is not."""
    t, s, y = sp.symbols("t s y", positive=True)
    low, high = sp.log(1 / (1 + y), evaluate=False), sp.log(1 + y)
    return (
        Step(
            t * sp.log(t) - t + 1, "=", sp.Integral(sp.log(s), (s, 1, t)), "an antiderivative of log s is s log s - s"
        ),
        Step(high, ">", sp.S.Zero, "for t > 1 the integrand is positive, at s = 1 + y with y > 0", witness=high),
        Step(
            low,
            "<",
            sp.S.Zero,
            "for t < 1 it is negative, at s = 1/(1 + y), and the integral runs downwards: "
            "t log t - t + 1 >= 0 for every t > 0",
            witness=high,
        ),
    )
