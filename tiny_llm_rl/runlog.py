"""Run directories: `config.json`, `metrics.jsonl`, `summary.json` and checkpoints, made to survive being killed.

A directory belongs to one config. Metrics are appended line by line; a run that resumes from batch k first cuts the
lines of later batches, so that the file ends as that of a run that was never interrupted.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from tiny_llm_rl._checks import shown
from tiny_llm_rl.checkpoint import remove_spares, write_atomically

__all__ = ["SCHEMA", "RunDirectory", "difference", "plain", "read_config", "with_defaults"]

SCHEMA: Final = 1


def plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays as lists, infinities as strings, NaN as null, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    return value


def with_defaults(stored: dict[str, Any], config: Any) -> dict[str, Any]:
    """A stored config with the defaults of options that a later version has added to the dataclass of `config`.

    Options of dataclasses inside it too.

    >>> from tiny_llm_rl.config import TrainConfig
    >>> with_defaults({"tau": 0.1}, TrainConfig())["measure_every"]
    1
    """
    found: dict[str, Any] = dict(stored)
    for field in fields(config) if is_dataclass(config) else ():
        if isinstance(found.get(field.name), dict):
            found[field.name] = with_defaults(found[field.name], getattr(config, field.name))
        elif field.name not in found and field.default is not MISSING:
            found[field.name] = plain(field.default)
        elif field.name not in found and field.default_factory is not MISSING:
            found[field.name] = plain(field.default_factory())
    return found


def difference(before: Any, now: Any, name: str = "") -> str:
    """The first field that differs, with dots before one that lies inside others; empty where none does.

    Args:
        before: a config as JSON, what a directory holds.
        now: another.
        name: of the field that both are values of, if any.

    >>> difference({"tau": 0.1, "loss": {"clip": 1}}, {"tau": 0.1, "loss": {"clip": 2}})
    'loss.clip is 1 there, 2 here'
    """
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = ((f"{name}.{key}".lstrip("."), before.get(key), now.get(key)) for key in {**before, **now})
        return next((found for key, old, new in pairs if (found := difference(old, new, key))), "")
    if before == now:
        return ""
    return f"{name and name + ' is '}{shown(before)} there, {shown(now)} here"


def _dumped(value: Any, **layout: Any) -> bytes:
    return (json.dumps(plain(value), allow_nan=False, **layout) + "\n").encode()


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """The kind and the config of the run in a directory.

    Raises:
        ValueError: for a directory that holds no run, or one of another version.
    """
    stored = Path(path) / "config.json"
    try:
        found = json.loads(stored.read_bytes())
        kind, config, schema = str(found["kind"]), dict(found["config"]), found["schema"]
    except FileNotFoundError:
        raise ValueError(f"{path} holds no run; give the directory of one") from None
    except OSError as problem:
        raise ValueError(f"{stored} cannot be read ({problem.strerror}); give the directory of a run") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{stored} is no config of a run; give another directory") from None
    if schema != SCHEMA:
        raise ValueError(f"{stored} has schema {shown(schema)}, this version knows {SCHEMA}; give another directory")
    return kind, config


class RunDirectory:
    """A directory with one run in it.

    Args:
        path: made if it is not there.
        config: a dataclass or dict; the directory belongs to it. Options that a dataclass got after the run was begun
            must have their defaults.
        kind: of run, for instance "bandit".
        resume: go on in a directory that holds a run of the same config.

    Raises:
        ValueError: when the directory holds a run and resume is False, or a run of another kind or config (naming the
            first field that differs), or files that are no run.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = RunDirectory(Path(folder) / "run", {"tau": 0.1}, kind="bandit")
    ...     for batch in range(3):
    ...         run.log({"batch": batch, "reward": 0.5})
    ...     again = RunDirectory(Path(folder) / "run", {"tau": 0.1}, kind="bandit", resume=True)
    ...     again.rewind(2)
    ...     [record["batch"] for record in again.records()]
    [0, 1]
    """

    def __init__(self, path: Path, config: Any, *, kind: str, resume: bool = False) -> None:
        """Make the directory, or take over the one that is there."""
        self.path = path = Path(path)
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.npz"
        self.summary = path / "summary.json"
        head = {"schema": SCHEMA, "kind": kind, "config": plain(config)}
        stored = path / "config.json"
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; give a directory for the run")
        if stored.exists():
            old_kind, before = read_config(path)
            before, now = with_defaults(before, config), head["config"]
            odd = difference(old_kind, kind, "kind") or difference(before, now)
            if odd:
                raise ValueError(
                    f"{path} holds a run of another config ({odd}); "
                    "give another directory, or the config it was started with"
                )
            if not resume:
                raise ValueError(
                    f"{path} holds a run already; pass --resume to go on with it, or give another directory"
                )
        elif path.exists() and any(not entry.name.startswith(".config.json.") for entry in path.iterdir()):
            raise ValueError(f"{path} is not empty and holds no run; give an empty directory")
        else:
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(stored, _dumped(head, indent=1))

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep other processes out while this one trains; the system lets go when it dies.

        Raises:
            ValueError: when another process, or another part of this one, trains the run.
        """
        with (self.path / ".lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{self.path} is being trained by another process; wait for it, or give another directory"
                ) from None
            remove_spares(self.metrics, self.checkpoint, self.summary)
            yield

    def log(self, record: dict[str, Any]) -> None:
        """Append one record, a line of JSON with the entry `batch`."""
        with self.metrics.open("ab") as file:
            file.write(_dumped(record))

    def records(self) -> list[dict[str, Any]]:
        """All complete records; a last line that was cut off by a crash is not one."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_bytes().split(b"\n")
        try:
            return [dict(json.loads(line)) for line in lines[:-1]]
        except (ValueError, TypeError):
            raise ValueError(f"{self.metrics} holds a line that is no record; give another directory") from None

    def sync(self) -> None:
        """Bring the records to the disk: before a checkpoint, which must not know more batches than they do."""
        if self.metrics.exists():
            descriptor = os.open(self.metrics, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def rewind(self, batch: int) -> None:
        """Drop the records of this batch and later ones, and the summary; ValueError where earlier ones are missing."""
        kept = [record for record in self.records() if record["batch"] < batch]
        if batch and (not kept or kept[-1]["batch"] != batch - 1):
            raise ValueError(f"{self.metrics} lacks the batch {batch - 1} of the checkpoint; give another directory")
        write_atomically(self.metrics, b"".join(_dumped(record) for record in kept))
        self.summary.unlink(missing_ok=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, which marks the run as ended."""
        write_atomically(self.summary, _dumped({"schema": SCHEMA, **summary}, indent=1))
