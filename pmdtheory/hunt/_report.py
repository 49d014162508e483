"""Findings as JSON, as rows of a table and as the table of docs/hunt.md."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pmdtheory.hunt._finding import Finding
from pmdtheory.hunt._statements import STATEMENTS

__all__ = ["TITLES", "findings_data", "markdown", "row"]

TITLES: Final = ("statement", "known", "found", "laws", "undecided", "least slack", "witness, or boxes")


def findings_data(found: Sequence[Finding], instances: int, seed: int) -> str:
    """JSON of what was asked, what is known and what was found."""
    rows = []
    for one in found:
        known = STATEMENTS[one.statement]
        witness = one.witness and {
            "weights": [str(w) for w in one.witness.weights],  # beyond the integers that every reader of JSON holds
            "reward": [str(r) for r in one.witness.reward],
            **{name: str(value) for name, value in one.witness.extra.items()},
        }
        rows.append(
            {
                "statement": known.id,
                "claim": known.claim,
                "words": known.words,
                "slack": known.formula,
                "known": known.verdict,
                "reason": known.reason,
                "mutant": known.mutant,
                "found": one.verdict,
                "instances": one.instances,
                "undecided": one.undecided,
                "least": one.least,
                "point": {name: list(values) for name, values in one.point.items()},
                "witness": witness,
                "slack_at_witness": one.slack and list(one.slack),
                "boxes": dict(one.boxes),
                "interrupted": one.interrupted,
            }
        )
    return json.dumps({"schema": 1, "instances": instances, "seed": seed, "findings": rows}, indent=1) + "\n"


def row(one: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table, from the JSON of one finding."""
    where = ", ".join(f"{name} {'proved' if done else 'left open'}" for name, done in one["boxes"].items())
    if one["witness"]:
        law = dict(one["witness"])
        rest = "".join(f"; {name} {law[name]}" for name in law if name not in ("weights", "reward"))
        where = f"{' : '.join(law['weights'])}; r/tau {', '.join(law['reward'])}{rest}"
    numbers = f"{one['instances']:,}", f"{one['undecided']:,}", f"{one['least']:.2g}"
    return (one["statement"], one["known"], one["found"], *numbers, where)


def markdown(data: Mapping[str, Any]) -> str:
    """The table of the page."""
    lines = [f"| {' | '.join(TITLES)} |", "|---|---|---|---:|---:|---:|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row(one))} |" for one in data["findings"])]) + "\n"
