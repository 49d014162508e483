"""Intervals for every group of graded rewards that hold at the stated rate, whatever the law and the group's size."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._bands import Cells, cells_of, outward
from pmdtheory.rollouts._extremes import ranges

__all__ = ["graded_intervals"]

_CELLS: Final = ((16, 6), (64, 8), (np.inf, 10))  # most cells, for groups of up to so many
_EFFORT: Final = 12_000  # different groups times cells squared, and one more for every so many rows
_ROWS: Final = 80


def graded_intervals(
    tables: Sequence[FloatArray], tau: float, level: float
) -> tuple[list[dict[str, tuple[FloatArray, FloatArray]]], Cells]:
    """Ends `[g]` for every functional and every table of rewards `[g, n]`, and the cells they rest on.

    A group tells how many of its rewards lie in each cell. There are as many cells as leave few different groups, one
    search for each, whatever the number of groups.
    """
    reward = np.concatenate([table.ravel() for table in tables])
    size = float(np.median(np.concatenate([np.full(table.shape[0], table.shape[1]) for table in tables])))
    cells, counts = _counted(tables, reward, size)
    bands = [cells.band(below, table.shape[1], level) for (below, _), table in zip(counts, tables, strict=True)]
    low, high = (np.concatenate([band[end] for band in bands]) for end in (0, 1))
    if _effort(counts) > _allowed(reward):  # groups of very many sizes
        low, high = outward(low, high)
    both, where = np.unique(np.concatenate([low, high], axis=1), axis=0, return_inverse=True)
    found = ranges(both[:, : low.shape[1]], both[:, low.shape[1] :], cells, tau)
    result, start = [], 0
    for _, inverse in counts:
        rows = where.ravel()[start + inverse]
        result.append({name: (least[rows], most[rows]) for name, (least, most) in found.items()})
        start += int(inverse.max()) + 1
    return result, cells


def _counted(
    tables: Sequence[FloatArray], reward: FloatArray, size: float
) -> tuple[Cells, list[tuple[NDArray[np.int64], NDArray[np.intp]]]]:
    """The cells, and for each table its distinct counts `[u, K - 1]` and which one each group has `[g]`."""
    most = next(cells for n, cells in _CELLS if size <= n)
    while True:
        cells = cells_of(reward, size, most)
        counts = []
        for table in tables:
            distinct, inverse = np.unique(cells.below(table), axis=0, return_inverse=True)
            counts.append((distinct, inverse.ravel()))
        if _effort(counts) <= _allowed(reward) or cells.last.size <= 2:
            return cells, counts
        most = cells.last.size - 1


def _effort(counts: list[tuple[NDArray[np.int64], NDArray[np.intp]]]) -> int:
    """What the searches cost, about ten microseconds each."""
    return sum(distinct.shape[0] * (distinct.shape[1] + 1) ** 2 for distinct, _ in counts)


def _allowed(reward: FloatArray) -> float:
    return _EFFORT + reward.size / _ROWS
