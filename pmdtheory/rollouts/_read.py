"""Rollouts from files: rows are checked, broken ones are counted and named."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmdtheory._checks import FloatArray
from pmdtheory.rollouts._batches import Batch, Source
from pmdtheory.rollouts._cells import Faults, as_keys, as_numbers, short
from pmdtheory.rollouts._layouts import ROLES, Layout, find_layout
from pmdtheory.rollouts._record import BrokenRow, Rollouts
from pmdtheory.rollouts._sources import FORMATS, open_source

__all__ = ["read_rollouts"]

_KEPT: Final = 10_000  # broken rows that are named; the others are counted
_NUMBERS: Final = ("step", "old_log_prob", "new_log_prob", "length")
Progress = Callable[[str, int, int], object]


def read_rollouts(
    files: Path | str | Sequence[Path | str],
    *,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Rollouts:
    """Rollouts from JSON lines, CSV or Parquet: a file, several of one run, or a folder of them.

    The dumps of verl (and OpenKimi, which writes verl's) and of TRL are recognised by their columns, other files by
    common column names, and everything else through `columns`. Log-probabilities may be numbers or lists of tokens'.

    Args:
        files: one path or several; of a folder all files of a known ending are read.
        columns: role to column, roles out of prompt, reward ("a+b" adds two columns), step, old_log_prob,
            new_log_prob, length.
        strict: whether a broken row is an error.
        progress: called with the file, how much of it is read, and its size.

    Returns:
        `Rollouts`; rows that cannot be read are left out, counted and named in `broken`.

    Raises:
        ValueError: naming the file, the column and the remedy: nothing to read, no such column, no sound row, files
            of different layouts, or a broken row while strict.

    Source: this project; layouts as verl's `trainer.rollout_data_dir` and TRL's `log_completions` write them.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "1.jsonl")
    >>> rows = ['{"input": "2+2", "output": "4", "score": 1, "step": 1}', '{"input": "2+2", "output": "5"}']
    >>> _ = path.write_text(chr(10).join(rows))
    >>> found = read_rollouts(path)
    >>> found.layout, found.size, found.broken_count, found.broken[0].column
    ('verl', 1, 1, 'score')
    """
    paths = _paths([files] if isinstance(files, (str, Path)) else list(files))
    unknown = sorted(set(columns or {}) - set(ROLES))
    if unknown:
        raise ValueError(f"columns names the role {unknown[0]!r}; roles are {', '.join(ROLES)}")
    reader = _Reader(strict)
    layout = None
    for path in paths:
        source = open_source(path)
        found = find_layout(source.file, source.numeric, columns or {})
        if layout is not None and found != layout:
            raise ValueError(
                f"file {source.file!r} is laid out as {found.columns}, {str(paths[0])!r} as {layout.columns}; "
                "read files of one run, or name the columns"
            )
        layout = found
        reader.read(source, layout, progress)
    assert layout is not None
    return reader.finish(str(paths[0]), layout)


def _paths(given: list[Path | str]) -> list[Path]:
    paths: list[Path] = []
    for one in map(Path, given):
        if one.is_dir():
            inside = sorted(entry for entry in one.iterdir() if entry.suffix.lower() in FORMATS)
            if not inside:
                raise ValueError(f"folder {str(one)!r} holds no file ending in {', '.join(FORMATS)}; name a file")
            paths += inside
        else:
            paths.append(one)
    if not paths:
        raise ValueError("files is empty; name a file of rollouts")
    return paths


class _Reader:
    """Collects the sound rows of batches."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._known: dict[str, int] = {}
        self._kept: dict[str, list[NDArray[Any]]] = {role: [] for role in ROLES}
        self._broken: list[BrokenRow] = []
        self._count = 0

    def read(self, source: Source, layout: Layout, progress: Progress | None) -> None:
        for batch in source.batches(layout):
            self._report(batch.broken)
            if batch.rows.size:
                self._take(source.file, layout, batch)
            if progress is not None:
                progress(source.file, min(batch.done, source.size), source.size)

    def _report(self, rows: list[BrokenRow]) -> None:
        if rows and self._strict:
            raise ValueError(f"file {rows[0]}; repair the row, or read without --strict, which leaves it out")
        self._count += len(rows)
        self._broken += rows[: max(0, _KEPT - len(self._broken))]

    def _take(self, file: str, layout: Layout, batch: Batch) -> None:
        """The rows of a batch without faults."""
        found: dict[str, NDArray[Any]] = {}
        faults: dict[int, tuple[str, str]] = {}

        def add(column: str, more: Faults) -> None:
            for place, fault in more.items():
                faults.setdefault(place, (column, fault))

        found["prompt"], more = as_keys(batch.columns[layout.prompt], self._known)
        add(layout.prompt, more)
        found["reward"] = self._reward(layout, batch, add)
        for role in _NUMBERS:
            column = getattr(layout, role)
            if column is not None:
                found[role], more = as_numbers(batch.columns[column])
                add(column, more)
                if role == "step":
                    part = np.flatnonzero(np.isfinite(found[role]) & (found[role] != np.rint(found[role])))
                    add(column, {int(place): f"{found[role][place]:g} is no whole number" for place in part})
        sound = np.ones(batch.rows.size, dtype=bool)
        sound[list(faults)] = False
        self._report([BrokenRow(file, int(batch.rows[place]), *faults[place]) for place in sorted(faults)])
        for role, values in found.items():
            self._kept[role].append(values[sound])

    @staticmethod
    def _reward(layout: Layout, batch: Batch, add: Callable[[str, Faults], None]) -> FloatArray:
        """The reward, or the sum of several; a reward function that gave none for a row counts as zero, as in TRL."""
        several = len(layout.reward) > 1
        total, empty = np.zeros(batch.rows.size), np.ones(batch.rows.size, dtype=bool)
        for column in layout.reward:
            values, faults = as_numbers(batch.columns[column], missing=several)
            add(column, faults)
            empty &= np.isnan(values)
            total += np.where(np.isnan(values) & several, 0.0, values)
        if several:
            add("+".join(layout.reward), dict.fromkeys(np.flatnonzero(empty).tolist(), "is empty in all of them"))
        return total

    def finish(self, file: str, layout: Layout) -> Rollouts:
        """Everything that was read, as one record."""
        arrays = {role: np.concatenate(parts) for role, parts in self._kept.items() if parts}
        if "reward" not in arrays or arrays["reward"].size == 0:
            first = f" (the first: {self._broken[0]})" if self._broken else ""
            raise ValueError(f"file {file!r} holds no sound row{first}; name other columns with --columns")
        used, prompt = np.unique(arrays["prompt"], return_inverse=True)
        keys = list(self._known)
        return Rollouts(
            prompt=prompt.astype(np.int64),
            labels=tuple(short(keys[one]) for one in used.tolist()),
            reward=arrays["reward"],
            step=arrays["step"].astype(np.int64) if "step" in arrays else None,
            old_log_prob=arrays.get("old_log_prob"),
            new_log_prob=arrays.get("new_log_prob"),
            length=arrays.get("length"),
            layout=layout.name,
            columns=layout.columns,
            broken=tuple(self._broken),
            broken_count=self._count,
        )
