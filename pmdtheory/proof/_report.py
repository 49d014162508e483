"""Proofs over boxes as text: rows of a table, JSON. Nothing here prints."""

import json
from collections.abc import Sequence
from typing import Final

from pmdtheory.proof._records import Proof
from pmdtheory.proof._statement import Statement

__all__ = ["SCHEMA", "TITLES", "box_data", "box_row", "false_at"]

SCHEMA: Final = 1
TITLES: Final = ("statement", "slack >= c N with c =", "kind", "boxes", "unproved volume", "time", "verdict")


def _verdict(proof: Proof) -> str:
    if proof.witness is not None:
        return "false"
    return "proved" if proof.proved else "open"


def box_row(statement: Statement, proof: Proof) -> tuple[str, ...]:
    """One row of the table of proofs."""
    return (
        statement.id,
        str(statement.at_least),
        statement.kind,
        str(len(proof.boxes)),
        f"{float(proof.unproved_volume):.3g}",
        f"{proof.seconds:.1f} s",
        _verdict(proof),
    )


def false_at(statement: Statement, proof: Proof) -> str:
    """Where a statement is false, in a line."""
    if proof.witness is None:
        return ""
    point = ", ".join(f"{name} = {x}" for name, x in zip(statement.coordinates, proof.witness.point, strict=True))
    return f"{statement.id} is false at {point}: slack/N is in [{proof.witness.slack[0]!r}, {proof.witness.slack[1]!r}]"


def box_data(found: Sequence[tuple[Statement, Proof]]) -> str:
    """All proofs as JSON text."""
    rows = [
        {
            "statement": statement.id,
            "kind": statement.kind,
            "inequality": statement.formula,
            "normaliser": statement.normaliser,
            "covers": statement.covers,
            "at_least": str(statement.at_least),
            "boxes": len(proof.boxes),
            "volume": str(proof.proved_volume + proof.unproved_volume),
            "unproved_volume": str(proof.unproved_volume),
            "seconds": round(proof.seconds, 3),
            "verdict": _verdict(proof),
            "false_at": false_at(statement, proof) or None,
        }
        for statement, proof in found
    ]
    proved = all(proof.proved for _, proof in found)
    return json.dumps({"schema": SCHEMA, "proved": proved, "statements": rows}, indent=1, ensure_ascii=False)
