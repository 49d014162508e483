"""All statements about boxes, by id."""

from collections.abc import Sequence
from typing import Final

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
    if not isinstance(name, str):
        raise TypeError(f"statement must be an id such as 'C8-KL', got {name!r}; choose from {', '.join(STATEMENTS)}")
    known = {one.upper(): one for one in STATEMENTS}
    if name.upper() not in known:
        raise ValueError(f"statement {name!r} does not exist; choose from {', '.join(STATEMENTS)}")
    return STATEMENTS[known[name.upper()]]


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
    claims = {one.claim for one in STATEMENTS.values()}
    wanted: set[str] = set()
    for name in names:
        if isinstance(name, str) and name.upper() in claims:
            wanted |= {one.id for one in STATEMENTS.values() if one.claim == name.upper()}
        else:
            wanted.add(statement(name).id)
    return [one for one in STATEMENTS.values() if not names or one.id in wanted]
