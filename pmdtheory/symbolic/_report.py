"""Derivations as text: Unicode for a terminal, LaTeX, JSON, and the generated page. Nothing here prints."""

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any, Final

import sympy as sp

from pmdtheory.claims import CLAIMS
from pmdtheory.symbolic._step import Derivation, Pair, Relation, Step

__all__ = ["SCHEMA", "proof_data", "proof_page", "proof_text"]

SCHEMA: Final = 1
_RELATIONS: Final[dict[Relation, Any]] = {"=": sp.Eq, "<=": sp.Le, "<": sp.Lt, ">=": sp.Ge, ">": sp.Gt}
_WIDE: Final = 110
_VERDICT: Final = {True: "decided", False: "NOT DECIDED"}
_GREEK: Final = {
    "lambda": "λ",
    "omega": "ω",
    "kappa": "κ",
    "delta": "δ",
    "rho": "ρ",
    "tau": "τ",
    "phi": "φ",
    "chi": "χ",
    "pi": "π",
    "mu": "μ",
    "xi": "ξ",
    "oo": "∞",
}


def _related(left: sp.Expr, relation: Relation, right: sp.Expr) -> sp.Basic:
    """A relation as sympy writes it, kept as it stands."""
    return _RELATIONS[relation](left, right, evaluate=False)


def _used(derivation: Derivation, k: int) -> tuple[list[Pair], list[Pair]]:
    """What step k replaces and what it is given, without the equations that earlier steps have shown."""
    step = derivation.steps[k]
    shown = {(one.lhs, one.rhs) for one in derivation.steps[:k] if one.relation == "="}
    return [pair for pair in step.where.items() if pair not in shown], [p for p in step.given if p not in shown]


def _tex(step: Step) -> str:
    """A step as LaTeX, with what an inequality's difference is."""
    text = str(sp.latex(_related(step.lhs, step.relation, step.rhs)))
    if step.witness is None:
        return text
    sign = r"\text{difference } " + str(sp.latex(step.witness))
    return rf"{text} \quad ({sign})"


def _tex_pairs(pairs: Sequence[Pair]) -> str:
    return ", ".join(f"${sp.latex(_related(left, '=', right))}$" for left, right in pairs)


def _unicode(expression: sp.Basic) -> str:
    """Two-dimensional text, as wide as it needs."""
    return str(sp.pretty(expression, use_unicode=True, wrap_line=False))


def _words(text: str) -> str:
    """Names of Greek letters in a sentence as the letters."""
    return re.sub(rf"(?<![A-Za-z])({'|'.join(_GREEK)})(?![A-Za-z])", lambda found: _GREEK[found[1]], text)


def _lines(derivation: Derivation, verdicts: Sequence[bool], latex: bool) -> list[str]:
    lines = [f"{derivation.claim} {CLAIMS[derivation.claim].title}", ""]
    lines += [derivation.statement, ""] if latex else []
    lines += textwrap.wrap(_words(f"Assumptions: {derivation.assumptions}."), _WIDE)
    for k, (step, decided) in enumerate(zip(derivation.steps, verdicts, strict=True)):
        lines += ["", *textwrap.wrap(f"{k + 1}. {_words(step.reason)} [{_VERDICT[decided]}]", _WIDE)]
        shown = _tex(step) if latex else _unicode(_related(step.lhs, step.relation, step.rhs))
        lines += ["", *textwrap.indent(shown, "    ").splitlines()]
        for label, pairs in zip(("where", "given"), _used(derivation, k), strict=True):
            lines += [f"    {label}"] if pairs else []
            for left, right in pairs:
                pair = _related(left, "=", right)
                lines += textwrap.indent(str(sp.latex(pair)) if latex else _unicode(pair), "        ").splitlines()
        if step.witness is not None and not latex:
            lines += ["    the difference is", *textwrap.indent(_unicode(step.witness), "        ").splitlines()]
    return [line.rstrip() for line in lines]


def proof_text(proofs: Sequence[tuple[Derivation, Sequence[bool]]], latex: bool) -> str:
    """Derivations with the verdict on every step, in Unicode or LaTeX."""
    parts = ["\n".join(_lines(derivation, verdicts, latex)) for derivation, verdicts in proofs]
    steps = sum(len(verdicts) for _, verdicts in proofs)
    decided = sum(sum(verdicts) for _, verdicts in proofs)
    return (
        "\n\n\n".join([*parts, f"{decided} of {steps} steps decided; each may use the equations of those before it"])
        + "\n"
    )


def proof_data(proofs: Sequence[tuple[Derivation, Sequence[bool]]]) -> str:
    """Derivations as JSON text, expressions in LaTeX."""
    rows = [
        {
            "claim": derivation.claim,
            "statement": derivation.statement,
            "assumptions": derivation.assumptions,
            "decided": all(verdicts),
            "steps": [
                {
                    "lhs": sp.latex(step.lhs),
                    "relation": step.relation,
                    "rhs": sp.latex(step.rhs),
                    "reason": step.reason,
                    "where": [[sp.latex(side) for side in pair] for pair in step.where.items()],
                    "given": [[sp.latex(side) for side in pair] for pair in step.given],
                    "witness": None if step.witness is None else sp.latex(step.witness),
                    "decided": decided,
                }
                for step, decided in zip(derivation.steps, verdicts, strict=True)
            ],
        }
        for derivation, verdicts in proofs
    ]
    everything = all(all(verdicts) for _, verdicts in proofs)
    return json.dumps({"schema": SCHEMA, "decided": everything, "derivations": rows}, indent=1, ensure_ascii=False)


def proof_page(derivations: Sequence[Derivation]) -> str:
    """The text of `docs/proofs.md`, generated from the derivations."""
    parts = [
        "# Proofs",
        "",
        "Generated by `pmdtheory prove --out docs/proofs.md`; a test keeps this page in step with the derivations.",
        "Every numbered line is decided by sympy: an equation when the difference of its sides vanishes after the",
        "replacements (where) and modulo the stated equations (given) and those of earlier steps, an inequality when",
        "its difference, larger side less smaller, equals an expression whose sign follows from those of its symbols.",
        "A test changes a sign, a factor or an exponent in every line, and each changed line must fail. What the",
        "reasons say in words, such as the passage from a pointwise sign to a mean, is not decided by the machine.",
        "The statements are those of [claims.md](claims.md), the symbols those of [notation.md](notation.md).",
    ]
    for derivation in derivations:
        parts += [
            "",
            f"## {derivation.claim} {CLAIMS[derivation.claim].title}",
            "",
            f"$$ {derivation.statement} $$",
            "",
        ]
        parts += [_words(f"Assumptions: {derivation.assumptions}."), ""]
        for k, step in enumerate(derivation.steps):
            where, given = _used(derivation, k)
            parts += [f"{k + 1}. {_words(step.reason)}.", "", f"   $$ {_tex(step)} $$", ""]
            parts += [f"   where {_tex_pairs(where)}", ""] if where else []
            parts += [f"   given {_tex_pairs(given)}", ""] if given else []
        parts.pop()
    return "\n".join(parts) + "\n"
