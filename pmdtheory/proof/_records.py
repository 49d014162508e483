"""What branch and bound finds out: boxes that are proved, a point at which a statement is false, a whole proof."""

from dataclasses import dataclass
from fractions import Fraction

from pmdtheory.proof._statement import Box, volume

__all__ = ["Proof", "Proved", "Witness"]


@dataclass(frozen=True)
class Proved:
    """One box of a proof.

    Attributes:
        box: its ends.
        slack: an enclosure of slack/N over it; None where the box holds no law that the statement is about.
    """

    box: Box
    slack: tuple[float, float] | None


@dataclass(frozen=True)
class Witness:
    """A point at which a statement is false.

    Attributes:
        point: exact coordinates.
        slack: an enclosure of slack/N there, below the constant.
    """

    point: tuple[Fraction, ...]
    slack: tuple[float, float]


@dataclass(frozen=True)
class Proof:
    """What branch and bound found out about a statement.

    Attributes:
        statement: its id.
        box: the box that was asked about.
        boxes: those that are proved, or outside.
        unproved: boxes that were left over.
        witness: where the statement is false, if it is.
        seconds: how long it took.
    """

    statement: str
    box: Box
    boxes: tuple[Proved, ...]
    unproved: tuple[Box, ...]
    witness: Witness | None
    seconds: float

    @property
    def proved(self) -> bool:
        """Whether every box is proved or outside, and they fill the box."""
        return self.witness is None and not self.unproved and self.proved_volume == volume(self.box)

    @property
    def proved_volume(self) -> Fraction:
        """Volume of the proved boxes and of those outside, exactly."""
        return sum((volume(one.box) for one in self.boxes), start=Fraction(0))

    @property
    def unproved_volume(self) -> Fraction:
        """Volume of what is left, exactly."""
        return volume(self.box) - self.proved_volume
