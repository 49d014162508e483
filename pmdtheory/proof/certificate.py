"""Certificates: what a proof over a box found, as text that another program can check."""

import hashlib
import json
import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any, Final

from pmdtheory.proof._records import Proof, Proved
from pmdtheory.proof._span import PRECISION
from pmdtheory.proof._statement import Box, Statement, volume

__all__ = ["SCHEMA", "certificate"]

SCHEMA: Final = 1
_FORMAT: Final = (
    "each box: index i, level k of every coordinate; its ends are lo + (hi - lo) i/2^k and lo + (hi - lo)(i + 1)/2^k"
    " of `box`; then a lower and an upper bound of slack/N over it (null: none), or nothing where 1/tau exceeds the"
    " largest on the whole of it"
)
_DIGITS: Final = 7


def certificate(statement: Statement, proof: Proof) -> str:
    """The certificate of a proof, as JSON.

    It holds the box, the boxes that fill it with exact ends, an enclosure of the slack over each, the volume that is
    not proved, and a digest of all of it.

    Args:
        statement: what was proved.
        proof: from `prove_over_box`; a proof with unproved volume is written too, and says so.

    Returns:
        JSON, one box a line.

    Raises:
        ValueError: when the proof is about another statement, or the statement is false.

    Source: this project.

    >>> import json
    >>> from pmdtheory.proof import prove_over_box, statement
    >>> one = statement("C9-minimum")
    >>> json.loads(certificate(one, prove_over_box(one)))["unproved_volume"]
    '0'
    """
    if proof.statement != statement.id:
        raise ValueError(f"proof is about {proof.statement}, not {statement.id}; pass the statement that was proved")
    if proof.witness is not None:
        raise ValueError(f"{statement.id} is false at {proof.witness.point}; only what holds has a certificate")
    slacks = [one.slack[0] for one in proof.boxes if one.slack is not None]
    head = {
        "schema": SCHEMA,
        "statement": statement.id,
        "claim": statement.claim,
        "kind": statement.kind,
        "inequality": statement.formula,
        "normaliser": statement.normaliser,
        "at_least": str(statement.at_least),
        "covers": statement.covers,
        "coordinates": list(statement.coordinates),
        "box": [[str(low), str(high)] for low, high in proof.box],
        "largest_inverse_tau": str(statement.limit),
        "volume": str(volume(proof.box)),
        "unproved_volume": str(proof.unproved_volume),
        "least_slack": min(slacks, default=None),
        "precision_bits": PRECISION,
        "format": _FORMAT,
    }
    rows = [json.dumps(_row(proof.box, one, statement.at_least)) for one in proof.boxes]
    body = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    text = f'{body},\n "boxes": [\n' + ",\n".join(rows) + "\n ]"
    return f'{text},\n "digest": "{_digest(text)}"\n}}\n'


def _digest(text: str) -> str:
    """Of everything before it, blanks aside."""
    return hashlib.sha256("".join(text.split()).encode()).hexdigest()


def _row(top: Box, one: Proved, at_least: Fraction) -> list[Any]:
    """A box as indices, levels and its slack."""
    row: list[Any] = []
    for (low, high), (a, b) in zip(one.box, top, strict=True):
        pieces = (b - a) / (high - low)
        index = (low - a) / (high - low)
        level = pieces.numerator.bit_length() - 1
        if pieces != 2**level or index.denominator != 1:
            raise ValueError(f"box {one.box} is no dyadic part of {top}; pass a proof of prove_over_box")
        row += [int(index), level]
    return row if one.slack is None else [*row, *_rounded(one.slack, at_least)]


def _rounded(slack: tuple[float, float], at_least: Fraction) -> tuple[float, float | None]:
    """The enclosure in few digits, rounded outwards, but not below the constant."""
    low = float(Context(prec=_DIGITS, rounding=ROUND_FLOOR).plus(Decimal(slack[0])))
    high = float(Context(prec=_DIGITS, rounding=ROUND_CEILING).plus(Decimal(slack[1])))
    high = math.nextafter(high, math.inf) if high < slack[1] else high
    return (
        low if at_least <= low <= slack[0] else slack[0],
        high if math.isfinite(high) else None,
    )
