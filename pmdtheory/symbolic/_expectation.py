"""Expectations over a law with any number of actions, as a linear functional on sympy expressions."""

from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.pretty.stringpict import prettyForm

__all__ = ["E", "Variable", "linear"]


class Variable(sp.Symbol):  # type: ignore[misc]
    """A quantity that depends on the action, such as the ratio; any other symbol is a constant."""


class E(sp.Function):  # type: ignore[misc]
    """The expectation of an expression in variables, under the policy; real, and signed as what it averages."""

    nargs = 1

    def _eval_is_real(self) -> bool | None:
        return True if self.args[0].is_real else None

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _eval_is_positive(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"E\left[{printer._print(self.args[0])}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"

    def _pretty(self, printer: Any) -> Any:
        inside = printer._print(self.args[0])
        return prettyForm(*prettyForm(*inside.parens("[", "]")).left("E"))


def linear(expression: sp.Expr) -> sp.Expr:
    """Expand logarithms, powers and products, and write every expectation as a sum of constants times moments."""
    inner = {one: _moments(one.args[0]) for one in expression.atoms(E)}
    return sp.expand(sp.expand_log(expression.xreplace(inner)))


def _moments(argument: sp.Expr) -> sp.Expr:
    """E[argument] by linearity, with E[constant] = constant."""
    if argument.has(AppliedUndef):
        raise ValueError(f"E[{argument}] has an undefined function, which may vary; put a Variable in its place")
    total = sp.S.Zero
    for term in sp.Add.make_args(sp.expand(sp.expand_log(sp.expand(argument)))):
        over, under = sp.fraction(term)
        constant, varying = (over / sp.factor(under)).as_independent(Variable, as_Add=False)
        total += constant * (E(varying) if varying.has(Variable) else varying)
    return total
