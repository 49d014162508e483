"""What every reader of files yields."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory.rollouts._layouts import Layout
from pmdtheory.rollouts._record import BrokenRow

__all__ = ["CHUNK", "LOOKED_AT", "REMEDY", "Batch", "Source"]

REMEDY: Final = "write JSON lines (.jsonl), CSV with a header (.csv) or Parquet (.parquet)"
CHUNK: Final = 1 << 23  # bytes
LOOKED_AT: Final = 100  # rows from which the columns of a text file are found


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a file: their numbers `[B]`, columns by name (pyarrow arrays or lists), unreadable rows, what is done."""

    rows: NDArray[np.int64]
    columns: dict[str, Any]
    broken: list[BrokenRow] = field(default_factory=list)
    done: int = 0


@dataclass(frozen=True, eq=False)
class Source:
    """A file that can be read: its columns in order, each with whether it holds numbers, its size and its batches."""

    file: str
    numeric: dict[str, bool]
    size: int
    batches: Callable[[Layout], Iterator[Batch]]
