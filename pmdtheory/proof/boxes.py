"""Branch and bound over boxes with exact ends: every box is proved, outside, refuted at a point, or left over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from fractions import Fraction
from math import inf, nextafter
from multiprocessing import get_context
from time import perf_counter

from flint import ctx

from pmdtheory._checks import shown
from pmdtheory.proof._records import Proof, Proved, Witness
from pmdtheory.proof._span import PRECISION, Span, exact
from pmdtheory.proof._statement import Box, Statement, volume

__all__ = ["prove_over_box"]

Progress = Callable[[float, int], None]


def _ends(span: Span) -> tuple[float, float]:
    """Floating-point numbers below the lower and above the upper end."""
    return nextafter(float(span.lo.lower()), -inf), nextafter(float(span.hi.upper()), inf)


def _halves(box: Box, axis: int) -> tuple[Box, Box]:
    """Both halves along an axis."""
    low, high = box[axis]
    middle = (low + high) / 2
    return (*box[:axis], (low, middle), *box[axis + 1 :]), (*box[:axis], (middle, high), *box[axis + 1 :])


def _judged(statement: Statement, box: Box) -> tuple[Box, Span | None, bool]:
    """A box, its enclosure, and whether nothing is left to do there."""
    found = statement.enclose(box)
    return box, found, found is None or _ends(found)[0] >= statement.at_least  # what is written down must suffice


def _split(statement: Statement, box: Box) -> list[tuple[Box, Span | None, bool]]:
    """Halves along the axis on which the worse half is enclosed best; boxes that are done count as best."""
    widths = [(high - low) / (b - a) for (low, high), (a, b) in zip(box, statement.root, strict=True)]
    # in the plane boxes may be as thin as the edges ask for; in more coordinates greed alone would cut one for ever
    axes = [k for k, width in enumerate(widths) if len(box) == 2 or 4 * width >= max(widths)]
    best: tuple[tuple[int, float, Fraction], list[tuple[Box, Span | None, bool]]] | None = None
    for axis in axes:
        halves = [_judged(statement, half) for half in _halves(box, axis)]
        lows = [inf if done or found is None else float(found.lo.lower()) for _, found, done in halves]
        score = (sum(done for *_, done in halves), min(lows), widths[axis])
        if best is None or score > best[0]:
            best = (score, halves)
    assert best is not None
    return best[1]


def _witness(statement: Statement, box: Box) -> Witness | None:
    """The middle of a box, when the statement is false there."""
    point = tuple((low + high) / 2 for low, high in box)
    if statement.enclose(tuple((x, x) for x in point)) is None:
        return None  # no law that the statement speaks about
    found = statement.slack([exact(x) for x in point])
    if found.is_finite() and found < exact(statement.at_least):
        return Witness(point, _ends(Span(found, found)))
    return None


@dataclass
class _Search:
    """Branch and bound, one box at a time, breadth first: a false statement is refuted early."""

    statement: Statement
    top: Box
    max_boxes: int

    def run(self, progress: Progress | None) -> tuple[list[Proved], list[Box], Witness | None]:
        """Boxes that are done, boxes that are left, and a point at which the statement is false."""
        done: list[Proved] = []
        pending = deque([_judged(self.statement, self.top)])
        volumes, whole = Fraction(0), volume(self.top)
        while pending:
            box, found, finished = pending.popleft()
            if finished:
                done.append(Proved(box, None if found is None else _ends(found)))
                volumes += volume(box)
                if progress is not None:
                    progress(float(volumes / whole), len(done))
                continue
            witness = _witness(self.statement, box)
            if witness is not None:
                return done, [box, *(one for one, *_ in pending)], witness
            if len(done) + len(pending) + 2 > self.max_boxes:
                return done, [box, *(one for one, *_ in pending)], None
            pending.extend(_split(self.statement, box))
        return done, [], None


def _part(name: str, box: Box, max_boxes: int) -> tuple[list[Proved], list[Box], Witness | None]:
    """A part of a proof in a process of its own: statements hold functions, so their id travels."""
    from pmdtheory.proof._registry import statement

    with ctx.workprec(PRECISION):
        return _Search(statement(name), box, max_boxes).run(None)


def _travels(statement: Statement) -> bool:
    """Whether another process finds this statement by its id."""
    from pmdtheory.proof._registry import STATEMENTS

    return STATEMENTS.get(statement.id) is statement


def _parts(box: Box, count: int) -> list[Box]:
    """At least `count` boxes of equal shape that fill a box."""
    boxes, axis = [box], 0
    while len(boxes) < count:
        boxes = [half for one in boxes for half in _halves(one, axis % len(box))]
        axis += 1
    return boxes


def _together(
    statement: Statement, top: Box, max_boxes: int, workers: int, progress: Progress | None
) -> tuple[list[Proved], list[Box], Witness | None]:
    """The search over parts of the box in processes."""
    done: list[Proved] = []
    left: list[Box] = []
    witness: Witness | None = None
    parts = _parts(top, 4 * workers)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_part, statement.id, one, max(2, max_boxes // len(parts))) for one in parts}
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                proved, open_boxes, false_at = future.result()
                done += proved
                left += open_boxes
                witness = witness or false_at
            if progress is not None:
                progress(float(sum(volume(one.box) for one in done) / volume(top)), len(done))
    return sorted(done, key=lambda one: one.box), sorted(left), witness


def prove_over_box(
    statement: Statement,
    *,
    box: Box | None = None,
    max_boxes: int = 20_000,
    workers: int = 1,
    progress: Progress | None = None,
) -> Proof:
    r"""Prove a statement over its box, or over a part of it, by branch and bound.

    Formula: slack \(\ge c N\) at every point; a box is proved when the lower end of an enclosure of slack/N over it
    is at least c.

    Args:
        statement: from `STATEMENTS`, or a mutant of one.
        box: pairs of rational ends, inside `statement.root`; all of it when None.
        max_boxes: how many boxes the proof may have; what is left then is the unproved volume.
        workers: processes; with more than one the box is cut into equal parts first.
        progress: called with the proved share of the volume and the number of proved boxes.

    Returns:
        A `Proof`. It is no error when something stays unproved, or when the statement is false at a point.

    Raises:
        ValueError: for a box that is not inside the statement's, for counts below one, and for more than one process
            with a statement that is not the one of `STATEMENTS`.

    Source: this project.

    >>> from fractions import Fraction
    >>> from pmdtheory.proof import prove_over_box, statement
    >>> found = prove_over_box(statement("C8-KL"), box=((Fraction(1, 4), Fraction(1, 2)), (Fraction(0), Fraction(2))))
    >>> found.proved, found.unproved_volume == 0
    (True, True)
    """
    top = statement.root if box is None else box
    inside = len(top) == len(statement.root) and all(
        low <= a < b <= high for (a, b), (low, high) in zip(top, statement.root, strict=False)
    )
    if not inside:
        raise ValueError(f"box {shown(top)} is not inside that of {statement.id}; pass one pair of ends a coordinate")
    for name, count in (("max_boxes", max_boxes), ("workers", workers)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least one, got {shown(count)}; pass 1 or more")
    if workers > 1 and not _travels(statement):
        raise ValueError(f"{statement.id} cannot travel to another process; pass workers=1 for what is no statement")
    start = perf_counter()
    if workers > 1:
        done, left, witness = _together(statement, top, max_boxes, workers, progress)
    else:
        with ctx.workprec(PRECISION):
            done, left, witness = _Search(statement, top, max_boxes).run(progress)
    return Proof(statement.id, top, tuple(done), tuple(left), witness, perf_counter() - start)
