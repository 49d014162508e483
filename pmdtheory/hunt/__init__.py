r"""A hunter of counterexamples: statements about every law, every number of actions and every tau.

A statement is a slack that must not be negative. `hunt` measures it on random laws of many families, evolves the worst,
shrinks a violation to a law of few actions and few digits, and decides that law exactly in Arb balls. Where nothing is
found, statements with a form for two or three reward levels are proved over boxes (`pmdtheory.proof`). What is known
of each statement, with the proofs, is on the page docs/hunt.md; `pmdtheory hunt` does the same.

>>> from pmdtheory.hunt import hunt, statement
>>> found = hunt(statement("C13-top"), instances=3000, seed=0)
>>> found.verdict, found.slack[1] < 0  # PMD-mean can be the more sensitive of the two at the best action
('refuted', True)
"""

from pmdtheory.hunt._finding import Finding as Finding
from pmdtheory.hunt._hunter import hunt as hunt
from pmdtheory.hunt._statement import Statement as Statement
from pmdtheory.hunt._statement import Witness as Witness
from pmdtheory.hunt._statements import STATEMENTS as STATEMENTS
from pmdtheory.hunt._statements import select as select
from pmdtheory.hunt._statements import statement as statement

__all__ = ["STATEMENTS", "Finding", "Statement", "Witness", "hunt", "select", "statement"]
