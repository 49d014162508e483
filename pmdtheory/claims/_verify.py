"""Run claims over their instances, and their mutants beside them."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from pmdtheory.claims._base import Certificate, Claim, Part, Verdict

__all__ = ["SUBSAMPLE", "Report", "verify"]

SUBSAMPLE: Final = 50  # cases that get an expensive second opinion, at least (all of them if there are fewer)
_FACTOR: Final = 10.0  # a mutant is caught where it fails by this many tolerances ...
_SHARE: Final = 0.9  # ... on at least this share of the cases where it matters
_CRASHED: Final = math.inf  # tolerance of a part that stands for an exception


@dataclass(frozen=True)
class Report:
    """What verification found for one claim.

    Attributes:
        claim: the claim.
        instances: cases on which it applies.
        skipped: cases on which it does not.
        opinions: cases with an expensive second opinion (zero where the claim has none).
        worst: the certificate nearest to failing, with the label of its case in `worst_case`.
        worst_case: label.
        failures: labels of the cases that failed, with the part and its figures.
        mutants: cases on which the mutant was tried, and `caught`, on which it failed as it must.
        caught: see mutants.
        seconds: wall time.
    """

    claim: Claim
    instances: int
    skipped: int
    opinions: int
    worst: Certificate | None
    worst_case: str
    failures: tuple[str, ...]
    mutants: int
    caught: int
    seconds: float

    @property
    def mutant_caught(self) -> bool:
        """Whether the mistake shows on at least 90 % of the cases where it can."""
        return self.mutants > 0 and self.caught >= _SHARE * self.mutants

    @property
    def ok(self) -> bool:
        """Whether the claim holds wherever it applies, applies somewhere, and its mutant does not survive."""
        return self.instances > 0 and not self.failures and self.mutant_caught


def verify(
    claims: Sequence[Claim],
    *,
    instances: int,
    seed: int = 0,
    progress: Callable[[str, int], None] = lambda claim, done: None,
) -> list[Report]:
    """Check claims on `instances` cases each.

    Args:
        claims: from `select`.
        instances: cases per claim, named ones first.
        seed: of the random cases; each claim has its own stream.
        progress: called with a claim's id after every case.

    Returns:
        One report per claim.

    Raises:
        ValueError: for fewer than one instance, or a negative seed.
    """
    if instances < 1:
        raise ValueError(f"instances must be at least 1, got {instances}; 200 is the default")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}; pass any whole number from 0 on")
    return [_run(claim, instances, seed, progress) for claim in claims]


def _run(claim: Claim, instances: int, seed: int, progress: Callable[[str, int], None]) -> Report:
    started = time.perf_counter()
    rng = np.random.default_rng([seed, int(claim.id[1:])])
    failures: list[str] = []
    applicable = skipped = opinions = mutants = caught = 0
    worst: Certificate | None = None
    worst_case = ""
    for done, (label, case) in enumerate(_cases(claim, rng, instances, failures), start=1):
        parts = _guarded(claim.check, case)
        wanted = max(SUBSAMPLE, instances // 20)
        if parts and claim.opinion is not None and opinions < wanted:
            extra = _guarded(claim.opinion, case)
            opinions += bool(extra)
            parts += extra
        certificate = Certificate.of(claim.id, claim.kind, parts)
        if certificate.verdict is Verdict.NOT_APPLICABLE:
            skipped += 1
        else:
            applicable += 1
            if worst is None or _excess(certificate) > _excess(worst):
                worst, worst_case = certificate, label
        failures += [
            f"{label} #{done}: {part.name}: residual {part.residual:.3g}, tolerance {part.tolerance:.3g}"
            for part in parts
            if not part.holds
        ]
        broken = _guarded(claim.mutant, case)
        failures += [f"{label} #{done}: mutant: {part.name}" for part in broken if part.tolerance == _CRASHED]
        mutants += bool(broken)
        caught += any(part.excess >= _FACTOR and part.tolerance != _CRASHED for part in broken)
        progress(claim.id, done)
    seconds = time.perf_counter() - started
    return Report(claim, applicable, skipped, opinions, worst, worst_case, tuple(failures), mutants, caught, seconds)


def _cases(claim: Claim, rng: np.random.Generator, instances: int, failures: list[str]) -> Iterator[tuple[str, object]]:
    """The claim's cases; a generator that raises ends them, which is a failure of this claim and of no other."""
    try:
        yield from islice(claim.instances(rng), instances)
    except Exception as error:
        failures.append(f"instances: {type(error).__name__}: {' '.join(str(error).split())[:120]}")


def _guarded(check: Callable[[object], Sequence[Part]], case: object) -> list[Part]:
    """The parts of a check, with warnings as errors and an exception as a failed part: nothing goes unnoticed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return list(check(case))
    except Exception as error:  # any exception is a verdict here, not a reason to lose the other claims
        text = " ".join(str(error).split())[:120]
        return [Part(f"{type(error).__name__}: {text}", "identity", math.nan, _CRASHED)]


def _excess(certificate: Certificate) -> float:
    return max(part.excess for part in certificate.parts)
