"""Classifications as text: rows of a table, JSON. Nothing here prints."""

import json
import math
from collections.abc import Mapping
from typing import Final

from pmdtheory.variants._classification import Classification

SCHEMA: Final = 1
TITLES: Final = ("loss", "is", "baseline", "tau", "effective tau", "square of", "length", "old_logp", "TV to PMD-mean")

__all__ = ["SCHEMA", "TITLES", "variants_data", "variants_row"]


def variants_row(name: str, found: Classification) -> tuple[str, ...]:
    """One row: name, member, baseline, tau, effective tau, level, length rule, whether old_logp enters, distance."""
    first = found.populations[0].distances if found.populations else {}
    distance = first.get("PMD-mean", math.nan)
    return (
        name,
        found.member if found.in_family else f"none: {found.form}",
        found.baseline,
        _shown(found.tau),
        _shown(found.effective_tau),
        "-" if found.level == "none" else found.level,
        {"none": "-"}.get(found.length_rule, found.length_rule),
        "yes" if found.uses_old_logp else "no",
        "-" if math.isnan(distance) else f"{distance:.1e}",
    )


def variants_data(found: Mapping[str, Classification], seconds: float) -> str:
    """All classifications as JSON text."""
    rows = [{"name": name, "in_family": one.in_family, **one.to_dict()} for name, one in found.items()]
    return json.dumps({"schema": SCHEMA, "seconds": round(seconds, 3), "variants": rows}, indent=1, ensure_ascii=False)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6g}"
