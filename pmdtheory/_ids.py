"""Statements by id or by claim, for the registries that hold them: boxes and the hunter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

__all__ = ["Identified", "chosen", "named"]


class Identified(Protocol):
    """What has an id of its own and belongs to a claim."""

    @property
    def id(self) -> str:
        """Such as "C8-KL"."""

    @property
    def claim(self) -> str:
        """Such as "C8"; empty for none."""


One = TypeVar("One", bound=Identified)


def named(name: str, known: Mapping[str, One], example: str) -> One:
    """The statement of an id, whatever its case; TypeError for what is no string, ValueError for what is no id."""
    if not isinstance(name, str):
        raise TypeError(f"statement must be an id such as {example!r}, got {name!r}; choose from {', '.join(known)}")
    ids = {one.upper(): one for one in known}
    if name.upper() not in ids:
        raise ValueError(f"statement {name!r} does not exist; choose from {', '.join(known)}")
    return known[ids[name.upper()]]


def chosen(names: Sequence[str], known: Mapping[str, One], example: str) -> list[One]:
    """The statements of ids and of whole claims, in the order of the registry; all of them for no name."""
    wanted: set[str] = set()
    for name in names:
        wanted |= _of_claim(name, known.values()) or {named(name, known, example).id}
    return [one for one in known.values() if not names or one.id in wanted]


def _of_claim(name: str, every: Iterable[Identified]) -> set[str]:
    return {one.id for one in every if isinstance(name, str) and one.claim == name.upper()}
