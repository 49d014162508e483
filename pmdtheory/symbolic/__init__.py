r"""Derivations of the claims in sympy: lists of equations and inequalities, each with its reason and decided.

`prove("C5")` gives a `Derivation`; its `check` decides every `Step` symbolically, without putting numbers in. Means
over the actions are the linear functional `E`, so that a derivation holds for any number of actions. `perturbations`
yields wrong versions of a step, none of which passes. `pmdtheory prove C5` prints the same.

>>> from pmdtheory.symbolic import prove
>>> derivation = prove("C4")
>>> all(derivation.check())
True
"""

from collections.abc import Sequence
from typing import Final

from pmdtheory.symbolic import (
    binary,
    convergence,
    identities,
    lambert,
    mismatch,
    order,
    sensitivity,
    series,
)
from pmdtheory.symbolic._expectation import E as E
from pmdtheory.symbolic._expectation import Variable as Variable
from pmdtheory.symbolic._step import Derivation as Derivation
from pmdtheory.symbolic._step import Step as Step
from pmdtheory.symbolic._step import perturbations as perturbations

__all__ = ["DERIVATIONS", "Derivation", "E", "Step", "Variable", "perturbations", "prove", "select"]

_ALL: Sequence[Derivation] = (
    lambert.C1,
    lambert.C2,
    identities.C3,
    identities.C4,
    identities.C5,
    identities.C6,
    order.C8,
    binary.C9,
    series.C11,
    sensitivity.C13,
    mismatch.C15,
    convergence.C17,
    sensitivity.C22,
)
DERIVATIONS: Final[dict[str, Derivation]] = {one.claim: one for one in _ALL}


def prove(claim: str) -> Derivation:
    """The derivation of a claim.

    Args:
        claim: an id such as "C5"; case does not matter.

    Returns:
        A `Derivation`, whose steps are not checked yet.

    Raises:
        TypeError: for what is no string.
        ValueError: for a claim without a derivation.

    Source: this project; the statements of C1 and C2 are from arXiv:2602.05933.

    >>> [step.check() for step in prove("c6").steps]
    [True, True]
    """
    if not isinstance(claim, str):
        raise TypeError(f"claim must be an id such as 'C5', got {claim!r}; choose from {', '.join(DERIVATIONS)}")
    if claim.upper() not in DERIVATIONS:
        raise ValueError(f"claim {claim!r} has no derivation; choose from {', '.join(DERIVATIONS)}")
    return DERIVATIONS[claim.upper()]


def select(ids: Sequence[str]) -> list[Derivation]:
    """The derivations of the given claims, in the order of `DERIVATIONS`; all of them for none.

    Args:
        ids: such as "C5"; case does not matter.

    Returns:
        The derivations.

    Raises:
        TypeError, ValueError: as `prove`.

    Source: this project.

    >>> [one.claim for one in select(["C5", "c1"])]
    ['C1', 'C5']
    """
    wanted = {prove(one).claim for one in ids} or set(DERIVATIONS)
    return [one for one in DERIVATIONS.values() if one.claim in wanted]
