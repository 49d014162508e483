"""Sweeps: a grid of configs, each cell a run directory, done by workers that may die, collected into one table.

The cells and their claims are those of `pmdtheory._cells`: a sweep goes on where it was interrupted, and a worker
that dies costs the batch it was in. Configs travel as JSON.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pmdtheory._cells import FAILED, LOST, STOPPED, ended, run_cells
from pmdtheory._executors import Executor, Local
from tiny_llm_rl._checks import shown, whole
from tiny_llm_rl._grid import Config, Grid, config_of
from tiny_llm_rl.checkpoint import write_atomically
from tiny_llm_rl.runlog import difference, plain, with_defaults
from tiny_llm_rl.smollm.training import ChatConfig, keeper, prepared

__all__ = [
    "FUNCTION",
    "ONE_THREAD",
    "OPEN",
    "UNDONE",
    "Grid",
    "cell",
    "check_metric",
    "local",
    "payload",
    "rows",
    "run_sweep",
    "save_table",
    "table",
]

SCHEMA: Final = 1
FUNCTION: Final = "tiny_llm_rl.sweep:cell"
OPEN: Final = "OPEN"  # of a cell without a summary
UNDONE: Final = (OPEN, FAILED, LOST)

# Runs side by side use the cores better than threads do.
ONE_THREAD: Final = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def local() -> Local:
    """Processes of this machine, with one thread each for XLA's products."""
    return Local({"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()})


def payload(kind: str, config: Config) -> dict[str, Any]:
    """A cell as JSON."""
    return {"kind": kind, "config": plain(config)}


def cell(given: Mapping[str, Any], path: Path) -> str:
    """Train, or go on training, one run; in a worker. Returns its status, `STOPPED` after SIGINT or SIGTERM."""
    config = config_of(given["kind"], given["config"])
    if given["kind"] == "bandit":
        from tiny_llm_rl._bandit_run import Stopped, run

        try:
            run(config, path, resume=True)  # type: ignore[arg-type]
        except Stopped:
            return STOPPED
        return ended(path.parent, path.name)
    from tiny_llm_rl._signals import held_signals
    from tiny_llm_rl.runlog import RunDirectory
    from tiny_llm_rl.train import train

    with held_signals() as seen:
        options: dict[str, Any] = {}
        if isinstance(config, ChatConfig):
            config, options["base"] = prepared(config)
            options["keep"] = keeper(config, path)
        directory = RunDirectory(path, config, kind=given["kind"], resume=True)
        return train(config, directory, stop=lambda: bool(seen), **options).status.name  # type: ignore[arg-type]


def _owned(grid: Grid, out: Path) -> None:
    """The directory belongs to a base and its axes, whose values may change: a sweep can grow."""
    now = {"schema": SCHEMA, "kind": grid.kind, "base": plain(grid.base), "axes": plain(list(grid.axes))}
    path = out / "sweep.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        before["base"] = with_defaults(before["base"], grid.base)
        for name in ("schema", "kind", "base"):
            if before[name] != now[name]:
                raise ValueError(
                    f"{out} holds a sweep of another {name} ({difference(before[name], now[name])}); "
                    "give another directory"
                )
        old, new = ([axis for axis, _ in each["axes"]] for each in (before, now))
        if old != new:
            raise ValueError(f"{out} holds a sweep over {', '.join(old)}, not {', '.join(new)}; give another directory")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and holds no sweep; give an empty directory")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(now, indent=1) + "\n").encode())


def run_sweep(
    grid: Grid,
    out: Path,
    *,
    executor: Executor | None = None,
    workers: int = 2,
    function: str = FUNCTION,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[str, str, int, int], None] = lambda name, status, done, total: None,
) -> dict[str, str]:
    """Run every cell of a grid that has not ended in `out`.

    Args:
        grid: the base config and its axes.
        out: directory of the run directories, one a cell.
        executor: starts the workers; None takes processes of this machine.
        workers: at a time; 1 for each GPU.
        function: "module:name" of what does a cell (`cell`).
        stop: asked all the time; True ends the workers after the batches they are in.
        report: called as report(cell, status, done, total) when one ends.

    Returns:
        Status of each cell.

    Raises:
        ValueError: for a combination that cannot be run or fewer than one worker, before anything is written, and for
            a directory of another sweep.
        KeyboardInterrupt: on Ctrl-C or `stop`; the next call goes on from there.
    """
    whole("workers", workers, "2 is the default for two cores")
    cells = {name: payload(grid.kind, config) for name, config in grid.cells.items()}
    _owned(grid, out)
    return run_cells(out, function, cells, executor or local(), workers=workers, stop=stop, report=report)


def _leaves(prefix: str, value: Any) -> dict[str, Any]:
    """Numbers of nested JSON, under names with dots."""
    if isinstance(value, dict):
        return {name: leaf for key, item in value.items() for name, leaf in _leaves(f"{prefix}{key}.", item).items()}
    if isinstance(value, list):
        return {name: leaf for i, item in enumerate(value) for name, leaf in _leaves(f"{prefix}{i}.", item).items()}
    name = prefix.removesuffix(".")
    if isinstance(value, str):
        return {name: float(value)} if value in ("inf", "-inf") else {}
    return {name: value}


def _config_columns(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in plain(config).items():
        inside = {f".{key}": item for key, item in value.items()} if isinstance(value, dict) else {"": value}
        for key, item in inside.items():
            found[f"config.{name}{key}"] = json.dumps(item) if isinstance(item, list) else item
    return found


def _results(path: Path) -> dict[str, Any]:
    """Numbers of a run's summary, and those of its last record under `last.`."""
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    found = _leaves("", {name: value for name, value in summary.items() if name not in ("schema", "status", "kind")})
    metrics = path / "metrics.jsonl"
    if "end" not in summary and metrics.exists():
        lines = metrics.read_text(encoding="utf-8").splitlines()
        found |= {
            f"last.{name}": value
            for name, value in (json.loads(lines[-1]) if lines else {}).items()
            if isinstance(value, (int, float)) and name != "batch"
        }
    return found


def check_metric(metric: str, path: Path) -> None:
    """ValueError for a column that the table of a sweep will not have, by what one of its runs has left.

    A run that broke down lacks some columns and is not asked, and a number that is missing or infinite in one run is a
    column all the same.

    Args:
        metric: name of a column.
        path: directory of a run that has ended.

    Raises:
        ValueError: for another name, with those that are known.
    """
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    if summary.get("status", "FINISHED") != "FINISHED":
        return
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = {*_results(path), *(f"last.{name}" for name, value in json.loads(lines[-1]).items() if _gap(value))}
    if metric not in found:
        raise ValueError(f"metric {shown(metric)} is no number of a cell; choose from {', '.join(sorted(found))}")


def _gap(value: Any) -> bool:
    """Whether this stands where a record of another run may have a finite number."""
    return value is None or value in ("inf", "-inf")


def rows(grid: Grid, out: Path, statuses: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """A row a cell: `cell`, `status`, `config.FIELD`, and every number of its summary and its last record.

    Args:
        grid: of the sweep.
        out: its directory.
        statuses: what `run_sweep` returned; None reads the summaries.

    Returns:
        The rows in the order of the grid; a cell without a summary has its config alone.
    """
    found = []
    for name, config in grid.cells.items():
        status = ended(out, name)
        head = {"cell": name, "status": status or (statuses or {}).get(name, OPEN), **_config_columns(config)}
        found.append({**head, **(_results(out / name) if status else {})})
    return found


def _column(values: list[Any]) -> list[Any]:
    """Of one type: numbers as they are or all as floats, anything else as text; None is a gap."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]


def table(grid: Grid, found: list[dict[str, Any]]) -> Any:
    """The rows as an Arrow table, whose metadata name the grid.

    Args:
        grid: of the sweep.
        found: from `rows`.

    Returns:
        `pyarrow.Table`.
    """
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in found for name in row))
    columns = {name: pa.array(_column([row.get(name) for row in found])) for name in names}
    about = {"schema": SCHEMA, "kind": grid.kind, "axes": plain(list(grid.axes))}
    return pa.table(columns).replace_schema_metadata({"sweep": json.dumps(about)})


def save_table(path: Path, found: Any) -> None:
    """Write a table as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(found, sink)
    write_atomically(path, sink.getvalue().to_pybytes())
