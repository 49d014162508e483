"""Verification in blocks of instances that processes share: `verify --instances 10000000 --workers 64`.

Block k of a claim is `verify` on its own with the seed `seed * 2**32 + k`: the cases do not depend on who runs it, and
`pmdtheory verify --seed k` repeats block k of the seed 0. The named cases come first in every block. Blocks are cells
(`pmdtheory._cells`): what has ended is not run again, and a process that dies costs the block it was in.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pmdtheory._cells import FAILED, LOST, complaint, run_cells
from pmdtheory._checks import shown
from pmdtheory._executors import Executor, Local
from pmdtheory.claims._base import Certificate, Claim, Part
from pmdtheory.claims._verify import Report, verify

__all__ = ["BLOCK", "FUNCTION", "ONE_THREAD", "block_cell", "merged", "read_report", "spread", "written_report"]

SCHEMA: Final = 1
BLOCK: Final = 10_000  # instances of a block
FUNCTION: Final = "pmdtheory.claims._spread:block_cell"
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_SEEDS: Final = 2**32  # blocks that a seed has before it meets those of the next one
_COUNTS: Final = ("instances", "skipped", "opinions", "mutants", "caught", "seconds")


def written_report(found: Report) -> dict[str, Any]:
    """A report as JSON that `read_report` turns back; numbers that JSON has no word for are text."""
    parts = () if found.worst is None else found.worst.parts
    return {
        "schema": SCHEMA,
        "claim": found.claim.id,
        **{name: getattr(found, name) for name in _COUNTS},
        "worst": [[part.name, part.kind, repr(part.residual), repr(part.tolerance)] for part in parts],
        "worst_case": found.worst_case,
        "failures": list(found.failures),
    }


def read_report(claim: Claim, stored: Mapping[str, Any]) -> Report:
    """The report of a block.

    Raises:
        ValueError: for one of another version or another claim.
    """
    if stored.get("schema") != SCHEMA or stored.get("claim") != claim.id:
        raise ValueError(
            f"block is of schema {shown(stored.get('schema'))} and claim {shown(stored.get('claim'))}, expected "
            f"{SCHEMA} and {claim.id!r}; run it again in another directory"
        )
    parts = [Part(name, kind, float(residual), float(tolerance)) for name, kind, residual, tolerance in stored["worst"]]
    worst = Certificate.of(claim.id, claim.kind, parts) if parts else None
    counts = {name: stored[name] for name in _COUNTS}
    return Report(
        claim=claim, worst=worst, worst_case=stored["worst_case"], failures=tuple(stored["failures"]), **counts
    )


def block_cell(given: Mapping[str, Any], path: Path) -> str:
    """Verify one block; in a worker."""
    from pmdtheory.claims import select

    (found,) = verify(select([given["claim"]]), instances=given["instances"], seed=given["seed"])
    named = replace(found, failures=tuple(f"seed {given['seed']}: {text}" for text in found.failures))
    path.mkdir(exist_ok=True)
    spare = path / f".summary.{os.getpid()}"
    spare.write_text(json.dumps(written_report(named), allow_nan=False) + "\n", encoding="utf-8")
    os.replace(spare, path / "summary.json")
    return "FINISHED"


def _excess(found: Report) -> float:
    return -math.inf if found.worst is None else max(part.excess for part in found.worst.parts)


def merged(reports: Sequence[Report]) -> Report:
    """One report of several of the same claim: counts added, the worst certificate, every failure.

    Raises:
        ValueError: for no report, or of different claims.
    """
    ids = {report.claim.id for report in reports}
    if len(ids) != 1:
        raise ValueError(f"reports must be of one claim, got {shown(sorted(ids))}; merge each claim's own")
    worst = max(reports, key=_excess)
    return Report(
        claim=worst.claim,
        worst=worst.worst,
        worst_case=worst.worst_case,
        failures=tuple(text for report in reports for text in report.failures),
        **{name: sum(getattr(report, name) for report in reports) for name in _COUNTS},
    )


def _blocks(claim: Claim, instances: int, seed: int, block: int) -> dict[str, dict[str, Any]]:
    """Cells by a name that says all there is to know about them, so that more instances reuse what is there."""
    found = {}
    for k in range(-(-instances // block)):
        size, own = min(block, instances - k * block), seed * _SEEDS + k
        found[f"{claim.id}-{own}-{size}"] = {"claim": claim.id, "instances": size, "seed": own}
    return found


def _owned(out: Path) -> None:
    """The directory is empty, or holds blocks."""
    board = out / "cells.json"
    if board.is_file() and json.loads(board.read_text(encoding="utf-8"))["function"] == FUNCTION:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"blocks={str(out)!r} is not empty and holds no blocks; give an empty directory")


def spread(
    claims: Sequence[Claim],
    *,
    instances: int,
    seed: int = 0,
    workers: int = 2,
    block: int = BLOCK,
    out: Path | None = None,
    executor: Executor | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] = lambda block, done, total: None,
) -> list[Report]:
    """Check claims on `instances` cases each, in blocks.

    Args:
        claims: from `select`.
        instances: cases per claim, the named ones of each block among them.
        seed: of the random cases.
        workers: processes at a time.
        block: cases of a block, the same for one worker and for many, which see the same cases.
        out: directory of the blocks, to go on in; None takes a temporary one.
        executor: starts the workers; None takes processes of this machine.
        stop: asked all the time; True gives up the blocks that have not ended.
        progress: called as progress(block, done, total) when one ends.

    Returns:
        One report per claim. A block that raised or whose worker died three times is a failure of its claim.

    Raises:
        ValueError: for fewer than one instance, worker or case of a block, a negative seed, or a directory of
            something else.
        KeyboardInterrupt: on Ctrl-C or `stop`.
    """
    for name, value, least in (("instances", instances, 1), ("seed", seed, 0), ("block", block, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}; leave it out for the default")
    if out is None:
        with tempfile.TemporaryDirectory(prefix="pmdtheory-") as folder:
            return spread(
                claims, instances=instances, seed=seed, workers=workers, block=block, out=Path(folder),
                executor=executor, stop=stop, progress=progress,
            )  # fmt: skip
    blocks = {claim.id: _blocks(claim, instances, seed, block) for claim in claims}
    cells = {name: given for own in blocks.values() for name, given in own.items()}
    _owned(out)
    found = run_cells(
        out, FUNCTION, cells, executor or Local(ONE_THREAD), workers=workers, stop=stop,
        report=lambda name, status, done, total: progress(name, done, total),
    )  # fmt: skip
    reports = []
    for claim in claims:
        own = [_read(claim, out, name) for name in blocks[claim.id] if found[name] not in (FAILED, LOST)]
        lost = tuple(
            f"block {name}: {found[name]} {complaint(out, name)}".rstrip()
            for name in blocks[claim.id]
            if found[name] in (FAILED, LOST)
        )
        nothing = Report(claim, 0, 0, 0, None, "", lost, 0, 0, 0.0)
        reports.append(merged([*own, nothing]))
    return reports


def _read(claim: Claim, out: Path, name: str) -> Report:
    return read_report(claim, json.loads((out / name / "summary.json").read_text(encoding="utf-8")))
