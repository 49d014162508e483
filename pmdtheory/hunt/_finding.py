"""What a hunt found out about one statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pmdtheory.hunt._statement import Witness

__all__ = ["Finding"]

Point = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Finding:
    """What a hunt found out about one statement.

    Attributes:
        statement: its id.
        verdict: "refuted" by a witness that is decided exactly; "proved over boxes" for the levels and tau of its
            `boxes`; "survived" where nothing was found.
        instances: laws that were measured.
        undecided: laws whose slack was no number, or rounding noise; they count neither way.
        least: the least slack in float64.
        point: the law where it is: log-masses (nats), rewards over tau, further numbers by name.
        witness: of a refutation.
        slack: a proven enclosure of the slack at the witness.
        boxes: id of a statement of `pmdtheory.proof` to whether it was proved.
        interrupted: whether the search was stopped before its end.
    """

    statement: str
    verdict: Literal["refuted", "proved over boxes", "survived"]
    instances: int
    undecided: int
    least: float
    point: Point
    witness: Witness | None
    slack: tuple[float, float] | None
    boxes: Mapping[str, bool]
    interrupted: bool
