"""C15: rollouts from another sampler; the KL stays on the anchor, the chi2 is measured on what was sampled."""

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable
from pmdtheory.symbolic._step import Derivation, Step
from pmdtheory.symbolic._symbols import LAM, MASS, REWARD, RHO, TAU, B

__all__ = ["C15"]


def _c15() -> Derivation:
    m, xi = Variable("m", positive=True), Variable("xi", positive=True)
    weight, w = sp.symbols("lambda w", positive=True)
    slope = sp.Symbol("rhoprime", real=True)
    target = REWARD / TAU - B
    stationary = {REWARD: TAU * (sp.log(RHO) + LAM * RHO / m + B)}
    objective = xi * REWARD / TAU - xi * sp.log(xi) - LAM * xi**2 / (2 * m)
    ratio, multiplier = sp.Function("rho", positive=True), sp.Symbol("lambda", nonnegative=True)
    moving = ratio(multiplier)
    to_new, to_old = E(m * sp.log(m / RHO)), E(m * sp.log(m))
    return Derivation(
        "C15",
        r"\log\rho + \lambda\tfrac{\pi}{\mu}\rho = r/\tau - b, \quad \pi^+ = \arg\max_x \langle x, r\rangle"
        r" - \tau\,\mathrm{KL}(x\|\pi) - \tfrac{\tau\lambda}{2}\chi^2(x\|\mu), \quad"
        r" \lambda = \mathrm{KL}(\mu\|\pi^+) - \mathrm{KL}(\mu\|\pi) \text{ for } b = E_\mu r/\tau",
        "E is the mean under pi, rho = pi+/pi and xi = x/pi are positive, m = mu/pi > 0 with E[m] = 1, E[rho] = 1, "
        "tau > 0, lambda >= 0 (C15 says for which b); chi^2(x||mu) = E[xi^2/m] - 1; w = W_0((lambda/m) e^(r/tau - b)) "
        "where lambda > 0",
        (
            Step(
                sp.Derivative(m * (sp.log(RHO) - target) ** 2 / 2 + LAM * RHO, RHO),
                "=",
                m * (sp.log(RHO) - target) / RHO + LAM,
                "the loss of one action under mu and lambda times its mass, divided by pi, differentiated in rho",
            ),
            Step(
                target,
                "=",
                sp.log(RHO) + LAM * RHO / m,
                "stationarity",
                given=((m * (sp.log(RHO) - target) / RHO, -LAM),),
            ),
            Step(
                sp.log(m * w / weight) + w,
                "=",
                target,
                "rho = m w/lambda satisfies it: the logarithm of w e^w = (lambda/m) e^(r/tau - b), Lambert's W again",
                where={REWARD: TAU * (B + w + sp.log(w) - sp.log(weight / m))},
            ),
            Step(
                sp.Derivative(objective, xi),
                "=",
                REWARD / TAU - sp.log(xi) - LAM * xi / m - 1,
                "the objective divided by tau, one action, differentiated in xi",
            ),
            Step(
                REWARD / TAU - sp.log(RHO) - LAM * RHO / m - 1,
                "=",
                B - 1,
                "at xi = rho it is the same for all actions, as the constraint E[xi] = 1 asks",
                where=stationary,
            ),
            Step(
                sp.Derivative(objective, (xi, 2)),
                "<",
                sp.S.Zero,
                "strictly concave: the stationary policy is the only maximiser",
                witness=1 / xi + LAM / m,
            ),
            Step(
                slope,
                "=",
                -(RHO**2) / (m + LAM * RHO),
                "stationarity differentiated in lambda",
                where={moving.diff(multiplier): slope, moving: RHO},
                given=((sp.Derivative(sp.log(moving) + multiplier * moving / m, multiplier), sp.S.Zero),),
            ),
            Step(
                slope,
                "<",
                sp.S.Zero,
                "the mass decreases in lambda from e^(log Z - b) at lambda = 0: lambda >= 0 exactly when b <= log Z",
                where={slope: -(RHO**2) / (m + LAM * RHO)},
                witness=RHO**2 / (m + LAM * RHO),
            ),
            Step(
                LAM,
                "=",
                E(m * REWARD) / TAU - B - E(m * sp.log(RHO)),
                "the mean of stationarity under mu",
                where=stationary,
                given=(MASS, (E(m), sp.S.One)),
            ),
            Step(
                LAM,
                "=",
                to_new - to_old,
                "with b the mean of r/tau under mu: KL(mu||pi+) - KL(mu||pi)",
                given=((LAM, E(m * REWARD) / TAU - B - E(m * sp.log(RHO))), (E(m * REWARD), TAU * B)),
            ),
        ),
    )


C15 = _c15()
