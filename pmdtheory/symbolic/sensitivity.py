"""C13 and C22: how the step moves with the baseline b and with 1/tau, by implicit differentiation."""

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable
from pmdtheory.symbolic._step import Derivation, Pair, Step
from pmdtheory.symbolic._symbols import LAM, LEGEND, MEAN, REWARD, RHO, B

__all__ = ["C13", "C22"]

SLOPE = Variable("g", real=True)  # derivative of log rho
RATE = sp.Symbol("lambdaprime", real=True)  # derivative of the multiplier
WEIGHT = RHO**2 / (1 + LAM * RHO)
NORMALISED: Pair = (E(RHO * SLOPE), sp.S.Zero)  # the derivative of E[rho] = 1


def _differentiated(parameter: sp.Symbol, reason: str) -> Step:
    """The derivative of log rho + lambda rho, along the parameter that the reason names."""
    ratio, multiplier = sp.Function("rho", positive=True)(parameter), sp.Function("lambda")(parameter)
    return Step(
        sp.Derivative(sp.log(ratio) + multiplier * ratio, parameter),
        "=",
        (1 + LAM * RHO) * SLOPE + RATE * RHO,
        reason,
        where={
            ratio.diff(parameter): RHO * SLOPE,
            multiplier.diff(parameter): RATE,
            ratio: RHO,
            multiplier: LAM,
        },
    )


def _c13() -> Derivation:
    kappa = sp.Symbol("kappa", real=True)
    solved = -(1 + RATE * RHO) / (1 + LAM * RHO)
    return Derivation(
        "C13",
        r"\frac{\partial\log\rho}{\partial b} = -\frac{1 - \kappa\rho}{1 + \lambda\rho}, \quad"
        r" \kappa = \frac{E[\rho/(1+\lambda\rho)]}{E[\rho^2/(1+\lambda\rho)]}",
        f"{LEGEND}; PMD(b), log rho + lambda rho = r/tau - b; g and lambda' are the derivatives of log rho and lambda "
        "in b, and E[rho g] = 0 that of E[rho] = 1",
        (
            _differentiated(B, "the left side of stationarity, differentiated in b"),
            Step(
                SLOPE,
                "=",
                solved,
                "the right side of stationarity has derivative -1",
                given=(((1 + LAM * RHO) * SLOPE + RATE * RHO, -sp.S.One),),
            ),
            Step(
                RATE,
                "=",
                -E(RHO / (1 + LAM * RHO)) / E(WEIGHT),
                "E[rho g] = 0",
                where={SLOPE: solved},
                given=(NORMALISED,),
            ),
            Step(
                SLOPE,
                "=",
                -(1 - kappa * RHO) / (1 + LAM * RHO),
                "both together: lambda' is -kappa",
                given=(
                    (SLOPE, solved),
                    (RATE, -E(RHO / (1 + LAM * RHO)) / E(WEIGHT)),
                    (kappa, E(RHO / (1 + LAM * RHO)) / E(WEIGHT)),
                ),
            ),
            Step(
                SLOPE,
                "=",
                -(1 - RHO / E(RHO**2)),
                "at lambda = 0, b = log Z, which is KL-PMD: kappa is 1/E[rho^2] by E[rho] = 1",
                given=((SLOPE, -(1 - kappa * RHO)), (kappa * E(RHO**2), E(RHO)), (E(RHO), sp.S.One)),
            ),
        ),
    )


