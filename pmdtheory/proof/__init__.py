r"""Proofs of inequalities over whole boxes of laws, each with a certificate that a second program checks.

A statement says slack \(\ge c N\) for every law of a box: C7, C8 and C9 for two reward levels, C7 and C8 for three.
`prove_over_box` encloses slack/N in Arb balls and halves the box until every part is proved; `certificate` writes the
parts down; `recheck` checks them in decimal arithmetic that shares no code with the prover. `pmdtheory prove C8-KL`
does the same. What is proved in which coordinates, and what is not, is on the page docs/boxes.md.

>>> from pmdtheory.proof import certificate, prove_over_box, recheck, statement
>>> one = statement("C8-KL")
>>> found = prove_over_box(one)
>>> found.proved, recheck(certificate(one, found)).passed
(True, True)
"""

from pmdtheory.proof._records import Proof as Proof
from pmdtheory.proof._records import Proved as Proved
from pmdtheory.proof._records import Witness as Witness
from pmdtheory.proof._registry import STATEMENTS as STATEMENTS
from pmdtheory.proof._registry import select as select
from pmdtheory.proof._registry import statement as statement
from pmdtheory.proof._statement import Box as Box
from pmdtheory.proof._statement import Statement as Statement
from pmdtheory.proof._statement import Terms as Terms
from pmdtheory.proof.boxes import prove_over_box as prove_over_box
from pmdtheory.proof.certificate import certificate as certificate
from pmdtheory.proof.recheck import Recheck as Recheck
from pmdtheory.proof.recheck import recheck as recheck

__all__ = [
    "STATEMENTS",
    "Box",
    "Proof",
    "Proved",
    "Recheck",
    "Statement",
    "Terms",
    "Witness",
    "certificate",
    "prove_over_box",
    "recheck",
    "select",
    "statement",
]
