"""C11: the weak-signal series of the multiplier, solved for order by order, and that of the Jensen gap."""

from functools import cache
from typing import Final

import sympy as sp

from pmdtheory.symbolic._step import Derivation, Step

__all__ = ["C11", "multiplier_series"]

ORDER: Final = 7
EPS: Final = sp.Symbol("epsilon", positive=True)  # 1/tau
MOMENT: Final = {k: sp.Symbol(f"m_{k}", real=True) for k in range(2, ORDER + 1)}
COEFFICIENT: Final = {k: sp.Symbol(f"l_{k}", real=True) for k in range(2, ORDER + 1)}
GAP: Final = {k: sp.Symbol(f"j_{k}", real=True) for k in range(2, 6)}
BRANCH: Final = {k: sp.Symbol(f"w_{k}", real=True) for k in range(2, 5)}


def _coefficients(expression: sp.Expr, symbol: sp.Symbol, order: int) -> dict[int, sp.Expr]:
    """Coefficients of a polynomial in one symbol, from 0 to `order`."""
    found = sp.Poly(sp.expand(expression), symbol)
    return {k: found.coeff_monomial(symbol**k) for k in range(order + 1)}


def _exponential(inside: sp.Expr, order: int) -> sp.Expr:
    """The series of exp."""
    return sum((inside**k / sp.factorial(k) for k in range(1, order + 1)), sp.S.One)


def _branch() -> dict[int, sp.Expr]:
    """Coefficients of z^k in w e^w for w = z + w_2 z^2 + w_3 z^3 + w_4 z^4; all but the first are zero."""
    z = sp.Symbol("z")
    w = z + sum(one * z**k for k, one in BRANCH.items())
    return _coefficients(w * _exponential(w, 4), z, 4)


def _mass() -> dict[int, sp.Expr]:
    """Coefficients of eps^k in E[rho], rho = sum over n of w_n lambda^(n - 1) e^(n a); lambda begins with eps^2."""
    series = sum(one * EPS**k for k, one in COEFFICIENT.items())
    total = sp.S.Zero
    for n, branch in enumerate((sp.S.One, *BRANCH.values())):
        moments = sum(((n + 1) ** k * one * EPS**k / sp.factorial(k) for k, one in MOMENT.items()), sp.S.One)
        total += branch * series**n * moments
    return _coefficients(total, EPS, ORDER)


def _solved(equations: dict[int, sp.Expr], unknown: dict[int, sp.Symbol], known: dict[sp.Symbol, sp.Expr]) -> None:
    """Add the coefficients to `known`, each from the equation of its order, which is linear in it."""
    for k, symbol in unknown.items():
        (value,) = sp.solve(equations[k].xreplace(known), symbol)
        known[symbol] = sp.expand(value)


def _coefficient(
    symbol: sp.Symbol, value: sp.Expr, equation: sp.Expr, before: dict[sp.Expr, sp.Expr], why: str
) -> Step:
    """A coefficient from the equation of its order, with those before it that occur there."""
    where = {one: found for one, found in before.items() if one in equation.free_symbols}
    return Step(symbol, "=", value, why, where=where, given=((equation, sp.S.Zero),))


@cache
def multiplier_series() -> dict[int, sp.Expr]:
    """Coefficients of (1/tau)^k in the multiplier, k = 2 ... 7, in the moments m_k = E (r - mean r)^k.

    Returns:
        Order to polynomial in `MOMENT`.

    Source: this project, C11.

    >>> multiplier_series()[2], multiplier_series()[3]
    (m_2/2, m_3/6)
    """
    known: dict[sp.Symbol, sp.Expr] = {}
    _solved(_branch(), BRANCH, known)
    _solved(_mass(), COEFFICIENT, known)
    return {k: known[symbol] for k, symbol in COEFFICIENT.items()}


def _c11() -> Derivation:
    known: dict[sp.Symbol, sp.Expr] = {}
    branch, mass, series = _branch(), _mass(), multiplier_series()
    _solved(branch, BRANCH, known)
    steps, before = [], dict[sp.Expr, sp.Expr]()
    for k, symbol in BRANCH.items():
        why = f"the coefficient of z^{k} in w e^w = z, w = z + w_2 z^2 + w_3 z^3 + w_4 z^4: Lambert's W"
        steps.append(_coefficient(symbol, known[symbol], branch[k], before, why))
        before[symbol] = known[symbol]
    for k, symbol in COEFFICIENT.items():
        why = (
            f"the coefficient of 1/tau^{k} in E[rho] = 1, rho = e^a + w_2 lambda e^(2a) + w_3 lambda^2 e^(3a) and so on"
        )
        steps.append(_coefficient(symbol, series[k], mass[k], before, why))
        before[symbol] = series[k]
    normaliser = sum((one * EPS**k / sp.factorial(k) for k, one in MOMENT.items() if k < 6), sp.S.One)
    gap = _coefficients(_exponential(sum(one * EPS**k for k, one in GAP.items()), 2) - normaliser, EPS, 5)
    solved: dict[sp.Symbol, sp.Expr] = {}
    _solved(gap, GAP, solved)
    for k, symbol in GAP.items():
        why = f"the coefficient of 1/tau^{k} in e^J = E[e^a]"
        steps.append(_coefficient(symbol, solved[symbol], gap[k], before, why))
        before[symbol] = solved[symbol]
    both = {k: tuple((one, before[one]) for one in (GAP[k], COEFFICIENT[k])) for k in GAP}
    for k in (2, 3):
        steps.append(Step(GAP[k], "=", COEFFICIENT[k], f"J and lambda agree at order {k}", given=both[k]))
    for k in (4, 5):
        why = f"they differ at order {k}: J - lambda is of order 1/tau^4"
        difference = sp.expand(before[GAP[k]] - series[k])
        steps.append(Step(GAP[k] - COEFFICIENT[k], "=", difference, why, given=both[k]))
    return Derivation(
        "C11",
        r"\lambda = \sum_{k=2}^{7} \ell_k \tau^{-k} + O(\tau^{-8}), \quad"
        r" J - \lambda = \tfrac12 m_2^2\tau^{-4} + \tfrac23 m_2 m_3\tau^{-5} + O(\tau^{-6})",
        "m_k = E (r - mean r)^k, so that the moments of a are m_k/tau^k and m_1 = 0; lambda = sum of l_k/tau^k, "
        "J = log E e^a = sum of j_k/tau^k; rho = W_0(lambda e^a)/lambda from C1",
        tuple(steps),
    )


C11 = _c11()
