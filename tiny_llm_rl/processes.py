"""What the processes of `jax.distributed` say to each other on the host; one that is alone agrees with itself."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Made = TypeVar("Made")

__all__ = ["anywhere", "check_same", "first_one_first", "joined", "leads", "own_part", "several", "together"]


def several() -> bool:
    """Whether there are other processes."""
    return bool(jax.process_count() > 1)


def own_part(size: int) -> slice:
    """Which of so many rows this process works on, on the host; all of them when it is alone."""
    each = -(-size // jax.process_count())
    return slice(jax.process_index() * each, (jax.process_index() + 1) * each)


def joined(own: FloatArray) -> FloatArray:
    """The rows of all processes, one after another, from each one's own, bit for bit."""
    if not several():
        return own
    from jax.experimental.multihost_utils import process_allgather

    bits = np.ascontiguousarray(own, np.float64).view(np.uint32)  # jax would cut float64 to float32
    return np.ascontiguousarray(process_allgather(bits, tiled=True)).view(np.float64)


def anywhere(flag: bool) -> bool:
    """Whether it is true in any process; all have to ask."""
    return bool(joined(np.array([float(flag)])).any())


def check_same(name: str, value: float, remedy: str) -> None:
    """ValueError in all processes unless the value is the same in all; all have to ask."""
    found = joined(np.array([float(value)]))
    if (found != found[0]).any():
        raise ValueError(f"{name} must be the same in all processes, got {found.tolist()}; {remedy}")


def leads() -> bool:
    """Whether this is the first process, which alone writes and prints."""
    return bool(jax.process_index() == 0)


def together(make: Callable[[], Made]) -> Made:
    """What `make` returns in this process; where it raised in one, that there and ValueError in the others.

    Otherwise the others would wait for one that has given up.

    >>> together(lambda: 3)
    3
    """
    found: list[Made] = []
    problem: Exception | None = None
    try:
        found.append(make())
    except (ValueError, TypeError, OSError) as raised:
        problem = raised
    if anywhere(problem is not None):
        raise problem or ValueError("another process has given up; its message says why")
    return found[0]


def first_one_first(make: Callable[[], Made]) -> Made:
    """What `make` returns in this process, called in the first process before the others: to open a run's directory.

    >>> first_one_first(lambda: 3)
    3
    """
    found = together(lambda: make() if leads() else None)
    return together(make if found is None else lambda: found)
