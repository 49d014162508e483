"""Batches to probe a loss with: fixed log-probabilities, chosen rewards, lengths and log-ratios."""

import numpy as np
from numpy.typing import ArrayLike

from pmdtheory._checks import FloatArray
from pmdtheory.variants._probe import Batch

__all__ = ["CENTRE", "layout", "mixed_rewards", "scattered"]

CENTRE = 0.5  # of probing rewards: inside (0, 1) and (-1, 1), between which public code filters groups
_GOLDEN = 0.6180339887498949


def scattered(shape: tuple[int, ...], low: float, high: float, start: int = 0) -> FloatArray:
    """Numbers that fill an interval evenly and repeat nothing; the same on every machine."""
    index = np.arange(1 + start, 1 + start + int(np.prod(shape)))
    return np.asarray(low + (high - low) * np.modf(index * _GOLDEN)[0]).reshape(shape)


def mixed_rewards(n: int, scale: float = 1.0, start: int = 0) -> FloatArray:
    """`[n]`, rewards of one group about `CENTRE` with mean `CENTRE`, no two alike, spread by about `scale`."""
    raw = scattered((n,), -0.5, 0.5, start)
    raw = raw - raw.mean()
    return np.asarray(CENTRE + scale * raw / (raw.max() - raw.min()))


def layout(
    rewards: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    pad: int = 1,
    log_ratio: ArrayLike = 0.0,
    first_only: bool = True,
) -> Batch:
    """A batch of rewards `[G, n]` whose sequences have the given lengths and are padded to `pad` tokens.

    `log_ratio` broadcasts to `[G, n]`; it sits on the first token of each sequence, or on every token.
    """
    table = np.atleast_2d(np.asarray(rewards, dtype=np.float64))
    shape = (*table.shape, pad)
    length = np.broadcast_to(pad if lengths is None else np.asarray(lengths), table.shape)
    mask = np.arange(pad) < length[..., None]
    old = np.where(mask, scattered(shape, -1.6, -0.4), 0.0)
    shift = np.broadcast_to(np.asarray(log_ratio, dtype=np.float64), table.shape)[..., None]
    moved = (np.arange(pad) == 0) if first_only else np.ones(pad, dtype=bool)
    return Batch(np.where(mask & moved, old + shift, old), old, table, mask)
