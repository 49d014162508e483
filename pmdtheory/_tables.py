"""Problems from files: CSV with columns policy (or log_policy) and reward, or JSON with these arrays and tau."""

import csv
import json
from pathlib import Path
from typing import Any

from pmdtheory.problem import Problem

__all__ = ["read_problem"]

_REMEDY = 'write CSV with a header "policy,reward" or JSON {"policy": [...], "reward": [...], "tau": 0.1}'


def read_problem(path: Path, tau: float | None) -> Problem:
    """The problem in a file; `tau` overrides the file's own.

    Raises:
        ValueError: for a file that cannot be read, is empty, malformed, or lacks a column; one line, with the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise ValueError(f"file {str(path)!r} cannot be read ({reason}); {_REMEDY}") from None
    if not text.strip():
        raise ValueError(f"file {str(path)!r} is empty; {_REMEDY}")
    columns = _json(path, text) if path.suffix.lower() == ".json" else _csv(path, text)
    strength = columns.get("tau") if tau is None else tau
    if strength is None:
        raise ValueError(f"file {str(path)!r} names no tau; pass --tau 0.1, for instance")
    if "reward" not in columns or not {"policy", "log_policy"} & set(columns):
        raise ValueError(f"file {str(path)!r} has {sorted(columns)}; {_REMEDY}")
    if "log_policy" in columns:
        return Problem.from_log_policy(columns["log_policy"], columns["reward"], strength)
    return Problem.from_policy(columns["policy"], columns["reward"], strength)


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"file {str(path)!r} is not JSON (line {error.lineno}: {error.msg}); {_REMEDY}") from None
    except (RecursionError, ValueError) as error:  # nested too deep, or an integer of thousands of digits
        raise ValueError(f"file {str(path)!r} is JSON that cannot be read ({error}); {_REMEDY}") from None
    if not isinstance(data, dict):
        raise ValueError(f"file {str(path)!r} holds a JSON {type(data).__name__}, not an object; {_REMEDY}")
    return data


def _csv(path: Path, text: str) -> dict[str, Any]:
    try:
        header, *rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except csv.Error as error:
        raise ValueError(f"file {str(path)!r} is CSV that cannot be read ({error}); {_REMEDY}") from None
    names = [name.strip() for name in header]
    if len(set(names)) != len(names):
        raise ValueError(f"file {str(path)!r} names a column twice in {names}; {_REMEDY}")
    if not rows:
        raise ValueError(f"file {str(path)!r} has a header and no rows; {_REMEDY}")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise ValueError(
                f"file {str(path)!r}: row {line} has {len(row)} fields for {len(names)} columns; {_REMEDY}"
            )
    columns: dict[str, Any] = {}
    for position, name in enumerate(names):
        if name in ("policy", "log_policy", "reward", "tau"):
            columns[name] = [_cell(path, line, name, row[position]) for line, row in enumerate(rows, start=2)]
    if "tau" in columns:
        if len(set(columns["tau"])) > 1:
            raise ValueError(f"file {str(path)!r} has several values of tau; one problem has one, repeat or drop it")
        columns["tau"] = columns["tau"][0]
    return columns


def _cell(path: Path, line: int, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        shown = text if len(text) <= 30 else text[:27] + "..."
        raise ValueError(f"file {str(path)!r}: row {line} has {shown!r} in column {name}; {_REMEDY}") from None
