"""What `pmdtheory update --certify` and `pmdtheory verify --rigorous` compute and print."""

import json
import math
import sys
from typing import Any

from pmdtheory._console import progress, tabulated
from pmdtheory.claims._rigorous import MEMBERS, Accuracy, rigorous
from pmdtheory.enclosure import Enclosure, enclose
from pmdtheory.problem import Problem
from pmdtheory.solution import Update

__all__ = [
    "certified",
    "compared",
    "print_certificate",
    "print_comparison",
    "with_certificate",
    "with_comparison",
]

_SHOWN = 20  # actions
_ROWS = (
    ("multiplier", "multiplier (chi2 weight)"),
    ("baseline", "baseline b"),
    ("expected_reward", "mean reward after"),
    ("improvement", "improvement"),
    ("kl", "KL(new||old)"),
    ("reverse_kl", "KL(old||new)"),
    ("chi2", "chi2(new||old)"),
)


def certified(problem: Problem, method: str, baseline: float | None, weight: float | None) -> Enclosure:
    """The enclosure of the step that `pmdtheory update --method` prints."""
    return enclose(problem, baseline=baseline, weight=weight, ideal=method == "kl")


def print_certificate(proof: Enclosure, step: Update) -> int:
    """Print the enclosures under a step; exit status 0 if they were proved, 1 otherwise."""
    if not proof.proved:
        print(f"pmdtheory: not proved: {proof.status.name}: {proof.status.value}", file=sys.stderr)
        return 1
    print("proved: the step exists, is the only one, and lies between these ends")
    rows = []
    for name, label in _ROWS:
        low, high = getattr(proof, name)
        rows.append((label, f"{low!r}", f"{high!r}", f"{_ulps(getattr(step, name), proof, name):.2g}"))
    print(tabulated("", ("", "low", "high", "float off, ulps"), rows).lstrip("\n"), end="")
    actions = []
    for i in range(min(_SHOWN, proof.policy_lo.size)):
        actions.append((str(i), f"{float(proof.policy_lo[i])!r}", f"{float(proof.policy_hi[i])!r}"))
    print(tabulated("", ("action", "new policy, low", "high"), actions).lstrip("\n"), end="")
    if proof.policy_lo.size > _SHOWN:
        print(f"... and {proof.policy_lo.size - _SHOWN} more actions; --json has them all")
    print(f"{proof.precision} bits; widest relative width {proof.width:.1e}; the law read exactly is {proof.law}")
    return 0


def _certificate_data(proof: Enclosure) -> dict[str, Any]:
    """An enclosure as data for JSON: ends of the scalars and of the policy."""
    data: dict[str, Any] = {
        "status": proof.status.name,
        "message": proof.status.value,
        "proved": proof.proved,
        "law": proof.law,
        "precision": proof.precision,
        "width": _number(proof.width),
    }
    if proof.proved:
        data |= {name: [_number(end) for end in getattr(proof, name)] for name, _ in _ROWS}
        data["policy"] = [[float(low), float(high)] for low, high in zip(proof.policy_lo, proof.policy_hi, strict=True)]
    return data


def with_certificate(text: str, proof: Enclosure) -> str:
    """The JSON of a step with its enclosure beside it."""
    return json.dumps({**json.loads(text), "enclosure": _certificate_data(proof)}, indent=1)


def compared(instances: int, seed: int) -> list[Accuracy]:
    """The floating-point updates against their enclosures, with a progress bar."""
    with progress("rigorous", len(MEMBERS) * instances) as advance:
        return rigorous(instances=instances, seed=seed, progress=advance)


def print_comparison(found: list[Accuracy]) -> int:
    """Print the errors of the floating-point path; exit status 0 if each is within its tolerance, 1 otherwise."""
    rows = [
        (
            row.member,
            row.quantity,
            str(row.cases),
            f"{row.median:.2g}",
            f"{row.worst:.2g}",
            row.worst_case,
            f"{row.excess:.1e}",
            "holds" if row.holds else "FAILS",
        )
        for row in found
    ]
    titles = ("member", "quantity", "cases", "median ulps", "worst ulps", "worst case", "of tolerance", "verdict")
    print(tabulated("floating point against proven enclosures", titles, rows), end="")
    for row in found:
        if row.quantity == "log_ratio":
            for label in row.disagreements[:5]:
                print(f"{row.member}: the two paths disagree on whether there is a step: {label}")
    return 0 if all(row.holds for row in found) else 1


def with_comparison(text: str, found: list[Accuracy]) -> str:
    """The JSON of a verification with the comparison beside it; it holds only if both do."""
    data = json.loads(text)
    rigorous_part = _comparison_data(found)
    data |= {"holds": data["holds"] and rigorous_part["holds"], "rigorous": rigorous_part}
    return json.dumps(data, indent=1, ensure_ascii=False)


def _comparison_data(found: list[Accuracy]) -> dict[str, Any]:
    return {
        "holds": all(row.holds for row in found),
        "rows": [
            {
                "member": row.member,
                "quantity": row.quantity,
                "cases": row.cases,
                "median_ulps": _number(row.median),
                "worst_ulps": _number(row.worst),
                "worst_case": row.worst_case,
                "error_over_tolerance": _number(row.excess),
                "disagreements": list(row.disagreements),
                "holds": row.holds,
            }
            for row in found
        ],
    }


def _ulps(value: float, proof: Enclosure, name: str) -> float:
    """Distance of a float from its enclosure, in units of its last place."""
    if not math.isfinite(value):
        return 0.0 if getattr(proof, name)[1] == value else math.inf
    low, high = proof.interval(name)
    return float(max(low - value, value - high, 0)) / math.ulp(value)


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