def _c22() -> Derivation:
    strength, anchor, y = sp.symbols("s rho_0 y", positive=True)
    test = Variable("F", real=True)
    solved = (REWARD - MEAN - RATE * RHO) / (1 + LAM * RHO)
    log_solved = (sp.log(RHO) + LAM * RHO - strength * RATE * RHO) / (1 + LAM * RHO)
    change = RHO / (1 + LAM * RHO) - anchor / (1 + LAM * anchor)
    advantage = (sp.log(RHO / anchor) + LAM * (RHO - anchor)) / strength
    above, below = {RHO: anchor * (1 + y)}, {anchor: RHO * (1 + y)}
    scaled = REWARD, MEAN + (sp.log(RHO) + LAM * RHO) / strength
    mean_test = E(WEIGHT * test * sp.log(RHO) / RHO)
    raised = sp.exp(1 + y)
    return Derivation(
        "C22",
        r"\frac{d\lambda}{d(1/\tau)} = \frac{E[(r - \bar r)\rho/(1+\lambda\rho)]}{E[\rho^2/(1+\lambda\rho)]} \ge 0,"
        r" \quad \frac{d E f(\rho)}{d\log(1/\tau)} = \mathrm{Cov}_w(f'(\rho), \log\rho/\rho), \quad"
        r" w = \frac{\rho^2}{1+\lambda\rho}",
        f"{LEGEND}; s = 1/tau; g and lambda' are the derivatives of log rho and lambda in s, and E[rho g] = 0 that of "
        "E[rho] = 1; F is f'(rho); rho_0 > 0 solves log rho_0 + lambda rho_0 = 0; y > 0; "
        "Cov_w(F, G) = E[w F G] - E[w F] E[w G]/E[w]",
        (
            _differentiated(strength, "the left side of stationarity, differentiated in s = 1/tau"),
            Step(
                SLOPE,
                "=",
                solved,
                "the right side s (r - mean r) has derivative r - mean r",
                given=(((1 + LAM * RHO) * SLOPE + RATE * RHO, REWARD - MEAN),),
            ),
            Step(
                RATE,
                "=",
                E((REWARD - MEAN) * RHO / (1 + LAM * RHO)) / E(WEIGHT),
                "E[rho g] = 0",
                where={SLOPE: solved},
                given=(NORMALISED,),
            ),
            Step(
                E((REWARD - MEAN) * RHO / (1 + LAM * RHO)) - E((REWARD - MEAN) * change),
                "=",
                anchor / (1 + LAM * anchor) * (E(REWARD) - MEAN),
                "zero, since E[r] is the mean reward: a constant may be taken from the factor",
            ),
            Step(
                REWARD - MEAN,
                "=",
                advantage,
                "C1 in s, with log rho_0 = -lambda rho_0",
                where={scaled[0]: scaled[1]},
                given=((sp.log(anchor), -LAM * anchor),),
            ),
            Step(
                advantage,
                ">",
                sp.S.Zero,
                "at rho = rho_0 (1 + y)",
                where=above,
                witness=(sp.log(1 + y) + LAM * anchor * y) / strength,
            ),
            Step(
                change,
                ">",
                sp.S.Zero,
                "there too",
                where=above,
                witness=anchor * y / ((1 + LAM * anchor) * (1 + LAM * anchor * (1 + y))),
            ),
            Step(
                advantage,
                "<",
                sp.S.Zero,
                "at rho = rho_0/(1 + y)",
                where=below,
                witness=(sp.log(1 + y) + LAM * RHO * y) / strength,
            ),
            Step(
                change,
                "<",
                sp.S.Zero,
                "there too: the product of the two is never negative, nor is its mean, nor is lambda'",
                where=below,
                witness=RHO * y / ((1 + LAM * RHO) * (1 + LAM * RHO * (1 + y))),
            ),
            Step(
                strength * SLOPE,
                "=",
                log_solved,
                "d/d log(1/tau) = s d/ds, with s (r - mean r) from C1",
                where={SLOPE: solved.subs(*scaled)},
            ),
            Step(
                strength * E(test * RHO * SLOPE),
                "=",
                mean_test - (strength * RATE - LAM) * E(WEIGHT * test),
                "the derivative of E f(rho) is E[f'(rho) rho g]",
                where={SLOPE: log_solved / strength},
            ),
            Step(
                strength * RATE - LAM,
                "=",
                E(WEIGHT * sp.log(RHO) / RHO) / E(WEIGHT),
                "the same for f(x) = x, whose mean is always one",
                where={SLOPE: log_solved / strength},
                given=(NORMALISED,),
            ),
            Step(
                strength * E(test * RHO * SLOPE),
                "=",
                mean_test - E(WEIGHT * test) * E(WEIGHT * sp.log(RHO) / RHO) / E(WEIGHT),
                "both together: a covariance under the weight w",
                where={SLOPE: log_solved / strength},
                given=(NORMALISED,),
            ),
            Step(
                sp.Derivative(sp.log(RHO) / RHO, RHO),
                "=",
                (1 - sp.log(RHO)) / RHO**2,
                "the second argument of the covariance is increasing up to rho = e",
            ),
            Step(
                (1 - sp.log(RHO)) / RHO**2,
                "<",
                sp.S.Zero,
                "and decreasing beyond, at rho = e^(1 + y): not every f-divergence grows with 1/tau",
                where={RHO: raised},
                witness=y / raised**2,
            ),
        ),
    )


C13 = _c13()
C22 = _c22()
