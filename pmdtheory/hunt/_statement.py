"""A statement about every law, as a slack that must not be negative, and a law at which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from flint import ctx

from pmdtheory.hunt._balls import BITS, BallCase
from pmdtheory.hunt._case import Case

__all__ = ["Statement", "Witness"]


@dataclass(frozen=True)
class Witness:
    """A law with rational numbers, tau = 1, on which a statement is decided exactly.

    Attributes:
        weights: positive integers, to which the masses are proportional.
        reward: rational numbers that float64 holds.
        extra: the further numbers of the statement, by name.
    """

    weights: tuple[int, ...]
    reward: tuple[Fraction, ...]
    extra: Mapping[str, Fraction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.reward) or len(self.weights) < 2:
            raise ValueError(
                f"witness needs as many weights as rewards, at least two, got {len(self.weights)} and "
                f"{len(self.reward)}; pass one of each for every action"
            )
        for weight in self.weights:
            if isinstance(weight, bool) or not isinstance(weight, int) or weight < 1:
                raise ValueError(f"weights must be positive integers, got {weight!r}; multiply by the denominators")
        for reward in self.reward:
            if Fraction(float(reward)) != reward:
                raise ValueError(f"reward {reward} is no float; choose a denominator that is a power of two")

    @classmethod
    def of(cls, weights: str, reward: str, **extra: int | str) -> Witness:
        """A witness from "2 : 1" and "0, 1/2"."""
        return cls(
            tuple(int(w) for w in weights.split(":")),
            tuple(Fraction(r.strip()) for r in reward.split(",")),
            {name: Fraction(value) for name, value in extra.items()},
        )

    def __str__(self) -> str:
        rest = "".join(f", {name} {value}" for name, value in self.extra.items())
        return f"masses {' : '.join(map(str, self.weights))}, rewards/tau {', '.join(map(str, self.reward))}{rest}"


@dataclass(frozen=True)
class Statement:
    r"""An inequality that is asserted for every law, every number of actions and every tau.

    Attributes:
        id: such as "tau-KL".
        claim: id of the claim it comes from, or "".
        words: the statement in words.
        formula: the slack.
        verdict: what is known: "proved", or "refuted" by `witness`.
        reason: the proof or refutation in a few words; whole ones are on the page docs/hunt.md.
        measure: `N` laws to their slacks `[N]`, negative where the statement is false.
        extra: further free numbers, by name, with the ends between which they are searched (log-uniformly).
        witness: of a refuted statement, decided exactly in `refutes`.
        boxes: ids of statements of `pmdtheory.proof` that prove it for two or three reward levels.
        exact: decides a witness in place of `measure`, where that is a heuristic.
        mutant: whether this is a known statement with its constant made too strong.
    """

    id: str
    claim: str
    words: str
    formula: str
    verdict: Literal["proved", "refuted"]
    reason: str
    measure: Callable[[Case], Any]
    extra: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    witness: Witness | None = None
    boxes: tuple[str, ...] = ()
    exact: Callable[[BallCase], Any] | None = None
    mutant: bool = False

    def slack(self, witness: Witness) -> tuple[float, float]:
        """A proven enclosure of the slack at a witness, rounded outward.

        Args:
            witness: with the `extra` numbers of this statement.

        Raises:
            ValueError: for other extra numbers.
        """
        if set(witness.extra) != set(self.extra):
            raise ValueError(
                f"witness has the numbers {sorted(witness.extra)}, {self.id} takes {sorted(self.extra)}; pass those"
            )
        with ctx.workprec(BITS):
            found = (self.exact or self.measure)(BallCase(witness.weights, witness.reward, witness.extra))[0]
            low, high = float(found.lower()), float(found.upper())
        return low - 1e-15 * abs(low) - 1e-300, high + 1e-15 * abs(high) + 1e-300

    def refutes(self, witness: Witness) -> bool:
        """Whether the slack at a witness is proved to be negative."""
        return self.slack(witness)[1] < 0.0
