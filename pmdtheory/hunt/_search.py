"""The search: random laws of many families, then differential evolution from the worst of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmdtheory._checks import FloatArray
from pmdtheory.hunt._evolve import evolved
from pmdtheory.hunt._families import case_of, coordinates
from pmdtheory.hunt._statement import Statement

__all__ = ["ACTIONS", "NEGATIVE", "Searched", "measured", "searched", "slacks"]

ACTIONS: Final = (2, 3, 4, 5, 6)
NEGATIVE: Final = -1e-6  # a slack below this is no rounding noise; an exact check decides it
_CHUNK: Final = 10_000
_ELITE: Final = 40
_POPULATION: Final = 80
_CHANGES: Final = (1e-11, -0.7e-11, 1.3e-11)
Progress = Callable[[int, float], None]


@dataclass
class Searched:
    """What was tried so far.

    Attributes:
        instances: laws measured.
        undecided: laws whose slack was no number, or rounding noise; they count neither way.
        slack: the least.
        actions: of the law where it is.
        at: its coordinates.
        interrupted: whether the search was stopped from outside.
    """

    instances: int = 0
    undecided: int = 0
    slack: float = float("inf")
    actions: int = 2
    at: FloatArray | None = None
    interrupted: bool = False

    def joined(self, other: "Searched") -> "Searched":
        """Both searches as one."""
        least = min(self, other, key=lambda one: one.slack)
        counts = self.instances + other.instances, self.undecided + other.undecided
        return Searched(*counts, least.slack, least.actions, least.at, other.interrupted)

    def seen(self, slack: float, actions: int, at: FloatArray) -> None:
        """Keep the least."""
        if slack < self.slack:
            self.slack, self.actions, self.at = slack, actions, at.copy()


def slacks(statement: Statement, z: FloatArray, actions: int) -> tuple[FloatArray, int]:
    """`[N]`, infinite outside of the region and where undecided; how many of those inside were undecided.

    A negative slack counts where it stays the same, to a tenth, on laws that differ by some 1e-11: rounding noise,
    which a search for the least would otherwise find, does not. Statements are continuous in the law.
    """
    result, undecided = measured(statement, z, actions)
    below = np.flatnonzero(result < 0.0)
    if below.size:
        for change in _CHANGES:
            again, _ = measured(statement, z[below] * (1.0 + change * np.cos(np.arange(z.shape[1]))), actions)
            noise = ~(np.abs(again - result[below]) <= 0.1 * np.abs(result[below]))
            undecided += int(noise.sum())
            result[below[noise]] = np.inf
            below = below[~noise]
    return result, undecided


def measured(statement: Statement, z: FloatArray, actions: int) -> tuple[FloatArray, int]:
    """`[N]`, infinite outside of the region and where the measure is no number; how many inside are none."""
    case, inside = case_of(z, actions, statement.extra)
    result = np.full(len(z), np.inf)
    if not inside.any():
        return result, 0
    with np.errstate(all="ignore"):
        found = np.asarray(statement.measure(case), dtype=np.float64)
    known = np.isfinite(found)
    result[inside] = np.where(known, found, np.inf)
    return result, int((~known).sum())


def searched(
    statement: Statement,
    instances: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
    *,
    negative: float = NEGATIVE,
) -> Searched:
    """Random laws until a slack is below `negative` or `instances` are used, a fifth of them kept for evolution.

    A KeyboardInterrupt ends the search, not the program: what was found is returned.
    """
    result = Searched()
    elite: dict[int, tuple[FloatArray, FloatArray]] = {}

    def tried(z: FloatArray, actions: int) -> FloatArray:
        found, undecided = slacks(statement, z, actions)
        result.instances += len(z)
        result.undecided += undecided
        worst = int(found.argmin())
        result.seen(float(found[worst]), actions, z[worst])
        if progress is not None:
            progress(result.instances, result.slack)
        return found

    try:
        while result.instances < 0.8 * instances:
            for actions in ACTIONS:
                z = coordinates(rng, min(_CHUNK, max(90, instances // 25)), actions, statement.extra)
                found = tried(z, actions)
                old = elite.get(actions, (z[:0], found[:0]))
                both, values = np.concatenate([old[0], z]), np.concatenate([old[1], found])
                kept = np.argsort(values, kind="stable")[:_ELITE]
                elite[actions] = both[kept], values[kept]
            if result.slack < negative:
                break
        left = max(instances - result.instances, instances // 5)
        generations = max(20, left // (_POPULATION * len(ACTIONS)))
        for actions in ACTIONS:
            for part in _parts(generations):
                fresh = coordinates(rng, _POPULATION - _ELITE, actions, statement.extra)
                start = np.concatenate([elite[actions][0], fresh])
                evolved(rng, lambda z, k=actions: tried(z, k), start, part)  # type: ignore[misc]
            if result.slack < negative:
                break
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _parts(generations: int, longest: int = 300) -> list[int]:
    """Restarts: evolution of at most 300 generations each."""
    full, rest = divmod(generations, longest)
    return [longest] * full + ([rest] if rest else [])
