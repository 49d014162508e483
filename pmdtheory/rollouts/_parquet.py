"""Parquet through pyarrow, only the columns that are needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pmdtheory.rollouts._batches import REMEDY, Batch, Source
from pmdtheory.rollouts._layouts import Layout

__all__ = ["parquet_source"]

ROWS: Final = 1 << 16


def parquet_source(path: Path) -> Source:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowInvalid:
        raise ValueError(f"file {str(path)!r} is no Parquet file; {REMEDY}") from None
    schema = file.schema_arrow
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    numeric = {one.name: any(test(one.type) for test in number) for one in schema}
    rows = file.metadata.num_rows
    if rows == 0:
        raise ValueError(f"file {str(path)!r} holds no rows; {REMEDY}")

    def batches(layout: Layout) -> Iterator[Batch]:
        first = 1
        for part in file.iter_batches(batch_size=ROWS, columns=list(layout.needed), use_threads=False):
            columns = {name: part.column(name) for name in layout.needed}
            yield Batch(np.arange(first, first + part.num_rows), columns, done=first - 1 + part.num_rows)
            first += part.num_rows

    return Source(str(path), numeric, rows, batches)
