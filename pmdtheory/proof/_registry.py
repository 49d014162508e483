"""All statements about boxes, by id."""

from collections.abc import Sequence
from typing import Final

from pmdtheory._ids import chosen, named
from pmdtheory.proof._statement import Statement
from pmdtheory.proof.binary import STATEMENTS as BINARY
from pmdtheory.proof.three_level import STATEMENTS as TERNARY

__all__ = ["STATEMENTS", "select", "statement"]

STATEMENTS: Final[dict[str, Statement]] = {one.id: one for one in (*BINARY, *TERNARY)}


def statement(name: str) -> Statement:
    """The statement of an id.

    Args:
        name: such as "C8-KL"; case does not matter.

    Returns:
        A `Statement`, which is not proved yet.

    Raises:
        TypeError: for what is no string.
        ValueError: for what is no id.

    Source: this project.

    >>> from pmdtheory.proof import statement
    >>> statement("c8-kl").coordinates
    ('p', 'u')
    """
    return named(name, STATEMENTS, "C8-KL")


def select(names: Sequence[str]) -> list[Statement]:
    """The statements of the given ids, and those of whole claims, in the order of `STATEMENTS`; all of them for none.

    Args:
        names: ids of statements such as "C8-KL", or of claims such as "C8".

    Returns:
        The statements.

    Raises:
        TypeError, ValueError: as `statement`.

    Source: this project.

    >>> from pmdtheory.proof import select
    >>> [one.id for one in select(["C7-3", "C9"])]
    ['C7-3', 'C9-contraction', 'C9-fraction', 'C9-minimum']
    """
    return chosen(names, STATEMENTS, "C8-KL")
