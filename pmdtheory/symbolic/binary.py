"""C9: binary rewards. The recursion of the failures, its bound, and the one minimum of phi in p."""

import sympy as sp

from pmdtheory.symbolic._step import Derivation, Step
from pmdtheory.symbolic._symbols import LAM, TAU, exponential_steps

__all__ = ["C9"]


def _bound() -> tuple[Step, ...]:
    """The update of the failures, and what it says about their mass."""
    p, q, up, down = sp.symbols("p q rho_1 rho_0", positive=True)
    success, failure = sp.symbols("a_1 a_0", real=True)
    centred = ((success - failure, 1 / TAU), (p * success + q * failure, sp.S.Zero), (p + q, sp.S.One))
    below = (sp.log(down) + LAM * down, -p / TAU)
    return (
        Step(failure, "=", -p / TAU, "the advantages differ by 1/tau and have mean zero", given=centred),
        Step(
            sp.exp(-p / TAU - LAM * down),
            "=",
            down,
            "C1 for failures, a recursion of rho_0 alone",
            where={TAU: -p / (sp.log(down) + LAM * down)},
        ),
        Step(
            sp.log(q) - p / TAU - sp.log(q * down),
            ">=",
            sp.S.Zero,
            "in logarithms: the failures that are left are at most q e^(-p/tau)",
            given=(below,),
            witness=LAM * down,
        ),
        Step(
            sp.log(up / down),
            "=",
            1 / TAU - LAM * (up - down),
            "the gain in log-odds: C1 for successes, where a_1 = q/tau, less C1 for failures",
            given=(below, (sp.log(up) + LAM * up, q / TAU), (p + q, sp.S.One)),
        ),
    )


def _minimum() -> tuple[Step, ...]:
    """With u = log(rho_1/rho_0) held, 1/tau = T(p, u) has one stationary point in p, so u has one at fixed T."""
    p, u, m, d, level = sp.symbols("p u m d D", positive=True)
    inverse, lam = sp.symbols("T lambda", real=True)
    total = (u + m * sp.log(1 + p * m)) / (1 + p * m)
    factor = m - u - m * sp.log(1 + p * m)
    excess = sp.exp(u) - 1
    in_u = (u + excess * sp.log(1 + p * excess)) / (1 + p * excess)
    slope = sp.Derivative(total, p)
    return (
        Step(
            (u + m * sp.log(level)) / level,
            "=",
            inverse,
            "C1 for failures, rho_0 = 1/D, and the gain in log-odds; lambda eliminated: 1/tau = T(p, u)",
            given=(
                (-sp.log(level) + lam / level, -p * inverse),
                (u, inverse - lam * m / level),
                (level, 1 + p * m),
            ),
        ),
        Step(
            slope,
            "=",
            m * factor / (1 + p * m) ** 2,
            "a positive factor m/D^2 times another",
        ),
        Step(
            sp.Derivative(factor, p),
            "<",
            sp.S.Zero,
            "which decreases strictly in p: T_p falls through zero at most once",
            witness=m**2 / (1 + p * m),
        ),
        *exponential_steps(u),
        Step(
            sp.Derivative(in_u, u),
            ">",
            sp.S.Zero,
            "T increases strictly in u: u(p) is defined at fixed T, with u_p = -T_p/T_u",
            where={sp.exp(u): 1 + m},
            given=((m, u + d),),
            witness=(1 + p * m + (1 + m) * sp.log(1 + p * m) + p * (1 + m) * d) / (1 + p * m) ** 2,
        ),
        Step(
            sp.Derivative(total, (p, 2)),
            "=",
            -(m**3) / (1 + p * m) ** 3,
            "where T_p = 0; so u_pp = -T_pp/T_u > 0 there: every stationary point of phi = u/T is a "
            "minimum, and there is at most one",
            given=((factor, sp.S.Zero),),
        ),
        Step(total, "=", u, "at p = 0 the fraction is one", where={p: sp.S.Zero}),
        Step(
            total,
            "=",
            u,
            "and at p = 1; in between u < T by the gain in log-odds, as lambda > 0, so there is a minimum",
            where={p: sp.S.One, m: excess},
        ),
        Step(
            sp.log(1 + p * m),
            "=",
            1 - u / m,
            "it lies where T_p = 0",
            given=((factor, sp.S.Zero),),
        ),
        Step(
            (sp.exp(1 - u / m) - 1) / m,
            "=",
            p,
            "which is explicit in p",
            where={u: m - m * sp.log(1 + p * m)},
        ),
    )


def _c9() -> Derivation:
    return Derivation(
        "C9",
        r"\rho_0 = e^{-p/\tau - \lambda\rho_0}, \quad 1 - p^+ \le (1-p) e^{-p/\tau}, \quad"
        r" \varphi(\cdot, \tau) \text{ has one minimum, } p^* = (e^{1 - u/m} - 1)/m",
        "r in {0, 1}; p the share of successes, q = 1 - p that of failures, rho_1 and rho_0 > 0 their ratios, "
        "lambda >= 0, tau > 0; u = log(rho_1/rho_0) > 0, m = e^u - 1, d = m - u > 0, D = 1 + p m, phi = u tau",
        (*_bound(), *_minimum()),
    )


C9 = _c9()
