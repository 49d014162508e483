"""The statements about three reward levels: C7 and C8 over every law and every middle reward."""

from collections.abc import Callable
from fractions import Fraction
from typing import Final, Literal

from pmdtheory.proof import _ternary_bounds as bounds
from pmdtheory.proof._span import Span
from pmdtheory.proof._statement import Box, Statement
from pmdtheory.proof._ternary_law import TernaryLaw, ternary_law
from pmdtheory.proof._ternary_terms import TERMS

__all__ = ["STATEMENTS"]

_LIMIT: Final = Fraction(5)
_UNIT: Final = (Fraction(0), Fraction(1))


def _statement(
    name: str,
    bound: Callable[[TernaryLaw], Span],
    formula: str,
    normaliser: str,
    at_least: str,
    reason: str,
    kind: Literal["certified", "quantitative"] = "certified",
    limit: Fraction = _LIMIT,
) -> Statement:
    def enclose(box: Box) -> Span | None:
        law = ternary_law(box, limit)
        return None if law is None else bound(law)

    return Statement(
        id=name,
        claim=name.partition("-")[0],
        kind=kind,
        formula=formula,
        normaliser=normaliser,
        at_least=Fraction(at_least),
        root=(_UNIT, _UNIT, (Fraction(0), limit), (Fraction(0), limit)),
        coordinates=("w", "y", "u1", "u2"),
        limit=limit,
        covers=f"every law on three reward levels of span one, every middle reward and tau >= {float(1 / limit):g}",
        reason=reason,
        enclose=enclose,
        terms=TERMS[name],
    )


STATEMENTS: Final = (
    _statement(
        "C7-1-ternary",
        bounds.c7_1,
        "J/(1 + chi2(KL step)) <= J/E[rho rho_KL]",
        "J (E_{pi_KL} r - E_{pi+} r)/(tau E[rho rho_KL] E rho_KL^2)",
        "1/1000",
        "Abel summation: (rho_KL,1 - rho_KL,0) X + (rho_KL,2 - rho_KL,1) Y over t1 X + t2 Y, with X the growth of the"
        " mass above the lowest level and Y that of the top one, both from pi+ to pi_KL and not negative",
    ),
    _statement(
        "C7-2-ternary",
        bounds.c7_2,
        "J/E[rho rho_KL] <= lambda",
        "Var_{pi_KL}(lambda rho)/E[rho rho_KL]",
        "1/50",
        "KL(pi_KL | pi+) = L(1 - wK, V) + wK L(1 - yK, d2)",
    ),
    _statement(
        "C7-3-ternary",
        bounds.c7_3,
        "lambda <= J/(1 + chi2)",
        "Var_{pi+}(lambda rho)/(1 + chi2)",
        "1/10",
        "log E_{pi+} e^{lambda(rho - E_{pi+} rho)} = L(w+, V) + w+ L(y+, d2)",
    ),
    _statement(
        "C7-4-ternary",
        bounds.c7_4,
        "J/(1 + chi2) <= J",
        "Var_pi(r/tau) chi2/(1 + chi2)",
        "1/10",
        "J chi2, with J = L(w, .) + w L(y, t2)",
    ),
    _statement(
        "C8-KL-ternary",
        bounds.kl,
        "KL(pi+ | pi) <= KL(pi_KL | pi)",
        "(E_{pi_KL} r - E_{pi+} r)/tau",
        "1/20",
        "by three points, u1 X + u2 Y + KL(pi_KL | pi+): non-negative terms, no difference of divergences",
    ),
    _statement(
        "C8-price-ternary",
        bounds.kl,
        "KL(pi_KL | pi) - KL(pi+ | pi) >= c (E_{pi_KL} r - E_{pi+} r)/tau",
        "(E_{pi_KL} r - E_{pi+} r)/tau",
        "4/5",
        "by three points, u1 X + u2 Y + KL(pi_KL | pi+) over t1 X + t2 Y; the constant has no short proof",
        "quantitative",
        Fraction(2),
    ),
    _statement(
        "C8-reverse-KL-ternary",
        bounds.reverse,
        "KL(pi | pi+) <= KL(pi | pi_KL), that is lambda <= J",
        "Var_{pi+}(lambda rho) + lambda chi2",
        "1/10",
        "J - lambda = (J - lambda E rho^2) + lambda chi2",
    ),
    _statement(
        "C8-chi2-ternary",
        bounds.chi2,
        "chi2(pi+ | pi) <= chi2(pi_KL | pi)",
        "(E_{pi_KL} r - E_{pi+} r)/tau",
        "1/100",
        "Abel summation of E[(rho_KL - rho)(rho_KL + rho)]",
    ),
    _statement(
        "C8-reward-ternary",
        bounds.reward,
        "E_{pi+} r <= E_{pi_KL} r",
        "tau Cov_{pi+}(lambda rho, r/tau)",
        "1/50",
        "E_{pi_KL} r - E_{pi+} r = Cov_{pi+}(rho_KL/rho, r), a sum over pairs; rho_KL/rho rises with rho",
    ),
)
