"""Exact policy mirror descent updates, and the evidence for what they do.

The public API is what this file names; everything else may change. Modules whose name starts with an underscore
are internal. The claims registry is loaded when it is first asked for, because it needs `scipy.stats`.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from pmdtheory import batch as batch
from pmdtheory import divergence as divergence
from pmdtheory import lambertw as lambertw
from pmdtheory import losses as losses
from pmdtheory.problem import Problem as Problem
from pmdtheory.solution import Solution as Solution
from pmdtheory.solution import SolveError as SolveError
from pmdtheory.solution import Status as Status
from pmdtheory.solution import Update as Update
from pmdtheory.subproblem import GapCertificate as GapCertificate
from pmdtheory.subproblem import gap_certificate as gap_certificate
from pmdtheory.subproblem import solve_regression as solve_regression
from pmdtheory.subproblem import solve_subproblem as solve_subproblem
from pmdtheory.update import baseline_update as baseline_update
from pmdtheory.update import kl_update as kl_update
from pmdtheory.update import mean_update as mean_update
from pmdtheory.update import mismatched_update as mismatched_update
from pmdtheory.update import mixed_update as mixed_update

if TYPE_CHECKING:
    from pmdtheory import claims as claims
    from pmdtheory import figures as figures
    from pmdtheory import rollouts as rollouts
    from pmdtheory import variants as variants
    from pmdtheory.claims import CLAIMS as CLAIMS
    from pmdtheory.claims import Certificate as Certificate
    from pmdtheory.claims import Claim as Claim
    from pmdtheory.claims import Verdict as Verdict
    from pmdtheory.claims import check as check
    from pmdtheory.enclosure import Enclosure as Enclosure
    from pmdtheory.enclosure import enclose as enclose

__version__ = "0.1.0"

_LAZY = {
    "CLAIMS": "pmdtheory.claims",
    "Certificate": "pmdtheory.claims",
    "Claim": "pmdtheory.claims",
    "Enclosure": "pmdtheory.enclosure",
    "Verdict": "pmdtheory.claims",
    "check": "pmdtheory.claims",
    "claims": "",
    "enclose": "pmdtheory.enclosure",
    "figures": "",
    "rollouts": "",
    "variants": "",
}


def __getattr__(name: str) -> Any:
    """Load the registry of claims, of figures or of variants on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'pmdtheory' has no attribute {name!r}")
    if _LAZY[name]:
        return getattr(_import_module(_LAZY[name]), name)
    return _import_module(f"pmdtheory.{name}")


def __dir__() -> list[str]:
    """Names that exist and names that would be loaded."""
    return sorted({*globals(), *_LAZY})
