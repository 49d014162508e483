"""The form of a claim, of the parts it is checked in, and of the certificate that a check returns."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from pmdtheory.problem import Problem

__all__ = [
    "DIFFERENCE",
    "EPS",
    "EXACT",
    "QUADRATURE",
    "RATE",
    "ROOT",
    "SOLVER",
    "Certificate",
    "Claim",
    "Kind",
    "Part",
    "Verdict",
    "exact",
]

EPS: Final = 2.0**-52

# Tolerances by provenance: how the number was obtained decides how well it must agree.
EXACT: Final = 64 * EPS  # algebraic identities, times max(1, max|a|)
ROOT: Final = 1e-12  # anything after a scalar root-find, relative
SOLVER: Final = 1e-5  # agreement with a generic solver, relative to the size of the step
QUADRATURE: Final = 1e-9  # agreement with an independent adaptive quadrature
DIFFERENCE: Final = 1e-6  # a derivative against central differences
RATE: Final = 0.1  # a fitted slope

Kind = Literal["identity", "upper", "lower", "order", "rate"]


def exact(largest: float) -> float:
    """Tolerance of an identity between numbers of size `largest` (max|a|, nats)."""
    return EXACT * max(1.0, largest)


class Verdict(Enum):
    """What a check found."""

    HOLDS = "holds"
    FAILS = "fails"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Part:
    """One statement of a claim on one case: it holds when `residual` is at most `tolerance`.

    Attributes:
        name: the statement, short.
        kind: identity (residual is a distance), upper/lower/order (a violation), rate (of a slope).
        residual: non-negative; NaN counts as a failure.
        tolerance: by provenance, greater than zero.
    """

    name: str
    kind: Kind
    residual: float
    tolerance: float

    @property
    def excess(self) -> float:
        """Residual over tolerance: at most one when the part holds, inf for NaN."""
        ratio = self.residual / self.tolerance
        return math.inf if math.isnan(ratio) else ratio

    @property
    def holds(self) -> bool:
        """Whether the part holds."""
        return self.excess <= 1.0


@dataclass(frozen=True)
class Certificate:
    """The verdict on one claim for one case.

    Attributes:
        claim: id of the claim.
        kind: kind of the worst part.
        parts: every statement that was checked.
        residual: of the part nearest to failing.
        tolerance: of that part.
        verdict: holds, fails, or not applicable.
    """

    claim: str
    kind: Kind
    parts: tuple[Part, ...]
    residual: float
    tolerance: float
    verdict: Verdict

    @classmethod
    def of(cls, claim: str, kind: Kind, parts: Sequence[Part]) -> "Certificate":
        """Sum up the parts; no part at all means that the claim does not speak about this case."""
        if not parts:
            return cls(claim, kind, (), math.nan, math.nan, Verdict.NOT_APPLICABLE)
        worst = max(parts, key=lambda part: part.excess)
        verdict = Verdict.HOLDS if worst.holds else Verdict.FAILS
        return cls(claim, worst.kind, tuple(parts), worst.residual, worst.tolerance, verdict)


@dataclass(frozen=True)
class Claim:
    r"""A statement about PMD as data, with its check and the nearest plausible mistake.

    Attributes:
        id: C1 ... C22.
        title: a few words.
        statement: LaTeX.
        source: where it comes from.
        kind: the strongest kind among its parts.
        assumes: the region where it holds.
        instances: from a random generator, an endless stream of (label, case), named cases first.
        check: the parts that must hold for a case; empty where the claim does not apply.
        mutant: the same parts with one plausible mistake; empty where the mistake makes no difference
            (a degenerate case, as `blunt` says).
        mistake: the mistake in words.
        blunt: which cases count as degenerate for the mutant.
        opinion: expensive second opinions, run on a stated subsample.
        case: the type of its cases.
    """

    id: str
    title: str
    statement: str
    source: str
    kind: Kind
    assumes: str
    instances: Callable[[Any], Iterator[tuple[str, Any]]]
    check: Callable[[Any], Sequence[Part]]
    mutant: Callable[[Any], Sequence[Part]]
    mistake: str
    blunt: str
    opinion: Callable[[Any], Sequence[Part]] | None = None
    case: type = Problem
