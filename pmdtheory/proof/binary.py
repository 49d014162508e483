"""The statements about two reward levels: C7, C8 and C9, each with a normaliser that keeps it positive at the edges."""

from collections.abc import Callable
from fractions import Fraction
from typing import Final, Literal

from pmdtheory.proof import _binary_bounds as bounds
from pmdtheory.proof._binary_law import BinaryLaw, binary_law
from pmdtheory.proof._binary_terms import TERMS
from pmdtheory.proof._span import Span
from pmdtheory.proof._statement import Box, Statement

__all__ = ["STATEMENTS"]

_LIMIT: Final = Fraction(100)


def _statement(
    name: str,
    bound: Callable[[BinaryLaw], Span],
    formula: str,
    normaliser: str,
    at_least: str,
    reason: str,
    kind: Literal["certified", "quantitative"] = "certified",
    limit: Fraction = _LIMIT,
) -> Statement:
    def enclose(box: Box) -> Span | None:
        law = binary_law(box, limit)
        return None if law is None else bound(law)

    return Statement(
        id=name,
        claim=name.partition("-")[0],
        kind=kind,
        formula=formula,
        normaliser=normaliser,
        at_least=Fraction(at_least),
        root=((Fraction(0), Fraction(1)), (Fraction(0), limit)),
        coordinates=("p", "u"),
        limit=limit,
        covers=f"two reward levels one apart, every p in [0, 1] and every tau >= {float(1 / limit):g}",
        reason=reason,
        enclose=enclose,
        terms=TERMS[name],
    )


STATEMENTS: Final = (
    _statement(
        "C7-1",
        bounds.c7_1,
        "J/(1 + chi2(KL step)) <= J/E[rho rho_KL]",
        "J p+ q+ delta T/(E[rho rho_KL] E rho_KL^2)",
        "3/10000",
        "E rho_KL^2 - E[rho rho_KL] = (pK - p+)(pK - p)/(p q), each factor a tilt: N G(p+, delta) G(p, T)",
    ),
    _statement(
        "C7-2",
        bounds.c7_2,
        "J/E[rho rho_KL] <= lambda",
        "pK qK delta^2/E[rho rho_KL]",
        "1/60",
        "lambda E[rho rho_KL] - J = KL(pi_KL | pi+) = L(qK, delta) = pK qK delta^2 A(qK, delta)",
    ),
    _statement(
        "C7-3",
        bounds.c7_3,
        "lambda <= J/(1 + chi2)",
        "p+ q+ delta^2/(1 + chi2)",
        "1/100",
        "J - lambda E rho^2 = log E_{pi+} e^{lambda(rho - E_{pi+} rho)} = L(p+, delta) = p+ q+ delta^2 A(p+, delta)",
    ),
    _statement(
        "C7-4",
        bounds.c7_4,
        "J/(1 + chi2) <= J",
        "p^2 q^2 T^2 u^2/(1 + chi2)",
        "9/10000000",
        "J chi2, with J = p q T^2 A(p, T) and chi2 = p q u^2 G(p, u)^2",
    ),
    _statement(
        "C7-tight-upper",
        bounds.tight_upper,
        "lambda >= c J/(1 + chi2)",
        "J/(1 + chi2)",
        "197/200",
        "J = lambda E rho^2 + L(p+, delta), and L is small next to it; the constant has no short proof",
        "quantitative",
        Fraction(1),
    ),
    _statement(
        "C7-tight-lower",
        bounds.tight_lower,
        "J/E[rho rho_KL] >= c lambda",
        "lambda",
        "197/200",
        "J = lambda E[rho rho_KL] - L(qK, delta), and L is small next to it; the constant has no short proof",
        "quantitative",
        Fraction(1),
    ),
    _statement(
        "C8-KL",
        bounds.kl,
        "KL(pi+ | pi) <= KL(pi_KL | pi)",
        "u p+ q+ delta",
        "1/100",
        "by three points u(pK - p+) + KL(pi_KL | pi+): two non-negative terms, no difference of divergences",
    ),
    _statement(
        "C8-reverse-KL",
        bounds.reverse,
        "KL(pi | pi+) <= KL(pi | pi_KL), that is lambda <= J",
        "p q u delta",
        "1/110",
        "L(p, T) - L(p, u) = delta(p+ - p) + L(p+, delta)",
    ),
    _statement(
        "C8-chi2",
        bounds.chi2,
        "chi2(pi+ | pi) <= chi2(pi_KL | pi)",
        "p+ q+ delta u",
        "1/1000",
        "(pK - p+)[(pK - p) + (p+ - p)]/(p q)",
    ),
    _statement(
        "C8-TV",
        bounds.tv,
        "TV(pi+, pi) <= TV(pi_KL, pi)",
        "p+ q+ delta",
        "1/100",
        "pK - p+, a tilt by delta >= 0",
    ),
    _statement(
        "C8-Hellinger",
        bounds.hellinger,
        "H^2(pi+, pi) <= H^2(pi_KL, pi)",
        "p+ q+ delta u",
        "1/10000",
        "(pK - p+) times the sum of 1/(sqrt rho_0 + sqrt rho_0KL) - 1/2 and 1/2 - 1/(sqrt rho_1 + sqrt rho_1KL)",
    ),
    _statement(
        "C8-Renyi-2",
        bounds.renyi,
        "log(1 + chi2(pi+ | pi)) <= log(1 + chi2(pi_KL | pi))",
        "p+ q+ delta u/(1 + chi2(KL step))",
        "1/1000",
        "log(1 + y) >= y/(1 + y) at y = (chi2(KL step) - chi2)/(1 + chi2)",
    ),
    _statement(
        "C8-reward",
        bounds.tv,
        "E_{pi+} r <= E_{pi_KL} r",
        "p+ q+ delta",
        "1/100",
        "pK - p+, a tilt by delta >= 0",
    ),
    _statement(
        "C8-floor",
        bounds.floor,
        "KL(pi+ | pi) + u p+ q+ (1 - e^{-delta}) <= KL(pi_KL | pi)",
        "u p+ q+^2 delta (1 - e^{-delta})",
        "1/100",
        "pK - p+ >= p+ q+ (1 - e^{-delta}), since 1 + p+(e^delta - 1) <= e^delta",
    ),
    _statement(
        "C8-price",
        bounds.price,
        "KL(pi_KL | pi) - KL(pi+ | pi) >= c (E_{pi_KL} r - E_{pi+} r)/tau",
        "(E_{pi_KL} r - E_{pi+} r)/tau",
        "57/1000",
        "slack/N = 1 - [delta/T] KL(pi+ | pi_KL)/[delta(pK - p+)]; the constant has no short proof",
        "quantitative",
    ),
    _statement(
        "C9-contraction",
        bounds.contraction,
        "1 - p+ <= (1 - p) e^{-p/tau}",
        "p q^2 u^2 rho_0^2",
        "1/110",
        "rho_0 (e^{lambda rho_0} - 1) q, lambda = p q u^2 A(p, u)",
    ),
    _statement(
        "C9-fraction",
        bounds.fraction,
        "phi = u tau >= c",
        "1/tau",
        "1/18",
        "delta/u rises in u and has one maximum in p, where log D = 1 - u/m",
    ),
    _statement(
        "C9-minimum",
        bounds.minimum,
        "T_p = (m^2/D^2)(1 - u/m - log D) changes sign once, from + to -",
        "u, for each of the three signs",
        "1/110",
        "1 - u/m > 0 at p = 0, 1 - u/m - u < 0 at p = 1, slope -m/D < 0 between; u_p = -T_p/T_u at fixed tau",
    ),
)
