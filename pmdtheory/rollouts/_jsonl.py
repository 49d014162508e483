"""JSON lines through pyarrow, a megabyte at a time; line by line only where a line is broken."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pmdtheory.rollouts._batches import CHUNK, LOOKED_AT, REMEDY, Batch, Source
from pmdtheory.rollouts._layouts import Layout
from pmdtheory.rollouts._record import BrokenRow

__all__ = ["jsonl_source"]


def jsonl_source(path: Path) -> Source:
    kinds: dict[str, set[type]] = {}
    with path.open("rb") as file:
        for line in islice(file, LOOKED_AT):
            record = _record(line)
            for name, value in record.items() if isinstance(record, dict) else ():
                kinds.setdefault(name, set()).add(type(value))
    if not kinds:
        raise ValueError(f"file {str(path)!r} holds no JSON object in its first {LOOKED_AT} lines; {REMEDY}")
    numeric = {name: bool(seen & {int, float, bool}) for name, seen in kinds.items()}
    return Source(str(path), numeric, path.stat().st_size, lambda layout: _jsonl_batches(path, layout, kinds))


def _record(line: bytes) -> Any:
    """The value of a line, or the exception."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return error


def _schema(layout: Layout, kinds: dict[str, set[type]]) -> Any:
    """Types for pyarrow's reader; None where a column needs Python's (nested prompts, mixed types)."""
    import pyarrow as pa

    types = {str: pa.string(), int: pa.float64(), float: pa.float64(), bool: pa.bool_(), list: pa.list_(pa.float64())}
    fields = []
    for name in layout.needed:
        seen = kinds.get(name, set()) - {type(None)}
        if seen == {int, float}:
            seen = {float}
        if name == layout.prompt:
            if not seen <= {str, int} or len(seen) != 1:
                return None
            fields.append((name, pa.string() if seen == {str} else pa.int64()))
        elif len(seen) > 1 or not seen <= set(types):
            return None
        else:
            fields.append((name, types[seen.pop()] if seen else pa.float64()))
    return pa.schema(fields)


def _jsonl_batches(path: Path, layout: Layout, kinds: dict[str, set[type]]) -> Iterator[Batch]:
    schema = _schema(layout, kinds)
    first, done = 1, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            chunk += file.readline()
            done += len(chunk)
            count = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
            columns = None if schema is None else _parsed(chunk, schema, count)
            if columns is None:
                yield _line_by_line(str(path), chunk, first, layout, done)
            else:
                yield Batch(np.arange(first, first + count), columns, done=done)
            first += count


def _parsed(chunk: bytes, schema: Any, count: int) -> dict[str, Any] | None:
    """Columns of lines that are all sound; None where one is not, or is blank."""
    import pyarrow as pa
    from pyarrow import json as pyarrow_json

    try:
        table = pyarrow_json.read_json(
            pa.BufferReader(chunk),
            read_options=pyarrow_json.ReadOptions(block_size=len(chunk) + 1, use_threads=False),
            parse_options=pyarrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != count:
        return None
    return {name: table.column(name).combine_chunks() for name in schema.names}


def _line_by_line(file: str, chunk: bytes, first: int, layout: Layout, done: int) -> Batch:
    rows, broken = [], []
    columns: dict[str, list[Any]] = {name: [] for name in layout.needed}
    for number, line in enumerate(chunk.splitlines() if b"\r" not in chunk else chunk.split(b"\n"), start=first):
        if not line.strip():
            continue
        record = _record(line)
        if not isinstance(record, dict):
            what = (
                f"not JSON ({record})" if isinstance(record, Exception) else f"JSON {type(record).__name__}, no object"
            )
            broken.append(BrokenRow(file, number, "", " ".join(what.split())))
            continue
        rows.append(number)
        for name, column in columns.items():
            column.append(record.get(name))
    return Batch(np.array(rows, dtype=np.int64), dict(columns), broken, done)
