"""Cells of a column as numbers or keys, with what is wrong with those that are neither."""

import hashlib
import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray, shown

__all__ = ["Faults", "as_keys", "as_numbers", "short"]

Faults = dict[int, str]  # place in the batch to what is wrong there
_LONG: Final = 400
_EMPTY: Final = "is empty"


def as_numbers(column: Any, *, missing: bool = False) -> tuple[FloatArray, Faults]:
    """A column (pyarrow array or list) as floats; lists of numbers are added up. `missing` lets empty cells be NaN."""
    values, faults = _from_list(column) if isinstance(column, list) else _from_arrow(column)
    wrong = ~np.isfinite(values)
    for place in np.flatnonzero(wrong).tolist():
        if place not in faults:
            faults[place] = "is NaN" if np.isnan(values[place]) else "is infinite"
    if missing:
        faults = {place: fault for place, fault in faults.items() if fault not in (_EMPTY, "is NaN")}
    return values, faults


def _from_arrow(column: Any) -> tuple[FloatArray, Faults]:
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if plain or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_decimal(kind):
        if pa.types.is_boolean(kind):
            column = compute.cast(column, pa.int8())
        try:
            numbers = compute.cast(column, pa.float64())
        except pa.ArrowInvalid:
            return _from_list(column.to_pylist())
        empty = np.flatnonzero(compute.is_null(numbers).to_numpy(zero_copy_only=False)).tolist()
        values = np.array(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
        return values, dict.fromkeys(empty, _EMPTY)
    return _from_list(column.to_pylist())


def _from_list(cells: list[Any]) -> tuple[FloatArray, Faults]:
    values, faults = np.full(len(cells), np.nan), {}
    for place, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            faults[place] = _EMPTY
            continue
        try:
            values[place] = _total(cell)
        except (TypeError, ValueError):
            faults[place] = f"{shown(cell)} is no number"
    return values, faults


def _total(cell: Any) -> float:
    if isinstance(cell, str):
        word = cell.strip().lower()
        return float(word == "true") if word in ("true", "false") else float(cell)
    if isinstance(cell, (list, tuple)):
        if not cell:
            raise ValueError("an empty list")
        return float(np.sum(np.asarray(cell, dtype=np.float64)))
    if isinstance(cell, dict):
        raise TypeError("an object")
    return float(cell)


def as_keys(column: Any, known: dict[str, int]) -> tuple[NDArray[np.int64], Faults]:
    """A column as indices into `known`, which takes up the keys that are new; -1 where a cell is empty."""
    if isinstance(column, list):
        cells, index = column, np.arange(len(column))
    else:
        cells, index = _distinct(column)
    numbers = np.array([-1 if _blank(cell) else known.setdefault(_key(cell), len(known)) for cell in cells], np.int64)
    found = numbers[index] if len(cells) else np.empty(0, dtype=np.int64)
    return found, dict.fromkeys(np.flatnonzero(found < 0).tolist(), _EMPTY)


def _distinct(column: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct cells of a pyarrow array, and for each cell which one it is."""
    import pyarrow as pa
    from pyarrow import compute

    try:
        coded = compute.dictionary_encode(column, null_encoding="encode")
    except pa.ArrowNotImplementedError:  # nested prompts, such as lists of messages
        cells = column.to_pylist()
        return cells, np.arange(len(cells))
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    return coded.dictionary.to_pylist(), np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _blank(cell: Any) -> bool:
    return cell is None or cell in ("", [], {}) or (isinstance(cell, float) and cell != cell)


def _key(cell: Any) -> str:
    """A prompt as text; a long one by its beginning and its digest, so that a million of them fit into memory."""
    text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, sort_keys=True, default=str)
    if len(text) <= _LONG:
        return text
    return text[:80] + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def short(key: str) -> str:
    """A key as a label of one line."""
    text = " ".join(key[:200].split())
    return text if len(text) <= 60 else text[:57] + "..."
