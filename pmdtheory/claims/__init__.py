"""The claims registry: every statement of the theory as data, with its check and its nearest plausible mistake."""

from importlib import metadata
from typing import Any

from pmdtheory.claims import binary, bounds, exact, identities, strength, structure, tails
from pmdtheory.claims._base import Certificate as Certificate
from pmdtheory.claims._base import Claim as Claim
from pmdtheory.claims._base import Part as Part
from pmdtheory.claims._base import Verdict as Verdict

__all__ = ["CLAIMS", "Certificate", "Claim", "Part", "Verdict", "check", "select"]


def _registry() -> dict[str, Claim]:
    """The package's claims and those of installed plug-ins (entry-point group `pmdtheory.claims`), by number."""
    found = [c for group in (exact, identities, bounds, binary, structure, tails, strength) for c in group.CLAIMS]
    for entry in metadata.entry_points(group="pmdtheory.claims"):
        found.extend(entry.load())
    return {claim.id: claim for claim in sorted(found, key=lambda claim: int(claim.id[1:]))}


CLAIMS: dict[str, Claim] = _registry()


def select(ids: "list[str] | tuple[str, ...]") -> list[Claim]:
    """The claims of the given ids in registry order, all of them for none; ValueError for an unknown id."""
    unknown = [name for name in ids if name.upper() not in CLAIMS]
    if unknown:
        raise ValueError(f"claim {unknown[0]!r} is not in the registry; choose from {', '.join(CLAIMS)}")
    wanted = {name.upper() for name in ids} or set(CLAIMS)
    return [claim for claim in CLAIMS.values() if claim.id in wanted]


def check(claim: str, case: Any) -> Certificate:
    """Check one claim on one case of yours, expensive second opinions included.

    Args:
        claim: an id, "C1" ... "C22".
        case: a `Problem`, or the record that the claim's instances are made of.

    Returns:
        A `Certificate`; its verdict is "not applicable" where the claim does not speak about the case.

    Raises:
        ValueError: for an unknown id.

    Source: this project.

    >>> import pmdtheory as pmd
    >>> pmd.check("C4", pmd.Problem.binary(0.3, tau=0.5)).verdict.value
    'holds'
    """
    (found,) = select([claim])
    parts = list(found.check(case))
    if parts and found.opinion is not None:
        parts += found.opinion(case)
    return Certificate.of(found.id, found.kind, parts)
