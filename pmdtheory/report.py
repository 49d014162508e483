"""Results as text: rows for tables, JSON for machines, and the generated claims page. Nothing here prints."""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from pmdtheory.claims import CLAIMS
from pmdtheory.claims._verify import SUBSAMPLE, Report
from pmdtheory.solution import Solution, Update

__all__ = [
    "SCHEMA",
    "claims_page",
    "claims_table",
    "figures_data",
    "update_data",
    "update_rows",
    "verify_data",
    "verify_rows",
]

SCHEMA: Final = 1


def _number(value: float) -> float | str | None:
    """A float that JSON can hold: infinities as strings, NaN as null."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def verify_rows(reports: Sequence[Report]) -> list[tuple[str, ...]]:
    """One row per claim: id, title, kind, instances, worst residual / tolerance, second opinions, mutant, verdict."""
    rows: list[tuple[str, ...]] = []
    for report in reports:
        worst = report.worst
        nearest = "none applied" if worst is None else f"{worst.residual:.1e} / {worst.tolerance:.1e}"
        opinions = str(report.opinions) if report.claim.opinion is not None else "-"
        mutant = f"{report.caught}/{report.mutants}" + ("" if report.mutant_caught else " SURVIVES")
        verdict = "holds" if report.ok else "FAILS"
        rows.append(
            (
                report.claim.id,
                report.claim.title,
                report.claim.kind,
                str(report.instances),
                nearest,
                opinions,
                mutant,
                f"{report.seconds:.1f} s",
                verdict,
            )
        )
    return rows


def verify_data(reports: Sequence[Report], instances: int, seed: int) -> str:
    """The reports as JSON text."""
    claims = [
        {
            "id": report.claim.id,
            "title": report.claim.title,
            "kind": report.claim.kind,
            "holds": report.ok,
            "instances": report.instances,
            "not_applicable": report.skipped,
            "second_opinions": report.opinions,
            "worst": None
            if report.worst is None
            else {
                "case": report.worst_case,
                "residual": _number(report.worst.residual),
                "tolerance": _number(report.worst.tolerance),
                "part": max(report.worst.parts, key=lambda part: part.excess).name,
            },
            "failures": list(report.failures),
            "mutant": {"mistake": report.claim.mistake, "tried": report.mutants, "caught": report.caught},
            "seconds": round(report.seconds, 3),
        }
        for report in reports
    ]
    return json.dumps(
        {"schema": SCHEMA, "instances": instances, "seed": seed, "holds": all(r.ok for r in reports), "claims": claims},
        indent=1,
        ensure_ascii=False,
    )


def figures_data(results: Sequence[Any]) -> str:
    """What became of the figures, as JSON text."""
    rows = [
        {
            "name": result.name,
            "files": [str(file) for file in result.files],
            "ok": result.ok,
            "mismatch": _number(result.mismatch),
            "message": result.message,
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]
    return json.dumps({"schema": SCHEMA, "ok": all(result.ok for result in results), "figures": rows}, indent=1)


def update_rows(step: Update) -> list[tuple[str, str]]:
    """The scalars of a step as label and value."""
    problem = step.problem
    return [
        ("tau", f"{problem.tau:.10g} reward units"),
        ("mean reward before", f"{problem.mean_reward:.10g}"),
        ("mean reward after", f"{step.expected_reward:.10g}"),
        ("improvement", f"{step.improvement:.10g}"),
        ("multiplier (chi2 weight)", f"{step.multiplier:.10g}"),
        ("baseline b", f"{step.baseline:.10g} nats (log Z = {problem.log_partition:.10g})"),
        ("KL(new||old)", f"{step.kl:.10g} nats"),
        ("KL(old||new)", f"{step.reverse_kl:.10g} nats"),
        ("chi2(new||old)", f"{step.chi2:.10g}"),
        ("total variation", f"{step.step_size:.10g}"),
    ]


def update_data(solution: Solution[Update], method: str) -> str:
    """A step as JSON text, arrays over actions included."""
    step = solution.unwrap()
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "method": method,
        "tau": step.problem.tau,
        "mean_reward": _number(step.problem.mean_reward),
        "log_partition": _number(step.problem.log_partition),
    }
    for name in ("expected_reward", "improvement", "multiplier", "baseline", "kl", "reverse_kl", "chi2", "step_size"):
        data[name] = _number(getattr(step, name))
    data["residual"] = _number(solution.residual)
    for name in ("policy", "log_policy", "log_ratio"):
        data[name] = [_number(float(value)) for value in getattr(step, name)]
    return json.dumps(data, indent=1)


def claims_table() -> str:
    """The claims as a Markdown table: id, title, kind, source."""
    lines = ["| claim | what it says | kind | source |", "|---|---|---|---|"]
    lines += [f"| {claim.id} | {claim.title} | {claim.kind} | {claim.source} |" for claim in CLAIMS.values()]
    return "\n".join(lines)


def claims_page() -> str:
    """The text of `docs/claims.md`, generated from the registry."""
    parts = [
        "# Claims",
        "",
        "Generated from the registry by `pmdtheory claims`; a test keeps this page in step with it. Symbols are",
        "those of [notation.md](notation.md). Each claim is checked by `pmdtheory verify` on named and random",
        "instances, next to a mutant, its nearest plausible mistake, which must fail by ten tolerances on nine",
        "tenths of the cases where it matters. Claims with an expensive second opinion get it on at least",
        f"{SUBSAMPLE} cases.",
        "",
        claims_table(),
    ]
    for claim in CLAIMS.values():
        doc = (claim.opinion.__doc__ or "").strip().splitlines() if claim.opinion is not None else []
        parts += [
            "",
            f"## {claim.id} {claim.title}",
            "",
            f"$$ {claim.statement} $$",
            "",
            f"- kind: {claim.kind}",
            f"- source: {claim.source}",
            f"- holds for: {claim.assumes}",
            f"- mutant: {claim.mistake} (not tried on: {claim.blunt})",
        ]
        parts += [f"- second opinion: {doc[0]}"] if doc else []
    return "\n".join(parts) + "\n"
