"""C1 and C2: from stationarity to Lambert's W, and the mixed KL and chi2 step with the same first-order condition."""

import sympy as sp

from pmdtheory.symbolic._expectation import E, Variable
from pmdtheory.symbolic._step import Derivation, Step
from pmdtheory.symbolic._symbols import CENTRED, LAM, LEGEND, RHO, STATIONARY, A, exponential_steps

__all__ = ["C1", "C2"]


def _c1() -> Derivation:
    weight, w, c = sp.symbols("lambda w c", positive=True)
    slope, above = sp.Symbol("rhoprime", real=True), sp.Symbol("h", nonnegative=True)
    ratio, multiplier = sp.Function("rho", positive=True), sp.Symbol("lambda", nonnegative=True)
    moving = ratio(multiplier)
    lagrangian = (sp.log(RHO) - A) ** 2 / 2 + LAM * RHO
    implicit = sp.Derivative(sp.log(moving) + multiplier * moving, multiplier)
    return Derivation(
        "C1",
        r"\log\rho + \lambda\rho = a, \quad \rho = W_0(\lambda e^a)/\lambda = e^{a - \omega(a + \log\lambda)}",
        f"{LEGEND}; w = W_0(lambda e^a) = omega(a + log lambda), that is w e^w = lambda e^a, where lambda > 0; "
        "h = E[e^a - 1 - a]",
        (
            Step(
                sp.Derivative(lagrangian, RHO),
                "=",
                (sp.log(RHO) - A) / RHO + LAM,
                "the loss of one action and lambda times its mass, each divided by pi, differentiated in rho",
            ),
            Step(
                A,
                "=",
                sp.log(RHO) + LAM * RHO,
                "stationarity, times rho: the loss is infinite at the boundary, so a minimiser is interior",
                given=(((sp.log(RHO) - A) / RHO, -LAM),),
            ),
            Step(
                sp.Derivative(sp.log(RHO) + LAM * RHO, RHO),
                ">",
                sp.S.Zero,
                "the left side of stationarity increases from -oo to oo in rho: one ratio for each a and lambda >= 0",
                witness=1 / RHO + LAM,
            ),
            Step(
                weight * sp.exp(A),
                "=",
                weight * RHO * sp.exp(weight * RHO),
                "exponential of stationarity: lambda rho is a value of Lambert's W at lambda e^a",
                where={A: sp.log(RHO) + weight * RHO},
            ),
            Step(
                sp.log(w / weight) + w,
                "=",
                A,
                "and rho = w/lambda satisfies stationarity: the logarithm of w e^w = lambda e^a, with w > 0",
                where={A: w + sp.log(w) - sp.log(weight)},
            ),
            Step(
                sp.exp(A - w),
                "=",
                w / weight,
                "the same ratio through the Wright omega function, w + log w = a + log lambda",
                where={A: w + sp.log(w) - sp.log(weight)},
            ),
            *exponential_steps(sp.Symbol("x", real=True, nonzero=True)),
            Step(
                E(sp.exp(A)),
                ">=",
                sp.S.One,
                "the mean h of e^a - 1 - a is not negative, and E[a] = 0: the mass at lambda = 0 is at least one",
                given=(CENTRED, (E(sp.exp(A)) - 1 - E(A), above)),
                witness=above,
            ),
            Step(
                sp.log(RHO),
                ">",
                A,
                "lambda = -c < 0 would put rho above e^a for every action, hence the mass above one",
                where={A: sp.log(RHO) - c * RHO},
                witness=c * RHO,
            ),
            Step(
                implicit,
                "=",
                slope / RHO + RHO + LAM * slope,
                "stationarity differentiated in lambda, rho' the derivative of rho",
                where={moving.diff(multiplier): slope, moving: RHO},
            ),
            Step(
                slope,
                "=",
                -(RHO**2) / (1 + LAM * RHO),
                "a does not depend on lambda, so that derivative is zero",
                given=((slope / RHO + RHO + LAM * slope, sp.S.Zero),),
            ),
            Step(
                slope,
                "<",
                sp.S.Zero,
                "the mass decreases strictly in lambda, from E e^a >= 1 to 0: it is one at a single lambda >= 0",
                where={slope: -(RHO**2) / (1 + LAM * RHO)},
                witness=RHO**2 / (1 + LAM * RHO),
            ),
        ),
    )


def _c2() -> Derivation:
    xi = Variable("xi", positive=True)
    objective = xi * A - xi * sp.log(xi) - LAM * xi**2 / 2
    return Derivation(
        "C2",
        r"\pi^+ = \arg\max_x \langle x, r\rangle - \tau\,\mathrm{KL}(x\|\pi) - \tfrac{\tau\lambda}{2}\chi^2(x\|\pi)",
        f"{LEGEND}; xi = x/pi > 0 the ratio of any other policy; the objective is divided by tau, without constants",
        (
            Step(
                sp.Derivative(objective, xi),
                "=",
                A - sp.log(xi) - LAM * xi - 1,
                "the objective of one action, divided by pi, differentiated in xi",
            ),
            Step(
                A - sp.log(RHO) - LAM * RHO - 1,
                "=",
                -sp.S.One,
                "at xi = rho it is the same for all actions by C1, as the constraint E[xi] = 1 asks",
                where=STATIONARY,
            ),
            Step(
                sp.Derivative(objective, (xi, 2)),
                "<",
                sp.S.Zero,
                "the objective is strictly concave, so the stationary policy is its only maximiser",
                witness=1 / xi + LAM,
            ),
        ),
    )


C1 = _c1()
C2 = _c2()
