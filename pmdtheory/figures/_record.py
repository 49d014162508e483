"""What a figure is: its name, what it shows and of which claims, how its numbers are made and how they are drawn."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pmdtheory._checks import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from pmdtheory.figures._style import Style

Arrays = Mapping[str, FloatArray]
Config = Mapping[str, Any]

__all__ = ["Arrays", "Config", "Figure", "claim_ids"]


def claim_ids(text: str) -> tuple[str, ...]:
    """The claim ids that a text mentions, in the order of their first mention.

    >>> claim_ids("Exponential (C1) against linear (C21, C1).")
    ('C1', 'C21')
    """
    return tuple(dict.fromkeys(re.findall(r"\bC[0-9]+\b", text)))


@dataclass(frozen=True)
class Figure:
    """A figure of the registry.

    Attributes:
        name: an identifier; the file names and the command line use it.
        title: a few words.
        caption: what is drawn, with the ids of its claims in brackets.
        config: the parameters of `compute`, JSON values.
        arrays: name of each array that `compute` gives to its shape and unit, for instance "[T, P], nats"; a letter
            means the same size in all arrays of a figure, "[]" is a scalar.
        compute: config -> arrays, float64, without a random state of its own; NaN where a value does not exist.
        draw: arrays, style -> matplotlib Figure.
        floors: for arrays of rounding errors and the like, the size below which a difference does not count.
        packages: distributions besides NumPy and SciPy that the numbers depend on; where there are any, those of a
            compiler, so that the processor is recorded next to their versions.
        expensive: whether `compute` is run on request only (it trains, say); otherwise the stored data are used.
    """

    name: str
    title: str
    caption: str
    config: Config
    arrays: Mapping[str, str]
    compute: Callable[[Config], Arrays]
    draw: "Callable[[Arrays, Style], Canvas]"
    floors: Mapping[str, float] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    expensive: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name must be a lower-case identifier, got {self.name!r}; choose one such as ratio_tilt")
        if not self.claims or any(not re.fullmatch(r"C[1-9][0-9]*", claim) for claim in self.claims):
            raise ValueError(
                f"caption of {self.name} cites claims {self.claims}; cite at least one, by its id, as (C1)"
            )
        if set(self.floors) - set(self.arrays):
            raise ValueError(f"floors of {self.name} names {sorted(self.floors)}; name arrays of the figure")

    @property
    def claims(self) -> tuple[str, ...]:
        """The ids of the claims the figure is about: those that its caption cites, nothing listed twice."""
        return claim_ids(self.caption)

    def checked(self, arrays: Arrays, source: str) -> Arrays:
        """The arrays, if their names and shapes are the declared ones and nothing is infinite; ValueError otherwise."""
        remedy = f"recompute them with `pmdtheory figures {self.name}`"
        if set(arrays) != set(self.arrays):
            odd = sorted(set(arrays) ^ set(self.arrays))
            raise ValueError(f"{source}: arrays {odd} are missing or unknown; {remedy}")
        sizes: dict[str, int] = {}
        for name, note in self.arrays.items():
            letters = [part.strip() for part in note[note.index("[") + 1 : note.index("]")].split(",") if part.strip()]
            shape = arrays[name].shape
            declared = tuple(
                sizes.setdefault(letter, size) for letter, size in zip(letters, shape, strict=False)
            )  # a letter's first size is its size
            if len(letters) != len(shape) or declared != shape:
                raise ValueError(f"{source}: array {name} has shape {shape}, not {note}; {remedy}")
            if np.isinf(arrays[name]).any():
                raise ValueError(f"{source}: array {name} holds an infinity; {remedy}")
        return arrays
