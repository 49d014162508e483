"""CSV through pyarrow, all columns as text."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pmdtheory.rollouts._batches import CHUNK, LOOKED_AT, REMEDY, Batch, Source
from pmdtheory.rollouts._layouts import Layout
from pmdtheory.rollouts._record import BrokenRow

__all__ = ["csv_source"]


def csv_source(path: Path) -> Source:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names, *rows = islice(csv.reader(file), LOOKED_AT)
    if len(set(names)) != len(names):
        raise ValueError(f"file {str(path)!r} names a column twice in its header; {REMEDY}")
    if not rows:
        raise ValueError(f"file {str(path)!r} has a header and no rows; {REMEDY}")
    numeric = {name: all(_number(row[i]) for row in rows if i < len(row) and row[i]) for i, name in enumerate(names)}
    return Source(str(path), numeric, path.stat().st_size, lambda layout: _csv_batches(path, layout, len(names)))


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false")
    return True


def _csv_batches(path: Path, layout: Layout, width: int) -> Iterator[Batch]:
    """Batches of text columns. Rows count from the header, which is 1; blank lines do not count."""
    import pyarrow as pa
    from pyarrow import csv as pyarrow_csv

    broken: list[BrokenRow] = []

    def invalid(row: Any) -> str:
        broken.append(BrokenRow(str(path), -1 if row.number is None else row.number, "", _fields(row, width)))
        return "skip"

    try:
        file = pa.OSFile(str(path))
        reader = pyarrow_csv.open_csv(
            file,
            read_options=pyarrow_csv.ReadOptions(block_size=CHUNK, use_threads=False),
            parse_options=pyarrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=invalid),
            convert_options=pyarrow_csv.ConvertOptions(
                include_columns=list(layout.needed),
                column_types=dict.fromkeys(layout.needed, pa.string()),
                strings_can_be_null=False,
            ),
        )
        next_row, seen, done = 2, 0, 0
        for part in reader:
            count = part.num_rows
            skipped = [one.row for one in broken if one.row >= next_row]  # of later batches too: the reader runs ahead
            numbers = np.setdiff1d(np.arange(next_row, next_row + count + len(skipped)), skipped)[:count]
            fresh, seen = broken[seen:], len(broken)
            next_row = int(numbers[-1]) + 1 if count else next_row
            done = file.tell() if not file.closed else path.stat().st_size  # the reader closes it at the end
            yield Batch(numbers, {name: part.column(name) for name in layout.needed}, fresh, done)
        if len(broken) > seen:
            yield Batch(np.empty(0, dtype=np.int64), {name: [] for name in layout.needed}, broken[seen:], done)
    except pa.ArrowInvalid as error:
        raise ValueError(f"file {str(path)!r} is CSV that cannot be read ({error}); {REMEDY}") from None


def _fields(row: Any, width: int) -> str:
    return f"{row.actual_columns} fields for {width} columns"
