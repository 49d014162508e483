"""The claims registry: every statement of the theory as data, with its check and its nearest plausible mistake."""

import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from pmdtheory.claims import (
    baselines,
    binary,
    bounds,
    convergence,
    exact,
    identities,
    samples,
    stale,
    strength,
    structure,
    tails,
)
from pmdtheory.claims._base import Certificate as Certificate
from pmdtheory.claims._base import Claim as Claim
from pmdtheory.claims._base import Part as Part
from pmdtheory.claims._base import Verdict as Verdict
from pmdtheory.claims.convergence import Run as Run
from pmdtheory.claims.samples import Sampled as Sampled
from pmdtheory.claims.stale import Stale as Stale
from pmdtheory.claims.tails import HeavyTail as HeavyTail

__all__ = [
    "CLAIMS",
    "Certificate",
    "Claim",
    "HeavyTail",
    "Part",
    "Run",
    "Sampled",
    "Stale",
    "Verdict",
    "check",
    "select",
]


_BUILT_IN = (
    exact,
    identities,
    bounds,
    binary,
    structure,
    samples,
    baselines,
    stale,
    convergence,
    tails,
    strength,
)


def _registry() -> dict[str, Claim]:
    """The package's claims and those of installed plug-ins (entry-point group `pmdtheory.claims`), by number."""
    found = [claim for group in _BUILT_IN for claim in group.CLAIMS]
    for entry in metadata.entry_points(group="pmdtheory.claims"):
        found.extend(entry.load())
    registry: dict[str, Claim] = {}
    for claim in found:
        if not re.fullmatch(r"C[1-9][0-9]*", claim.id) or claim.id in registry:
            raise ValueError(f"claim id {claim.id!r} is malformed or taken; give each claim its own, C and a number")
        registry[claim.id] = claim
    return dict(sorted(registry.items(), key=lambda item: int(item[0][1:])))


CLAIMS: dict[str, Claim] = _registry()


def select(ids: Sequence[str]) -> list[Claim]:
    """The claims of the given ids in registry order; all of them for none.

    Args:
        ids: such as "C4"; case does not matter.

    Returns:
        The claims.

    Raises:
        TypeError, ValueError: for what is no id, or not one of the registry.

    Source: this project.

    >>> [claim.id for claim in select(["C4", "c1"])]
    ['C1', 'C4']
    """
    for name in ids:
        if not isinstance(name, str):
            raise TypeError(f"claim must be an id such as 'C4', got {name!r}; choose from {', '.join(CLAIMS)}")
        if name.upper() not in CLAIMS:
            raise ValueError(f"claim {name!r} is not in the registry; choose from {', '.join(CLAIMS)}")
    wanted = {name.upper() for name in ids} or set(CLAIMS)
    return [claim for claim in CLAIMS.values() if claim.id in wanted]


def check(claim: str, case: Any) -> Certificate:
    """Check one claim on one case of yours, expensive second opinions included.

    Args:
        claim: an id, "C1" ... "C22".
        case: a `Problem`; `Sampled` for C12 and C16, `Stale` for C15, `Run` for C17, `HeavyTail` for C19.

    Returns:
        A `Certificate`; its verdict is "not applicable" where the claim does not speak about the case.

    Raises:
        TypeError: for a case that is neither a `Problem` nor a record of one of the claims.
        ValueError: for an unknown id.

    Source: this project.

    >>> import pmdtheory as pmd
    >>> pmd.check("C4", pmd.Problem.binary(0.3, tau=0.5)).verdict.value
    'holds'
    """
    (found,) = select([claim])
    kinds = tuple({one.case for one in CLAIMS.values()})
    if not isinstance(case, kinds):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(f"case must be one of {names}, got {case!r}; pass a Problem, for instance")
    parts = list(found.check(case)) if isinstance(case, found.case) else []
    if parts and found.opinion is not None:
        parts += found.opinion(case)
    return Certificate.of(found.id, found.kind, parts)
